"""Channels that are shared out among hosts by S3 key."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.jobs import Job, easy_rows, table, wait
from text_classifier.contract.errors import PlatformError
from text_classifier.contract.parsing import parse
from text_classifier.dataset.load import read_data
from text_classifier.runtime import shards
from text_classifier.runtime.configuration import Configuration
from text_classifier.runtime.folders import JobFolders

CHANNELS = ["train", "validation"]
KEY = "the job's"


def never() -> bool:
    return False


@contextmanager
def served(folder: Path) -> Iterator[shards.Address]:
    """A host that hands over the channels in this folder."""
    server = shards.serve(folder, CHANNELS, KEY, "127.0.0.1", port=0)
    yield "127.0.0.1", int(server.server_address[1])
    server.shutdown()
    server.server_close()


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_host_ends_up_with_the_same_whole_channels(tmp_path: Path) -> None:
    own = [
        {"train/a.tsv": "a", "train/deep/b c%.tsv": "b" * 3_000_000, "validation/v.tsv": "v"},
        {"train/d.tsv": "d"},
        {},  # fewer files than hosts
    ]
    hosts = [write(tmp_path / str(number), files) for number, files in enumerate(own)]
    for folder in hosts:
        folder.mkdir(exist_ok=True)
    with served(hosts[0]) as first, served(hosts[1]) as second, served(hosts[2]) as third:
        addresses = {"algo-1": first, "algo-2": second, "algo-3": third}
        for number, folder in enumerate(hosts):
            others = {name: address for name, address in addresses.items() if name != f"algo-{number + 1}"}
            assert content(shards.gather(folder, CHANNELS, KEY, others, never)) == own[0] | own[1]


def test_a_file_that_all_hosts_have_is_taken_once(tmp_path: Path) -> None:
    files = {"train/a.tsv": "a", "train/b.tsv": "b"}
    one, other = write(tmp_path / "1", files), write(tmp_path / "2", files)
    with served(other) as address:
        assert content(shards.gather(one, CHANNELS, KEY, {"algo-2": address}, never)) == files
        write(other, {"train/b.tsv": "another"})
    with (
        served(other) as address,
        pytest.raises(PlatformError, match="host algo-2 has a different train/b.tsv than another host; give the"),
    ):
        shards.gather(one, CHANNELS, KEY, {"algo-2": address}, never)


def test_a_host_that_does_not_come_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "START_SECONDS", 0.2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "127.0.0.1", free.getsockname()[1]
    with pytest.raises(
        PlatformError, match=r"the files of host algo-2 could not be fetched \(TimeoutError: no answer for 0.2"
    ):
        shards.gather(write(tmp_path, {"train/a": "a"}), CHANNELS, KEY, {"algo-2": address}, never)
    assert not list(shards.gather(tmp_path / "none", [], KEY, {"algo-2": address}, lambda: True).iterdir())


def test_a_file_that_changes_on_the_way_is_not_taken_for_whole(tmp_path: Path) -> None:
    other = write(tmp_path / "2", {"train/b.tsv": "bbb"})
    with served(other) as address:
        write(other, {"train/b.tsv": "b"})
        with pytest.raises(PlatformError, match="train/b.tsv is incomplete, with status 200"):
            shards.gather(tmp_path, CHANNELS, KEY, {"algo-2": address}, never)


def ask(address: shards.Address, request: bytes) -> bytes:
    """All that the server sends for this request."""
    with socket.create_connection(address, timeout=10) as stranger:
        stranger.sendall(request)
        stranger.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: stranger.recv(4096), b""))


def test_without_the_key_nothing_is_answered(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, {"train/a.tsv": "a", "model/config.json": "{}"})
    with served(tmp_path) as address:
        known = f"Authorization: {KEY}\r\n\r\n".encode()
        assert ask(address, b"GET /train/a.tsv HTTP/1.1\r\n" + known).startswith(b"HTTP/1.1 200 OK\r\n")
        for request in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nAuthorization: another\r\n\r\n",
            b"GET /train/a.tsv HTTP/1.1\r\n\r\n",
            b"GET /model/config.json HTTP/1.1\r\n" + known,  # no channel of those
            b"GET /train/ HTTP/1.1\r\n" + known,
            b"GET /train/../model/config.json HTTP/1.1\r\n" + known,
            b"HEAD / HTTP/1.1\r\n" + known,
            b"\x16\x03\x01\r\n\r\n",
        ):
            assert ask(address, request) == b"", request
    assert capfd.readouterr().err == ""


def test_the_key_is_that_of_all_hosts_and_of_one_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def key(hyperparameters: str, host: str) -> str:
        files = {
            "hyperparameters.json": hyperparameters,
            "resourceconfig.json": json.dumps({"current_host": host, "hosts": ["algo-1", "algo-2"]}),
        }
        return shards.key(Configuration(write(tmp_path, files)))

    assert key('{"a": "1", "b": "2"}', "algo-1") == key('{"b": "2", "a": "1"}', "algo-2")
    assert key('{"a": "1"}', "algo-1") != (before := key('{"a": "2"}', "algo-1"))
    monkeypatch.setenv("TRAINING_JOB_ARN", "arn:aws:sagemaker:eu-west-1:123456789012:training-job/x")
    assert key('{"a": "2"}', "algo-1") != before


def test_channels_are_read_where_they_are_whole(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job.write("train", "a.tsv", table(easy_rows(20)))
    job.write("test", "a.tsv", table(easy_rows(4)))
    config = job.base / "input" / "config"
    config.mkdir(parents=True)
    (config / "inputdataconfig.json").write_text('{"train": {"S3DistributionType": "ShardedByS3Key"}, "test": {}}')
    for hosts, sharded in ((["algo-1"], []), (["algo-1", "algo-2"], ["train"])):
        (config / "resourceconfig.json").write_text(json.dumps({"current_host": "algo-1", "hosts": hosts}))
        assert JobFolders(job.base).configuration.sharded_channels() == sharded
    whole = write(tmp_path / "whole", {"train/a.tsv": table(easy_rows(20)), "train/b.tsv": table(easy_rows(30))})
    monkeypatch.setenv("GATHERED_CHANNELS", str(whole))
    report = read_data(JobFolders(job.base).data_channels(), parse({})).report
    assert report["channels"]["train"]["rows"] == 50 and report["channels"]["test"]["rows"] == 4
    assert JobFolders(job.base).channel("train") == whole / "train"


#: What the hook does on a host, whose name is its address, with the training processes' own code.
HOST = """
    import socket, sys
    import hook
    from text_classifier.runtime import hosts as hosts_module, shards
    from text_classifier.runtime.folders import job_folders
    from text_classifier.runtime.hosts import Hosts

    host, port = sys.argv[1], int(sys.argv[2])
    shards.PORT = port
    shards.serve.__defaults__ = (port,)
    Hosts.listening_address = lambda hosts: host
    hook.gpu.capabilities = lambda: []
    hosts = Hosts.from_resources(job_folders().configuration.resources())
    hosts_module.MASTER_PORT = int(sys.argv[3])
    sys.exit(hook._train(job_folders(), hosts) is not None)
"""


def test_two_hosts_with_uneven_shards_train_as_one_on_all_rows(ready_job: Job, tmp_path: Path) -> None:
    pytest.importorskip("sagemaker_training")
    options = {"epochs": "2", "learning_rate": "0.001", "precision": "fp32", "train_batch_size": "4"}
    names = ["127.0.0.1", "127.0.0.2"]
    ready_job.write("train", "b.tsv", table(easy_rows(13)))
    ready_job.write("validation", "v.tsv", table(easy_rows(16)))
    code, log = ready_job.run(*(f"--{name}={value}" for name, value in (options | {"train_batch_size": "8"}).items()))
    assert code == 0, log
    free = [socket.socket() for _ in range(2)]
    for one in free:
        one.bind(("127.0.0.1", 0))
    ports = [str(one.getsockname()[1]) for one in free]
    for one in free:
        one.close()
    running = []
    for number, name in enumerate(names):
        host = Job(tmp_path / name)
        for channel, file in (("train", "reviews.tsv"), ("validation", "v.tsv")) if number else (("train", "b.tsv"),):
            host.write(channel, file, (ready_job.base / "input" / "data" / channel / file).read_text())
        (host.base / "input" / "data" / "model").symlink_to((ready_job.base / "input" / "data" / "model").resolve())
        config = write(host.base / "input" / "config", {"hyperparameters.json": json.dumps(options)})
        resources = {"current_host": name, "hosts": names, "network_interface_name": "lo"}
        (config / "resourceconfig.json").write_text(json.dumps(resources))
        channels = {name: {"S3DistributionType": "ShardedByS3Key"} for name in CHANNELS}
        (config / "inputdataconfig.json").write_text(json.dumps(channels))
        variables = {"SAGEMAKER_BASE_DIR": str(host.base), "OMP_NUM_THREADS": "1", "TMPDIR": str(host.base)}
        command = [sys.executable, "-c", textwrap.dedent(HOST), name, *ports]
        running.append(
            subprocess.Popen(
                command, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
    codes, logs = wait(running)
    assert codes == [0, 0], logs
    shares = [re.findall(r"rank \d of 2 trained on (\d+) of (\d+) rows", log)[-1] for log in logs]
    assert shares == [("39", "77"), ("38", "77")]
    together = json.loads((tmp_path / names[0] / "output" / "data" / "metrics.json").read_text())["epochs"]
    for one, two in zip(ready_job.metrics["epochs"], together, strict=True):  # type: ignore[call-overload]
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-5)
        assert two["validation_loss"] == pytest.approx(one["validation_loss"], rel=1e-5)
