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

#: Classes up to which a confusion matrix stands beside a table, and up to which it has all of them.
MOST_CLASSES_BESIDE = 12
MOST_CLASSES_DRAWN = 80

#: Curves of a plot.
MOST_CURVES = 6

#: Inches of the page's width.
PAGE_WIDTH = 11.1

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
        _legend(axes)

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
        _legend(axes)

    return _drawn(draw)


def _best(metrics: Metrics) -> int:
    """The index of the evaluation that chose the weights."""
    return metrics.get("best_evaluation", metrics["best_epoch"]) - 1


def confusion(matrix: np.ndarray, names: Sequence[str]) -> str:
    """Confusion matrix, int64 [classes, classes]: numbers are rows, colors are shares of the true class.

    Of more than MOST_CLASSES_DRAWN classes those with the most mistakes. Above MOST_CLASSES_BESIDE it fills the page.
    """
    title = "Confusion matrix"
    if len(names) > MOST_CLASSES_DRAWN:
        wrong = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * matrix.diagonal()
        drawn = np.sort(np.argsort(-wrong, kind="stable")[:MOST_CLASSES_DRAWN])
        shares = (matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1))[np.ix_(drawn, drawn)]
        matrix, title = matrix[np.ix_(drawn, drawn)], f"{title}: the {len(drawn)} classes with the most mistakes"
        names = [names[index] for index in drawn]
    else:
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    count = len(names)
    width = PAGE_WIDTH if count > MOST_CLASSES_BESIDE else min(5.4, 2.6 + 0.5 * count)
    cell = 72 * (width - 1.6) / count  # points
    font, label_font = min(10.0, 0.58 * cell), min(10.0, 0.8 * cell)
    short = [_shortened(name, 24 if count > MOST_CLASSES_BESIDE else 18) for name in names]

    def draw(axes: Axes) -> None:
        axes.imshow(_confusion_colors(shares), aspect="equal", interpolation="nearest")
        axes.grid(visible=False)
        axes.set_title(title)
        axes.set(xlabel="predicted", ylabel="true")
        axes.set_xticks(range(count), short, rotation=0 if count <= 3 else 90, fontsize=label_font)
        axes.set_yticks(range(count), short, fontsize=label_font)
        axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
        axes.grid(which="minor", linewidth=0.4)
        axes.tick_params(which="both", length=0)
        for row, column in np.argwhere(matrix):
            shown = f"{matrix[row, column]:,}" if count <= MOST_CLASSES_BESIDE else str(matrix[row, column])
            color = "white" if shares[row, column] > 0.45 else "black"
            size = min(font, 1.5 * cell / len(shown))
            axes.text(column, row, shown, ha="center", va="center", color=color, fontsize=size)

    return _drawn(draw, width, width if count > 3 else 0.8 * width)


def _confusion_colors(shares: np.ndarray) -> np.ndarray:
    """Blue for right rows, orange for mistakes; the square root makes rare mistakes visible. float64 [.., .., 4]"""
    strength = np.sqrt(shares)
    right, wrong = matplotlib.colormaps["Blues"], matplotlib.colormaps["Oranges"]
    colors = np.where(np.eye(len(shares), dtype=bool)[..., None], right(0.9 * shares), wrong(0.9 * strength))
    colors[shares == 0] = 1
    return colors


def precision_recall(rankings: Mapping[str, Ranking], title: str) -> str:
    """A curve for each of these classes."""

    def draw(axes: Axes) -> None:
        for name, ranking in rankings.items():
            positives, negatives = ranking.cumulative_counts()
            some = np.unique(np.linspace(0, len(positives) - 1, MOST_POINTS).astype(np.int64))
            precision, recall = positives / (positives + negatives), positives / positives[-1]
            axes.plot(recall[some], precision[some], label=_shortened(name, 18))
        axes.set_title(title)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
        _percent(axes)
        _legend(axes)

    return _drawn(draw)


def reliability(calibration: Calibration) -> str:
    """Reliability diagram: accuracy by confidence, as they are and, if it is recommended, at the temperature."""
    diagrams = [(calibration["reliability"], "as they are", BLUE)]
    if calibration["recommended_temperature"] != 1:
        label = f"temperature\n {calibration['temperature']:.2f}"
        diagrams.append((calibration["reliability_at_temperature"], label, ORANGE))

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="calibrated")
        for bins, label, color in diagrams:
            sizes = [10 + 120 * entry["rows"] / max(other["rows"] for other in bins) for entry in bins]
            confidence, accuracy = [entry["confidence"] for entry in bins], [entry["accuracy"] for entry in bins]
            axes.plot(confidence, accuracy, color=color, label=label)
            axes.scatter(confidence, accuracy, s=sizes, color=color)
        lowest = min(entry["confidence"] for bins, _, _ in diagrams for entry in bins)
        axes.set(title="Calibration (reliability diagram)", xlabel="probability of the predicted class")
        axes.set(ylabel="accuracy", xlim=(min(lowest, 0.5) - 0.02, 1.02), ylim=(-0.02, 1.05))
        _percent(axes)
        _legend(axes)

    return _drawn(draw)


def agreement(predicted: np.ndarray, truth: np.ndarray) -> str:
    """Predicted against true numbers, both [rows]; at most MOST_DOTS of them."""

    def draw(axes: Axes) -> None:
        some = np.unique(np.linspace(0, len(truth) - 1, MOST_DOTS).astype(np.int64))
        ends = [float(min(predicted.min(), truth.min())), float(max(predicted.max(), truth.max()))]
        axes.plot(ends, ends, color=GREY, linestyle=":", label="no error")
        axes.scatter(truth[some], predicted[some], s=10, color=BLUE, alpha=0.3, linewidths=0)
        axes.set(title="Predicted and true values", xlabel="true", ylabel="predicted")
        _legend(axes)

    return _drawn(draw)


def lengths(tokens: np.ndarray, limit: int, *, is_truncated: bool) -> str:
    """Histogram of lengths before truncation (int64 [rows], tokens), with the limit, or the length of a window."""
    name = f"truncated\nto {limit}" if is_truncated else f"a window:\n{limit}"

    def draw(axes: Axes) -> None:
        end = max(int(np.quantile(tokens, 0.99)), int(1.15 * limit))
        width = math.ceil(end / 40)
        axes.hist(np.minimum(tokens, end), bins=list(range(0, end + width + 1, width)), color=BLUE)
        axes.axvline(limit, color=ORANGE, label=name)
        axes.set(title="Length of the training texts", xlabel="tokens (last bar: all longer ones)", ylabel="texts")
        _legend(axes)

    return _drawn(draw)


def _legend(axes: Axes) -> None:
    """A legend beside the plot, where it hides nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, handlelength=1.4)


def _shortened(name: str, most: int) -> str:
    """The beginning and the end of a long name: names often differ at the end."""
    return name if len(name) <= most else f"{name[: most - 7]}…{name[-6:]}"


def _percent(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
