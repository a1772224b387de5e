"""The arithmetic of the table: work, ratios, and how they are printed. Pure standard library."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: The packed families: their layers do the work that `Geometry.flops` counts.
_NAMES = {
    "distilbert": ("n_layers", "dim", "hidden_dim"),
    **dict.fromkeys(
        ("bert", "roberta", "xlm-roberta", "electra"), ("num_hidden_layers", "hidden_size", "intermediate_size")
    ),
}


@dataclass(frozen=True)
class Geometry:
    """An encoder's layers, its width, and the width inside its feed-forward network."""

    layers: int
    width: int
    inner: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Geometry | None:
        """From a config.json; None for a family whose work is another."""
        names = _NAMES.get(config["model_type"])
        return cls(*(config[name] for name in names)) if names else None

    def flops(self, length: int) -> int:
        """Floating-point operations to train on one row of `length` tokens: forward, and twice that backward.

        A multiplication and an addition count as two. Counted are the matrix products of the layers, attention among
        them, that the head's input depends on: of the last layer the keys and values of all tokens, the rest for the
        first token alone. Not counted: embeddings, norms, activations, softmax, dropout, the head and the optimizer.
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
        """Of one value or more."""
        known = sorted(values)
        return cls(known[0], statistics.median(known), known[-1])

    def text(self, form: str = ".2f") -> str:
        """As the table shows it."""
        return f"{self.median:{form}} ({self.min:{form}} to {self.max:{form}})"


def ratios(seconds: Sequence[float], ours: Sequence[float]) -> Spread:
    """How many times as long as ours another took, round by round. Only what ran in the same round is compared."""
    return Spread.of(other / own for other, own in zip(seconds, ours, strict=True))


def rates(amounts: Sequence[float], seconds: Sequence[float]) -> Spread:
    """Amounts a second, round by round."""
    return Spread.of(amount / took for amount, took in zip(amounts, seconds, strict=True))


def table(competitors: Mapping[str, Mapping[str, Any]], memory: str) -> str:
    """Markdown, one line a competitor, from what competition.summarize() returns; `memory` is what was measured."""
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
