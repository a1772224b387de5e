"""Cells of CSV files that a spreadsheet shows and does not run, and what they were before.

A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula, which may run programs and send data
away. As OWASP advises (CSV Injection), such a cell gets an apostrophe in front; numbers stay as they are.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from typing import TextIO

#: After apostrophes: what begins a formula, also in full width, and the characters that spreadsheets skip before it.
_FORMULA = re.compile("'*[=+\\-@\uff1d\uff0b\uff0d\uff20\t\r\n]")

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf)")


def inert(cells: Iterable[str]) -> list[str]:
    """The cells, with an apostrophe in front of those that a spreadsheet could take for a formula."""
    return [f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell for cell in cells]


def row_writer(file: TextIO) -> Callable[[Iterable[str]], None]:
    """A function that writes a row of cells to a CSV file, made inert.

    A carriage return within a cell, which Python's writer leaves bare, ends the row for most readers, and what follows
    it would begin a row: such a row is quoted.
    """
    plain = csv.writer(file, lineterminator="\n")
    quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(cells: Iterable[str]) -> None:
        row = inert(cells)
        (quoting if any("\r" in cell for cell in row) else plain).writerow(row)

    return write


def original(cell: str) -> str:
    """The cell of which `inert` made this one."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
