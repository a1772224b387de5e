"""The end of a job, on every rank: from trained weights to the artifact and its report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from transformers import PreTrainedTokenizerBase

from text_classifier.contract.errors import JobError, first_line, print_traceback
from text_classifier.contract.hyperparameters import Settings
from text_classifier.contract.schema import MANIFEST
from text_classifier.dataset.load import Data, fold_of_rows
from text_classifier.modeling.load import Classifier
from text_classifier.results import artifact
from text_classifier.results.evaluated import MEASURED, MOST_JUDGED, Evaluated
from text_classifier.results.write import EPOCHS, Results, Stage, of_training, report_stages
from text_classifier.runtime.folders import JobFolders
from text_classifier.runtime.heartbeat import working
from text_classifier.runtime.stop import StopSignal
from text_classifier.tokenization.pairs import arguments
from text_classifier.training.batches import Split
from text_classifier.training.cluster import Cluster
from text_classifier.training.cross_validation import CrossValidation, CrossValidator, Weights
from text_classifier.training.inference import row_logits
from text_classifier.training.state import Training


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What a job has once it is trained."""

    folders: JobFolders
    settings: Settings
    data: Data
    splits: Mapping[str, Split]
    tokenizer: PreTrainedTokenizerBase
    classifier: Classifier  #: with the weights to be saved
    first_weights: Weights  #: those before training; empty without `cross_validation`
    cluster: Cluster
    stop: StopSignal

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
            task=self.data.task,
            classes=self.data.classes,
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
            self.classifier.model,
            self.tokenizer,
            self.data.classes,
            trained,
            judged.recommended if judged else None,
            evaluated.thresholds if self.settings.thresholds == "fitted" else None,
        )
        artifact.write_model(model, self.classifier.model, self.tokenizer, manifest)
        print(f"saved {model} ({manifest['status']} after step {trained.steps})", flush=True)
        rows = {name: len(split) for name, split in self.splits.items()}
        metrics = of_training(trained, self.data.task, self.data.classes, rows)
        return Results(model, output, evaluated, metrics, manifest)

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
            manifest["onnx"] = export(results.model, self.classifier.model, self.tokenizer, texts, is_pair=is_pair)
        except ExportFailed as error:
            manifest["onnx"] = {"error": str(error)}
            print(f"ERROR: model.onnx was not saved: {error}; the model itself was", flush=True)
        artifact.write_json(results.model / MANIFEST, manifest)

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

    def cross_validate(self, trained: Training) -> CrossValidation | None:
        """The training rows, measured by models that have not learned them; None without `cross_validation`.

        None after a stop. The model is saved by now: in a single process an error here costs this measurement alone.
        """
        if not self.settings.cross_validation or trained.is_stopped:
            return None
        validator = CrossValidator(
            self.classifier,
            self.first_weights,
            self.splits["validation"],
            self.data.task,
            self.settings,
            self.cluster,
            self.stop,
        )
        try:
            return validator.run(
                self.splits["train"], fold_of_rows(self.data.splits["train"], self.data.task, self.settings)
            )
        except Exception as error:
            if self.cluster.world_size > 1:  # the other ranks wait for this one
                raise
            if not isinstance(error, JobError):
                print_traceback()
            print(f"WARNING: cross-validation has no result: {first_line(error)} (the model was saved)", flush=True)
            return None

    def full_lengths(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens of these texts without truncation, int64 [texts]."""
        split = arguments(texts, is_pair=self.settings.has_pairs)
        encoded = self.tokenizer(*split, return_attention_mask=False, return_token_type_ids=False)
        return np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int64)
