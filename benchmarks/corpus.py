"""The rows that the competitors train on."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: Mean and standard deviation of the natural logarithm of the number of words in IMDB's texts.
LOG_LENGTH = (5.2, 0.78)
MADE_UP_ROWS = 8_000
MADE_UP_WORDS = 30_000
LONGEST_FIELD = 1_000_000


@dataclass(frozen=True)
class Rows:
    """Texts and their classes, 0 or 1."""

    texts: Sequence[str]
    classes: Sequence[int]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Sequence[int]) -> Rows:
        """The rows at these indices, in their order."""
        return Rows([self.texts[index] for index in indices], [self.classes[index] for index in indices])

    def one_of_each_class(self) -> Rows:
        """Two rows, one of each class."""
        return self.take([self.classes.index(label) for label in (0, 1)])

    def sample(self, count: int, seed: int) -> Rows:
        """`count` rows in random order, reproducible by `seed`; rows repeat only after all were used."""
        passes, rest = divmod(count, len(self))
        indices = list(range(len(self))) * passes + random.Random(seed).sample(range(len(self)), rest)
        random.Random(seed).shuffle(indices)
        return self.take(indices)


def imdb(file: Path) -> Rows:
    """The IMDB reviews in the file created by imdb.py."""
    csv.field_size_limit(LONGEST_FIELD)
    with file.open(encoding="utf-8", newline="") as lines:
        records = [record for record in csv.DictReader(lines) if record["source"] == "imdb"]
    return Rows([record["text"] for record in records], [int(record["label"]) for record in records])


def snippets(file: Path) -> Rows:
    """One channel of the demo, created by launcher/demo_data.py."""
    with file.open(encoding="utf-8", newline="") as lines:
        records = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    return Rows([record["text"] for record in records], [int(record["label"] == "positive") for record in records])


def made_up() -> Rows:
    """Random words in texts as long as IMDB's, for hosts without data: good for speed, nothing to learn."""
    chance = random.Random(1)
    lengths = [max(1, int(chance.lognormvariate(*LOG_LENGTH))) for _ in range(MADE_UP_ROWS)]
    words = [made_up_word(number) for number in range(MADE_UP_WORDS)]
    texts = [" ".join(chance.choices(words, k=length)) for length in lengths]
    return Rows(texts, [chance.randrange(2) for _ in lengths])


def made_up_word(number: int) -> str:
    """The word with this number."""
    return f"w{number}"
