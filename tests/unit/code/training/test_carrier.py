"""Jobs of two hosts whose channels are sharded: through the hook, on the addresses of loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.jobs import Job, easy_rows, table
from text_classifier.contract.errors import PlatformError
from text_classifier.runtime.exchange import Exchange, Streams
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.stop import StopSignal
from text_classifier.training import carrier

pytest.importorskip("sagemaker_training")

#: What the hook does on a host, whose name is its address.
HOST = """
    import sys
    import hook
    from sagemaker_training.errors import ClientError
    from text_classifier.runtime import hosts
    hosts.MASTER_PORT = int(sys.argv[1])
    hook.gpu.prepare = lambda: 1
    try:
        hook.run()
    except ClientError as error:
        sys.exit(str(error))
"""

HOSTS = ["127.0.0.1", "127.0.0.2"]

SETTINGS = {
    "epochs": "2",
    "learning_rate": "0.001",
    "precision": "fp32",
    "train_batch_size": "4",
    "max_sequence_length": "8",
}

FILES = {
    "train/a.tsv": table(easy_rows(45)),
    "train/b.tsv": table([(text + " again", label) for text, label in easy_rows(20)]),
    "train/c.tsv": table([*easy_rows(7), ("so so", "neutral"), ("middling", "neutral"), ("meh", "neutral")]),
    "validation/v.tsv": table([*easy_rows(15), ("so", "neutral")]),
}


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def run(
    base: Path, model: Path, shares: Sequence[Mapping[str, str]], distribution: str
) -> tuple[list[Job], list[int], list[str]]:
    """Run a job on two hosts, of which each has a share of the files."""
    jobs, running, port = [], [], free_port()
    for name, files in zip(HOSTS, shares, strict=True):
        job = Job(base / name)
        for file, content in files.items():
            channel, _, inner = file.partition("/")
            job.write(channel, inner, content)
        config = job.base / "input" / "config"
        config.mkdir(parents=True)
        (job.base / "input" / "data").mkdir(exist_ok=True)
        (job.base / "input" / "data" / "model").symlink_to(model)
        (job.base / "tmp").mkdir()
        how = {channel: {"S3DistributionType": distribution} for channel in ("train", "validation")}
        resources = {"current_host": name, "hosts": HOSTS, "network_interface_name": "lo"}
        for file, value in (("hyperparameters", SETTINGS), ("inputdataconfig", how), ("resourceconfig", resources)):
            (config / f"{file}.json").write_text(json.dumps(value))
        variables = {"SAGEMAKER_BASE_DIR": str(job.base), "OMP_NUM_THREADS": "1", "TMPDIR": str(job.base / "tmp")}
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(HOST), port],
                env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
        )  # fmt: skip
        jobs.append(job)
    return jobs, *end(running)


def end(processes: Sequence[subprocess.Popen[str]]) -> tuple[list[int], list[str]]:
    """The exit codes and the logs. The end of one does not end the others, as that of a host does not."""
    with ThreadPoolExecutor(len(processes)) as pool:
        logs = list(pool.map(lambda process: process.communicate(timeout=240)[0], processes))
    return [process.returncode for process in processes], logs


def results(job: Job) -> dict[str, object]:
    output, model = job.base / "output" / "data", job.base / "model"
    files = (model / "model.safetensors", output / "data_report.json", output / "predictions_validation.csv")
    found: dict[str, object] = {path.name: path.read_bytes() for path in files}
    return found | {"epochs": job.metrics["epochs"], "loss_curve": job.metrics["loss_curve"]}


def test_a_sharded_job_is_that_of_replicated_channels(tmp_path: Path, tiny_model: Path) -> None:
    """The second host has no file of one channel, and the third class lies on one host only."""
    first = ("train/b.tsv", "validation/v.tsv")
    own = [{name: FILES[name] for name in FILES if (name in first) is is_first} for is_first in (True, False)]
    sharded, codes, logs = run(tmp_path / "sharded", tiny_model, own, "ShardedByS3Key")
    assert codes == [0, 0], logs
    replicated, codes, logs = run(tmp_path / "replicated", tiny_model, [FILES, FILES], "FullyReplicated")
    assert codes == [0, 0], logs
    assert results(sharded[0]) == results(replicated[0])
    assert [list((job.base / "tmp").iterdir()) for job in sharded] == [[], []]


def test_a_mistake_on_one_host_ends_the_job_on_all_with_its_sentence(tmp_path: Path, tiny_model: Path) -> None:
    bad = {"train/b.tsv": table([*easy_rows(8), ("two", "many\tfields")])}
    own = [{"train/a.tsv": FILES["train/a.tsv"], "validation/v.tsv": FILES["validation/v.tsv"]}, bad]
    (one, other), codes, logs = run(tmp_path, tiny_model, own, "ShardedByS3Key")
    assert codes == [1, 1]
    sentence = "Your data: train/b.tsv line 10 has 3 fields, the header has 2; fix or remove the row"
    assert other.failure == sentence, logs
    assert one.failure == f"{sentence} [reported by 127.0.0.2]", logs
    assert not any("Traceback" in log for log in logs[1:])


class Line(carrier._Line):
    """The connection to a second host that sends something at first and is done then; this one is the first."""

    def __init__(self, other: bytes) -> None:
        self.own = 0
        self.sent: list[bytes] = []
        self._other = [other]

    def gather(self, *numbers: int) -> list[list[int]]:
        return [list(numbers), [len(self._other[0]) if self._other else 0, not self._other, False]]

    def broadcast(self, host: int, content: bytes, size: int) -> memoryview:
        if host == self.own:
            self.sent.append(content)
            return memoryview(content)
        return memoryview(self._other.pop())


def test_a_long_message_is_carried_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrier, "CHUNK", 1000)
    streams, line = Streams(tmp_path, 2), Line(b"of the other")
    exchange = Exchange(tmp_path, Hosts(("algo-1", "algo-2"), "algo-1", None))
    exchange.send(b"x" * 2500)
    assert carrier._carry(streams, line, StopSignal(), lambda: len(line.sent) == 3) == [2508, 12]
    assert list(map(len, line.sent)) == [1000, 1000, 508]
    assert b"".join(line.sent) == streams.paths[0].read_bytes()
    assert streams.paths[1].read_bytes() == b"of the other"


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    streams = Streams(tmp_path, 2)
    streams.paths[1].unlink()
    streams.paths[1].symlink_to("/dev/full")
    sentence = rf"the texts cannot be written to {streams.folder} \(No space left on device\); give the job"
    with pytest.raises(PlatformError, match=sentence):
        carrier._carry(streams, Line(b"more"), StopSignal(), lambda: False)


STOP = """
    import sys
    from pathlib import Path
    from text_classifier.runtime.hosts import Hosts
    from text_classifier.runtime.stop import Stopped, StopSignal
    from text_classifier.training.carrier import carry
    from text_classifier.training.cluster import Cluster

    hosts = Hosts(("127.0.0.1", "127.0.0.2"), sys.argv[1], "lo")
    cluster = Cluster(hosts, 60)
    cluster.join()

    def is_over():
        print("carries", flush=True)
        return False

    try:
        carry(Path(sys.argv[2]), cluster, hosts, StopSignal(), is_over)
        print("carries nothing")
    except Stopped as error:
        print(error)
    cluster.leave()
"""


def test_a_stop_of_one_host_is_a_clean_end_of_both(tmp_path: Path) -> None:
    """Of two processes on each host the first one carries."""
    shared = os.environ | {"WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    running = []
    for rank, name in enumerate(sorted(HOSTS * 2)):
        (tmp_path / name).mkdir(exist_ok=True)
        command = [sys.executable, "-c", textwrap.dedent(STOP), name, str(tmp_path / name)]
        running.append(
            subprocess.Popen(
                command, env=shared | {"RANK": str(rank)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
    assert running[0].stdout is not None
    while running[0].stdout.readline() not in ("carries\n", ""):
        pass
    running[0].send_signal(signal.SIGTERM)
    codes, logs = end(running)
    assert codes == [0] * 4
    stopped = "Stopped before the first step: there is nothing to save."
    assert [log.splitlines()[-1] for log in logs] == [stopped, "carries nothing"] * 2
    assert all(Streams(tmp_path / name, 2).is_stopped for name in HOSTS)
