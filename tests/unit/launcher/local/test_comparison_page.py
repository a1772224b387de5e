"""The comparison on the terminal and as a page, with names and settings that attack both."""

import pytest

from launcher.local import comparison, comparison_page
from support.pages import Page

ATTACK = "<script>alert(1)</script>\x1b[31m../x"


@pytest.fixture
def runs():
    def run(name, setting):
        metrics = {"rows": {"validation": 9}, "validation": {"accuracy": 0.5, "intervals": {"accuracy": [0.4, 0.6]}}}
        manifest = {"hyperparameters": {"label_map": setting}, "files": None, "training_job": name}
        return comparison.Run(name, metrics, manifest)

    return run(ATTACK, ATTACK), run("b", "x" * 500)


def test_the_page_loads_nothing_and_runs_nothing(runs):
    page = Page(comparison_page.as_page(comparison.tables(*runs), *runs))
    page.require_self_contained()
    assert "<script>alert(1)</script>" in page.text and "x" * 500 in page.text
    assert {tag for tag, _ in page.elements} <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "table", "thead", "tbody", "tr", "th", "td"
    }  # fmt: skip


def test_the_text_controls_no_terminal_and_is_narrow(runs):
    text = comparison_page.as_text(comparison.tables(*runs))
    assert "\x1b" not in text and "x" * 49 not in text
    assert "  accuracy  0.5000 (0.4000 to 0.6000)" in text


def test_a_note_controls_no_terminal_either(runs):
    """It names runs by their folders where there is no manifest."""
    unnamed = [comparison.Run(ATTACK, run.metrics, None) for run in runs]
    text = comparison_page.as_text(comparison.tables(*unnamed))
    assert "there is no training_manifest.json of <script>alert(1)</script>\\x1b[31m../x and" in text
    assert "\x1b" not in text


def test_the_file_of_long_names_can_be_written(tmp_path):
    first, second = (comparison.Run(name * 5_000, {"rows": {}}, None) for name in ("x", "\u00fc/"))
    name = comparison_page.file_name(first, second)
    (tmp_path / name).write_text("")
    assert name == f"{'x' * 100}--.html"


def test_the_file_stays_in_its_folder(runs):
    assert comparison_page.file_name(*runs) == "-script-alert-1-script-31m..-x-b.html"


def test_rows_that_are_apart_are_marked():
    table = comparison.Table("T", ("", "a"), [("one", "1"), ("two", "2")], apart=frozenset({1}))
    assert comparison_page.as_text([table]) == "T\n         a\n  one    1\n  two *  2"
    run = comparison.Run("a", {"rows": {}}, None)
    assert '<tr class="apart"><td>two *</td>' in comparison_page.as_page([table], run, run)
