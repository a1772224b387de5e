"""model.onnx: the saved model for other runtimes than torch, kept only if its logits are the trainer's."""

from __future__ import annotations

import inspect
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from scipy.special import erf
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from text_classifier.contract.schema import OnnxExport
from text_classifier.modeling.load import make_classifier
from text_classifier.modeling.precision import Precision
from text_classifier.results.artifact import written_aside
from text_classifier.tokenization.pairs import arguments
from text_classifier.tokenization.tokens import tokenize
from text_classifier.training.batches import Split, collate

FILE = "model.onnx"
OPSET = 18

#: Largest accepted difference of a logit; fp32 sums in another order differ by about 1e-6.
TOLERANCE = 1e-4

#: Texts that are compared, and the tokens they are truncated to. The evaluator is slow.
TEXTS = 4
TOKENS = 32


# It warns that torchvision is missing, which nothing here needs.
logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)


class ExportFailed(Exception):
    """model.onnx was not written; the message gives the reason in one sentence."""


class _Logits(torch.nn.Module):
    """A classifier that takes its inputs as positional tensors, in the order of `names`."""

    def __init__(self, model: PreTrainedModel, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(**dict(zip(self.names, values, strict=True))).logits
        return logits


def export(
    directory: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str], *, is_pair: bool
) -> OnnxExport:
    """Write model.onnx into the model's directory. Returns its entry in the manifest.

    The inputs are those of the tokenizer (int64 [batch, sequence], both dynamic), the output is `logits` (float32
    [batch, outputs]). For `texts`, the logits of ONNX's reference evaluator must equal the trainer's in fp32. Moves the
    model to the CPU. Raises ExportFailed.
    """
    logits = _trainer_logits(model.cpu(), tokenizer, texts, is_pair=is_pair)
    saved = AutoModelForSequenceClassification.from_pretrained(directory, dtype="float32", local_files_only=True).eval()
    of_texts = arguments(texts, is_pair=is_pair)
    encoded = tokenizer(*of_texts, truncation=True, max_length=TOKENS, padding=True, return_tensors="pt")
    read = inspect.signature(saved.forward).parameters
    names = [name for name in tokenizer.model_input_names if name in read and name in encoded]
    try:
        with written_aside(directory) as aside:  # a model of more than 2 GB has its weights in a second file
            _write(aside / FILE, saved, names, [encoded[name] for name in names])
            difference = _difference(aside / FILE, {name: encoded[name].numpy() for name in names}, logits)
            if not difference <= TOLERANCE:
                raise ExportFailed(f"its logits differ from the trainer's by {difference:.1e}, more than {TOLERANCE:g}")
    except ExportFailed:
        raise
    except Exception as error:  # torch.onnx raises many types for a model that it cannot export
        raise ExportFailed(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}") from error
    return {"file": FILE, "opset": OPSET, "inputs": names, "largest_difference": difference, "tolerance": TOLERANCE}


def _trainer_logits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str], *, is_pair: bool
) -> np.ndarray:
    """The logits of training and evaluation, in fp32: float32 [texts, outputs]."""
    classifier = make_classifier(model, tokenizer.pad_token_id or 0, Precision("fp32", torch.device("cpu"))).eval()
    split = Split(tokenize(tokenizer, texts, TOKENS, is_pair=is_pair), np.zeros(len(texts), dtype=np.int64))
    batch = collate(classifier, split, np.arange(len(texts)), len(texts))
    with torch.inference_mode():
        sorted_logits = classifier(**batch.inputs).numpy()
    logits = np.empty_like(sorted_logits)
    logits[batch.rows] = sorted_logits
    return logits


def _write(path: Path, model: PreTrainedModel, names: list[str], values: list[torch.Tensor]) -> None:
    axes = {0: "batch", 1: "sequence"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        program = torch.onnx.export(
            _Logits(model, names).eval(), tuple(values), input_names=names, output_names=["logits"],
            dynamic_shapes={"values": tuple(axes for _ in names)}, opset_version=OPSET, dynamo=True, verbose=False,
        )  # fmt: skip
    assert program is not None
    program.save(path, external_data=None)


class GatherElements(OpRun):
    """The evaluator's version fails with numpy 2 on more than 64 columns."""

    op_domain = ""

    def _run(self, data: np.ndarray, indices: np.ndarray, axis: int = 0) -> tuple[np.ndarray]:
        return (np.take_along_axis(data, indices, axis),)


class Erf(OpRun):
    """The evaluator's version computes one number at a time, which takes minutes with a large model."""

    op_domain = ""

    def _run(self, values: np.ndarray) -> tuple[np.ndarray]:
        return (erf(values),)


def _difference(path: Path, inputs: dict[str, np.ndarray], logits: np.ndarray) -> float:
    """The largest difference of a logit, by ONNX's reference evaluator; NaN if any logit is NaN."""
    [values] = ReferenceEvaluator(str(path), new_ops=[GatherElements, Erf]).run(None, inputs)
    return float(np.abs(values - logits).max())
