"""A job from its rows to its artifact, on every rank. What follows the training is in results/ending.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from text_classifier.contract import metric_names
from text_classifier.contract.errors import DataError, SettingsError, explain, listed, print_traceback, printable
from text_classifier.contract.hyperparameters import Settings
from text_classifier.dataset import data_report
from text_classifier.modeling.checks import require_token_types
from text_classifier.modeling.layers import freeze
from text_classifier.modeling.load import load_model, make_classifier
from text_classifier.modeling.precision import Precision
from text_classifier.preparation.files import is_published
from text_classifier.preparation.rows import ROWS, map_rows
from text_classifier.preparation.tokens import map_tokens, prepare_tokens
from text_classifier.results.ending import Ending
from text_classifier.runtime.folders import JobFolders
from text_classifier.runtime.heartbeat import working
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.stop import NOTHING_TO_SAVE, Stopped, StopSignal
from text_classifier.tokenization.truncation import choose_side
from text_classifier.tokenization.unknown import require_known_tokens
from text_classifier.training.batches import Split
from text_classifier.training.carrier import carry
from text_classifier.training.checkpoint import Checkpoints
from text_classifier.training.cluster import Cluster
from text_classifier.training.loop import train
from text_classifier.training.loss_tracking import LossNotFinite
from text_classifier.training.resume import Saver, fingerprint
from text_classifier.training.state import Training, host_copy


def run(folders: JobFolders, settings: Settings, prepared: Path, *, tokenizes: bool) -> None:
    """Train, evaluate, save. Raises JobError or Stopped; any other exception is a bug.

    `prepared`: the folder in which the rows are published, or will be. Their tokens are published by another process,
    or by this one with `tokenizes`.
    """
    hosts = Hosts.from_resources(folders.configuration.resources())
    cluster = Cluster(hosts, settings.collective_timeout_seconds)
    stop = StopSignal()
    try:
        if is_sharded := bool(folders.configuration.sharded_channels()) and not tokenizes:
            cluster.join()
            carry(prepared, cluster, hosts, stop, lambda: is_published(prepared / ROWS))
        job = Job(folders, settings, prepared, cluster, stop, tokenizes=tokenizes)
        if is_sharded:
            cluster.wait_for_all()
        else:
            cluster.join()
        job.require_equal_data(hosts)
        stop.listen()
        job.finish(job.train())
        cluster.leave()
        stop.ignore()
    except Exception as error:
        known = cluster.diagnose(explain(error, "train_batch_size", settings.train_batch_size), stop)
        if known is not error or error.__cause__:
            print_traceback()
        raise known from None


class Job:
    """The model, the tokenized rows, and the training."""

    def __init__(
        self,
        folders: JobFolders,
        settings: Settings,
        prepared: Path,
        cluster: Cluster,
        stop: StopSignal,
        *,
        tokenizes: bool,
    ) -> None:
        self.folders = folders
        self.settings = settings
        self.data = data = map_rows(settings, prepared)
        self.cluster = cluster
        self.stop = stop
        self.task, self.classes = data.task, data.classes
        torch.manual_seed(settings.seed)
        with working("loading the model"):
            self.tokenizer, self.model = load_model(
                folders.channel("model"),
                settings.model_name,
                self.classes,
                self.task.problem_type,
                settings.max_sequence_length,
                self.task.first_bias(data.splits["train"].targets),
                cluster.print0,
            )
        freeze(self.model, settings.freeze_layers)
        self.model.to(cluster.device)  # type: ignore[arg-type]  # a decorator of transformers hides self
        self._first_weights = host_copy(self.model.state_dict()) if settings.cross_validation else {}
        torch.manual_seed(settings.seed + cluster.rank)  # a different dropout on each rank
        if tokenizes:
            prepare_tokens(settings, self.tokenizer, prepared)
        tokenized = map_tokens(prepared)
        if note := choose_side(self.tokenizer, settings):
            cluster.print0(note)
        # The tokenizer is saved with the truncation of its last call. Another process may have tokenized the rows.
        self.tokenizer("", truncation=True, max_length=settings.max_sequence_length)
        if any(tokens.second is not None for tokens in tokenized.tokens.values()):
            require_token_types(self.model)
        self._digest, self._digests = tokenized.digest, tokenized.digests
        self.splits = {name: Split(tokenized.tokens[name], rows.targets) for name, rows in data.splits.items()}
        training = self.splits["train"]
        weights = self.task.class_weights(training.targets, self.classes, settings)
        self.splits["train"] = replace(training, class_weights=weights)
        self._report_tokens(tokenized.unknown)
        require_known_tokens(tokenized.unknown)
        precision = Precision(settings.precision, cluster.device)
        max_seqlens = [split.tokens.max_seqlen for split in self.splits.values()]
        self.classifier = make_classifier(self.model, self.tokenizer.pad_token_id or 0, precision, max_seqlens)
        counts = ", ".join(f"{name} {len(rows)}" for name, rows in self.splits.items())
        cluster.print0(
            f"rows: {counts}; {self.task.outputs(self.classes)}; {self.model.config.model_type}, "
            f"{self.classifier.name} batches, {cluster.device.type}, {precision.name}"
        )

    def _report_tokens(self, unknown: Mapping[str, float]) -> None:
        """Add the token lengths to the data report, which was written when the data had been read."""
        if self.cluster.is_rank_zero:
            length = self.settings.max_sequence_length
            tokens = {
                name: data_report.describe_tokens(
                    split.tokens.text_lengths,
                    split.tokens.truncated,
                    unknown[name],
                    split.tokens.windows.counts if split.tokens.windows else None,
                )
                for name, split in self.splits.items()
            }
            print(data_report.tokens_table(tokens, length), flush=True)
            data_report.write(self.folders.output_data, {**self.data.report, "tokens": tokens})

    def require_equal_data(self, hosts: Hosts) -> None:
        """Raise DataError on every rank if a host has prepared other data than the first one."""
        digests = self.cluster.all_gather(torch.tensor(self._digest)).tolist()
        names = [hosts.of_rank(rank, len(digests)) for rank in range(len(digests))]
        different = {name: None for name, digest in zip(names, digests, strict=True) if digest != digests[0]}
        if different:
            raise DataError(
                f"{listed(list(different))} read other rows, classes or tokens than {names[0]}; give all hosts the "
                "same files and the same model"
            )

    def train(self) -> Training:
        """Train. The model then has the weights of the best epoch, or the last ones if no epoch was finished."""
        settings = self.settings
        folder = Path(settings.checkpoint_dir) if settings.checkpoint_dir else self.folders.checkpoints
        for published in (self.folders.model, self.folders.output_data):
            if folder.resolve().is_relative_to(published.resolve()):
                raise SettingsError(
                    f"checkpoint_dir={printable(str(folder))} is in {published}, all of which the job publishes; use a "
                    "folder of its own"
                )
        origin = fingerprint(settings, self.cluster, self.model, self._digests)
        training, validation = self.splits["train"], self.splits["validation"]
        saver = Saver(Checkpoints(folder), settings.checkpoint_seconds, self.cluster, origin, len(training.tokens))
        try:
            trained = train(self.classifier, training, validation, self.task, settings, self.cluster, self.stop, saver)
        except LossNotFinite as error:
            texts = list(dict.fromkeys(training.texts_of(np.asarray(error.rows)).tolist()))
            places = self.data.splits["train"].take(np.asarray(texts)).places[:]
            raise SettingsError(error.sentence(places, settings.learning_rate)) from None
        if not trained.steps:
            raise Stopped(NOTHING_TO_SAVE)
        if trained.best_weights:
            self.model.load_state_dict(trained.best_weights)
        # SageMaker reports the last values in the log as the job's, and tuning compares trials by them.
        if 0 < trained.best_evaluation < len(trained.evaluations):
            best = metric_names.pairs(trained.evaluations[trained.best_evaluation - 1])
            self.cluster.print0(f"the model is that of epoch {trained.epochs_at_best:g}: {best}")
        return trained

    def finish(self, trained: Training) -> None:
        """Evaluate, save and report."""
        Ending(
            folders=self.folders,
            settings=self.settings,
            data=self.data,
            splits=self.splits,
            tokenizer=self.tokenizer,
            classifier=self.classifier,
            first_weights=self._first_weights,
            cluster=self.cluster,
            stop=self.stop,
        ).finish(trained)
