"""A comparison of two runs as text for a terminal, and as a page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from launcher.local.comparison import Run, Table
from text_classifier.contract.errors import printable

_STYLE = """\
body { margin: 0 auto; max-width: 960px; padding: 2rem 1.5rem 4rem; color: #1d2129;
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #e1e4e8;
  overflow-wrap: anywhere; }
th { color: #5c6470; } .quiet { color: #5c6470; font-size: .85rem; } .apart { font-weight: 700; }"""

#: Characters of a run's name in the name of a file. Names of jobs have 63.
_LONGEST_NAME = 100

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
base-uri 'none'; form-action 'none'">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def as_text(found: Sequence[Table], widest: int = 48) -> str:
    """The tables for a terminal."""
    lines: list[str] = []
    for table in found:
        lines += ["", table.title]
        marked = [(f"{row[0]} *" if i in table.apart else row[0], *row[1:]) for i, row in enumerate(table.rows)]
        shown = [[_cut(printable(cell), widest) for cell in row] for row in [table.header, *marked]] if marked else []
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        for row in shown:
            cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
            lines.append(f"  {'  '.join(cells)}".rstrip())
        lines += [f"  {printable(table.note)}"] if table.note else []
    return "\n".join(lines[1:])


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def file_name(first: Run, second: Run) -> str:
    """The name of the page's file. A file system takes 255 bytes."""
    names = (re.sub(r"[^\w.-]+", "-", run.name, flags=re.ASCII)[:_LONGEST_NAME] for run in (first, second))
    return "-".join(names) + ".html"


def as_page(found: Sequence[Table], first: Run, second: Run) -> str:
    """The tables as a self-contained page: no script, nothing loaded, and all text escaped."""
    title = escape(f"{first.name} and {second.name}")
    return _PAGE.format(title=title, style=_STYLE, body="\n".join(map(_html, found)))


def _html(table: Table) -> str:
    note = f'<p class="quiet">{escape(table.note)}</p>' if table.note else ""
    if not table.rows:
        return f"<h2>{escape(table.title)}</h2>\n{note}"
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    body = "\n".join(_html_row(row, number in table.apart) for number, row in enumerate(table.rows))
    grid = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    return f"<h2>{escape(table.title)}</h2>\n{grid}\n{note}"


def _html_row(row: Sequence[str], is_apart: bool) -> str:
    cells = [f"{row[0]} *" if is_apart else row[0], *row[1:]]
    inner = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr class="apart">{inner}</tr>' if is_apart else f"<tr>{inner}</tr>"
