"""A job from its rows to its artifact, on every rank."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from text_classifier.contract import metric_names
from text_classifier.contract.errors import (
    DataError,
    JobError,
    SettingsError,
    explain,
    first_line,
    listed,
    print_traceback,
)
from text_classifier.contract.hyperparameters import Settings
from text_classifier.contract.schema import MANIFEST
from text_classifier.dataset import data_report
from text_classifier.dataset.load import fold_of_rows
from text_classifier.modeling.checks import require_token_types
from text_classifier.modeling.layers import freeze
from text_classifier.modeling.load import load_model, make_classifier
from text_classifier.modeling.precision import Precision
from text_classifier.preparation.files import is_published
from text_classifier.preparation.rows import ROWS, map_rows
from text_classifier.preparation.tokens import map_tokens, prepare_tokens
from text_classifier.results import artifact
from text_classifier.results.evaluated import MEASURED, MOST_JUDGED, Evaluated
from text_classifier.results.write import EPOCHS, Results, Stage, of_training, report_stages
from text_classifier.runtime.folders import JobFolders
from text_classifier.runtime.heartbeat import working
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.stop import NOTHING_TO_SAVE, Stopped, StopSignal
from text_classifier.tokenization.pairs import arguments
from text_classifier.tokenization.truncation import choose_side
from text_classifier.tokenization.unknown import require_known_tokens
from text_classifier.training.batches import Split
from text_classifier.training.carrier import carry
from text_classifier.training.checkpoint import Checkpoints
from text_classifier.training.cluster import Cluster
from text_classifier.training.cross_validation import CrossValidation, CrossValidator, copy_of_weights
from text_classifier.training.inference import row_logits
from text_classifier.training.loop import train
from text_classifier.training.loss_tracking import LossNotFinite
from text_classifier.training.resume import Saver, Training, fingerprint


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
    """The model, the tokenized rows, and the steps from them to the artifact."""

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
        self._first_weights = copy_of_weights(self.model) if settings.cross_validation else {}
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

    def evaluate(self, trained: Training) -> Evaluated:
        """The logits of the validation rows, of the test rows and of few training rows; none after a stop.

        The model is whole by now: in a single process an error here (long test texts and little memory) costs the
        metrics of the split and not the model.
        """
        logits: dict[str, np.ndarray] = {}
        first_logits: dict[str, np.ndarray] = {}
        few = len(self.splits["train"].tokens) <= MOST_JUDGED
        judged = {name: split for name, split in self.splits.items() if name != "train" or few}
        for name in ("validation", "test", "train"):
            if name in judged and not trained.is_stopped:
                split = self.splits[name]
                try:
                    with working(f"evaluating the {name} rows"):
                        size, limit = self.settings.eval_batch_size, trained.evaluation_limit
                        found = row_logits(self.classifier, split, size, self.cluster, self.stop, limit=limit)
                except Exception as error:
                    if self.cluster.world_size > 1:  # the other ranks wait for this one
                        raise
                    print_traceback()
                    print(f"WARNING: the {name} rows were not evaluated: {first_line(error)}", flush=True)
                    break
                if found is None:
                    break
                logits[name] = split.means(found)
                if split.tokens.windows:
                    first_logits[name] = found[split.tokens.windows.first[:-1]]
        return Evaluated(
            task=self.task,
            classes=self.classes,
            rows=self.data.splits,
            lengths={name: split.tokens.text_lengths for name, split in self.splits.items()},
            logits={name: logits[name] for name in MEASURED if name in logits},
            training_logits=logits.get("train"),
            seed=self.settings.seed,
            full_lengths=self.full_lengths,
            windows={name: split.tokens.windows for name, split in self.splits.items() if split.tokens.windows},
            first_window_logits={name: first_logits[name] for name in MEASURED if name in first_logits},
        )

    def save(self, trained: Training, evaluated: Evaluated) -> Results:
        """Write the model, on rank 0 only. Returns the input of the report's stages."""
        model, output = self.folders.model, self.folders.output_data
        judged = evaluated.temperature
        manifest = artifact.manifest(
            self.folders,
            self.settings,
            self.model,
            self.tokenizer,
            self.classes,
            trained,
            judged.recommended if judged else None,
            evaluated.thresholds if self.settings.thresholds == "fitted" else None,
        )
        artifact.write_model(model, self.model, self.tokenizer, manifest)
        print(f"saved {model} ({manifest['status']} after step {trained.steps})", flush=True)
        rows = {name: len(split) for name, split in self.splits.items()}
        return Results(model, output, evaluated, of_training(trained, self.task, self.classes, rows), manifest)

    def cross_validate(self, trained: Training) -> CrossValidation | None:
        """The training rows, measured by models that have not learned them; None without `cross_validation`.

        None after a stop. The model is saved by now: in a single process an error here costs this measurement alone.
        """
        if not self.settings.cross_validation or trained.is_stopped:
            return None
        validator = CrossValidator(
            self.classifier,
            self._first_weights,
            self.splits["validation"],
            self.task,
            self.settings,
            self.cluster,
            self.stop,
        )
        try:
            return validator.run(
                self.splits["train"], fold_of_rows(self.data.splits["train"], self.task, self.settings)
            )
        except Exception as error:
            if self.cluster.world_size > 1:  # the other ranks wait for this one
                raise
            if not isinstance(error, JobError):
                print_traceback()
            print(f"WARNING: cross-validation has no result: {first_line(error)} (the model was saved)", flush=True)
            return None

    def stages(self, trained: Training, evaluated: Evaluated) -> tuple[list[Stage], list[Stage]]:
        """The parts of the report, as in report_stages; the same on every rank."""
        (first, *measured), others = report_stages(evaluated)
        exports = self.settings.export == "onnx" and not trained.is_stopped
        return [first, *([("model.onnx", self.export_onnx)] if exports else []), *measured], others

    def export_onnx(self, results: Results) -> None:
        """Write model.onnx, and the outcome to the manifest. A failed export does not affect the model."""
        from text_classifier.results.onnx_export import (  # takes seconds, and is rarely needed
            TEXTS,
            ExportFailed,
            export,
        )

        by_length = np.argsort(self.splits["validation"].tokens.text_lengths, kind="stable")
        some = by_length[np.linspace(0, len(by_length) - 1, TEXTS).astype(np.int64)]
        texts, manifest = self.data.splits["validation"].take(some).texts[:], results.manifest
        is_pair = self.settings.has_pairs
        try:
            manifest["onnx"] = export(results.model, self.model, self.tokenizer, texts, is_pair=is_pair)
        except ExportFailed as error:
            manifest["onnx"] = {"error": str(error)}
            print(f"ERROR: model.onnx was not saved: {error}; the model itself was", flush=True)
        artifact.write_json(results.model / MANIFEST, manifest)

    def finish(self, trained: Training) -> None:
        """Evaluate, save and report. The model is saved first: neither a stop nor an error in the report loses it.

        What is known without a cross-validation is written before it, as it may take long and be stopped.
        """
        evaluated = self.evaluate(trained)
        results = self.save(trained, evaluated) if self.cluster.is_rank_zero else None
        if results is None:
            print(f"rank {self.cluster.rank} ended after step {trained.steps}", flush=True)
        first, others = self.stages(trained, evaluated)
        if not self._write(first, results):
            return
        found = self.cross_validate(trained)
        if found is not None:
            others = [("cross-validation", partial(Results.add_cross_validation, found=found)), *others]
        if found is not None or not self.cluster.any_rank(self.stop.requested):
            self._write(others, results)

    def _write(self, stages: Sequence[Stage], results: Results | None) -> bool:
        """Write these parts of the report. Returns whether all were written and no stop was requested, on every rank.

        Rank 0 writes. The other ranks wait for it, and learn after each part that it is still alive.
        """
        started, written, has_failed, ends = time.monotonic(), list[str](), False, False
        for name, write in stages:
            if results is not None:
                try:
                    with working(f"writing {name}"):
                        write(results)
                    written.append(name)
                except Exception:
                    if name == EPOCHS:  # metrics.json is part of the result
                        raise
                    print_traceback()
                    print(f"WARNING: no {name}, nor what follows it (see above); the model was saved", flush=True)
                    has_failed = True  # later parts need the earlier ones
            if ends := self.cluster.any_rank(has_failed or self.stop.requested):
                break
        if written:
            seconds = time.monotonic() - started
            self.cluster.print0(f"wrote {self.folders.output_data} in {seconds:.1f} s ({', '.join(written)})")
        return not ends

    def full_lengths(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens of these texts without truncation, int64 [texts]."""
        split = arguments(texts, is_pair=self.settings.has_pairs)
        encoded = self.tokenizer(*split, return_attention_mask=False, return_token_type_ids=False)
        return np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int64)
