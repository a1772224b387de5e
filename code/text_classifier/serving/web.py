"""The web application (ASGI): routes, limits and status codes. https://asgi.readthedocs.io"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Protocol, TypeVar

from text_classifier.evaluation import calibration
from text_classifier.serving.batching import Batcher, Failed, Model, Overloaded
from text_classifier.serving.requests import JSON, Request, RequestError, content_type, read_request
from text_classifier.serving.responses import Outputs, render, require_answerable, response_type
from text_classifier.serving.settings import MEGABYTE, ServeSettings
from text_classifier.serving.threads import Busy, Threads
from text_classifier.serving.traffic import Traffic
from text_classifier.tokenization.windows import Windows

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")

#: Texts that are tokenized at a time: other requests take their turn between them.
CHUNK = 512

#: Smaller bodies are worked on in the event loop's thread: handing them over would take longer.
SMALL_BYTES = 16_384

#: A rough size of texts in tokens, before they are tokenized.
CHARACTERS_PER_TOKEN = 4

#: The bodies of all requests together, in requests of the largest size.
MOST_LARGE_REQUESTS = 4

#: A request must have arrived within this time.
BODY_SECONDS = 60.0

#: Texts must be tokenized within this time, and a second more for so many characters, where the tokenizer has regular
#: expressions, which may need any.
TOKENIZING_SECONDS, CHARACTERS_PER_SECOND = 20.0, 10_000

#: While the server stops, clients should connect again, to another one.
CLOSE = (b"connection", b"close")


class TextModel(Model, Protocol):
    """A loaded model with its tokenizer."""

    longest_text: int  #: tokens that are read of a text, at most
    outputs: Outputs
    text_columns: tuple[str, ...]
    pair_columns: tuple[str, ...]  #: of the second text of a pair; empty: single texts
    patterns: Sequence[str]  #: the tokenizer's regular expressions

    @property
    def description(self) -> str:
        """What is served, for the log."""

    def encode(self, texts: list[str]) -> tuple[list[list[int]], int, Windows | None]:
        """Token ids of each text, how many texts were truncated, and no windows; or the ids of the texts' windows."""

    def encode_to(
        self, texts: list[str], max_length: int | None, *, truncates: bool
    ) -> tuple[list[list[int]], Windows | None]:
        """The same of at most `max_length` tokens of each text; None: as many as the model reads.

        Raises ValueError for a longer text unless it truncates.
        """


class Disconnected(Exception):
    """The client has gone."""


class Application:
    """Answers SageMaker's routes. All methods run in the event loop's thread."""

    def __init__(
        self,
        settings: ServeSettings,
        batcher: Batcher[TextModel],
        traffic: Traffic,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.is_draining = False
        self.running = 0  #: requests that are being answered
        self.last_request = clock()
        self._settings, self._batcher, self._traffic = settings, batcher, traffic
        self._clock = clock
        self._most_bytes = settings.max_megabytes * MEGABYTE
        self._held_bytes = 0
        self._threads = Threads()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        routes = {
            "/ping": ("GET", self._ping),
            "/invocations": ("POST", self._invocations),
            "/execution-parameters": ("GET", self._execution_parameters),
        }
        method, answer = routes.get(scope["path"], ("", None))
        if answer is None:
            await self._fail(send, 404, f"there is no such path; use {', '.join(routes)}")
        elif scope["method"] != method:
            await self._fail(send, 405, f"use {method}", (b"allow", method.encode()))
        else:
            await answer(scope, receive, send)

    async def _ping(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        problem = "the server is being stopped" if self.is_draining else self._problem()
        if problem:
            await self._fail(send, 503, problem)
        else:
            await self._respond(send, 200, b"", None)

    def _problem(self) -> str | None:
        if self._threads.are_lost:
            return "all threads tokenize texts that take too long"
        return self._batcher.problem()

    async def _execution_parameters(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        # Without BatchStrategy, whose documented form breaks the SageMaker SDK's local mode; this is the default.
        parameters = {"MaxConcurrentTransforms": 2, "MaxPayloadInMB": min(6, self._settings.max_megabytes)}
        await self._respond(send, 200, json.dumps(parameters).encode(), JSON)

    async def _invocations(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        started = self.last_request = self._clock()
        self.running += 1
        status = 200
        try:
            body, type = await self._answer(scope, receive)
            await self._respond(send, status, body, type)
        except RequestError as error:
            status = error.status
            retry = ((b"retry-after", b"1"),) if status == 503 else ()
            await self._fail(send, status, str(error), *retry)
        except Disconnected:
            status = 499  # nginx's number for it
        except Exception as error:
            status = 500
            if not isinstance(error, Failed):  # else it is in the log
                self._batcher.faults.log(error)
            await self._fail(send, status, "the server failed on this request; its log has the reason")
        finally:
            self.running -= 1
            self.last_request = self._clock()
            self._traffic.request(status, self.last_request - started)

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive) -> tuple[bytes, str]:
        """The body of the answer and its type. Raises RequestError and Disconnected."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        type = content_type(headers.get("content-type"))
        accept = headers.get("accept")
        if accept in (None, "", "*/*"):
            accept = self._settings.accept
        answer_type = response_type(accept, type)
        model = self._batcher.model
        if model is None or self._batcher.error:
            raise RequestError(503, self._batcher.problem() or "the model is being loaded")
        body = bytearray()
        try:
            await self._read(receive, headers.get("content-length", ""), body)
            predict = asyncio.ensure_future(self._predict(model, bytes(body), type, answer_type))
            return await _unless_gone(predict, receive), answer_type
        finally:
            self._held_bytes -= len(body)

    async def _read(self, receive: Receive, declared: str, body: bytearray) -> None:
        """Append the body to `body`. Raises RequestError when it is too long, comes too slowly, or too much is held."""
        if declared.isdecimal():
            self._require_room(int(declared), 0)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Disconnected
                    part = message.get("body", b"")
                    self._require_room(len(body) + len(part), len(body))
                    body += part
                    self._held_bytes += len(part)
                    if not message.get("more_body"):
                        return
        except TimeoutError:
            raise RequestError(408, f"the body did not arrive within {BODY_SECONDS:g} s; send it again") from None

    def _require_room(self, length: int, held: int) -> None:
        """Raise RequestError if a body of this length, of which `held` bytes are here, would be too long."""
        if length > self._most_bytes:
            raise RequestError(
                413, f"the body is longer than {self._settings.max_megabytes} MB; split it, or raise SERVE_MAX_MB"
            )
        if self._held_bytes - held + length > MOST_LARGE_REQUESTS * self._most_bytes:
            raise RequestError(503, "the server holds as many requests as it can; send the request again")

    async def _predict(self, model: TextModel, body: bytes, type: str, answer_type: str) -> bytes:
        run = self._here if len(body) < SMALL_BYTES else self._threads.run
        request = await run(read_request, body, type, self._settings, model.text_columns, model.pair_columns)
        require_answerable(request, answer_type, model.outputs)
        if not request.texts:
            return b"[]" if answer_type == JSON else b""
        limit = request.parameters.max_length or model.longest_text
        tokens = sum(min(len(text) // CHARACTERS_PER_TOKEN + 2, limit) for text in request.texts)
        try:
            work = self._batcher.admit(len(request.texts), tokens)
        except Overloaded:
            raise RequestError(503, "too many requests are waiting; send the request again") from None
        logits = asyncio.wrap_future(work.future)
        divided: list[Windows] = []
        try:
            for start in range(0, len(request.texts), CHUNK):
                rows, windows = await self._in_time(run, model, request, start)
                divided += [windows] if windows else []
                self._batcher.add(work, rows, texts=len(windows.lengths) if windows else len(rows))
            found = await logits
        finally:
            logits.cancel()
        if divided:
            found = Windows.joined(divided).means(found)
        self._traffic.answered(len(found))
        if model.outputs.task.problem_type == "single_label_classification":
            self._traffic.confidences(float(calibration.confidences(found).sum()), len(found))
        return await run(render, request, found, answer_type, model.outputs)

    async def _in_time(
        self, run: Callable[..., Awaitable[T]], model: TextModel, request: Request, start: int
    ) -> T | tuple[list[list[int]], Windows | None]:
        """As `_encoded`. Raises RequestError where it takes too long."""
        if not model.patterns:
            return await run(self._encoded, model, request, start)
        characters = sum(map(len, request.texts[start : start + CHUNK]))
        seconds = TOKENIZING_SECONDS + characters / CHARACTERS_PER_SECOND
        try:
            return await self._threads.run_within(seconds, self._encoded, model, request, start)
        except Busy:
            raise RequestError(503, "all threads are busy; send the request again") from None
        except TimeoutError:
            raise RequestError(
                400,
                "the model's tokenizer takes too long for these texts (regular expressions in tokenizer.json); shorten "
                "them, or use the tokenizer that the model was trained with",
            ) from None

    def _encoded(self, model: TextModel, request: Request, start: int) -> tuple[list[list[int]], Windows | None]:
        """The token ids of some of the texts, or of their windows. Raises RequestError."""
        texts, parameters = request.texts[start : start + CHUNK], request.parameters
        if parameters.truncation and parameters.max_length is None:
            rows, truncated, windows = model.encode(texts)
            self._traffic.texts(len(texts), truncated)
            return rows, windows
        try:
            return model.encode_to(texts, parameters.max_length, truncates=parameters.truncation)
        except ValueError as error:
            index, length, limit = error.args
            raise RequestError(
                400, f"text {start + index + 1} has {length} tokens, {limit} are allowed; shorten it, or let it be cut"
            ) from None

    async def _here(self, function: Callable[..., T], *arguments: Any) -> T:
        return function(*arguments)

    async def _fail(self, send: Send, status: int, sentence: str, *headers: tuple[bytes, bytes]) -> None:
        body = json.dumps({"error": sentence}, ensure_ascii=False).encode("utf-8", "replace")
        await self._respond(send, status, body, JSON, *headers)

    async def _respond(
        self, send: Send, status: int, body: bytes, type: str | None, *headers: tuple[bytes, bytes]
    ) -> None:
        all_headers = [(b"content-length", str(len(body)).encode()), *headers]
        all_headers += [(b"content-type", type.encode())] if type else []
        all_headers += [CLOSE] if self.is_draining else []
        await send({"type": "http.response.start", "status": status, "headers": all_headers})
        await send({"type": "http.response.body", "body": body})


async def _unless_gone(work: asyncio.Future[T], receive: Receive) -> T:
    """The result of `work`, which is cancelled when the client goes. Raises Disconnected."""
    gone = asyncio.ensure_future(_gone(receive))
    both: set[asyncio.Future[Any]] = {work, gone}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Disconnected
        return work.result()
    finally:
        gone.cancel()
        work.cancel()


async def _gone(receive: Receive) -> None:
    """Wait until the client goes."""
    while (await receive())["type"] != "http.disconnect":
        pass
