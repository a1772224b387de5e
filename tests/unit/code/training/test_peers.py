from __future__ import annotations

import socket
import time

import pytest

from text_classifier.training import peers
from text_classifier.training.peers import Peers


def test_processes_that_do_not_answer_are_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "ANSWER_SECONDS", 0.5)
    first, second = Peers(0), Peers(1)
    with socket.socket() as hung, socket.socket() as gone:
        hung.bind(("127.0.0.1", 0))
        hung.listen()  # its kernel takes the connection, but nobody answers
        gone.bind(("127.0.0.1", 0))
        ports = [first.port, second.port, hung.getsockname()[1], gone.getsockname()[1]]
        first.set_addresses({rank: ("127.0.0.1", port) for rank, port in enumerate(ports)})
        started = time.monotonic()
        assert first.unreachable() == [2, 3]
        assert time.monotonic() - started < 5
    assert second.reported == {}


def test_a_reason_reaches_the_others() -> None:
    first, second = Peers(0), Peers(1)
    addresses = {0: ("127.0.0.1", first.port), 1: ("127.0.0.1", second.port)}
    first.set_addresses(addresses)
    second.set_addresses(addresses)
    second.report("Your data: b\u00fccher")
    second.report("a consequence")
    assert first.reported == {1: "Your data: b\u00fccher"}
    assert second.reported == {}


def test_a_stranger_at_the_port_does_no_harm(capfd: pytest.CaptureFixture[str]) -> None:
    first, second = Peers(0), Peers(1)
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b""):
        with socket.create_connection(("127.0.0.1", first.port)) as stranger:
            stranger.sendall(noise)
    second.set_addresses({0: ("127.0.0.1", first.port)})
    assert second.unreachable() == []
    assert first.reported == {}
    assert capfd.readouterr().err == ""
