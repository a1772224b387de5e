"""FLOPs, ratios and rates, and the tables of results. Standard library only."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Model families with packed batches, to whose layers `Geometry.flops` applies: names in their config.json.
_NAMES = {
    "distilbert": ("n_layers", "dim", "hidden_dim"),
    **dict.fromkeys(
        ("bert", "roberta", "xlm-roberta", "electra"), ("num_hidden_layers", "hidden_size", "intermediate_size")
    ),
}


@dataclass(frozen=True)
class Geometry:
    """Number of layers, hidden size and feed-forward size of an encoder."""

    layers: int
    width: int
    inner: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Geometry | None:
        """From a config.json; None for other model families."""
        names = _NAMES.get(config["model_type"])
        return cls(*(config[name] for name in names)) if names else None

    def flops(self, length: int) -> int:
        """FLOPs to train on one row of `length` tokens: forward, and twice that backward.

        A multiplication and an addition count as two. Counts the matmuls of the layers, including attention, on which
        the head depends: in the last layer keys and values of all tokens, everything else for the first token only.
        Does not count embeddings, norms, activations, softmax, dropout, the head and the optimizer.
        """
        linear = 4 * self.width**2 + 2 * self.width * self.inner  # query, key, value, output; in and out
        layer = 2 * linear * length + 4 * self.width * length**2
        last = 2 * (2 * self.width**2) * length + 2 * (linear - 2 * self.width**2) + 4 * self.width * length
        return 3 * ((self.layers - 1) * layer + last)


@dataclass(frozen=True)
class Spread:
    """Minimum, median and maximum."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of one or more values."""
        known = sorted(values)
        return cls(known[0], statistics.median(known), known[-1])

    def text(self, form: str = ".2f") -> str:
        """As text for the table."""
        return f"{self.median:{form}} ({self.min:{form}} to {self.max:{form}})"


def ratios(seconds: Sequence[float], ours: Sequence[float]) -> Spread:
    """Seconds relative to ours, by round: only runs of the same round are compared."""
    return Spread.of(other / own for other, own in zip(seconds, ours, strict=True))


def rates(amounts: Sequence[float], seconds: Sequence[float]) -> Spread:
    """Amounts per second, by round."""
    return Spread.of(amount / took for amount, took in zip(amounts, seconds, strict=True))


def table(competitors: Mapping[str, Mapping[str, Any]], memory: str) -> str:
    """Markdown, one line per competitor, from competition.summarize(); `memory` is the header of the memory column."""
    lines = [
        f"| | takes as long as ours, times | sequences/s | real tokens/s | computed / real tokens | MFU | {memory} |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, values in competitors.items():
        against, waste, mfu = values["against_ours"], values["computed_to_real_tokens"], values["mfu"]
        cells = [
            name,
            Spread(**against).text() if against else "",
            f"{values['sequences_per_second']['median']:.1f}",
            f"{values['real_tokens_per_second']['median']:.0f}",
            "not counted" if waste is None else f"{waste:.2f}",
            "not counted" if mfu is None else f"{100 * mfu['median']:.1f} %",
            f"{values['peak_bytes'] / 1e9:.2f} GB",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def learning(lines: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a line per setting and rows, from learning.line(), and then which settings brought something."""
    table = [
        "| setting | rows | mean recall without, % | with, points | log loss, with | steps, times | time, times |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in sorted(lines, key=lambda line: line["setting"]):
        loss = line["log_loss"]
        cells = [
            f"`{line['setting']}`",
            f"{_rows(line)}, {line['training_rows']:,}",
            f"{statistics.fmean(line['without']):.1f}",
            _difference(line["recall_macro"], "+.1f"),
            _difference(loss, "+.3f") if loss else "not comparable",
            f"{line['steps']:.2f}",
            f"{line['seconds']:.2f}",
        ]
        table.append(f"| {' | '.join(cells)} |")
    pairs, measured = {len(line["without"]) for line in lines}, {line["measured_rows"] for line in lines}
    said = f"Pairs of runs per line: {_numbers(pairs)}; measured on {_numbers(measured)} rows."
    return "\n".join([said, "", *table, "", *_verdicts(lines)])


def _numbers(values: set[int]) -> str:
    return " or ".join(f"{value:,}" for value in sorted(values))


def _rows(line: Mapping[str, Any]) -> str:
    return f"{line['rows']}, {line['kind']}"


def _difference(found: Mapping[str, Any], form: str) -> str:
    mean, interval = found["mean_difference"], found["interval"]
    return f"{mean:{form}}" + (f" ({interval[0]:{form}} to {interval[1]:{form}})" if interval else "")


def _verdicts(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which settings are better and which are worse where, by intervals of the recall that exclude 0."""
    better, worse = dict[str, list[str]](), dict[str, list[str]]()
    for line in lines:
        low, high = line["recall_macro"]["interval"] or (0.0, 0.0)
        if low > 0 or high < 0:
            (better if low > 0 else worse).setdefault(line["setting"], []).append(_rows(line))
    nothing = sorted({line["setting"] for line in lines} - {*better})
    sentences = [
        f"- {word}: " + ("; ".join(f"`{name}` ({'; '.join(rows)})" for name, rows in found.items()) or "none") + "."
        for word, found in (("Better recall", better), ("Worse recall", worse))
    ]
    named = ", ".join(f"`{name}`" for name in nothing) or "none"
    return [*sentences, f"- Brought no better recall on any of these rows: {named}."]
