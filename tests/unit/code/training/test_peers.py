from __future__ import annotations

import socket
import time

import pytest

from text_classifier.training import peers
from text_classifier.training.peers import Peers

HERE = "127.0.0.1"
SECRET = "the job's"


def test_processes_that_do_not_answer_are_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "ANSWER_SECONDS", 0.5)
    first, second = Peers(0, SECRET, HERE), Peers(1, SECRET, HERE)
    with socket.socket() as hung, socket.socket() as gone:
        hung.bind((HERE, 0))
        hung.listen()  # its kernel takes the connection, but nobody answers
        gone.bind((HERE, 0))
        ports = [first.port, second.port, hung.getsockname()[1], gone.getsockname()[1]]
        first.set_addresses({rank: (HERE, port) for rank, port in enumerate(ports)})
        started = time.monotonic()
        assert first.unreachable() == [2, 3]
        assert time.monotonic() - started < 5
    assert second.reported == {}


def test_a_reason_reaches_the_others() -> None:
    first, second = Peers(0, SECRET, HERE), Peers(1, SECRET, HERE)
    addresses = {0: (HERE, first.port), 1: (HERE, second.port)}
    first.set_addresses(addresses)
    second.set_addresses(addresses)
    second.report("Your data: b\u00fccher")
    second.report("a consequence")
    assert first.reported == {1: "Your data: b\u00fccher"}
    assert second.reported == {}


def answer(peer: Peers, *parts: bytes) -> bytes:
    """What a process answers to these parts of a message."""
    with socket.create_connection((HERE, peer.port), timeout=10) as stranger:
        try:
            for part in parts:
                stranger.sendall(part)
            return stranger.recv(16)
        except ConnectionError:
            return b""


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"[]\n",
        b"{}\n",
        b'{"secret": "another", "rank": 1, "reason": "forged"}\n',
        b'{"secret": null, "rank": 1, "reason": "forged"}\n',
        b'{"secret": "the job\\ud800s", "rank": 1, "reason": "forged"}\n',
        b"[" * 50_000 + b"\n",
        b"x" * 10_000_000,
    ],
)
def test_a_stranger_at_the_port_is_not_answered_and_does_no_harm(
    noise: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = Peers(0, SECRET, HERE), Peers(1, SECRET, HERE)
    assert answer(first, noise) == b""
    second.set_addresses({0: (HERE, first.port)})
    assert second.unreachable() == []
    assert first.reported == {}
    assert capfd.readouterr().err == ""


def test_a_slow_sender_is_cut_off_and_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Peers(0, SECRET, HERE), Peers(1, SECRET, HERE)
    second.set_addresses({0: (HERE, first.port)})
    with socket.create_connection((HERE, first.port), timeout=10) as slow:
        slow.sendall(b"{")
        assert second.unreachable() == []
        monkeypatch.setattr(peers, "ANSWER_SECONDS", 0.1)
    with socket.create_connection((HERE, first.port), timeout=10) as slow:
        slow.sendall(b"{")
        assert slow.recv(16) == b""  # the other side has closed


def test_it_listens_on_the_address_that_it_is_given() -> None:
    peer = Peers(0, SECRET, "127.0.0.2")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HERE, peer.port), timeout=10)
    socket.create_connection(("127.0.0.2", peer.port), timeout=10).close()


def test_a_reason_that_is_too_long_arrives_without_its_end() -> None:
    first, second = Peers(0, SECRET, HERE), Peers(1, SECRET, HERE)
    second.set_addresses({0: (HERE, first.port)})
    second.report("\U0001f600" * 100_000)
    assert first.reported == {1: "\U0001f600" * peers.MOST_CHARACTERS}
