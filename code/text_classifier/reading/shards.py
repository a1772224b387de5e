"""Channels sharded across hosts by S3 key: each host reads the files that lie there, and all get the rows of all files.

The hosts exchange batches. Every host joins all of them in the order of the files' paths (assembly.py), so that
rows, labels, counts and notes are those of a replicated channel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from text_classifier.reading.assembly import Assembly
from text_classifier.reading.batch import Batch
from text_classifier.reading.columns import Columns
from text_classifier.reading.piece import End, ReadSpec
from text_classifier.reading.processes import read_files
from text_classifier.reading.sources import Source, SourceFile, listing, select, source, source_file
from text_classifier.reading.spool import Appender, Spool, not_written
from text_classifier.reading.table import FileOptions
from text_classifier.reading.text_folders import TRIED, has_header, may_be_text_folders
from text_classifier.reading.wire import decode, encode
from text_classifier.runtime.exchange import Exchange

#: Follows the last message on a file.
_END_OF_FILE = b""


class Shards:
    """The sharded channels of a job, by the names of their folders. All hosts must call the same methods in order."""

    def __init__(self, channels: Collection[str], exchange: Exchange) -> None:
        self._channels = channels
        self._exchange = exchange

    def source(self, channel: Path) -> Source:
        """The files of a channel; of a sharded one those of all hosts, each with its host. Raises DataError.

        A file that several hosts have is read by the first of them, unless the contents differ.
        """
        if channel.name not in self._channels:
            return source(channel)
        own = listing(channel)
        everywhere = self._exchange.share([own.files, own.commits])
        holders: dict[tuple[str, ...], dict[int, int]] = {}  # by path: sizes by host
        commits: dict[str, dict[str, str]] = {}
        for host, (files, tables) in enumerate(everywhere):
            for parts, size in files:
                holders.setdefault(tuple(parts), {})[host] = size
            for folder, of_table in tables.items():
                commits.setdefault(folder, {}).update(of_table)
        repeated = [parts for parts, sizes in holders.items() if len(sizes) > 1]
        digests = self._exchange.share([_digest(channel.joinpath(*parts)) for parts in repeated]) if repeated else []
        digests_of = dict(zip(repeated, zip(*digests, strict=True), strict=True))
        found = []
        for parts, sizes in holders.items():
            first = {digests_of[parts][host] if len(sizes) > 1 else "": host for host in sorted(sizes, reverse=True)}
            for host in first.values():
                file = source_file(channel, parts, sizes[host], host)
                if len(first) > 1:
                    file = replace(file, name=f"{file.name} of {self._exchange.hosts[host]}")
                found.append(file)
        return select(channel, found, commits)

    def end(self) -> None:
        """Give the disk space of what was exchanged back, once all channels have been read."""
        self._exchange.free()

    def _own(self, files: Iterable[SourceFile]) -> list[SourceFile]:
        return [file for file in files if file.host == self._exchange.own]

    def is_text_folders(
        self, files: Sequence[SourceFile], columns: Columns, options: FileOptions, training: Sequence[SourceFile]
    ) -> bool:
        """As text_folders.is_text_folders, of a sharded channel."""
        if not may_be_text_folders(files, columns, options, training):
            return False
        return not any(self._exchange.share(has_header(self._own(files[:TRIED]), columns, options)))

    def read_files(
        self, files: Sequence[SourceFile], spec: ReadSpec, check: Assembly, texts: Appender
    ) -> Generator[tuple[SourceFile, Iterable[Batch | End]], None, None]:
        """As processes.read_files, of a sharded channel. The files of this host are read first, and joined in `check`,
        so that what is wrong with them shows at once.
        """
        with closing(read_files(self._own(files), spec, check.texts)) as own:
            for file, batches in own:
                check.add_file(file, self._sending(batches, check.texts))
                self._send(_END_OF_FILE)
        for file in files:
            assert file.host is not None
            yield file, self._received(file.host, texts)

    def _sending(self, batches: Iterable[Batch | End], texts: Spool) -> Iterator[Batch | End]:
        """The batches, each of which is sent once the next one is asked for."""
        for batch in batches:
            yield batch
            self._send(encode(texts.load(batch) if isinstance(batch, Batch) else batch))

    def _send(self, message: bytes) -> None:
        try:
            self._exchange.send(message)
        except OSError as error:
            raise not_written(error, self._exchange.folder) from None

    def _received(self, host: int, texts: Appender) -> Iterator[Batch | End]:
        while message := self._exchange.receive(host):
            batch = decode(message)
            yield texts.store(batch) if isinstance(batch, Batch) else batch


def _digest(path: Path) -> str:
    """The digest of a file's content; empty if it is not here."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
