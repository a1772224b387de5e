"""How the server ends, and what it logs, with a fake clock."""

from __future__ import annotations

import asyncio
import signal

import pytest

from support.fake_clock import Clock
from support.served import WordModel, wait_until
from text_classifier.contract.errors import SettingsError
from text_classifier.serving import server as module
from text_classifier.serving.batching import Batcher
from text_classifier.serving.server import Server
from text_classifier.serving.settings import ServeSettings
from text_classifier.serving.traffic import Traffic
from text_classifier.serving.web import Application, TextModel


class Running:
    """A server that is asked each tick whether it ends."""

    def __init__(self) -> None:
        self.clock = Clock()
        now = self.clock.monotonic
        self.batcher: Batcher[TextModel] = Batcher(WordModel)
        self.traffic = Traffic(now)
        self.application = Application(ServeSettings(), self.batcher, self.traffic, now)
        self.said: list[str] = []
        self.server = Server(self.application, self.batcher, self.traffic, lambda: self.said.append("ready"), now)

    def load(self) -> Running:
        self.batcher.start()
        wait_until(lambda: self.batcher.model is not None)
        return self

    def ends(self, after: float = 0.0) -> bool:
        self.clock.now += after
        return asyncio.run(self.server.on_tick(1))


def test_sigterm_ends_a_server_that_has_been_idle() -> None:
    running = Running().load()
    assert not running.ends(after=100)
    running.server.handle_exit(signal.SIGTERM, None)
    assert running.application.is_draining
    assert not running.ends() and not running.ends(after=1.5)
    running.application.last_request = running.clock.now
    assert not running.ends(after=1.5)
    assert running.ends(after=1.0)


def test_sigterm_waits_for_a_request_that_runs_but_not_forever() -> None:
    running = Running().load()
    running.application.running = 1
    running.server.handle_exit(signal.SIGTERM, None)
    running.server.handle_exit(signal.SIGTERM, None)
    assert not running.ends(after=module.DRAIN_SECONDS - 1)
    assert running.ends(after=2)
    assert module.DRAIN_SECONDS + module.GRACE_SECONDS < 30


def test_sigint_and_a_signal_while_loading_end_at_once() -> None:
    running = Running()
    running.server.handle_exit(signal.SIGTERM, None)
    assert running.ends()
    running = Running().load()
    running.server.handle_exit(signal.SIGINT, None)
    assert running.ends()


def test_a_model_that_cannot_be_loaded_ends_it() -> None:
    running = Running()
    assert not running.ends()
    running.batcher.error = SettingsError("no model")
    assert running.ends()


def test_it_says_once_that_it_is_ready_and_each_minute_what_it_served(capsys: pytest.CaptureFixture[str]) -> None:
    running = Running()
    running.ends()
    assert running.said == []
    running.load().ends()
    running.ends(after=61)
    assert (running.said, capsys.readouterr().out) == (["ready"], "")
    running.traffic.request(200, 0.01)
    running.ends(after=61)
    running.ends(after=61)
    assert capsys.readouterr().out.count("served in 122 s: 1 requests") == 1
