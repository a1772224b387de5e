"""tools/changed_tests.py: which tests belong to a change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.changed_tests import tests_of as changed_tests

FILES = {
    "tests/unit/code/conftest.py": "",
    "tests/unit/code/reading/test_rows.py": "from text_classifier.reading import rows",
    "tests/unit/code/reading/test_labels.py": "def test() -> None:\n    import text_classifier.reading.labels",
    "tests/unit/code/test_train.py": "from support.jobs import Job",
    "tests/unit/launcher/plan/test_request.py": "from launcher.plan.request import Request",
    "tests/unit/project/test_layout.py": "from text_classifier.reading.labels import Label",
}


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        ("code/text_classifier/reading/rows.py", ["code/reading/test_rows.py"]),
        ("code/text_classifier/reading/labels.py", ["code/reading/test_labels.py", "project/test_layout.py"]),
        ("code/train.py", ["code/test_train.py"]),
        ("launcher/plan/request.py", ["launcher/plan/test_request.py"]),
        ("tests/support/jobs.py", ["code/test_train.py"]),
        ("tests/unit/code/test_train.py", ["code/test_train.py"]),
        # No test has its name or imports it.
        ("code/text_classifier/reading/formats.py", ["code/reading"]),
        ("code/text_classifier/results/templates/report.html.j2", ["code"]),
        ("launcher/plan/bill.py", ["launcher/plan"]),
        ("tests/unit/code/conftest.py", ["code"]),
        ("Makefile", ["project"]),
    ],
)
def test_a_change_has_its_tests(tmp_path: Path, changed: str, tests: list[str]) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert changed_tests(tmp_path, [Path(changed)]) == [Path("tests/unit") / test for test in tests]


def test_no_change_has_no_tests(tmp_path: Path) -> None:
    assert changed_tests(tmp_path, []) == []
