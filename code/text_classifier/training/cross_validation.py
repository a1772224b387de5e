"""Cross-validation: each training row is measured once by a model that was trained without it.

For each fold the job's training is repeated without the rows of the fold: the same first weights, settings, seed and
validation rows, which choose its best epoch as they choose the job's. The rows of the fold choose nothing, so their
metrics are not optimistic. (The first bias of a regression is the mean label of all training rows.)
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from text_classifier.contract import schema
from text_classifier.contract.errors import SettingsError
from text_classifier.contract.hyperparameters import Settings
from text_classifier.modeling.load import Classifier
from text_classifier.runtime.heartbeat import working
from text_classifier.runtime.stop import StopSignal
from text_classifier.tasks.base import Task, Values
from text_classifier.training.batches import Split
from text_classifier.training.cluster import Cluster
from text_classifier.training.inference import predict
from text_classifier.training.loop import train
from text_classifier.training.loss_tracking import LossNotFinite
from text_classifier.training.resume import NoCheckpoints
from text_classifier.training.state import host_copy

#: The state dict of a model, on the host.
Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class CrossValidation:
    """The measurements of the models of all folds."""

    logits: np.ndarray  #: of each training row, by the model that was trained without it, float32 [rows, outputs]
    rows: list[int]  #: of each fold
    folds: list[Values]  #: metrics of each fold

    def summary(self) -> schema.CrossValidation:
        """As in metrics.json. Mean and deviation are of the folds in which a metric is defined."""
        known: dict[str, list[float]] = {}
        for values in self.folds:
            for name, value in values.items():
                known.setdefault(name, []).extend([] if math.isnan(value) else [value])
        found = {
            "mean": {name: statistics.fmean(values) if values else math.nan for name, values in known.items()},
            "standard_deviation": {
                name: statistics.stdev(values) if len(values) > 1 else math.nan for name, values in known.items()
            },
            "folds": [{"rows": rows, **values} for rows, values in zip(self.rows, self.folds, strict=True)],
        }
        return cast(schema.CrossValidation, found)


@dataclass(frozen=True)
class CrossValidator:
    """The job's training, to be repeated for each fold."""

    classifier: Classifier
    first_weights: Weights
    validation: Split
    task: Task
    settings: Settings
    cluster: Cluster
    stop: StopSignal

    def run(self, training: Split, fold_of_row: np.ndarray) -> CrossValidation | None:
        """Train and measure one model for each fold; None if stopped. The classifier then has its weights of before.

        `fold_of_row`: int64 [training rows]. Raises SettingsError if the loss of a model is not finite.
        """
        model = self.classifier.model
        kept = host_copy(model.state_dict())
        count = int(fold_of_row.max()) + 1
        outputs = model.config.num_labels
        assert outputs is not None
        logits = np.zeros((len(training), outputs), dtype=np.float32)
        rows, folds = list[int](), list[Values]()
        try:
            for fold in range(count):
                began = time.monotonic()
                held_out, others = np.flatnonzero(fold_of_row == fold), np.flatnonzero(fold_of_row != fold)
                with working(f"cross-validating, fold {fold + 1} of {count}"):
                    found = self._logits_of(training.take(held_out), training.take(others))
                if found is None:
                    self.cluster.print0(f"cross-validation was stopped in fold {fold + 1} of {count}; it has no result")
                    return None
                logits[held_out] = found
                rows.append(len(held_out))
                folds.append(_measure(self.task, found, training.targets[held_out]))
                self.cluster.print0(
                    f"cross-validation, fold {fold + 1} of {count}: trained on {len(others)} rows, measured on "
                    f"{len(held_out)}: {self._chosen(folds[-1])}, {time.monotonic() - began:.1f} s"
                )
        finally:
            model.load_state_dict(kept)
        return CrossValidation(logits, rows, folds)

    def _logits_of(self, held_out: Split, others: Split) -> np.ndarray | None:
        """Train on the other rows. Returns the logits of those held out, float32 [rows, outputs]; None if stopped."""
        settings, cluster = self.settings, self.cluster
        self.classifier.model.load_state_dict(self.first_weights)
        torch.manual_seed(settings.seed + cluster.rank)  # a different dropout on each rank
        try:
            trained = train(
                self.classifier, others, self.validation, self.task, settings, cluster, self.stop, NoCheckpoints(),
                is_logged=False,
            )  # fmt: skip
        except LossNotFinite as error:
            raise SettingsError(
                f"the loss of a cross-validated model is {error.loss} at step {error.step}; lower "
                f"learning_rate={settings.learning_rate:g}"
            ) from None
        if trained.is_stopped:
            return None
        self.classifier.model.load_state_dict(trained.best_weights)
        size, limit = settings.eval_batch_size, trained.evaluation_limit
        return predict(self.classifier, held_out, size, cluster, self.stop, limit=limit)

    def _chosen(self, values: Values) -> str:
        """The metric that chooses the best model, not in the form in which SageMaker reads the job's from the log."""
        name = self.settings.metric_for_best_model
        return f"{name} {values[name]:.4f}" if name in values else f"{name} undefined"


def _measure(task: Task, logits: np.ndarray, targets: np.ndarray) -> Values:
    """The metrics under the names of schema.Scores."""
    values = task.measure(logits, targets)
    loss = values.pop("loss")
    return values if "mse" in values else {"log_loss": loss, **values}  # the loss of a regression is its mse
