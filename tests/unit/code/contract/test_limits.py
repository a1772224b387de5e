from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from text_classifier.contract.limits import file_limit, memory_limit, process_limit

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def write(root: Path, name: str, content: str) -> None:
    file = root / "sys" / "fs" / "cgroup" / name
    file.parent.mkdir(parents=True)
    file.write_text(content)


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
@pytest.mark.parametrize(
    ("content", "limit"), [("1048576\n", 1 << 20), ("max\n", MACHINE), (str(2**63 - 4096), MACHINE), ("", MACHINE)]
)
def test_the_containers_memory_counts_where_it_is_lower(tmp_path: Path, name: str, content: str, limit: int) -> None:
    write(tmp_path, name, content)
    assert memory_limit(tmp_path) == limit


@pytest.mark.parametrize("name", ["pids.max", "pids/pids.max"])
@pytest.mark.parametrize(("content", "limit"), [("20\n", 20), ("max\n", None)])
def test_the_containers_processes_count(tmp_path: Path, name: str, content: str, limit: int | None) -> None:
    write(tmp_path, name, content)
    assert process_limit(tmp_path) == limit


def test_without_cgroups_the_limits_are_the_machines(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) == MACHINE
    assert process_limit(tmp_path) is None


def test_open_files_are_those_of_the_process() -> None:
    assert file_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
