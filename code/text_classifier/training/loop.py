"""The training loop, top to bottom."""

from __future__ import annotations

import math

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
from text_classifier.training.inference import predict
from text_classifier.training.loss_tracking import LossWatch
from text_classifier.training.losses import row_losses
from text_classifier.training.optimizer import adamw, schedule
from text_classifier.training.progress import Progress
from text_classifier.training.resume import Saver, Training
from text_classifier.training.step import GraphedStep, Step, TakeStep


def train(
    classifier: Classifier,
    training: Split,
    validation: Split,
    task: Task,
    settings: Settings,
    cluster: Cluster,
    stop: StopSignal,
    saver: Saver,
) -> Training:
    """Train for `settings.epochs`, or until the stop signal; evaluate after each epoch.

    Resumes from the newest checkpoint if there is one. Raises LossNotFinite, or SettingsError if the weights are not
    finite.
    """
    batch_size = settings.train_batch_size * cluster.world_size
    steps_per_epoch = math.ceil(len(training) / batch_size)
    total_steps = steps_per_epoch * settings.epochs
    warmup_steps = math.ceil(total_steps * settings.warmup_ratio)
    classifier.ops = classifier.ops.agreed(cluster.any_rank_each)
    optimizer, rates = adamw(classifier, settings)
    loss_scale = classifier.precision.loss_scale()
    state = Training(
        classifier.model, optimizer, loss_scale, torch.zeros((), device=cluster.device), classifier.ops.names
    )
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
    take_step = _on_device(step, classifier, cluster)
    progress = Progress(state.steps, total_steps, steps_per_epoch, settings.log_seconds, is_shown=cluster.is_rank_zero)

    def rows_of(epoch: int) -> list[np.ndarray]:
        grouped = classifier.is_length_grouped
        return epoch_rows(training.tokens.lengths, batch_size, settings.seed, epoch, is_length_grouped=grouped)

    losses = LossWatch(
        cluster.device,
        lambda step: rows_of((step - 1) // steps_per_epoch + 1)[(step - 1) % steps_per_epoch],
        state.curve,
    )

    for epoch in range(len(state.epochs) + 1, settings.epochs + 1):
        classifier.train()
        progress.start()
        done = state.steps - (epoch - 1) * steps_per_epoch
        for batch in training_batches(classifier, training, rows_of(epoch)[done:], cluster.rank, cluster.world_size):
            stopping, saving = cluster.any_rank_each(stop.requested, saver.is_due)
            if stopping:
                return _stop(state, losses, saver, progress)
            if saving:
                losses.check()
                saver.save(state)
            factor = schedule(settings.lr_scheduler, state.steps, warmup_steps, total_steps)
            rates.set(settings.learning_rate * factor)
            loss, is_finite = take_step(batch)
            state.steps += 1
            own_rows = int(batch.weight.count_nonzero())
            losses.add(state.steps, is_finite, own_rows)
            state.loss_sum += loss
            state.rows += batch.rows_of_all_ranks
            state.own_rows += own_rows
            progress.step(batch, training.tokens.lengths, state.loss_sum, state.own_rows)
        losses.check()
        progress.pause()
        if cluster.world_size > 1:
            print(
                f"rank {cluster.rank} of {cluster.world_size} trained on {state.own_rows} of {state.rows} rows",
                flush=True,
            )
        with working("evaluating the validation rows"):
            logits = predict(classifier, validation, settings.eval_batch_size, cluster, stop)
        if logits is None:
            return _stop(state, losses, saver, progress)
        train_loss = cluster.all_reduce(state.loss_sum.clone()).item() / state.rows
        if not (math.isfinite(train_loss) and np.isfinite(logits).all()):
            raise SettingsError(
                f"the model's weights or losses are not finite after epoch {epoch}; lower "
                f"learning_rate={settings.learning_rate:g}"
            )
        _finish_epoch(state, train_loss, task.measure(logits, validation.targets), settings.metric_for_best_model)
        cluster.print0(metric_names.line(epoch, state.steps, state.epochs[-1]))
        saver.save(state)
    saver.finish()
    state.throughput = progress.close()
    return state


def _stop(state: Training, losses: LossWatch, saver: Saver, progress: Progress) -> Training:
    """End training with a checkpoint."""
    losses.check()
    if state.steps:
        saver.save(state)
        saver.finish()
    state.throughput = progress.close()
    state.is_stopped = True
    return state


def _on_device(step: Step, classifier: Classifier, cluster: Cluster) -> TakeStep:
    """The step, taking batches on the host."""
    if not classifier.ops.is_asynchronous:
        return step
    if classifier.supports_cuda_graphs:
        return GraphedStep(step, cluster.device)
    return lambda batch: step(batch.pinned().to(cluster.device))


def _finish_epoch(state: Training, train_loss: float, measured: dict[str, float], metric: str) -> None:
    """Add the epoch's metrics, and keep its weights if it is the best so far; on ties the earlier epoch stays."""
    values = {"train_loss": train_loss, "validation_loss": measured.pop("loss"), **measured}
    state.epochs.append(values)
    state.loss_sum.zero_()
    state.rows = state.own_rows = 0
    best = state.epochs[state.best_epoch - 1].get(metric, math.nan) if state.best_epoch else math.nan
    if not state.best_epoch or metric_names.is_better(metric, values.get(metric, math.nan), best):
        state.best_epoch = len(state.epochs)
        state.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in state.model.state_dict().items()}
