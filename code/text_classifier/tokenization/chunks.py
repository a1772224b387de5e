"""Chunks of texts that are encoded at once, each in a thread, and a limit on what a regular expression may take.

A pattern in tokenizer.json may need time that grows with the square of a text's length, or faster, and a call of the
tokenizers library cannot be ended. (Where the time grows exponentially, the library gives up by itself.)
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import Any

from text_classifier.contract.errors import SettingsError, listed, quoted
from text_classifier.tokenization.prefix import Encode, Encoded

#: CPU-seconds of this process within which the next chunk must be done, and the characters for each of which there is
#: a second more. Tokenizers that are written in Python take some 100,000 characters a second, others millions.
LEAST_SECONDS = 120.0
CHARACTERS_PER_SECOND = 10_000

#: Wall-clock seconds between two looks at the time.
_POLL_SECONDS = 0.5

#: Wall-clock seconds for what is abandoned.
_GRACE_SECONDS = 5.0


class Chunk:
    """Texts that a thread reads and encodes. It does not keep the process alive: it may never end."""

    def __init__(self, read: Callable[[], Sequence[str]], encode: Encode, *, counts: bool) -> None:
        self.characters = 0  #: 0 until the texts are read, and without `counts`
        self.encoded: Future[Encoded] = Future()
        threading.Thread(target=self._run, args=(read, encode, counts), daemon=True).start()

    def _run(self, read: Callable[[], Sequence[str]], encode: Encode, counts: bool) -> None:
        try:
            texts = read()
            self.characters = sum(map(len, texts)) if counts else 0
            self.encoded.set_result(encode(texts))
        except BaseException as error:
            self.encoded.set_exception(error)


def first_result(chunks: Sequence[Chunk], patterns: Sequence[str]) -> Encoded:
    """The ids of the first chunk. `patterns`: the tokenizer's regular expressions.

    Raises what encoding raised, and SettingsError where the patterns take too long.
    """
    started = time.process_time()  # not the clock's: a machine may stand still, or be shared
    while not wait([chunks[0].encoded], _POLL_SECONDS).done:
        characters = sum(chunk.characters for chunk in chunks)
        limit = LEAST_SECONDS + characters / CHARACTERS_PER_SECOND
        if patterns and time.process_time() - started > limit:
            raise SettingsError(
                f"the model's tokenizer takes more than {limit:.0f} CPU-seconds for {characters:,} characters (regular "
                f"expressions in tokenizer.json: {listed([quoted(each) for each in patterns], 3)}); use the tokenizer "
                "that the model was trained with"
            )
    return chunks[0].encoded.result()


def abandon(chunks: Iterable[Chunk]) -> None:
    """Give chunks whose ids nobody needs the time to end: a process may abort that ends while a library works."""
    wait([chunk.encoded for chunk in chunks], _GRACE_SECONDS)


def regular_expressions(tokenizer: Any) -> list[str]:
    """The patterns in tokenizer.json by which texts are changed or split."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return []
    content = json.loads(backend.to_str())
    return [*_patterns(content["normalizer"]), *_patterns(content["pre_tokenizer"])]


def _patterns(part: Any) -> Iterator[str]:
    if isinstance(part, dict) and isinstance(part.get("Regex"), str):
        yield part["Regex"]
    values = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    for value in values:
        yield from _patterns(value)
