"""task=single_label: each row is of one class. Targets are class indices, int64 [rows]."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import assessment
import calibration
import intervals
import labels as labelling
from failures import SettingsError, printable
from hyperparameters import Settings
from intervals import Interval, Ranking
from labels import LabelMap, Labels
from task import Intervals, Task, Values

if TYPE_CHECKING:
    import torch

    from evaluation import Evaluated

#: So many classes are printed; the JSON has all.
CLASSES_SHOWN = 20

#: So many classes stand in a title.
TITLED = 6


class SingleLabel(Task):
    """One class a row, by softmax and cross-entropy."""

    problem_type = "single_label_classification"
    headline = "accuracy"
    sliced = assessment.SLICED
    most_frequent = "most frequent class"
    words = "TF-IDF and logistic regression"

    def reader(self, label_map: LabelMap | None, settings: Settings) -> Labels:
        return Labels(label_map, drops_unknown=settings.unmapped == "drop")

    def require_learnable(self, targets: np.ndarray, classes: Sequence[str], settings: Settings) -> None:
        labelling.require_all_classes(targets, tuple(classes))
        if len(classes) != 2 and settings.metric_for_best_model in ("roc_auc", "auprc"):
            raise SettingsError(
                f"metric_for_best_model={settings.metric_for_best_model} exists for two classes only, these are "
                f"{len(classes)}; take f1_macro"
            )

    def strata(self, targets: np.ndarray, train_size: float) -> np.ndarray:
        return targets

    def describe(self, targets: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
        return {"classes": dict(zip(classes, np.bincount(targets, minlength=len(classes)).tolist(), strict=True))}

    def table(self, splits: Mapping[str, Any]) -> list[str]:
        return counts_table(splits)

    def notes(self, splits: Mapping[str, np.ndarray], classes: Sequence[str]) -> list[str]:
        missing = {name: labelling.without_rows(targets, tuple(classes)) for name, targets in splits.items()}
        return [
            f"{name} has no row of the class {labelling.listed(names)}, so the metrics say nothing about it"
            for name, names in missing.items()
            if names
        ]

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        return functional.cross_entropy(logits, targets, reduction="none")

    def said(self, logits: np.ndarray) -> np.ndarray:
        return logits.argmax(axis=1)

    def measure(self, logits: np.ndarray, targets: np.ndarray) -> Values:
        """Of two classes the second is the positive one. A class without a row and never predicted counts 0 in the
        macro averages. ROC AUC and AUPRC are of the scores, not of the predictions; they are left out when the rows
        hold one class only."""
        from sklearn.metrics import (
            accuracy_score,
            average_precision_score,
            precision_recall_fscore_support,
            roc_auc_score,
        )

        said = self.said(logits)
        precision, recall, f1, _ = precision_recall_fscore_support(
            targets, said, labels=range(logits.shape[1]), average="macro", zero_division=0
        )
        values = {
            "loss": float(calibration.losses(logits, targets).mean()),
            "accuracy": float(accuracy_score(targets, said)),
            "precision_macro": float(precision),
            "recall_macro": float(recall),
            "f1_macro": float(f1),
        }
        if logits.shape[1] == 2 and len(np.unique(targets)) == 2:
            positive = logits[:, 1].astype(np.float64) - logits[:, 0]
            values["roc_auc"] = float(roc_auc_score(targets, positive))
            values["auprc"] = float(average_precision_score(targets, positive))
        return values

    def temperature(self, logits: np.ndarray, targets: np.ndarray) -> float:
        return calibration.fit_temperature(logits, targets)

    def score(
        self, said: np.ndarray, targets: np.ndarray, count: int, random: np.random.Generator
    ) -> tuple[Values, Intervals]:
        return assessment.score(said, targets, count, random)

    def difference(
        self, said: np.ndarray, other: np.ndarray, targets: np.ndarray, random: np.random.Generator
    ) -> tuple[float, Interval]:
        right, other_right = said == targets, other == targets
        return float(right.mean() - other_right.mean()), intervals.of_difference(right, other_right, random)

    def assess(
        self,
        logits: np.ndarray,
        targets: np.ndarray,
        classes: Sequence[str],
        lengths: np.ndarray,
        temperature: float | None,
        seed: int,
    ) -> dict[str, Any]:
        assert temperature is not None
        return assessment.assess(logits, targets, classes, lengths, temperature, seed)

    def constant(self, training: np.ndarray, rows: int) -> np.ndarray:
        return np.full(rows, np.bincount(training).argmax())

    def fit(self, counts: Any, targets: np.ndarray) -> Callable[[Any], np.ndarray] | None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        if len(np.unique(targets)) < 2:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 50 steps are within a hair of where it would end
            answer: Callable[[Any], np.ndarray] = LogisticRegression(C=10, max_iter=50).fit(counts, targets).predict
        return answer

    def title(self, classes: Sequence[str]) -> str:
        return f"Text classifier: {labelling.listed(classes, TITLED)}"

    def header(self, classes: Sequence[str]) -> list[str]:
        return ["predicted", *(f"probability_{name}" for name in classes)]

    def cells(self, logits: np.ndarray, classes: Sequence[str], temperature: float = 1.0) -> list[list[str]]:
        probabilities = np.exp(calibration.log_probabilities(logits, temperature))
        return [
            [classes[said], *(format(value, ".6g") for value in row)]
            for said, row in zip(self.said(logits), probabilities, strict=True)
        ]

    def label(self, target: Any, classes: Sequence[str]) -> str:
        return classes[target]

    def examples(self, logits: np.ndarray, targets: np.ndarray) -> list[tuple[str, str, np.ndarray]]:
        probabilities = np.exp(calibration.log_probabilities(logits)).max(axis=1)
        wrong = np.flatnonzero(self.said(logits) != targets)
        best, second = np.sort(logits, axis=1)[:, -1], np.sort(logits, axis=1)[:, -2]
        return [
            (
                "Mistakes that it was surest of",
                "Validation texts, surest first. Look here for wrong labels in the data, too.",
                wrong[np.argsort(-probabilities[wrong], kind="stable")],
            ),
            (
                "Texts that it was least sure about",
                "Validation texts whose two likeliest classes are closest to each other.",
                np.argsort(best - second, kind="stable"),
            ),
        ]

    def sureness(self, logits: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> tuple[str, list[str]]:
        probabilities = np.exp(calibration.log_probabilities(logits)).max(axis=1)
        return "Probability", [f"{100 * value:.1f} %" for value in probabilities]

    def plots(self, evaluated: Evaluated, metrics: Mapping[str, Any]) -> dict[str, str]:
        import plots

        logits, truth = evaluated.logits["validation"], evaluated.splits["validation"].targets
        names = {"accuracy": "accuracy", "f1_macro": "F1 (macro)"}
        drawn = {
            "quality": plots.curves(metrics["epochs"], names, "Validation", metrics["best_epoch"]),
            "confusion": plots.confusion(np.array(metrics["validation"]["confusion_matrix"]), evaluated.classes),
            "reliability": plots.reliability(metrics["validation"]["calibration"]),
        }
        shown = [1] if len(evaluated.classes) == 2 else range(len(evaluated.classes))
        odds = assessment.log_odds(logits)
        rankings = {evaluated.classes[i]: Ranking.of(odds[:, i], truth == i) for i in shown if np.any(truth == i)}
        return drawn | ({"precision_recall": plots.precision_recall(rankings)} if rankings else {})


def counts_table(splits: Mapping[str, Any]) -> list[str]:
    """Lines for a log: of each class its rows in each split."""
    lines = ["class counts:"]
    names = list(splits["train"]["classes"])
    for name in names[:CLASSES_SHOWN]:
        counts = (f"{split} {_share(of['classes'][name], of['rows'])}" for split, of in splits.items())
        lines.append(f"  {printable(name)}: {', '.join(counts)}")
    if len(names) > CLASSES_SHOWN:
        lines.append(f"  and {len(names) - CLASSES_SHOWN} more classes")
    return lines


def _share(count: int, rows: int) -> str:
    return f"{count:,} ({count / rows:.1%})"
