"""Before a job trains: all hosts have the same data."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from text_classifier.contract.errors import DataError
from text_classifier.job import Job
from text_classifier.runtime.hosts import Hosts


@pytest.mark.parametrize(
    ("digests", "names"),
    [
        ([7, 7, 7, 7], None),
        ([7], None),
        ([7, 7, -(2**63), -(2**63)], "algo-2 read other rows, classes or tokens than algo-1; give all hosts the same"),
        ([7, 8, 7, 9], "algo-2, algo-10 read other rows, classes or tokens than algo-1; "),
    ],
)
def test_hosts_with_other_data_are_named(digests: list[int], names: str | None) -> None:
    hosts = ["algo-1", "algo-2", "algo-10", "algo-3"][: 2 if digests[1:2] == [7] else 4]
    job: Any = object.__new__(Job)
    job._digest = digests[-1]
    job.cluster = SimpleNamespace(all_gather=lambda own: torch.tensor([*digests[:-1], int(own)]))
    agreement = pytest.raises(DataError, match=names) if names else nullcontext()
    with agreement:
        job.require_equal_data(Hosts.from_resources({"current_host": "algo-1", "hosts": hosts}))
