"""A native operation that fails in any way is replaced by plain torch's, and the job goes on with one WARNING."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import text_classifier
from support.jobs import Job
from text_classifier.contract.errors import PlatformError, SettingsError
from text_classifier.ops import linear, reference, selftest
from text_classifier.ops.backend import OPERATIONS, TORCH
from text_classifier.ops.cpu import bindings
from text_classifier.ops.processor import has_bf16, has_onednn
from text_classifier.ops.selftest import Shape, choose

CPU = torch.device("cpu")
SHAPE = Shape(heads=4, width=96, inner_width=200, norm_widths=(96, 32), dropouts=(0.1,))

#: Each native function, its operation, and the number of tensors that it returns.
FUNCTIONS = {
    "attention_forward": ("attention", 2), "attention_backward": ("attention", 2),
    "norm_forward": ("add_and_norm", 4), "norm_backward": ("add_and_norm", 5),
    "gelu_forward": ("gelu", 1), "gelu_backward": ("gelu", 2), "dropped": ("dropout", 1),
    "weight_grad": ("weight_grad", 1), "bias_grad": ("bias_grad", 1),
}  # fmt: skip


def wrong(tensor: Tensor) -> None:
    tensor.view(-1)[-1] += tensor.abs().max() + 1


def not_a_number(tensor: Tensor) -> None:
    tensor.view(-1)[0] = torch.nan


def faulty(function: Callable[..., Any], index: int, fault: Callable[[Tensor], None]) -> Callable[..., Any]:
    """The function, with a fault in one of the tensors that it returns."""

    def call(*arguments: Any) -> Any:
        result = function(*arguments)
        tensor = result if isinstance(result, Tensor) else result[index]
        if tensor is not None:
            fault(tensor)
        return result

    return call


@pytest.fixture(autouse=True)
def all_operations_are_native(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also weight_grad, which only AMX has: elsewhere a stand-in is taken for it."""
    monkeypatch.delenv("TEXT_OPS", raising=False)
    name, library = bindings._library()
    if name != "amx":
        monkeypatch.setattr(bindings, "_library", lambda: ("amx", library))
        monkeypatch.setattr(bindings, "weight_grad", lambda d_output, x: reference.weight_grad(d_output, x).clone())


def names() -> dict[str, str]:
    return dict(choose(CPU, torch.bfloat16, SHAPE).names)


ALL = dict.fromkeys(OPERATIONS, "amx") | {"adamw": TORCH}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("dropouts", [(), (0.1, 0.3)], ids=str)
def test_good_operations_pass_without_a_word(
    dropouts: tuple[float, ...], dtype: torch.dtype, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    shape = Shape(heads=12, width=768, inner_width=3072, norm_widths=(768,), dropouts=dropouts)
    choose(CPU, dtype, shape)
    started = time.process_time()
    ops = choose(CPU, dtype, shape)
    assert time.process_time() - started < 0.3
    assert ops.names == (ALL if dtype == torch.bfloat16 else ALL | {"weight_grad": TORCH})
    assert capsys.readouterr().out == ""
    assert torch.equal(torch.get_rng_state(), before)  # of the job's dropout


@pytest.mark.parametrize("fault", [wrong, not_a_number])
@pytest.mark.parametrize(
    ("function", "index"), [(name, index) for name, (_, count) in FUNCTIONS.items() for index in range(count)]
)
def test_a_wrong_result_is_found_and_the_operation_replaced(
    function: str, index: int, fault: Callable[[Tensor], None], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(bindings, function, faulty(getattr(bindings, function), index, fault))
    operation, _ = FUNCTIONS[function]
    ops = choose(CPU, torch.bfloat16, SHAPE)
    assert ops.names == ALL | {operation: TORCH}
    assert getattr(ops, operation) is getattr(reference.backend(CPU, torch.bfloat16), operation)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(
        "WARNING: PyTorch's own operations replace native ones, and the job is slower: "
        f"{operation}: the result differs from PyTorch's by "
    )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_exception_is_found_and_the_operation_replaced(
    function: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no memory for it\nand more")

    monkeypatch.setattr(bindings, function, fail)
    operation, _ = FUNCTIONS[function]
    assert names() == ALL | {operation: TORCH}
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(f"slower: {operation}: no memory for it")


#: The functions of kernels.cpp.
SYMBOLS = {
    "attention_forward": "attention", "attention_backward": "attention", "norm_forward": "add_and_norm",
    "norm_backward": "add_and_norm", "gelu_forward": "gelu", "gelu_backward": "gelu", "dropout": "dropout",
    "sum_rows": "bias_grad",
}  # fmt: skip


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_missing_symbol_is_found_and_the_operation_replaced(
    symbol: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, library = bindings._library()

    class Lacking:
        def __getattr__(self, name: str) -> Any:
            return getattr(library, "no_such_function" if name == f"{symbol}_bf16" else name)

    monkeypatch.setattr(bindings, "_library", lambda: ("amx", Lacking()))
    assert names() == ALL | {SYMBOLS[symbol]: TORCH}
    (line,) = capsys.readouterr().out.splitlines()
    assert f"slower: {SYMBOLS[symbol]}: " in line and "undefined symbol: no_such_function" in line


def test_several_faults_are_one_warning(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for function in ("gelu_backward", "bias_grad"):
        monkeypatch.setattr(bindings, function, faulty(getattr(bindings, function), 0, wrong))
    assert names() == ALL | {"gelu": TORCH, "bias_grad": TORCH}
    (line,) = capsys.readouterr().out.splitlines()
    assert "gelu: the result" in line and "; bias_grad: the result" in line


@pytest.mark.parametrize(
    ("library", "capabilities", "reason"),
    [
        (True, {}, "this processor has no AVX2"),  # an old one, or arm64
        (False, {"avx2": True}, "kernels-avx2.so is missing and cannot be compiled here ([Errno 2] No such file"),
        (None, {"avx2": True}, "kernels-avx2.so: file too short"),
    ],
)
def test_without_a_library_or_avx2_all_is_plain_torch(
    library: bool | None, capabilities: dict[str, bool], reason: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.undo()
    monkeypatch.delenv("TEXT_OPS", raising=False)
    bindings._library.cache_clear()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    if not library:
        monkeypatch.setattr(sys, "prefix", str(tmp_path))
        monkeypatch.setenv("PATH", str(tmp_path))
        (tmp_path / "lib").mkdir()
    if library is None:
        (tmp_path / "lib" / "kernels-avx2.so").touch()
    try:
        assert names() == dict.fromkeys(OPERATIONS, TORCH)
    finally:
        bindings._library.cache_clear()
    (line,) = capsys.readouterr().out.splitlines()
    assert "slower: all native operations: " in line and reason in line


def test_reference_takes_plain_torch_and_asks_for_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXT_OPS", "reference")
    monkeypatch.setattr(selftest, "_native", None)
    assert names() == dict.fromkeys(OPERATIONS, TORCH)
    assert not choose(CPU, torch.float32, SHAPE).prepacked_rows


def test_16_bits_are_prepacked_where_the_processor_multiplies_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (choose(CPU, torch.bfloat16, SHAPE).prepacked_rows > 0) == (has_onednn() and has_bf16())
    monkeypatch.setattr(selftest, "has_bf16", lambda: False)
    assert not choose(CPU, torch.bfloat16, SHAPE).prepacked_rows
    assert not choose(CPU, torch.float16, SHAPE).prepacked_rows


def test_wrong_matmuls_with_prepacked_weights_are_found_and_not_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (choose(CPU, torch.float32, SHAPE).prepacked_rows > 0) == has_onednn()
    monkeypatch.setattr(selftest, "has_onednn", lambda: True)
    monkeypatch.setattr(linear.PrepackedWeights, "linear", lambda self, x, modules, has_bias: modules[0](x) + 1e-3)
    assert not choose(CPU, torch.float32, SHAPE).prepacked_rows
    monkeypatch.setattr(linear, "_concatenated", None)
    assert not choose(CPU, torch.float32, SHAPE).prepacked_rows
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all("slower: matmuls with prepacked weights: " in line for line in lines)


def test_native_replaces_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXT_OPS", "native")
    assert names() == ALL
    monkeypatch.setattr(bindings, "gelu_forward", faulty(bindings.gelu_forward, 0, wrong))
    with pytest.raises(PlatformError, match=r"TEXT_OPS=native, and native operations cannot be used \(gelu: "):
        names()


def test_another_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXT_OPS", "torch")
    with pytest.raises(SettingsError, match="TEXT_OPS=torch in the environment is not one of auto, native, reference"):
        names()


def test_padded_batches_take_the_optimizer_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU that is torch's: there is nothing native to look for."""
    monkeypatch.setattr(selftest, "_native", None)
    ops = choose(CPU, torch.float32, None)
    assert ops.names == {"adamw": TORCH}
    assert ops.agreed(lambda *claims: list(claims)) is ops


def test_ranks_agree_on_the_native_operations_that_all_have() -> None:
    ops = choose(CPU, torch.bfloat16, SHAPE)

    def any_rank_each(*claims: bool) -> list[bool]:
        return [claim or name == "gelu" for claim, name in zip(claims, OPERATIONS, strict=True)]

    agreed = ops.agreed(any_rank_each)
    assert agreed.names == ALL | {"gelu": TORCH}
    assert agreed.gelu is reference.gelu and agreed.attention is ops.attention
    plain = reference.backend(CPU, torch.bfloat16)
    assert plain.agreed(any_rank_each) is plain


def test_where_one_rank_lacks_native_operations_no_rank_uses_them(ready_job: Job) -> None:
    codes, logs = ready_job.run_ranks("--epochs=1", each=[{"TEXT_OPS": "auto"}, {"TEXT_OPS": "reference"}])
    assert codes == [0, 0], logs
    assert ready_job.metrics["operations"] == dict.fromkeys(OPERATIONS, TORCH)


def test_with_ops_cpu_and_ops_cuda_deleted_a_job_gives_the_same_metrics(ready_job: Job, tmp_path: Path) -> None:
    """The promise of ops/: they make it faster, and nothing else."""
    code = tmp_path / "code"
    shutil.copytree(Path(text_classifier.__file__).parents[1], code)
    for folder in ("cpu", "cuda"):
        shutil.rmtree(code / "text_classifier" / "ops" / folder)
    options = ("--epochs=2", "--learning_rate=0.01", "--train_batch_size=8", "--precision=fp32")
    assert ready_job.run(*options)[0] == 0
    expected = ready_job.metrics
    ready_job.clear()
    done = subprocess.run(
        [sys.executable, code / "train.py", *options],
        env=os.environ | {"SAGEMAKER_BASE_DIR": str(ready_job.base), "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    warnings = [line for line in done.stdout.splitlines() if line.startswith("WARNING")]
    assert len(warnings) == 1 and "all native operations: No module named 'text_classifier.ops.cpu'" in warnings[0]
    manifest = json.loads((ready_job.base / "model" / "training_manifest.json").read_text())
    metrics = ready_job.metrics
    assert manifest["operations"] == metrics["operations"] == dict.fromkeys(OPERATIONS, TORCH)
    assert metrics["accuracy"] == expected["accuracy"]
    assert metrics["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-3)


def test_the_library_is_the_fastest_of_this_processor() -> None:
    """What the tests above rely on: kernels.cpp runs here."""
    assert isinstance(bindings._library()[1], ctypes.CDLL)
