from __future__ import annotations

import threading
from pathlib import Path

import pytest

from text_classifier.runtime.exchange import Exchange, Streams
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.stop import Stopped

NAMES = ("algo-1", "algo-2")


def pair(folder: Path) -> tuple[Exchange, Exchange]:
    """Two hosts whose streams are in one folder, so that nothing need be carried."""
    return Exchange(folder, Hosts(NAMES, "algo-1", None)), Exchange(folder, Hosts(NAMES, "algo-2", None))


def test_messages_arrive_in_order_on_all_hosts(tmp_path: Path) -> None:
    one, other = pair(tmp_path)
    one.send(b"first")
    one.send(b"")
    other.send(b"x" * 1_000_000)
    for host in (one, other):
        assert [host.receive(0), host.receive(0)] == [b"first", b""]
        assert len(host.receive(1)) == 1_000_000


def test_all_hosts_have_the_values_of_all(tmp_path: Path) -> None:
    one, other = pair(tmp_path)
    answers: list[object] = []
    waiting = threading.Thread(target=lambda: answers.append(one.share(["caf\u00e9", None])))
    waiting.start()
    assert other.share({"\udcff": 1}) == [["caf\u00e9", None], {"\udcff": 1}]
    waiting.join(10)
    assert answers == [[["caf\u00e9", None], {"\udcff": 1}]]


def test_a_message_may_arrive_in_pieces(tmp_path: Path) -> None:
    one, _ = pair(tmp_path)
    content = (5).to_bytes(8, "little") + b"hello"
    with Streams(tmp_path, 2).paths[1].open("ab", buffering=0) as stream:
        stream.write(content[:3])
        threading.Timer(0.05, lambda: stream.write(content[3:10])).start()
        threading.Timer(0.1, lambda: stream.write(content[10:])).start()
        assert one.receive(1) == b"hello"


def test_a_stop_ends_the_waiting(tmp_path: Path) -> None:
    one, other = pair(tmp_path)
    other.send(b"before")
    Streams(tmp_path, 2).stop()
    assert one.receive(1) == b"before"
    with pytest.raises(Stopped, match="there is nothing to save"):
        one.receive(1)


def test_the_messages_of_others_take_no_space_once_they_are_read(tmp_path: Path) -> None:
    one, other = pair(tmp_path)
    for host in (one, other):
        host.send(b"x" * 1000)
    one.free()
    assert [path.stat().st_size for path in Streams(tmp_path, 2).paths] == [1008, 0]
