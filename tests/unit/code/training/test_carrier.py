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
from pathlib import Path

import pytest

from support.jobs import Job, easy_rows, table, wait

pytest.importorskip("sagemaker_training")

#: What the hook does on a host, whose name is its address.
HOST = """
    import sys
    import hook
    from sagemaker_training.errors import ClientError
    from text_classifier.runtime import hosts
    hosts.MASTER_PORT = int(sys.argv[1])
    hook.gpu.prepare = lambda: int(sys.argv[2])
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
    base: Path, model: Path, shares: Sequence[Mapping[str, str]], distribution: str, processes: int = 1
) -> tuple[list[Job], list[int], list[str]]:
    """Run a job on two hosts, of which each has a share of the files."""
    jobs, running, port = [], [], free_port()
    for name, files in zip(HOSTS, shares, strict=True):
        job = Job(base / name)
        for file, content in files.items():
            job.write(*file.split("/"), content)
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
                [sys.executable, "-c", textwrap.dedent(HOST), port, str(processes)],
                env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
        )  # fmt: skip
        jobs.append(job)
    return jobs, *wait(running)


def results(job: Job) -> dict[str, object]:
    output, model = job.base / "output" / "data", job.base / "model"
    files = (model / "model.safetensors", output / "data_report.json", output / "predictions_validation.csv")
    found: dict[str, object] = {path.name: path.read_bytes() for path in files}
    return found | {"epochs": job.metrics["epochs"], "loss_curve": job.metrics["loss_curve"]}


def test_a_sharded_job_is_that_of_replicated_channels(tmp_path: Path, tiny_model: Path) -> None:
    """The second host has no file of one channel, and the third class lies on one host only."""
    own = [{name: FILES[name] for name in names} for names in (("train/b.tsv", "validation/v.tsv"), ("train/a.tsv", "train/c.tsv"))]  # fmt: skip
    sharded, codes, logs = run(tmp_path / "sharded", tiny_model, own, "ShardedByS3Key")
    assert codes == [0, 0], logs
    replicated, codes, logs = run(tmp_path / "replicated", tiny_model, [FILES, FILES], "FullyReplicated")
    assert codes == [0, 0], logs
    assert results(sharded[0]) == results(replicated[0])
    assert [list((job.base / "tmp").iterdir()) for job in sharded] == [[], []]


def test_a_mistake_on_one_host_ends_the_job_on_all_with_its_sentence(tmp_path: Path, tiny_model: Path) -> None:
    bad = {"train/b.tsv": table([*easy_rows(8), ("two", "many\tfields")])}
    own = [{"train/a.tsv": FILES["train/a.tsv"], "validation/v.tsv": FILES["validation/v.tsv"]}, bad]
    (one, other), codes, logs = run(tmp_path, tiny_model, own, "ShardedByS3Key", processes=2)
    assert codes == [1, 1]
    sentence = "Your data: train/b.tsv line 10 has 3 fields, the header has 2; fix or remove the row"
    assert other.failure == sentence, logs
    assert one.failure == f"{sentence} [reported by 127.0.0.2]", logs
    assert not any("Traceback" in log for log in logs[1:])


CARRY = """
    import sys
    from pathlib import Path
    from text_classifier.contract.errors import describe
    from text_classifier.runtime.exchange import Exchange
    from text_classifier.runtime.hosts import Hosts
    from text_classifier.runtime.stop import Stopped, StopSignal
    from text_classifier.training import carrier
    from text_classifier.training.cluster import Cluster

    carrier.CHUNK = 1000  # so that messages are carried in many pieces
    own, folder, last = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    hosts = Hosts(("127.0.0.1", "127.0.0.2"), own, "lo")
    exchange = Exchange(folder, hosts)
    cluster, stop = Cluster(hosts, 20), StopSignal()
    cluster.join()
    exchange.send(own.encode() * 10_000)
    looks = 0

    def is_over():
        global looks
        looks += 1
        if looks == 20 and last == "full":
            raise OSError(28, "No space left on device")
        if looks == 20 and last == "stop":
            print("waits", flush=True)
        return last == "end" and looks > 20

    try:
        carrier.carry(folder, cluster, hosts, stop, is_over)
        cluster.wait_for_all()
        print([exchange.receive(host).decode() == name * 10_000 for host, name in enumerate(hosts.names)])
        cluster.leave()
    except Stopped as error:
        print(error)
    except Exception as error:
        print(describe(cluster.diagnose(error, stop)))
"""


def carry(tmp_path: Path, lasts: Sequence[str]) -> list[subprocess.Popen[str]]:
    """Two processes, each with a folder, that send one message each."""
    shared = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    running = []
    for rank, (name, last) in enumerate(zip(HOSTS, lasts, strict=True)):
        (tmp_path / name).mkdir()
        command = [sys.executable, "-c", textwrap.dedent(CARRY), name, str(tmp_path / name), last]
        running.append(
            subprocess.Popen(
                command, env=shared | {"RANK": str(rank)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
    return running


def test_messages_larger_than_what_is_carried_at_a_time_arrive(tmp_path: Path) -> None:
    codes, logs = wait(carry(tmp_path, ["end", "end"]))
    assert codes == [0, 0] and [log.splitlines()[-1] for log in logs] == ["[True, True]"] * 2, logs


def test_a_full_disk_of_one_host_is_the_reason_on_both(tmp_path: Path) -> None:
    _, logs = wait(carry(tmp_path, ["end", "full"]))
    sentence = "The platform: the texts cannot be written to /tmp (No space left on device); give the job a larger"
    assert all(log.splitlines()[-1].startswith(sentence) for log in logs), logs
    assert logs[0].endswith("[reported by 127.0.0.2]\n"), logs


def test_a_stop_of_one_host_is_a_clean_end_of_both(tmp_path: Path) -> None:
    one, other = carry(tmp_path, ["stop", "wait"])
    assert one.stdout is not None
    while one.stdout.readline() not in ("waits\n", ""):
        pass
    one.send_signal(signal.SIGTERM)
    codes, logs = wait([one, other])
    assert codes == [0, 0]
    assert [log.splitlines()[-1] for log in logs] == ["Stopped before the first step: there is nothing to save."] * 2
    assert all((tmp_path / name / "streams" / "stopped").exists() for name in HOSTS)
