from __future__ import annotations

import os
from pathlib import Path

import pytest

from text_classifier.runtime.memory import memory_limit

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
@pytest.mark.parametrize(
    ("content", "limit"), [("1048576\n", 1 << 20), ("max\n", MACHINE), (str(2**63 - 4096), MACHINE), ("", MACHINE)]
)
def test_the_containers_limit_counts_where_it_is_lower(tmp_path: Path, name: str, content: str, limit: int) -> None:
    file = tmp_path / "sys" / "fs" / "cgroup" / name
    file.parent.mkdir(parents=True)
    file.write_text(content)
    assert memory_limit(tmp_path) == limit


def test_without_cgroups_it_is_the_machines(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) == MACHINE
