"""The report's plots, each as the data URI of an SVG image."""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from text_classifier.contract.schema import Calibration, Metrics
from text_classifier.evaluation.intervals import Ranking

BLUE, ORANGE, GREY = "#1f5fa8", "#d9772b", "#8a8f98"

#: Points of a curve; more would enlarge the page without being visible.
MOST_POINTS = 400

#: Points of a scatter plot.
MOST_DOTS = 2_000

#: Classes up to which a confusion matrix has room for numbers, and a plot for one curve per class.
MOST_CLASSES_NUMBERED = 12
MOST_CURVES = 6

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True, "axes.edgecolor": "#c4c8ce", "axes.grid": True,
    "axes.spines.right": False, "axes.spines.top": False,
    "axes.titlelocation": "left", "axes.titlesize": 11, "axes.titleweight": "bold", "font.family": "sans-serif",
    "font.size": 10, "grid.color": "#e6e8eb", "legend.frameon": False, "svg.fonttype": "none",
    "svg.hashsalt": "report", "text.parse_math": False,  # a class may be called $x$
}  # fmt: skip


def _drawn(draw: Callable[[Axes], None], width: float = 5.4, height: float = 3.5) -> str:
    """The figure that `draw` draws, as a data URI; sizes in inches."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's browser has the fonts
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots())
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()


def curves(metrics: Metrics, names: Mapping[str, str], title: str) -> str:
    """Metrics of the evaluations, by epoch. `names` maps each metric to its legend."""
    evaluations: Sequence[Mapping[str, Any]] = metrics["epochs"]
    per_epoch = metrics.get("evaluations_per_epoch", 1)

    def draw(axes: Axes) -> None:
        epochs = [number / per_epoch for number in range(1, len(evaluations) + 1)]
        for (name, label), color in zip(names.items(), (BLUE, ORANGE, GREY), strict=False):
            axes.plot(epochs, [values[name] for values in evaluations], marker="o", color=color, label=label)
        axes.axvline(epochs[_best(metrics)], color=GREY, linestyle=":", label="saved weights")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(title=title, xlabel="epoch")
        axes.legend()

    return _drawn(draw)


def losses(metrics: Metrics) -> str:
    """Training loss by step, and validation loss of the evaluations."""
    curve, evaluations = metrics["loss_curve"], metrics["epochs"]

    def draw(axes: Axes) -> None:
        ends = np.linspace(0, curve["steps"][-1], len(evaluations) + 1)[1:]
        validation = [values["validation_loss"] for values in evaluations]
        axes.plot(curve["steps"], curve["losses"], color=BLUE, linewidth=1, label="training")
        axes.plot(ends, validation, marker="o", color=ORANGE, label="validation")
        axes.axvline(ends[_best(metrics)], color=GREY, linestyle=":", label="saved weights")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(title="Loss", xlabel="step")
        axes.legend()

    return _drawn(draw)


def _best(metrics: Metrics) -> int:
    """The index of the evaluation that chose the weights."""
    return metrics.get("best_evaluation", metrics["best_epoch"]) - 1


def confusion(matrix: np.ndarray, names: Sequence[str]) -> str:
    """Confusion matrix, int64 [classes, classes]; colors are shares of the true class, numbers are rows."""
    short = [name if len(name) <= 18 else name[:17] + "…" for name in names]
    size = min(9.0, 2.6 + 0.5 * len(names))

    def draw(axes: Axes) -> None:
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.grid(visible=False)
        axes.set(title="Confusion matrix", xlabel="predicted", ylabel="true")
        if len(names) <= 3 * MOST_CLASSES_NUMBERED:
            axes.set_xticks(range(len(names)), short, rotation=0 if len(names) <= 3 else 60)
            axes.set_yticks(range(len(names)), short)
        if len(names) <= MOST_CLASSES_NUMBERED:
            for row, column in np.ndindex(*matrix.shape):
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, f"{matrix[row, column]:,}", ha="center", va="center", color=color)

    return _drawn(draw, 1.4 + size, size)


def precision_recall(rankings: Mapping[str, Ranking]) -> str:
    """A curve for each of these classes."""

    def draw(axes: Axes) -> None:
        for name, ranking in list(rankings.items())[:MOST_CURVES]:
            positives, negatives = ranking.cumulative_counts()
            some = np.unique(np.linspace(0, len(positives) - 1, MOST_POINTS).astype(np.int64))
            precision, recall = positives / (positives + negatives), positives / positives[-1]
            axes.plot(recall[some], precision[some], label=name[:30])
        axes.set(title="Precision-recall curve", xlabel="recall", ylabel="precision")
        axes.set(xlim=(0, 1.01), ylim=(0, 1.02))
        _percent(axes)
        axes.legend(loc="lower left")

    return _drawn(draw)


def reliability(calibration: Calibration) -> str:
    """Reliability diagram: accuracy by confidence, uncalibrated and at the fitted temperature."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="perfectly calibrated")
        for bins, label, color in (
            (calibration["reliability"], "uncalibrated", BLUE),
            (calibration["reliability_at_temperature"], f"at temperature {calibration['temperature']:.2f}", ORANGE),
        ):
            sizes = [10 + 120 * entry["rows"] / max(other["rows"] for other in bins) for entry in bins]
            confidence, accuracy = [entry["confidence"] for entry in bins], [entry["accuracy"] for entry in bins]
            axes.plot(confidence, accuracy, color=color, label=label)
            axes.scatter(confidence, accuracy, s=sizes, color=color)
        lowest = min(entry["confidence"] for entry in calibration["reliability_at_temperature"])
        axes.set(title="Calibration (reliability diagram)", xlabel="probability of the predicted class")
        axes.set(ylabel="accuracy", xlim=(min(lowest, 0.5) - 0.02, 1.02), ylim=(-0.02, 1.05))
        _percent(axes)
        axes.legend(loc="upper left")

    return _drawn(draw)


def agreement(predicted: np.ndarray, truth: np.ndarray) -> str:
    """Predicted against true numbers, both [rows]; at most MOST_DOTS of them."""

    def draw(axes: Axes) -> None:
        some = np.unique(np.linspace(0, len(truth) - 1, MOST_DOTS).astype(np.int64))
        ends = [float(min(predicted.min(), truth.min())), float(max(predicted.max(), truth.max()))]
        axes.plot(ends, ends, color=GREY, linestyle=":", label="no error")
        axes.scatter(truth[some], predicted[some], s=10, color=BLUE, alpha=0.3, linewidths=0)
        axes.set(title="Predicted and true values", xlabel="true", ylabel="predicted")
        axes.legend(loc="upper left")

    return _drawn(draw)


def lengths(tokens: np.ndarray, limit: int) -> str:
    """Histogram of lengths before truncation (int64 [rows], tokens), with the limit."""

    def draw(axes: Axes) -> None:
        end = max(int(np.quantile(tokens, 0.99)), int(1.15 * limit))
        width = math.ceil(end / 40)
        axes.hist(np.minimum(tokens, end), bins=list(range(0, end + width + 1, width)), color=BLUE)
        axes.axvline(limit, color=ORANGE, label=f"truncated to {limit} tokens")
        axes.set(title="Length of the training texts", xlabel="tokens (last bar: all longer ones)", ylabel="texts")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1))

    return _drawn(draw)


def _percent(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
