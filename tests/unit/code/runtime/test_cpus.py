from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from text_classifier.contract.errors import PlatformError
from text_classifier.runtime import cpus
from text_classifier.runtime.cpus import cpu_quota, physical_cores, thread_variables, tokenizing_variables, usable_cpus
from text_classifier.runtime.hosts import Hosts

CPUINFO = "\n\n".join(
    f"processor\t: {cpu}\nphysical id\t: {cpu // 4}\ncore id\t\t: {cpu % 2}\nflags\t\t: a b" for cpu in range(8)
)


@pytest.mark.parametrize(
    ("text", "usable", "cores"),
    [
        (CPUINFO, range(8), 4),  # two sockets of two cores of two threads
        (CPUINFO, {0, 2}, 1),
        ("processor\t: 0\n\nprocessor\t: 1\n", range(2), 2),  # a virtual machine that says no more
        ("", range(3), 3),
    ],
)
def test_physical_cores(text: str, usable: range | set[int], cores: int) -> None:
    assert physical_cores(text, usable) == cores


V2, V1 = "0::/\n", "9:name=systemd:/\n4:cpu,cpuacct:/docker/12ab\n3:cpuset:/docker/12ab\n0::/\n"


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        (V2, {"cpu.max": "150000 100000"}, 1.5),
        (V2, {"cpu.max": "max 100000"}, None),
        (V2, {}, None),  # the root group of a host
        ("0::/docker/12ab\n", {"docker/12ab/cpu.max": "400000 100000", "docker/cpu.max": "50000 100000"}, 0.5),
        ("0::/docker/12ab\n", {"docker/12ab/cpu.max": "max 100000", "docker/cpu.max": "max 100000"}, None),
        (V1, {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2.0),  # in a container
        (V1, {"cpu/docker/12ab/cpu.cfs_quota_us": "50000", "cpu/docker/12ab/cpu.cfs_period_us": "100000"}, 0.5),
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("", {"cpu.max": "150000 100000"}, None),
    ],
)
def test_the_quota_of_a_container(groups: str, files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    for name, content in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content.rstrip() + "\n" if content else "")
    assert cpu_quota(tmp_path) == quota


def test_a_quota_is_found_without_cgroups_too(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None


@pytest.mark.parametrize(
    ("cores", "quota", "processes", "threads"),
    [
        (8, None, 1, None),  # torch's own default
        (8, 16.0, 1, None),
        (8, 1.5, 1, "2"),
        (8, 0.5, 1, "1"),
        (48, None, 8, "6"),
        (48, None, 64, "1"),
        (48, 4.0, 2, "2"),
    ],
)
def test_threads_follow_cores_and_quota(
    cores: int, quota: float | None, processes: int, threads: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpus, "physical_cores", lambda *_: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(2 * cores))
    monkeypatch.setattr(cpus, "cpu_quota", lambda: quota)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert thread_variables(processes).get("OMP_NUM_THREADS") == threads
    assert {e.get("OMP_NUM_THREADS") for e in Hosts.from_resources({}).environments(processes)} == {threads}


@pytest.mark.parametrize(("quota", "usable"), [(None, 8), (16.0, 8), (2.5, 3), (0.1, 1)])
def test_as_many_threads_as_can_run_at_once(quota: float | None, usable: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    monkeypatch.setattr(cpus, "cpu_quota", lambda: quota)
    assert usable_cpus() == usable


@pytest.mark.parametrize(("quota", "processes", "threads"), [(None, 1, "8"), (2.5, 1, "3"), (0.5, 1, "1"), (4, 3, "1")])
def test_tokenizers_threads_follow_the_quota(
    quota: float | None, processes: int, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one process of a host that tokenizes has the CPUs of all."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    monkeypatch.setattr(cpus, "cpu_quota", lambda: quota)
    monkeypatch.delenv("RAYON_NUM_THREADS", raising=False)
    assert thread_variables(processes)["RAYON_NUM_THREADS"] == threads
    assert {each["RAYON_NUM_THREADS"] for each in Hosts.from_resources({}).environments(processes)} == {threads}
    assert tokenizing_variables()["RAYON_NUM_THREADS"] == str(usable_cpus())
    monkeypatch.setenv("RAYON_NUM_THREADS", "77")
    assert Hosts.from_resources({}).environments(1)[0]["RAYON_NUM_THREADS"] == "77"
    assert tokenizing_variables()["RAYON_NUM_THREADS"] == "77"


def test_a_users_script_may_tokenize_in_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """With TOKENIZERS_PARALLELISM=true the library would hang in a worker that a DataLoader forks after its use."""
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    assert "TOKENIZERS_PARALLELISM" not in Hosts.from_resources({}).environments(1)[0]
    assert tokenizing_variables()["TOKENIZERS_PARALLELISM"] == "true"


COUNT_THREADS = """
import os
from tokenizers import Tokenizer, models
tokenizer = Tokenizer(models.WordLevel({"a": 0}, "a"))
tokenizer.encode_batch(["a"] * 100)
tasks = [open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task")]
print(len(tasks) - 1)
"""


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_tokenizers_library_takes_the_number(threads: str) -> None:
    variables = os.environ | {"RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true"}  # others may turn it off
    done = subprocess.run(
        [sys.executable, "-c", COUNT_THREADS], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [threads]


def test_waiting_threads_sleep_unless_the_user_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert thread_variables()["GOMP_SPINCOUNT"] == "1000"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert "GOMP_SPINCOUNT" not in thread_variables()


def test_a_container_with_too_few_threads_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "usable_cpus", lambda: 2)
    for most in (None, 16):
        monkeypatch.setattr(cpus, "process_limit", lambda most=most: most)
        cpus.require_threads()
    monkeypatch.setattr(cpus, "process_limit", lambda: 15)
    with pytest.raises(PlatformError, match=r"no more than 15 processes and threads, and training needs 16 \(8, and"):
        cpus.require_threads()
