"""The ASGI application with a model without torch: routes, limits, status codes, clients that go."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.served import WordModel, logits_of, outputs_of, wait_until
from text_classifier.serving import threads, web
from text_classifier.serving.batching import Batcher
from text_classifier.serving.settings import MEGABYTE, ServeSettings
from text_classifier.serving.traffic import Traffic
from text_classifier.serving.web import Application, TextModel
from text_classifier.tokenization.windows import Windows


class Client:
    """Calls an application as a web server does."""

    def __init__(self, model: WordModel, settings: ServeSettings | None = None) -> None:
        self.model = model
        self.batcher: Batcher[TextModel] = Batcher(lambda: model)
        self.traffic = Traffic()
        self.application = Application(settings or ServeSettings(), self.batcher, self.traffic)

    def load(self) -> Client:
        self.batcher.start()
        wait_until(lambda: self.batcher.model is not None)
        return self

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        receive: Callable[[], Awaitable[dict[str, Any]]] | None = None,
    ) -> tuple[int, bytes, dict[str, str]]:
        return asyncio.run(self.call(method, path, body, headers, receive))

    async def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        receive: Callable[[], Awaitable[dict[str, Any]]] | None = None,
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers; the status is 0 if nothing is answered."""
        sent: list[Any] = []
        parts = [body[:7], body[7:]]

        async def given() -> dict[str, Any]:
            if not parts:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(message: Any) -> None:
            sent.append(message)

        pairs = [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
        await self.application(
            {"type": "http", "method": method, "path": path, "headers": pairs}, receive or given, send
        )
        if not sent:
            return 0, b"", {}
        answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        content = b"".join(message["body"] for message in sent[1:])
        assert int(answered["content-length"]) == len(content)
        return sent[0]["status"], content, answered

    def invoke(self, body: Any, **headers: str) -> tuple[int, Any]:
        status, content, _ = self.request("POST", "/invocations", json.dumps(body).encode(), headers)
        return status, json.loads(content)


@pytest.fixture(scope="module")
def loaded() -> Iterator[Client]:
    client = Client(WordModel(), ServeSettings(max_megabytes=1)).load()
    yield client
    client.batcher.close()


def test_ping_tells_the_truth() -> None:
    client = Client(WordModel())
    assert client.request("GET", "/ping")[:2] == (503, b'{"error": "the model is being loaded"}')
    client.load()
    assert client.request("GET", "/ping")[:2] == (200, b"")
    client.application.is_draining = True
    status, content, headers = client.request("GET", "/ping")
    assert (status, content) == (503, b'{"error": "the server is being stopped"}')
    assert headers["connection"] == "close"
    assert client.invoke("a")[0] == 200
    client.batcher.close()
    client.batcher.add(client.batcher.admit(1, 1), [[1]])
    client.application.is_draining = False
    wait_until(lambda: client.request("GET", "/ping")[0] == 503)
    assert b"the thread of the model has ended" in client.request("GET", "/ping")[1]


def test_requests_before_the_model_is_loaded_are_to_be_repeated() -> None:
    status, content, headers = Client(WordModel()).request("POST", "/invocations", b'"a"')
    assert (status, json.loads(content)["error"]) == (503, "the model is being loaded")
    assert headers["retry-after"] == "1"


def test_other_paths_and_methods(loaded: Client) -> None:
    assert loaded.request("GET", "/")[0] == 404
    status, _, headers = loaded.request("GET", "/invocations")
    assert (status, headers["allow"]) == (405, "POST")
    assert loaded.request("POST", "/ping")[0] == 405


def test_execution_parameters_leave_the_strategy_to_batch_transform(loaded: Client) -> None:
    status, content, _ = loaded.request("GET", "/execution-parameters")
    assert (status, json.loads(content)) == (200, {"MaxConcurrentTransforms": 2, "MaxPayloadInMB": 1})


def test_texts_are_answered(loaded: Client) -> None:
    status, one = loaded.invoke({"inputs": "abc"})
    assert status == 200 and one[0]["label"] in loaded.model.outputs.classes
    assert loaded.invoke(["abc"])[1] == one
    assert loaded.invoke([]) == (200, [])
    status, many = loaded.invoke([f"text {number}" for number in range(2_000)])
    assert status == 200 and len(many) == 2_000
    assert loaded.invoke(["text 7"])[1] == many[7:8]


def test_the_answer_has_the_type_that_is_accepted(loaded: Client) -> None:
    headers = {"content-type": "text/csv", "accept": "application/jsonlines"}
    status, content, answered = loaded.request("POST", "/invocations", b"a\nb\n", headers)
    assert (status, answered["content-type"], content.count(b"\n")) == (200, "application/jsonlines", 1)
    client = Client(WordModel(), ServeSettings(accept="text/csv")).load()
    assert client.request("POST", "/invocations", b'"a"')[2]["content-type"] == "text/csv"


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"content-type": "image/png"}, 415), ({"accept": "image/png"}, 406), ({"content-length": "2000000"}, 413)],
)
def test_what_the_headers_rule_out_is_refused_before_the_body_is_read(
    loaded: Client, headers: dict[str, str], status: int
) -> None:
    async def receive() -> dict[str, Any]:
        raise AssertionError("the body was read")

    assert loaded.request("POST", "/invocations", headers=headers, receive=receive)[0] == status


def test_a_body_without_a_length_is_refused_when_it_becomes_too_long(loaded: Client) -> None:
    received = 0

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 1
        return {"type": "http.request", "body": b"x" * (MEGABYTE // 4), "more_body": True}

    status, content, _ = loaded.request("POST", "/invocations", receive=receive)
    assert (status, received) == (413, 5)
    assert json.loads(content)["error"] == "the body is longer than 1 MB; split it, or raise SERVE_MAX_MB"
    assert loaded.application._held_bytes == 0


def test_many_large_bodies_at_once_are_refused(loaded: Client) -> None:
    async def run() -> list[int]:
        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0.05)
            return {"type": "http.request", "body": b"x" * (MEGABYTE // 2), "more_body": len(waiting) > 0}

        waiting = [1]
        calls = [
            asyncio.ensure_future(loaded.call("POST", "/invocations", headers={}, receive=receive)) for _ in range(12)
        ]
        await asyncio.sleep(0.07)
        waiting.clear()
        return sorted({(await call)[0] for call in calls})

    assert asyncio.run(run()) == [400, 503]
    assert loaded.application._held_bytes == 0


def test_a_body_that_does_not_come_is_given_up(loaded: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "BODY_SECONDS", 0.1)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.06)
        return {"type": "http.request", "body": b"[", "more_body": True}

    assert loaded.request("POST", "/invocations", receive=receive)[0] == 408


def test_the_work_for_a_client_that_has_gone_is_dropped() -> None:
    client = Client(WordModel()).load()
    client.model.gate.clear()
    gone = threading.Event()
    messages = [{"type": "http.request", "body": json.dumps(["a"] * 5_000).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        while not client.batcher.waiting_rows:
            await asyncio.sleep(0.01)
        gone.set()
        return {"type": "http.disconnect"}

    assert client.request("POST", "/invocations", receive=receive)[0] == 0
    assert gone.is_set() and client.application.running == 0
    client.model.gate.set()
    assert client.invoke("b")[0] == 200
    wait_until(lambda: client.batcher.waiting_rows == 0)
    assert sum(map(len, client.model.batches)) < 5_000


def test_texts_that_a_regular_expression_takes_too_long_for_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "TOKENIZING_SECONDS", 0.5)
    monkeypatch.setattr(threads, "usable_cpus", lambda: 2)
    release = threading.Event()

    class SlowModel(WordModel):
        def encode(self, texts: list[str]) -> tuple[list[list[int]], int, Windows | None]:
            if "slow" in texts:
                release.wait()
            return super().encode(texts)

    client = Client(SlowModel(patterns=("(a|aa)+$",))).load()
    sentence = (
        "the model's tokenizer takes too long for these texts (regular expressions in tokenizer.json); shorten them, "
        "or use the tokenizer that the model was trained with"
    )
    assert client.invoke("slow") == (400, {"error": sentence})
    assert client.invoke("fast")[0] == client.request("GET", "/ping")[0] == 200
    assert client.invoke("slow")[0] == 400
    assert client.invoke("fast") == (503, {"error": "all threads are busy; send the request again"})
    problem = b'{"error": "all threads tokenize texts that take too long"}'
    assert client.request("GET", "/ping")[:2] == (503, problem)
    release.set()
    wait_until(lambda: client.request("GET", "/ping")[0] == 200)
    assert client.invoke("fast")[0] == 200
    client.batcher.close()


def test_overload_is_answered_at_once() -> None:
    client = Client(WordModel()).load()
    client.model.gate.clear()

    async def run() -> list[Any]:
        first = [asyncio.ensure_future(client.call("POST", "/invocations", b'"a"'))]
        while not client.batcher._batch_started:
            await asyncio.sleep(0.01)
        first += [asyncio.ensure_future(client.call("POST", "/invocations", b'"b"')) for _ in range(2)]
        while client.batcher.waiting_rows < 2:
            await asyncio.sleep(0.01)
        client.batcher._max_wait_seconds = 0.0
        refused = await client.call("POST", "/invocations", b'"a"')
        client.model.gate.set()
        return [refused, *await asyncio.gather(*first)]

    refused, *first = asyncio.run(run())
    assert (refused[0], refused[2]["retry-after"]) == (503, "1")
    assert [answer[0] for answer in first] == [200] * 3


def test_lengths_are_limited_or_refused(loaded: Client) -> None:
    text = "x" * 40
    whole, cut = loaded.invoke([text])[1], loaded.invoke({"inputs": [text], "parameters": {"max_length": 5}})[1]
    assert cut == loaded.invoke(["xxxx"])[1] != whole
    status, error = loaded.invoke({"inputs": ["a", text], "parameters": {"truncation": False}})
    assert (status, error["error"]) == (
        400, "text 2 has 41 tokens, 16 are allowed; shorten it, or let it be cut"
    )  # fmt: skip


class Windowed(WordModel):
    """Reads windows of four characters."""

    longest_text = 40

    def encode(self, texts: list[str]) -> tuple[list[list[int]], int, Windows | None]:
        rows = [[ord(each) for each in text[at : at + 4]] for text in texts for at in range(0, len(text), 4)]
        lengths = np.array(list(map(len, texts)))
        return rows, 0, Windows(np.concatenate([[0], np.cumsum(-(-lengths // 4))]), lengths)


def test_the_answer_of_a_text_is_the_mean_over_its_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "CHUNK", 2)
    model = Windowed()
    texts = ["abcdefghij", "k", "lmno", "pqrstuvwxyz", "ab"]
    client = Client(model).load()
    status, answer = client.invoke({"inputs": texts, "parameters": {"top_k": None, "function_to_apply": "none"}})
    assert status == 200 and ": 1 requests, 5 texts, " in (client.traffic.line(0) or "")
    for text, found in zip(texts, answer, strict=True):
        windows = [logits_of([ord(each) for each in text[at : at + 4]], 3) for at in range(0, len(text), 4)]
        expected = dict(zip(model.outputs.classes, np.mean(windows, axis=0), strict=True))
        assert {entry["label"]: entry["score"] for entry in found} == pytest.approx(expected, abs=1e-6)


class Broken(WordModel):
    def encode(self, texts: list[str]) -> tuple[list[list[int]], int, Windows | None]:
        raise ArithmeticError("secret text")


def test_a_fault_is_a_500_without_its_details(capsys: pytest.CaptureFixture[str]) -> None:
    client = Client(Broken()).load()
    status, content = client.invoke("a")
    assert (status, content) == (500, {"error": "the server failed on this request; its log has the reason"})
    client.invoke("b")
    assert capsys.readouterr().err.count("ArithmeticError: secret text") == 1


@pytest.mark.parametrize("task", ["single_label", "multi_label", "regression"])
def test_every_task_is_answered(task: str) -> None:
    classes = ("score",) if task == "regression" else ("bad", "good")
    client = Client(WordModel(outputs=outputs_of(task, classes, None))).load()
    status, answer = client.invoke({"inputs": "a", "parameters": {"top_k": None}})
    assert status == 200 and {entry["label"] for entry in answer} == set(classes)


TYPES = st.sampled_from(
    ["application/json", "application/jsonlines", "text/csv", "text/plain", "text/csv; charset=utf-8", ""]
)
WORDS = st.sampled_from(
    [
        b'{"inputs":', b'"a"', b"[", b"]", b"}", b",", b"\n", b"\r\n", b'"', b'"parameters":', b'{"top_k":', b"null",
        b"-1", b"1e999", b"NaN", b"\xff", b"\xef\xbb\xbf", b"\0", rb"\ud800", b"text", b'{"text":"b"}', b"true", b" ",
    ]
)  # fmt: skip
BODIES = st.binary(max_size=100) | st.lists(WORDS, max_size=12).map(b"".join)


@settings(max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BODIES, TYPES, st.sampled_from(["", "*/*", "text/csv", "application/jsonlines", "application/json"]))
def test_no_request_is_a_fault_of_the_server(loaded: Client, body: bytes, type: str, accept: str) -> None:
    status, content, _ = loaded.request("POST", "/invocations", body, {"content-type": type, "accept": accept})
    assert status in (200, 400, 415), content
    assert b"Traceback" not in content
    if status != 200:
        (sentence,) = json.loads(content).values()
        assert sentence.isprintable()
