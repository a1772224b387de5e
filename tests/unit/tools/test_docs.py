"""The pages say what the code does, and every link leads somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from launcher.cli.commands import COMMANDS
from launcher.cli.options import OPTIONS
from support import ROOT
from text_classifier.contract import hyperparameters, metric_names
from tools import docs, pictures

PAGES = docs.pages()
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")


def rows_of(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def without_code(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and GitLab make them."""
    headings = re.findall(r"^#+ (.*)$", without_code(page.read_text()), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def test_every_hyperparameter_is_in_the_table() -> None:
    rows = rows_of(docs.hyperparameter_table())
    assert [row[0].split("`")[1] for row in rows] == [row.name for row in hyperparameters.TABLE]
    found = {row[0]: row[1:4] for row in rows}
    assert found["`epochs`"] == ["int", "`3`", ">= 1"]
    assert found["`train_size`"] == ["float", "`0.9`", ">= 0.01, < 1"]
    assert found["`export`"] == ["str", "`none`", "`none`, `onnx`"]
    assert "`eval_batch_size` (alias `valid_batch_size`)" in found


def test_every_metric_has_a_meaning_and_a_direction() -> None:
    rows = rows_of(docs.metric_table())
    assert [row[0] for row in rows if not row[3]] == []
    by_task = {(row[0].strip("`"), row[1].strip("`")): row[2] for row in rows}
    for task, names in metric_names.BY_TASK.items():
        for name in names:
            assert by_task[name, task] == ("lower" if name in metric_names.ERRORS else "higher")


def test_every_public_file_has_a_section() -> None:
    sections = docs.schemas()
    for file in ("metrics.json", "training_manifest.json", "data_report.json"):
        keys = sections.partition(f"### `{file}`\n")[2].partition("\n### ")[0]
        assert "| `schema_version` | integer |" in keys


def test_the_reference_names_every_command_and_option() -> None:
    commands, options = docs.GENERATORS["commands"](), docs.GENERATORS["options"]()
    assert [name for name in COMMANDS if f"`{name}`" not in commands] == []
    assert [name for name, option in OPTIONS.items() if f"`{name}`" not in options and option.flag not in options] == []
    for name in ("exit codes", "person policy", "instances and prices"):
        assert docs.GENERATORS[name]().startswith("|")


def test_the_tree_has_every_module() -> None:
    tree = docs.file_tree()
    for folder in ("code", "launcher", "tools", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "__init__.py":
                assert f" {path.name} " in tree, path
    assert max(map(len, tree.splitlines())) <= 120


def test_a_result_of_the_learning_settings_is_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"device": "a CPU, 2 cores", "threads": 2, "packages": "torch 2", "commit": "c", "date": "today"}
    recall = {"mean_difference": 2.0, "interval": [1.0, 3.0]}
    line = {"rows": "imdb", "kind": "few", "training_rows": 75, "measured_rows": 500, "setting": "freeze_layers=2"}
    line |= {"without": [70.0], "recall_macro": recall, "log_loss": recall, "steps": 1.0, "seconds": 0.5}
    result = {"about": about | {"model": "m", "rows": ["imdb"]}, "learning": [line]}
    (tmp_path / "learning.json").write_text(json.dumps(result))
    monkeypatch.setattr(docs, "RESULTS", tmp_path)
    shown = docs.benchmark_tables()
    assert "a CPU, 2 cores; 2 threads;" in shown and "- Better recall: `freeze_layers=2` (imdb, few)." in shown
    assert "| `freeze_layers=2` | imdb, few, 75 | 70.0 | +2.0 (+1.0 to +3.0) |" in shown


def test_a_folder_without_a_description_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    (tmp_path / "code" / "unknown").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"code/unknown has no __init__\.py"):
        docs.file_tree()


def test_first_sentences_are_whole(tmp_path: Path) -> None:
    source = tmp_path / "a.py"
    source.write_text('"""Reads a file (e.g. `a.tsv`) and\nreports it. A second sentence.\n\nMore."""\n')
    assert docs._description(source) == "Reads a file (e.g. `a.tsv`) and reports it"
    kernel = tmp_path / "a.cu"
    kernel.write_text("// Adds rows,\n// in order.\n//\n// Notes.\n\n// Not this.\n")
    assert docs._description(kernel) == "Adds rows, in order"


def test_the_benchmark_tables_have_every_result() -> None:
    tables = docs.benchmark_tables()
    for path in docs.RESULTS.glob("*.json"):
        assert f"### [{path.stem}](results/{path.name})" in tables
    assert "| T | 9.44 (8.50 to 10.25) | 744.4 |" in tables
    assert "+0.64 (-1.38 to +2.66)" in tables


def test_costs_follow_from_work_throughput_and_price() -> None:
    assert docs.utilization() == pytest.approx(0.35, abs=0.005)
    [first, *_] = rows_of(docs.cost_table())
    seconds = 300_000 * docs.MODELS["DistilBERT"].flops(128) / (65e12 * docs.utilization())
    assert first[2] == f"{seconds / 60:.0f} min, ${seconds / 3600 * 0.736:.2f}"


def test_generated_parts_are_replaced_and_nothing_else() -> None:
    page = "# A\n\n<!-- generated: metrics -->\nold\n<!-- end -->\n\nText.\n"
    new = docs.render(page)
    assert new == f"# A\n\n<!-- generated: metrics -->\n{docs.metric_table()}\n<!-- end -->\n\nText.\n"
    assert docs.render(new) == new


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("<!-- generated: metrics -->\nold\n", "has no <!-- end -->"),
        ("<!-- generated: metrix -->\nold\n<!-- end -->\n", "nothing generates 'metrix'; take one of hyper"),
    ],
)
def test_a_wrong_marker_is_refused(page: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        docs.render(page)


def test_the_check_names_the_stale_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    page = tmp_path / "README.md"
    page.write_text("<!-- generated: metrics -->\n<!-- end -->\n")
    assert docs.main(["--check"]) == 1
    assert capsys.readouterr().err == "stale: README.md; run `make docs` and commit the result\n"
    assert docs.main([]) == 0
    assert docs.main(["--check"]) == 0
    page.write_text(page.read_text().replace("absolute", ""))
    assert docs.main(["--check"]) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for match in LINK.finditer(without_code(page.read_text())):
        target = match[1] or match[2]
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_places_to_change_things_exist() -> None:
    """Each name behind a link in the table of architecture.md is in the file that the link names."""
    page = ROOT / "docs" / "architecture.md"
    table = page.read_text().partition("## Where do I change what")[2].partition("\n## ")[0]
    places = re.findall(r"\]\(([^)]+)\) `(\w+)", table)
    assert len(places) > 20
    for target, name in places:
        assert re.search(rf"\b{name}\b", (page.parent / target).read_text()), (target, name)


def test_the_readme_is_one_page_with_the_measured_numbers() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 150
    opening = " ".join(readme.partition("<img")[0].split())
    gpu, cpu = ([(name, times) for name, _, times in pictures.bars(contest)] for contest in pictures.CONTESTS)
    tuned, padded = ([f"{dict(machine)[pictures.NAMES[key]]:.1f}" for machine in (gpu, cpu)] for key in ("H*", "T"))
    assert f"{tuned[0]} times as fast as the fastest settings" in opening
    assert f"{padded[0]} times as fast as an fp32 loop" in opening
    assert f"{tuned[1]} and {padded[1]} times" in opening
    parity = json.loads((docs.RESULTS / "2026-11-27-cpu-parity.json").read_text())["data"]
    gained = " and ".join(f"{parity[name]['mean_difference']:+.2f}" for name in ("imdb", "snippets"))
    assert f"({gained} points" in opening
