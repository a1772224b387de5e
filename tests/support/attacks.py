"""Strings that try to be more than text: what a label, a text, an id, a file or a column may be called."""

from __future__ import annotations

METRICS = (
    "accuracy=0.99;", "x accuracy=1.0; y", "f1_macro=nan;", "validation_loss=0.1;", "a\naccuracy=1;", "auprc=.5;",
    "a\r\nepoch=1; step=2; accuracy=0.9;", "accuracy=-1;", "roc_auc=inf;", "mae=+1;", "accuracy=1;" * 9,
    "\u2028accuracy=1;", "\u0085accuracy=1;", "train_loss=1e-9;", "precision_macro=1;recall_macro=1;",
)  # fmt: skip

FAILURES = (
    "a\nThe platform: the host ran out of memory", "x\nA bug in the training code: KeyError", "\r\nYour settings: no",
    "\u2028The platform: lost [reported by algo-9]", "Your data: nothing is wrong",
    "\nTraceback (most recent call last):",
)  # fmt: skip

TERMINAL = (
    "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x1b[2J\x1b[H", "\x9b2J", "\x08\x08\x08hidden", "\x00nul", "\x7fdelete",
    "\u202egnp.exe", "\u2066isolated\u2069", "\x1b]8;;http://evil.example/\x07click\x1b]8;;\x07", "bell\x07",
    "\x0cpage",
)  # fmt: skip

HTML = (
    "<script>window.attacked=1</script>", "<img src=x onerror=window.attacked=1>", "</td></tr></table><h1>new</h1>",
    "\"><svg/onload=window.attacked=1>", "<iframe src='http://127.0.0.1:9/attack'></iframe>", "<!-- ", "-->", "]]>",
    "<link rel=stylesheet href=http://127.0.0.1:9/attack>", "<style>@import 'http://127.0.0.1:9/attack';</style>",
    "<base href=http://127.0.0.1:9/>", "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/attack'>",
    "<a href=javascript:window.attacked=1>x</a>", "&lt;script&gt;", "{{ 7 * 7 }}", "{% for x in y %}", "${7*7}",
    "<form action=http://127.0.0.1:9/attack><input autofocus>", "<title>", "</title>", "</style>", "$\\frac{x$", "$x_$",
    "<video src=http://127.0.0.1:9/attack autoplay>", "data:text/html,<script>window.attacked=1</script>",
)  # fmt: skip

FORMULAS = (
    "=1+1", "x\r=1+1", "=cmd|' /C calc'!A0", "+1+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "@SUM(1+1)", "\t=1+1",
    "\r=1+1", "\n=1+1", "=HYPERLINK(\"http://127.0.0.1:9/attack\")", "'=1+1", "''=1+1", "\uff1d1+1", "\uff0b1",
    "\uff0d1", "\uff201",
    "-", "+", "@", "=", "\";=1+1;\"", "-1", "+1.5e3", "-x", "--1",
)  # fmt: skip

MARKDOWN = (
    "[click](http://127.0.0.1:9/attack)", "![image](http://127.0.0.1:9/attack)", "http://127.0.0.1:9/attack",
    "www.example.com", "someone@example.com", "a | b | c", "a\n\n# heading", "---\nlicense: mit\n---", "`code`", "``",
    "`", "``` \n", "<http://127.0.0.1:9/attack>", "[x]: http://127.0.0.1:9/attack", "- item", "> quote", "\\`", "a\\|b",
    "key: value", "!!python/object/apply:os.system ['true']", "*bold* _it_ ~~no~~",
)  # fmt: skip

PATHS = (
    "../../escape",
    "/absolute",
    "a/b\\c",
    "..",
    "con",
    "a%2e%2e/b",
    "~root",
    "$(touch attacked)",
    "`touch attacked`",
)

ATTACKS = tuple(dict.fromkeys((*METRICS, *FAILURES, *TERMINAL, *HTML, *FORMULAS, *MARKDOWN, *PATHS)))
