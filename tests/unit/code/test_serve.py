"""`serve` as a process, over HTTP: start, load, faults of clients, stop."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import serve
from support.served import Served, free_port, serving, wait_until


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder with a model of random weights."""
    folder = tmp_path_factory.mktemp("serve")
    torch.manual_seed(2)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, id2label={0: "bad", 1: "good"})
    model.save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder / "model")
    return folder


@pytest.fixture(scope="module")
def served(base: Path) -> Iterator[Served]:
    with serving(base, SERVE_MAX_MB="8") as server:
        server.wait_until_ready()
        yield server


def sent(served: Served, content: bytes) -> socket.socket:
    """A connection on which these bytes were sent."""
    connection = socket.create_connection(("127.0.0.1", served.port), timeout=20)
    connection.sendall(content)
    return connection


HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def test_it_answers(served: Served) -> None:
    (answer,) = served.invoke({"inputs": "good fine"})
    assert answer["label"] in ("bad", "good") and 0.5 <= answer["score"] <= 1
    assert served.request("GET", "/ping") == (200, b"")


def test_clients_that_are_slow_or_never_read_hold_up_nobody(served: Served) -> None:
    body = json.dumps(["good " * 5] * 20_000).encode()
    idle = [sent(served, content) for content in (b"", b"POST /invoc", HEAD % 100, HEAD % 100 + b'{"inputs": ')]
    deaf = [sent(served, HEAD % len(body) + body) for _ in range(3)]
    started = time.monotonic()
    for _ in range(10):
        served.invoke("good")
    assert served.request("GET", "/ping")[0] == 200
    assert time.monotonic() - started < 10
    for connection in (*idle, *deaf):
        connection.close()


def test_a_body_that_is_too_long_is_refused_before_it_is_sent(served: Served) -> None:
    with sent(served, HEAD % 10**10) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    status, content = served.request("POST", "/invocations", b'"' + b"x" * (9 << 20) + b'"', "application/json")
    assert (status, json.loads(content)["error"][:32]) == (413, "the body is longer than 8 MB; sp")


def test_nothing_that_is_sent_breaks_it(served: Served) -> None:
    """Random bytes, random HTTP, and random bodies: never a 500, never a traceback."""
    chance = random.Random(3)
    pieces = [
        b"POST /invocations HTTP/1.1\r\n", b"GET /ping HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n", b"Content-Length: ",
        b"5\r\n", b"-1\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Type: text/csv\r\n", b"Accept: a/b\r\n",
        b"3\r\nabc\r\n", b"0\r\n\r\n", b'{"inputs":"a"}', b"\xff\0", b"Upgrade: websocket\r\n", b"x" * 70_000,
    ]  # fmt: skip
    for _ in range(400):
        content = b"".join(chance.choices(pieces, k=chance.randrange(1, 9)))
        with sent(served, content) as connection:
            with suppress(OSError):  # the server may have refused and closed already
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while part := connection.recv(65_536):
                    answer += part
            except ConnectionResetError:
                pass
        assert b"Traceback" not in answer
        assert b" 500 " not in answer.partition(b"\r\n")[0]
    assert served.request("GET", "/ping") == (200, b"")


def test_many_clients_get_the_answers_of_one(served: Served) -> None:
    texts = [" ".join(["good", "bad", "fine"][number % 3 :] * (1 + number % 7)) for number in range(60)]
    expected = served.invoke(texts)
    with ThreadPoolExecutor(12) as pool:
        for one, (found,) in zip(expected, pool.map(served.invoke, texts), strict=True):
            assert found["label"] == one["label"] and found["score"] == pytest.approx(one["score"], abs=1e-5)


def test_a_text_behind_a_large_request_does_not_wait_for_it(served: Served) -> None:
    large = ["good bad fine " * 8] * 40_000
    with ThreadPoolExecutor(1) as pool:
        started = time.monotonic()
        running = pool.submit(served.invoke, large, timeout=120)
        time.sleep(0.3)
        served.invoke("good")
        waited = time.monotonic() - started - 0.3
        assert not running.done()
        running.result()
        assert waited < 0.5 * (time.monotonic() - started)


@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_under_load_loses_no_request(base: Path, processes: int) -> None:
    failures: list[Any] = []
    answered = 0
    stopping = threading.Event()

    def client(number: int) -> None:
        nonlocal answered
        while not stopping.is_set():
            try:
                server.invoke(["good", "bad " * (number + 1)])
                answered += 1
            except Exception as error:
                failures.append(error)

    with serving(base, SERVE_WORKERS=str(processes)) as server:
        server.wait_until_ready()
        clients = [threading.Thread(target=client, args=(number,)) for number in range(8)]
        for each in clients:
            each.start()
        wait_until(lambda: answered > 50)
        assert server.process.stdout
        for _ in range(processes):
            assert server.process.stdout.readline().startswith("ready in ")
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.request("GET", "/ping")[0] == 503)
        before = answered
        wait_until(lambda: answered > before + 50)
        stopping.set()
        for each in clients:
            each.join()
        log, _ = server.process.communicate(timeout=15)
    assert failures == []
    assert server.process.returncode == 0, log
    assert "Traceback" not in log and log.count("served in ") == log.count("\n") == processes, log


def test_it_listens_before_the_model_is_loaded_and_ends_at_once_then(base: Path) -> None:
    with serving(base) as server:
        wait_until(lambda: _status(server) == 503, seconds=30)
        assert server.request("POST", "/invocations", b'"a"')[0] == 503
        code, log = server.stop()
    assert code == 0 and "ready" not in log and "Traceback" not in log


def _status(server: Served) -> int:
    try:
        return server.request("GET", "/ping")[0]
    except OSError:
        return 0


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "/model has no model; mount the folder that model.tar.gz was unpacked to\n"),
        ({"SERVE_TOP_K": "-1"}, "Your settings: SERVE_TOP_K=-1 in the environment is not a number or `all`;"),
        ({"SERVE_WORKERS": "2"}, "/model has no model; mount the folder that model.tar.gz was unpacked to\n"),
        ({"SERVE_CALIBRATED": "true"}, "Your settings: SERVE_CALIBRATED=true, and the model has no temperature;"),
    ],
)
def test_a_mistake_is_one_sentence(base: Path, tmp_path: Path, environment: dict[str, str], sentence: str) -> None:
    if "no model" in sentence:
        (tmp_path / "model").mkdir()
    else:
        shutil.copytree(base, tmp_path, dirs_exist_ok=True)
    with serving(tmp_path, **environment) as server:
        log, _ = server.process.communicate(timeout=60)
    assert server.process.returncode == 1
    assert sentence in log and log.count("\n") == 1


def test_answers_are_sent_at_once() -> None:
    """asyncio sets TCP_NODELAY on sockets that name their protocol."""
    with serve._listen(free_port()) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_port_that_is_taken_is_one_sentence(base: Path) -> None:
    with socket.socket() as taken:
        port = free_port()
        taken.bind(("0.0.0.0", port))
        taken.listen()
        with serving(base, SAGEMAKER_BIND_TO_PORT=str(port)) as server:
            log, _ = server.process.communicate(timeout=60)
    assert (server.process.returncode, log) == (
        1,
        f"The platform: port {port} cannot be listened on (Address already in use); set SAGEMAKER_BIND_TO_PORT to a "
        "free one\n",
    )


@pytest.mark.parametrize("word", ["--port=1", "serve.py", "0", "99999", "-1", "9" * 5_000, "x\x1b[2J"])
def test_it_takes_no_arguments(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.main([word]) == 1
    error = capsys.readouterr().err
    assert error.startswith("Your settings: `serve` takes no arguments, and got ") and error.strip().isprintable()


def test_it_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.main(["--help"]) == 0 and capsys.readouterr().out.startswith("usage: serve\n")
