"""Writes review files of any size in the three Amazon formats: `python amazon_reviews.py FILE ROWS`.

The words are common English words with Zipf frequencies, mixed with made-up ones. Lengths follow the Amazon book
reviews, in tokens of BERT's vocabulary: mean 132, median 68, 90th percentile 305, 99th 869; the stars are as skewed as
there. The same seed gives the same rows. Standard library only.
"""

from __future__ import annotations

import gzip
import itertools
import json
import math
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

COLUMNS = (
    "marketplace", "customer_id", "review_id", "product_id", "product_parent", "product_title", "product_category",
    "star_rating", "helpful_votes", "total_votes", "vine", "verified_purchase", "review_headline", "review_body",
    "review_date",
)  # fmt: skip

FORMATS = ("tsv", "2018", "2023")

#: Fractions of 1 to 5 stars.
STARS = (0.06, 0.05, 0.09, 0.19, 0.61)

#: Fraction of made-up words, and what may follow a word.
RARE, ENDINGS = 0.05, ("",) * 12 + (",", ".")

#: Words per text: parameters of a log-normal distribution, and the maximum.
MEDIAN_WORDS, SPREAD, MOST_WORDS = 48, 1.26, 4_000

COMMON = (  # noqa: SIM905 - as a list it would be one line per word
    "the and I to a of is it this book in that was for with read as but have not on you he are his my so be story she "
    "one her all at from they who about an by or what more very like if had has great good just will me would can we "
    "when there their out characters which some up really no him time them do how than first into were only other it's "
    "well love life don't because even much reading been way find author get people also series could many these did "
    "written interesting novel through books end think little world know after years make two history most before "
    "recommend plot never story's every character again still information different chapter found children family "
    "wonderful writing easy though beautiful while understand enjoyed always something put down being between page "
    "perfect another without women school important question language nothing enough believe together young American "
    "personal collection mystery experience complete historical political fantasy romance excellent especially however "
    "pictures recipes reference study students fiction review bought copy received edition quality price "
).split()
OPINIONS = ("dreadful", "poor", "fair", "good", "wonderful")  #: one per number of stars

_SYLLABLES = [first + second for first in "bdfglmnprstvk" for second in ("a", "e", "i", "o", "an", "er", "in", "ou")]


def reviews(rows: int, seed: int = 1) -> Iterator[tuple[int, str, str]]:
    """Yield stars, headline and body of each review. The word for the stars is in the middle of the body."""
    chance = random.Random(seed)
    rare = ["".join(chance.choices(_SYLLABLES, k=chance.choice((2, 3)))) for _ in range(20_000)]
    weights = list(itertools.accumulate(1 / rank for rank in range(4, len(COMMON) + 4)))
    running = chance.choices(COMMON, cum_weights=weights, k=10**6)
    for place in range(len(running)):
        if chance.random() < RARE:
            running[place] = chance.choice(rare)
        running[place] += chance.choice(ENDINGS)
    for stars in chance.choices((1, 2, 3, 4, 5), STARS, k=rows):
        count = min(MOST_WORDS, math.ceil(chance.lognormvariate(math.log(MEDIAN_WORDS), SPREAD)))
        start = chance.randrange(len(running) - count)
        middle = start + count // 2
        body = " ".join((*running[start:middle], OPINIONS[stars - 1], *running[middle : start + count]))
        yield stars, " ".join(running[start : start + count % 5]), body


def write(path: Path, rows: int, kind: str = "tsv", seed: int = 1) -> None:
    """Write a file with this many rows, gzipped when the name ends in .gz."""
    file: IO[str]
    with gzip.open(path, "wt", 3, "utf-8") if path.suffix == ".gz" else path.open("w", encoding="utf-8") as file:
        if kind == "tsv":
            file.write("\t".join(COLUMNS) + "\n")
        for number, (stars, headline, body) in enumerate(reviews(rows, seed)):
            file.write(_line(kind, number, stars, headline, body))


def _line(kind: str, number: int, stars: int, headline: str, body: str) -> str:
    if kind == "2018":
        values = {"overall": float(stars), "reviewerID": f"A{number}", "reviewText": body, "summary": headline}
    elif kind == "2023":
        values = {"rating": float(stars), "title": headline, "text": body, "user_id": f"A{number}", "images": []}
    else:
        return (
            f'US\t{number}\tR{number}\tB{number % 9973}\t{number % 9973}\tA "book"\tBooks\t{stars}\t0\t0\tN\tY\t'
            f"{headline}\t{body}\t2015-08-31\n"
        )
    return json.dumps(values) + "\n"


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
