"""The training loop, top to bottom."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from text_classifier.contract import metric_names
from text_classifier.contract.errors import SettingsError
from text_classifier.contract.hyperparameters import Settings
from text_classifier.modeling.load import Classifier
from text_classifier.runtime.heartbeat import working
from text_classifier.runtime.stop import StopSignal
from text_classifier.tasks.base import Task
from text_classifier.training.batches import Split, epoch_rows, training_batches
from text_classifier.training.cluster import Cluster
from text_classifier.training.evaluations import EvaluationPlan, is_best, without_improvement
from text_classifier.training.inference import predict
from text_classifier.training.loss_tracking import LossWatch
from text_classifier.training.losses import row_losses
from text_classifier.training.micro_batches import StepWithinMemory, TokenLimit
from text_classifier.training.optimizer import adamw, schedule
from text_classifier.training.progress import Progress
from text_classifier.training.resume import NoCheckpoints, Saver
from text_classifier.training.state import Training, host_copy
from text_classifier.training.step import EagerStep, GraphedStep, Step, Steps


def train(
    classifier: Classifier,
    training: Split,
    validation: Split,
    task: Task,
    settings: Settings,
    cluster: Cluster,
    stop: StopSignal,
    saver: Saver | NoCheckpoints,
    *,
    is_logged: bool = True,
) -> Training:
    """Train for `settings.epochs`, until the stop signal, or until the metric no longer improves.

    Evaluates `settings.evaluations_per_epoch` times in each epoch. Resumes from the newest checkpoint if there is one.
    Raises LossNotFinite, or SettingsError if the weights are not finite.

    SageMaker reads a job's metrics from the log, so a training that is not for the job's model is not logged.
    """
    say = cluster.print0 if is_logged else _say_nothing
    batch_size = settings.train_batch_size * cluster.world_size
    steps_per_epoch = math.ceil(len(training.tokens) / batch_size)
    plan = EvaluationPlan.of(steps_per_epoch, settings.evaluations_per_epoch)
    planned = plan.evaluations_per_epoch * settings.epochs
    total_steps = steps_per_epoch * settings.epochs  # the learning rate's schedule ends there, early stopping or not
    warmup_steps = math.ceil(total_steps * settings.warmup_ratio)
    classifier.ops = classifier.ops.agreed(cluster.any_rank_each)
    optimizer, rates = adamw(classifier, settings)
    loss_scale = classifier.precision.loss_scale()
    state = Training(
        classifier.model, optimizer, loss_scale, torch.zeros((), device=cluster.device), classifier.ops.names,
        evaluations_per_epoch=plan.evaluations_per_epoch,
        limit=TokenLimit("training", settings.max_tokens_per_gpu),
        evaluation_limit=TokenLimit("evaluation", settings.max_tokens_per_gpu),
    )  # fmt: skip
    saver.resume(state)
    saver.require_space(state)
    cluster.share_weights(classifier)
    step = Step(
        classifier,
        row_losses(task, settings, training.class_weights, cluster.device),
        optimizer,
        loss_scale,
        max_grad_norm=settings.max_grad_norm,
        all_reduce=cluster.all_reduce if cluster.world_size > 1 else None,
    )
    take_step = StepWithinMemory(
        _on_device(step, classifier, cluster), classifier, training, state.limit, cluster.device
    )
    progress = Progress(
        state.steps, total_steps, steps_per_epoch, settings.log_seconds,
        texts_per_row=len(training) / len(training.tokens), is_shown=is_logged and cluster.is_rank_zero,
    )  # fmt: skip

    def rows_of(epoch: int) -> list[np.ndarray]:
        grouped = classifier.is_length_grouped
        return epoch_rows(training.tokens.lengths, batch_size, settings.seed, epoch, is_length_grouped=grouped)

    losses = LossWatch(
        cluster.device,
        lambda step: rows_of((step - 1) // steps_per_epoch + 1)[(step - 1) % steps_per_epoch],
        state.curve,
    )

    while len(state.evaluations) < planned and not _is_exhausted(state, planned, settings, cluster, say):
        evaluation = len(state.evaluations) + 1
        epoch = plan.epoch_of(evaluation)
        classifier.train()
        progress.start()
        before = (epoch - 1) * steps_per_epoch
        rows = rows_of(epoch)[state.steps - before : plan.step_of(evaluation) - before]
        for batch in training_batches(classifier, training, rows, cluster.rank, cluster.world_size):
            is_due = state.steps > 0 and saver.is_due
            stopping, saving, limit = cluster.largest_each(stop.requested, is_due, -state.limit.tokens)
            state.limit.settle(-limit, cluster)
            if stopping:
                return _stop(state, losses, saver, progress)
            if saving:
                losses.check()
                saver.save(state)
            factor = schedule(settings.lr_scheduler, state.steps, warmup_steps, total_steps)
            rates.set(settings.learning_rate * factor)
            loss, checked = take_step(batch)
            state.steps += 1
            own_rows = int(batch.weight.count_nonzero())
            losses.add(state.steps, checked, own_rows)
            state.loss_sum += loss
            state.rows += batch.rows_of_all_ranks
            state.own_rows += own_rows
            progress.step(batch, take_step.computed_tokens, training.tokens.lengths, state.loss_sum, state.own_rows)
        losses.check()
        progress.pause()
        state.limit.agree(cluster)
        if is_logged and cluster.world_size > 1:
            unit = "rows" if training.tokens.windows is None else "windows"
            print(
                f"rank {cluster.rank} of {cluster.world_size} trained on {state.own_rows} of {state.rows} {unit}",
                flush=True,
            )
        with working("evaluating the validation rows"):
            logits = predict(
                classifier, validation, settings.eval_batch_size, cluster, stop, limit=state.evaluation_limit
            )
        if logits is None:
            return _stop(state, losses, saver, progress)
        train_loss = cluster.all_reduce(state.loss_sum.clone()).item() / state.rows
        if not (math.isfinite(train_loss) and np.isfinite(logits).all()):
            raise SettingsError(
                f"the model's weights or losses are not finite after epoch {epoch}; lower "
                f"learning_rate={settings.learning_rate:g}"
            )
        _finish_evaluation(state, train_loss, task.measure(logits, validation.targets), settings.metric_for_best_model)
        epochs_passed = evaluation / plan.evaluations_per_epoch
        say(metric_names.line(epochs_passed, state.steps, state.evaluations[-1]))
        saver.save(state)
    saver.finish()
    state.throughput = progress.close()
    return state


def _stop(state: Training, losses: LossWatch, saver: Saver | NoCheckpoints, progress: Progress) -> Training:
    """End training with a checkpoint."""
    losses.check()
    if state.steps:
        saver.save(state)
        saver.finish()
    state.throughput = progress.close()
    state.is_stopped = True
    return state


def _on_device(step: Step, classifier: Classifier, cluster: Cluster) -> Steps:
    """The steps, on batches on the host."""
    if not classifier.ops.is_asynchronous:
        return step
    return (GraphedStep if classifier.supports_cuda_graphs else EagerStep)(step, cluster.device)


def _say_nothing(text: str) -> None:
    """In place of the log."""


def _is_exhausted(
    state: Training, planned: int, settings: Settings, cluster: Cluster, say: Callable[[str], None]
) -> bool:
    """Whether the metric has not improved for `early_stopping_patience` evaluations; the same on all ranks."""
    patience, metric, min_delta = (
        settings.early_stopping_patience, settings.metric_for_best_model, settings.early_stopping_min_delta
    )  # fmt: skip
    if not patience:
        return False
    state.stopped_early = cluster.any_rank(without_improvement(state.evaluations, metric, min_delta) >= patience)
    if state.stopped_early:
        more = f" by more than {min_delta:g}" if min_delta else ""
        say(
            f"stopped early after {len(state.evaluations)} of {planned} evaluations: {metric} has not improved{more} "
            f"in the last {patience}"
        )
    return state.stopped_early


def _finish_evaluation(state: Training, train_loss: float, measured: dict[str, float], metric: str) -> None:
    """Add the metrics, and keep the weights if they are the best so far; of equal ones the earlier stay."""
    values = {"train_loss": train_loss, "validation_loss": measured.pop("loss"), **measured}
    best = state.evaluations[state.best_evaluation - 1] if state.best_evaluation else None
    state.evaluations.append(values)
    state.loss_sum.zero_()
    state.rows = state.own_rows = 0
    if is_best(values, best, metric):
        state.best_evaluation = len(state.evaluations)
        state.best_weights = host_copy(state.model.state_dict())
