"""Faults in the log."""

from __future__ import annotations

import pytest

from text_classifier.serving.faults import Faults


def test_a_fault_is_logged_once_by_its_kind_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    faults = Faults()
    for text in ("one", "two"):
        try:
            raise ArithmeticError(text)
        except ArithmeticError as error:
            faults.log(error)
    try:
        raise LookupError("three")
    except LookupError as error:
        faults.log(error)
    log = capsys.readouterr().err
    assert log.count("Traceback") == 2 and "one" in log and "three" in log
