"""Whether a stored checkpoint is one that this job could have written: its tensors, and the values of its state.

A checkpoint folder is input: it may be another model's, of another version, or made up. What does not fit is found
before anything of it is used.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from text_classifier.contract.metric_names import BY_TASK, LOSSES
from text_classifier.modeling.precision import STEPS_TO_GROW
from text_classifier.training.checkpoint import Content, Header, Headers
from text_classifier.training.evaluations import EvaluationPlan
from text_classifier.training.loss_tracking import POINTS, LossCurve

#: Files and tensors that a checkpoint may lack: there is no best epoch yet; it was written on a CPU.
_OPTIONAL_FILES = {"best"}
_OF_GPU = "random_cuda"
_GPU_STATE_BYTES = 16  # seed and offset

#: The largest integer that JSON keeps exactly everywhere.
_MOST = 2**53

#: The smallest normal number in fp32: a scale that is halved so often has no gradient left.
_SMALLEST_SCALE = 2.0**-126

_MAY_BE_UNDEFINED = {"roc_auc", "auprc", "roc_auc_macro", "auprc_macro"}

_DTYPES = {
    torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def header_of(tensor: torch.Tensor, *leading: int) -> Header:
    """dtype and shape as in a safetensors header; `leading`: sizes in front of the shape."""
    return _DTYPES[tensor.dtype], (*leading, *tensor.shape)


class Expected:
    """The checkpoint that a job of this task would write. `headers`: of each of its tensors, by file and name."""

    def __init__(self, headers: Headers, plan: EvaluationPlan, task: str) -> None:
        self._headers = headers
        self._plan = plan
        self._metrics = {*LOSSES, *BY_TASK[task]}

    def misfit_of_tensors(self, stored: Headers) -> str | None:
        """Why these tensors are not the job's; None if they are. They need not have been loaded."""
        for file in sorted({*self._headers, *stored}):
            if file not in self._headers:
                return f"{file}.safetensors does not belong in a checkpoint"
            if file not in stored:
                if file in _OPTIONAL_FILES:
                    continue
                return f"{file}.safetensors is missing"
            expected, found = dict(self._headers[file]), dict(stored[file])
            if file == "ranks" and found.get(_OF_GPU) == ("U8", (expected["random"][1][0], _GPU_STATE_BYTES)):
                del found[_OF_GPU]
            for name in sorted({*expected, *found}):
                if expected.get(name) != found.get(name):
                    return f"{name} in {file}.safetensors does not match this job's model"
        return None

    def misfit_of_content(self, step: int, content: Content) -> str | None:
        """Why this cannot be the content of the job's checkpoint of a step; None if it can. The tensors must fit."""
        for file, tensors in content.tensors.items():
            if any(not torch.isfinite(tensor).all() for tensor in tensors.values()):
                return f"{file}.safetensors has values that are not finite"
        if not all(map(_is_random_state, content.tensors["ranks"]["random"])):
            return "its random state is damaged"
        if any((tensor < 0).any() for name, tensor in content.tensors["optimizer"].items() if _is_positive(name)):
            return "optimizer.safetensors has negative values where there can be none"
        wrong = [key for key, is_possible in self._claims(step, content).items() if not is_possible]
        return f"{wrong[0]} in state.json cannot be that of step {step}" if wrong else None

    def _claims(self, step: int, content: Content) -> dict[str, bool]:
        """Whether the value of each key of the state is possible."""
        state = content.state
        epochs: Any = state.get("epochs")
        best: Any = state.get("best_epoch")
        scale = state.get("loss_scale")
        has_epochs = isinstance(epochs, list) and all(map(self._is_epoch, epochs))
        finished = len(epochs) if has_epochs else 0
        operations = state.get("operations", {})  # absent from older checkpoints
        return {
            "steps": state.get("steps") == step and type(state["steps"]) is int,
            "epochs": has_epochs and self._plan.step_of(finished) <= step <= self._plan.step_of(finished + 1),
            "best_epoch": _is_count(best) and best <= finished and (best > 0) == ("best" in content.tensors),
            "rows": _is_count(state.get("rows")),
            "loss_scale": isinstance(scale, list)
            and len(scale) == 2
            and all(map(_is_amount, scale))
            and scale[0] >= _SMALLEST_SCALE
            and scale[1] < STEPS_TO_GROW,
            "curve": _is_curve(state.get("curve"), step),
            "operations": isinstance(operations, dict) and all(isinstance(how, str) for how in operations.values()),
            "token_limits": _are_limits(state.get("token_limits", [1, 1])),  # absent from older checkpoints
            "origin": isinstance(state.get("origin"), dict),
            "own_rows": bool((content.tensors["ranks"]["own_rows"] >= 0).all()),
        }

    def _is_epoch(self, values: Any) -> bool:
        """Whether these can be the metrics of an evaluation: numbers, by the names that the log and the event files
        have. What the validation rows leave undefined is not there."""
        return (
            isinstance(values, dict)
            and values.keys() <= self._metrics
            and self._metrics - values.keys() <= _MAY_BE_UNDEFINED
            and all(map(_is_number, values.values()))
        )


def _is_positive(name: str) -> bool:
    """Whether a tensor of the optimizer's counts steps, or is a mean of squares."""
    return name.startswith(("step.", "exp_avg_sq."))


def _is_random_state(state: torch.Tensor) -> bool:
    try:
        torch.Generator().set_state(state.clone())
    except RuntimeError:
        return False
    return True


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _are_limits(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(_is_count(limit) and limit > 0 for limit in value)


def _is_number(value: Any) -> bool:
    """Whether it is a number; NaN and infinity are."""
    return type(value) is float or (type(value) is int and abs(value) <= _MOST)


def _is_amount(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= _MOST


def _is_curve(state: Any, step: int) -> bool:
    """Whether it is the state of a LossCurve after this step."""
    if not isinstance(state, dict) or state.keys() != vars(LossCurve()).keys():
        return False
    steps, width, sums, rows = (state[key] for key in ("steps", "_steps_of_point", "_sums", "_rows"))
    return (
        _is_count(steps)
        and steps <= step
        and _is_count(width)
        and width > 0
        and isinstance(sums, list)
        and isinstance(rows, list)
        and len(sums) == len(rows) == math.ceil(steps / width) <= POINTS
        and all(map(_is_number, sums))
        and all(_is_count(number) and number > 0 for number in rows)
    )
