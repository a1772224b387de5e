"""Writes the generated parts of the Markdown pages, from the sources that they describe.

    python -m tools.docs            write them
    python -m tools.docs --check    change nothing; exit 1 and name the pages that are stale

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`; GENERATORS has the names. Needs nothing
but the launcher's environment.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Geometry, Spread, learning, table
from launcher.cli import reference
from launcher.cli.reference import markdown_table
from launcher.plan import prices
from text_classifier.contract import hyperparameters, metric_names, parsing
from tools import schema_tables

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"

_BLOCK = re.compile(r"(<!-- generated: ([^>]*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

#: Folders and files without docstrings to take a description from.
OTHERS = {
    "aws/": "CloudFormation template, instance prices, accepted scan findings",
    "docker/": "Dockerfile, locks of the image, stand-in base image, list of what the image holds",
    "docs/": "these pages",
    "tests/": "unit/ mirrors the packages; container/, push/, local_mode/, faults/, gpu/, timing/; see tests/README.md",
    "build_and_push.sh": "builds the image; pushes it to ECR or another registry",
    "Makefile": "every task of the project; `make` lists them",
}
_DOCUMENTED = ("code", "launcher", "benchmarks", "tools")
_C_FAMILY = {".cpp", ".cu", ".cuh", ".h"}
_COLUMN, _WIDTH = 34, 120

#: Dense 16-bit tensor throughput from the vendors' data sheets, in TFLOPS: GPU and value.
INSTANCES = {"ml.g4dn.xlarge": ("T4", 65), "ml.g5.xlarge": ("A10G", 70), "ml.g6.xlarge": ("L4", 121)}
H100_TFLOPS = 989
ESTIMATED_ROWS, ESTIMATED_EPOCHS = 100_000, 3
MODELS = {"DistilBERT": Geometry(6, 768, 3072), "BERT or RoBERTa, base": Geometry(12, 768, 3072)}
LENGTHS = (128, 512)


# --- The image's contract ---


def hyperparameter_table() -> str:
    """Every hyperparameter: name, aliases, type, default, allowed values, meaning."""
    aliases: dict[str, list[str]] = {}
    for alias, name in parsing.ALIASES.items():
        aliases.setdefault(name, []).append(alias)
    rows = [
        (
            f"`{row.name}`" + "".join(f" (alias `{alias}`)" for alias in aliases.get(row.name, [])),
            row.type.__name__,
            f"`{row.default_text}`" if row.default_text else "empty",
            _allowed(row),
            row.help,
        )
        for row in hyperparameters.TABLE
    ]
    return markdown_table(("hyperparameter", "type", "default", "allowed", "meaning"), rows)


def _allowed(row: hyperparameters.Hyperparameter) -> str:
    if row.type is bool:
        return "`true`, `false`"
    if row.choices:
        return ", ".join(f"`{choice}`" for choice in row.choices if choice)
    lower = f">= {row.minimum:g}" if row.minimum is not None else ""
    upper = f"< {row.below:g}" if row.below is not None else ""
    upper = f"<= {row.maximum:g}" if row.maximum is not None else upper
    return ", ".join(filter(None, (lower, upper)))


def metric_table() -> str:
    """Every metric of the log, by task."""
    meanings = {name: meaning for name, _, meaning in schema_tables.tables()["metrics by name"]}
    rows = [(f"`{name}`", "all", "lower", meanings[name]) for name in metric_names.LOSSES]
    for task, names in metric_names.BY_TASK.items():
        for name in names:
            default = "; chooses the best epoch by default" if metric_names.DEFAULTS[task] == name else ""
            better = "lower" if name in metric_names.ERRORS else "higher"
            rows.append((f"`{name}`", f"`{task}`", better, meanings[name] + default))
    return markdown_table(("metric", "task", "better", "meaning"), rows)


def schemas() -> str:
    """A section for each public file, with its keys, and for each table that these refer to."""
    sections = []
    for name, keys in schema_tables.tables().items():
        heading = f"`{name}`" if "." in name else name.capitalize()
        rows = [(f"`{key}`", kind, meaning) for key, kind, meaning in keys]
        sections.append(f"### {heading}\n\n{markdown_table(('key', 'type', 'meaning'), rows)}")
    return "\n\n".join(sections)


# --- The file tree ---


def file_tree() -> str:
    """The tree of the repository: first sentences of docstrings and of C++ header comments."""
    lines: list[str] = []
    for folder in _DOCUMENTED:
        lines += _branch(ROOT / folder, 0)
    lines += _entry("launch.py", _description(ROOT / "launch.py"), 0)
    for name, text in OTHERS.items():
        lines += _entry(name, text, 0)
    return "\n".join(("```", *lines, "```"))


def _branch(folder: Path, depth: int) -> Iterator[str]:
    yield from _entry(f"{folder.name}/", _description(folder / "__init__.py") or _folder(folder), depth)
    entries = [path for path in folder.iterdir() if not path.name.startswith((".", "__")) and path.name != "results"]
    if (folder / "results" / "__init__.py").exists():
        entries.append(folder / "results")
    for path in sorted(entries, key=lambda path: (path.is_dir(), path.name)):
        if path.is_dir():
            yield from _branch(path, depth + 1)
        elif path.suffix in {".py", *_C_FAMILY}:
            yield from _entry(path.name, _description(path), depth + 1)


def _folder(folder: Path) -> str:
    """The description of a folder that is no package. Raises ValueError for one that has none."""
    known = {
        "code": "baked into the image at /opt/text-classifier: the scripts that are run by name, and one package",
        "templates": "Jinja templates of the report and the model card",
        "tools": "scripts that make targets run",
    }
    if folder.name not in known:
        raise ValueError(f"{folder.relative_to(ROOT)} has no __init__.py; give it one with a docstring")
    return known[folder.name]


def _description(path: Path) -> str:
    """The first sentence of a module's docstring, or of the comment that a C++ file starts with."""
    if not path.exists():
        return ""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(source)) or ""
    else:
        comment = re.match(r"(?://.*\n)+", source)
        text = re.sub(r"^// ?", "", comment[0], flags=re.MULTILINE) if comment else ""
    paragraph = " ".join(re.split(r"\n\s*\n", text.strip())[0].split())
    sentence = re.match(r".*?(?<!e\.g)[.?!](?=\s+[A-Z`]|$)", paragraph)
    return (sentence[0] if sentence else paragraph).rstrip(".")


def _entry(name: str, text: str, depth: int) -> list[str]:
    start = "  " * depth + name
    indent = " " * _COLUMN
    body = textwrap.wrap(text, _WIDTH - _COLUMN, break_on_hyphens=False) or [""]
    if len(start) < _COLUMN - 1:
        body[0] = start.ljust(_COLUMN) + body[0]
        return [body[0].rstrip(), *(indent + line for line in body[1:])]
    return [start, *(indent + line for line in body if line)]


# --- Benchmarks and costs ---


def benchmark_tables() -> str:
    """Every file of benchmarks/results as tables."""
    sections = []
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        about = result["about"]
        lines = [
            f"### [{path.stem}](results/{path.name})",
            f"{about['device']}; {about['threads']} threads; {about['packages']}; "
            f"{_model_and_rows(about)}commit {about['commit']}, {about['date']}.",
        ]
        memory = "peak GPU memory" if "NVIDIA" in about["device"] else "peak memory"
        for contest in result.get("competitions", []):
            lines += [
                f"Up to {contest['tokens']} tokens, {contest['batch_size']} rows per step, {contest['rounds']} rounds "
                f"of {contest['steps']} steps:",
                table(contest["competitors"], memory),
                "\n".join(f"- {name}: {values['setup']}" for name, values in contest["competitors"].items()),
            ]
        if "sidelights" in result:
            lines.append(_sidelights(result["sidelights"]))
        if "data" in result:
            lines.append(_parity(result["data"]))
        if "learning" in result:
            lines.append(learning(result["learning"]))
        if "operations" in result:
            lines.append(_operations(result["operations"]))
        if "steps" in result:
            lines.append(_steps(result["steps"]))
        if "serving" in result:
            lines.append(_serving(result["serving"]))
        sections.append("\n\n".join(lines))
    return "\n\n".join(sections)


def _model_and_rows(about: Mapping[str, Any]) -> str:
    if "rows" not in about:
        return ""
    rows = ", ".join([about["rows"]] if isinstance(about["rows"], str) else about["rows"])
    return f"model: {about['model']}; rows: {rows}; "


def _operations(measured: Sequence[Mapping[str, Any]]) -> str:
    """How many times as long torch takes: a row per operation and input, a column per dtype and call."""
    columns = list(dict.fromkeys((found["dtype"], found["call"]) for found in measured))
    cells: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for found in measured:
        row = cells.setdefault((found["operation"], found["case"]), {})
        row[found["dtype"], found["call"]] = f"{found['torch_ms'] / found['native_ms']:.1f}"
    header = ("torch takes as long, times", *(f"{dtype}, {call}" for dtype, call in columns))
    rows = [(", ".join(name), *(row.get(column, "") for column in columns)) for name, row in cells.items()]
    return markdown_table(header, rows)


def _steps(measured: Sequence[Mapping[str, Any]]) -> str:
    """A row per model and batch: milliseconds of a step, and by what it is longer without each native operation."""
    names = list(dict.fromkeys(name for found in measured for name in found["native_operations"]))
    rows = []
    for found in measured:
        taken = found["milliseconds"]
        slower = (f"{100 * (taken[name] / taken['native'] - 1):+.0f} %" if name in taken else "" for name in names)
        rows.append((f"{found['model']}, {found['batch']}", f"{taken['native']:.2f}", *slower, f"{taken['torch']:.2f}"))
    header = ("a step", "native, ms", *(f"without {name}" for name in names), "all by torch, ms")
    return markdown_table(header, rows)


def _serving(found: Mapping[str, Any]) -> str:
    """A row per server and load: the medians of the rounds."""
    rows = []
    for each in found["results"]:
        requests = "1 text" if each["texts_per_request"] == 1 else f"{each['texts_per_request']:,} texts"
        at_random = f"at random, {100 * each['load']:.0f} % of that rate"
        clients = at_random if each["load"] else f"{each['clients']} at a time"
        figures = (f"{each[name]:,.1f}" for name in ("texts_per_second", "p50_ms", "p95_ms", "cpu_ms_per_text"))
        rows.append((f"{requests}, {clients}", each["server"], *figures))
    ends = ((name, f"{seconds:.1f}", str(found["memory_mb"][name])) for name, seconds in found["start_seconds"].items())
    return "\n\n".join(
        [
            f"{found['rounds']} rounds of {found['seconds']:g} s:",
            markdown_table(("requests", "server", "texts/s", "p50, ms", "p95, ms", "CPU-ms a text"), rows),
            markdown_table(("server", "start to ready, s", "own memory at the end, MB"), ends),
        ]
    )


def _sidelights(found: Mapping[str, Any]) -> str:
    rows = []
    for name, values in found.items():
        if name.startswith("tokenizing"):
            speedup = Spread(**values["one_at_a_time_against_ours"]).text(".1f")
            rows.append((name, f"{values['rows_per_second']['median']:,.0f} rows/s; {speedup} times one row at a time"))
        elif name == "start":
            seconds = Spread(**values["seconds_to_first_step"]).text()
            rows.append((f"start of train.py to the end of its first step, {values['rows']:,} rows", f"{seconds} s"))
        elif name == "checkpoints":
            rows.append(
                (
                    "a checkpoint every 120 s",
                    f"the loop waits {values['seconds_blocked']:.3f} s, the writer uses "
                    f"{values['cpu_seconds_writing']:.3f} CPU-seconds: {100 * values['share']:.2f} %",
                )
            )
    return markdown_table(("also measured", "result"), rows)


def _parity(data: Mapping[str, Any]) -> str:
    rows = []
    for name, values in data.items():
        low, high = values["interval"]
        ours, theirs = (sum(values[key]) / len(values[key]) for key in ("ours", "H0"))
        rows.append(
            (
                f"{name}: {values['training_rows']:,} rows, measured on {values['measured_rows']:,}",
                f"{ours:.2f}",
                f"{theirs:.2f}",
                f"{values['mean_difference']:+.2f} ({low:+.2f} to {high:+.2f})",
            )
        )
    return markdown_table(("accuracy in %, mean of the seeds", "ours", "H0", "difference in points (95 %)"), rows)


def cost_table() -> str:
    """Estimated minutes and dollars of a run on the usual instance types."""
    rows = []
    for model, geometry in MODELS.items():
        for length in LENGTHS:
            cells = []
            for instance, (_, tflops) in INSTANCES.items():
                price = prices.find(instance, prices.REGION, None)
                assert price is not None, instance
                flops = ESTIMATED_ROWS * ESTIMATED_EPOCHS * geometry.flops(length)
                seconds = flops / (tflops * 1e12 * utilization())
                cells.append(f"{seconds / 60:.0f} min, ${seconds / 3600 * price.per_hour:.2f}")
            rows.append((model, str(length), *cells))
    header = [f"{name} ({gpu})" for name, (gpu, _) in INSTANCES.items()]
    return markdown_table(("model", "tokens per row", *header), rows)


def utilization() -> float:
    """Share of the data sheet's tensor throughput that training reached on an H100, 256 rows per step."""
    result = json.loads((RESULTS / "2026-11-27-h100-256-rows.json").read_text(encoding="utf-8"))
    [contest] = result["competitions"]
    reached = contest["competitors"]["ours"]["mfu"]["median"] * _median(contest["flops_per_second"]["bf16"])
    return reached / (H100_TFLOPS * 1e12)


def _median(values: Sequence[float]) -> float:
    return Spread.of(values).median


def price_notes() -> str:
    """Which prices the costs are made of."""
    table = {row["instance_type"]: row for row in prices.rows()}
    listed = ", ".join(f"{name} ${table[name]['usd_per_hour']} per hour" for name in INSTANCES)
    return f"Prices: {listed}; {prices.REGION}, on demand, as of {table['ml.g5.xlarge']['as_of']}."


# --- The pages ---


def _reference(name: str) -> Callable[[], str]:
    return lambda: reference.tables()[name]


GENERATORS: Mapping[str, Callable[[], str]] = {
    "hyperparameters": hyperparameter_table,
    "metrics": metric_table,
    "schemas": schemas,
    "files": file_tree,
    "benchmarks": benchmark_tables,
    "costs": lambda: f"{cost_table()}\n\n{price_notes()}",
} | {name: _reference(name) for name in ("commands", "options", "exit codes", "person policy", "instances and prices")}


def pages() -> list[Path]:
    """The project's Markdown pages."""
    patterns = ("*.md", "docs/**/*.md", "benchmarks/*.md", "tests/*.md")
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


def render(text: str) -> str:
    """A page with its generated parts as they are now. Raises ValueError for a part that nothing generates."""
    if text.count("<!-- generated: ") != len(_BLOCK.findall(text)):
        raise ValueError("a generated part has no <!-- end -->")

    def generated(block: re.Match[str]) -> str:
        start, name, _, end = block.groups()
        if name not in GENERATORS:
            raise ValueError(f"nothing generates {name!r}; take one of {', '.join(GENERATORS)}")
        return f"{start}{GENERATORS[name]()}\n{end}"

    return _BLOCK.sub(generated, text)


def main(arguments: Sequence[str]) -> int:
    """Write or check all pages. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs", description="Write the generated parts of the pages.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a page is stale")
    only_checks = parser.parse_args(arguments).check
    stale = []
    for path in pages():
        text = path.read_text(encoding="utf-8")
        try:
            new = render(text)
        except ValueError as error:
            print(f"{path.relative_to(ROOT)}: {error}", file=sys.stderr)
            return 1
        if new != text:
            stale.append(str(path.relative_to(ROOT)))
            if not only_checks:
                path.write_text(new, encoding="utf-8")
    if stale and only_checks:
        print(f"stale: {', '.join(stale)}; run `make docs` and commit the result", file=sys.stderr)
        return 1
    for name in stale:
        print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
