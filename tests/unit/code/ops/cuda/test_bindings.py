"""The CUDA kernels compile for each generation of GPUs, and each operation matches torch's own in fp64: on a GPU, or
where there is none in the emulator on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from support import emulator
from support.exact import DEVICE, DTYPES, assert_near, attended, exact, numbers
from support.small_models import FAMILIES, gradients, model_of, split_of
from text_classifier.modeling.packed import PackedClassifier
from text_classifier.modeling.padded import PaddedClassifier
from text_classifier.modeling.parts import Encoder, encoder
from text_classifier.modeling.precision import Precision
from text_classifier.ops import reference
from text_classifier.ops.backend import Backend
from text_classifier.ops.cuda import bindings
from text_classifier.ops.cuda.adamw import AdamW
from text_classifier.ops.cuda.bindings import HEAD_WIDTHS
from text_classifier.ops.cuda.driver import compile_kernels
from text_classifier.ops.selftest import Shape, failing
from text_classifier.ops.sequences import Sequences
from text_classifier.training.batches import collate

HAS_GPU = DEVICE.type == "cuda"
#: Rows and widths; the emulator is slow.
NORMED = [(1, 384), (4097, 768), (37, 31), (5, 1024), (1000, 312)] if HAS_GPU else [(1, 384), (40, 384), (37, 31)]
ACTIVATED = [(1, 1536), (4097, 3072), (37, 31), (1000, 1200)] if HAS_GPU else [(1, 1536), (9, 1536), (37, 31)]


@pytest.fixture(scope="module", autouse=True)
def device() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patches:
        if not HAS_GPU:
            emulator.install(patches)
        yield


CUDA = torch.device("cuda")


def ops_for(dtype: torch.dtype, head_width: int = 64) -> Backend:
    """The native operations."""
    return bindings.backend(reference.backend(CUDA, dtype), CUDA, dtype, head_width)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("rows", "width"), NORMED)
def test_add_and_norm(rows: int, width: int, dtype: torch.dtype) -> None:
    update, residual = (numbers(rows, width, dtype=dtype, seed=seed) for seed in (1, 2))
    bias, gradient = numbers(width, seed=3), numbers(rows, width, dtype=dtype, seed=4).detach()
    norm = nn.LayerNorm(width, eps=1e-12, device=DEVICE)
    with torch.no_grad():
        norm.weight += 0.1 * numbers(width, seed=5)
    output = ops_for(dtype).add_and_norm(update, bias, residual, norm, 0.0)
    output.backward(gradient)
    own = (update, bias, residual, norm.weight, norm.bias)
    theirs = exact(*own)
    expected = functional.layer_norm(theirs[2] + theirs[0] + theirs[1], (width,), theirs[3], theirs[4], 1e-12)
    expected.backward(gradient.double())
    assert_near(output, expected, dtype)
    for one, other in zip(own, theirs, strict=True):
        assert_near(one.grad, other.grad, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("rows", "width"), ACTIVATED)
def test_gelu(rows: int, width: int, dtype: torch.dtype) -> None:
    x, bias, gradient = numbers(rows, width, dtype=dtype), numbers(width, seed=2), numbers(rows, width, seed=3)
    output = ops_for(dtype).gelu(x, bias)
    output.backward(gradient.to(dtype))
    theirs = exact(x, bias)
    expected = functional.gelu(theirs[0] + theirs[1])
    expected.backward(gradient.to(dtype).double())
    assert_near(output, expected, dtype)
    assert_near(x.grad, theirs[0].grad, dtype)
    assert_near(bias.grad, theirs[1].grad, dtype)


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_dropout_keeps_the_mean_and_the_gradient_has_the_same_mask(probability: float) -> None:
    rows, width = 512 if HAS_GPU else 256, 384
    update, residual = numbers(rows, width), torch.zeros(rows, width, device=DEVICE)
    norm = nn.LayerNorm(width, device=DEVICE)
    with torch.no_grad():
        update.fill_(1.0)
        update[:, ::2] = -1.0
    bias = torch.zeros(width, device=DEVICE)
    torch.manual_seed(3)
    masks = []
    for _ in range(2):
        update.grad = None
        output = ops_for(torch.float32).add_and_norm(update, bias, residual, norm, probability)
        output.sum().backward()  # a norm's sum is constant: what reaches a kept element is next to 0, but not 0
        kept = output.abs() > 0.5
        masks.append(kept)
        assert kept.float().mean().item() == pytest.approx(1 - probability, abs=0.01)
        assert kept.float().mean(0).sub(1 - probability).abs().max() < 0.2  # of so few rows
        update.grad = None
        torch.manual_seed(4)
        output = ops_for(torch.float32).add_and_norm(update, bias, residual, norm, probability)
        output.square().mul(numbers(rows, width, seed=9)).sum().backward()
        assert torch.equal(update.grad != 0, output.abs() > 0.5)
        torch.manual_seed(5)
    assert not torch.equal(*masks)


#: Head widths, lengths, dtypes.
ATTENDED = [
    (64, [128, 113, 17, 1], torch.bfloat16),
    (32, [64, 33, 5], torch.bfloat16),
    (32, [100, 16], torch.float16),
    (16, [16, 7, 1], torch.float16),
]


@pytest.mark.parametrize("has_one_query", [False, True])
@pytest.mark.parametrize(("width", "lengths", "dtype"), ATTENDED, ids=str)
def test_attention(width: int, lengths: list[int], dtype: torch.dtype, has_one_query: bool) -> None:
    heads, tokens = 3, sum(lengths)
    query = numbers(len(lengths), heads * width, dtype=dtype, seed=1) if has_one_query else None
    qkv = numbers(tokens, (2 if has_one_query else 3) * heads * width, dtype=dtype, seed=2)
    gradient = numbers(len(lengths) if has_one_query else tokens, heads * width, dtype=dtype, seed=3).detach()
    sequences = Sequences.from_lengths(np.array(lengths)).to(DEVICE, non_blocking=True)
    own = [qkv] if query is None else [qkv, query]
    theirs = exact(*own)
    output = ops_for(dtype, width).attention(query, qkv, sequences, heads, 0.0)
    output.backward(gradient)
    expected = attended(theirs[0], theirs[1] if has_one_query else None, lengths, heads)
    expected.backward(gradient.double())
    assert_near(output, expected, dtype)
    for one, other in zip(own, theirs, strict=True):
        assert_near(one.grad, other.grad, dtype)


def test_attention_drops_probabilities_and_the_gradient_has_the_same_mask() -> None:
    width, length, probability = 64, 60, 0.25
    lengths = [length, length]
    sequences = Sequences.from_lengths(np.array(lengths), max_seqlen=128).to(DEVICE, non_blocking=True)
    queries_and_keys, one_of_each = numbers(2 * length, 2 * width), torch.eye(length, width, device=DEVICE).repeat(2, 1)

    def run(value: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(seed)
        qkv = torch.cat([queries_and_keys, value], 1).to(torch.bfloat16).detach().requires_grad_()
        return ops_for(torch.bfloat16).attention(None, qkv, sequences, 1, probability), qkv

    masks = []
    for seed in (1, 2):
        # The values are the identity, so the output is the probabilities.
        masks.append(torch.stack([part[:, :length] != 0 for part in run(one_of_each, seed)[0].split(lengths)]))
        assert masks[-1].float().mean().item() == pytest.approx(1 - probability, abs=0.02)
    assert not torch.equal(*masks)
    assert not torch.equal(*masks[0])  # sequences have masks of their own
    for sequence in masks[0]:
        assert (sequence.float().mean(0) - 1 + probability).abs().max() < 0.25
        assert (sequence.float().mean(1) - 1 + probability).abs().max() < 0.25
        for distance in (1, 8, 16):  # neighbours are independent
            both = (sequence[distance:] & sequence[:-distance]).float().mean()
            assert both.item() == pytest.approx((1 - probability) ** 2, abs=0.04)

    output, qkv = run(numbers(2 * length, width, seed=3).detach(), 1)
    gradient = numbers(2 * length, width, dtype=torch.bfloat16, seed=4).detach()
    output.backward(gradient)
    (theirs,) = exact(qkv)
    expected = torch.cat(
        [
            attended(part, None, [length], 1, mask / (1 - probability))
            for part, mask in zip(theirs.split(lengths), masks[0], strict=True)
        ]
    )
    expected.backward(gradient.double())
    assert_near(output, expected, torch.bfloat16)
    assert_near(qkv.grad, theirs.grad, torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_adamw_takes_the_steps_of_torchs_and_refreshes_the_shadow_weights(dtype: torch.dtype) -> None:
    shapes = [(33, 70), (70,), (1,), (9, 1030), *[(3,)] * 70]  # more than one launch takes
    own, theirs = (
        [numbers(*shape, seed=seed).detach().requires_grad_() for seed, shape in enumerate(shapes)] for _ in range(2)
    )
    shadow_weights = {parameter: parameter.detach().to(dtype) for parameter in own[:2]}
    rates = torch.tensor([1e-2, 3e-3], device=DEVICE)

    def groups(parameters: list[torch.Tensor]) -> list[dict[str, object]]:
        return [{"params": parameters[:1], "weight_decay": 0.1}, {"params": parameters[1:], "weight_decay": 0.0}]

    optimizer = AdamW(groups(own), rates, 1e-8, shadow_weights if dtype != torch.float32 else {})
    reference = torch.optim.AdamW(groups(theirs), 1e-2, eps=1e-8)
    for step in range(4):
        for number, (group, peak) in enumerate(zip(reference.param_groups, (1e-2, 3e-3), strict=True)):
            group["lr"] = peak / (1 + step)
            rates[number] = group["lr"]
        for number, (one, other) in enumerate(zip(own, theirs, strict=True)):
            other.grad = numbers(*one.shape, seed=100 * step + number).detach()
            one.grad = 3 * other.grad if number != 2 else None
            other.grad = other.grad if number != 2 else None
        optimizer.grad_scale = torch.tensor(3.0, device=DEVICE)
        before = [parameter.detach().clone() for parameter in own]
        optimizer.found_inf = torch.tensor(1.0, device=DEVICE)
        optimizer.step()
        assert all(map(torch.equal, own, before))
        optimizer.found_inf = None if step else torch.tensor(0.0, device=DEVICE)
        optimizer.step()
        reference.step()
    for one, other in zip(own, theirs, strict=True):
        assert_near(one, other.double(), torch.float32)
        moments = optimizer.state[one]
        if one.grad is not None:
            assert moments["step"].item() == reference.state[other]["step"].item()
            for name in ("exp_avg", "exp_avg_sq"):
                assert_near(moments[name], reference.state[other][name].double(), torch.float32)
    if dtype != torch.float32:
        for parameter, shadow in shadow_weights.items():
            assert torch.equal(shadow, parameter.detach().to(dtype))


@pytest.fixture
def precision(monkeypatch: pytest.MonkeyPatch) -> Any:
    """bf16 on a GPU, or a fake of it."""
    if HAS_GPU:
        return Precision("bf16", DEVICE)
    monkeypatch.setattr("text_classifier.modeling.packed.choose", lambda device, dtype, shape: ops_for(dtype, 16))
    return SimpleNamespace(device=CUDA, dtype=torch.bfloat16)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_reads_the_shadow_weights_that_each_step_refreshes(family: str, precision: Any) -> None:
    width = {"dim": 64, "hidden_dim": 128} if family == "distilbert" else {"hidden_size": 64, "intermediate_size": 128}
    model = model_of(family, **width).to(DEVICE)
    split = split_of([30, 17, 5])
    packed = PackedClassifier(model, cast(Encoder, encoder(model)), precision)
    padded = PaddedClassifier(model, model.config.pad_token_id, Precision("fp32", DEVICE))
    rates = torch.tensor([1e-2], device=DEVICE)
    optimizer = AdamW([{"params": list(model.parameters())}], rates, 1e-8, packed.shadow_weights)
    assert len(packed.shadow_weights) == 3 * 6 * 2  # weights and biases of three layers

    def logits(classifier: Any, mode: bool = True) -> torch.Tensor:
        classifier.train(mode)
        return forwards(classifier)

    def forwards(classifier: Any) -> torch.Tensor:
        batch = collate(classifier, split, np.arange(3), 3).to(DEVICE)
        return classifier(**batch.inputs)

    found = []
    for classifier in (packed, padded):
        output = logits(classifier)
        output.square().sum().backward()
        found.append((output.detach(), gradients(model)))
    (ours, own), (theirs, expected) = found
    assert_near(ours, theirs.double(), torch.bfloat16)
    largest = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():
        assert (own[name] - gradient).abs().max() < 0.05 * largest, name

    for name, parameter in model.named_parameters():
        parameter.grad = own.get(name)
    packed.train()
    optimizer.step()
    after = forwards(packed)  # by the shadow weights
    assert (after - ours).abs().max() > 0.1
    assert torch.equal(after, logits(packed, mode=False))  # by the weights themselves
    with torch.no_grad():
        packed.parts.layers[0].query.weight += 1.0
    assert torch.equal(logits(packed), logits(packed, mode=False))


@pytest.mark.parametrize("dropouts", [(), (0.1,), (0.5,)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_the_self_test_accepts_them_with_their_dropout(dtype: torch.dtype, dropouts: tuple[float, ...]) -> None:
    shape = Shape(heads=2, width=128, inner_width=128, norm_widths=(64, 16), dropouts=dropouts)
    ops = ops_for(dtype)
    assert {name for name, how in ops.names.items() if how == "cuda"} == {"attention", "add_and_norm", "gelu", "adamw"}
    assert failing(ops, DEVICE, dtype, shape) == {}


def test_padded_batches_take_the_optimizer_alone() -> None:
    plain = replace(reference.backend(CUDA, torch.bfloat16), names={"adamw": "torch"})
    ops = bindings.backend(plain, CUDA, torch.bfloat16, None)
    assert ops.names == {"adamw": "cuda"}
    assert failing(ops, DEVICE, torch.bfloat16, None) == {}


#: Each function that a kernel computes, its operation, and the number of tensors that it returns.
FUNCTIONS = {
    "attention_forward": ("attention", 2), "attention_backward": ("attention", 2),
    "norm_forward": ("add_and_norm", 4), "norm_backward": ("add_and_norm", 5),
    "gelu_forward": ("gelu", 1), "gelu_backward": ("gelu", 2),
}  # fmt: skip


@pytest.mark.parametrize("fault", ["wrong", "nan", "exception"])
@pytest.mark.parametrize(
    ("function", "index"), [(name, index) for name, (_, count) in FUNCTIONS.items() for index in range(count)]
)
def test_the_self_test_finds_a_fault(function: str, index: int, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = getattr(bindings, function)

    def faulty(*arguments: Any) -> Any:
        result = compute(*arguments)
        tensor = result if isinstance(result, torch.Tensor) else result[index]
        if fault == "exception":
            raise RuntimeError("CUDA: an illegal instruction")
        if tensor is not None:
            tensor.view(-1)[-1] = torch.nan if fault == "nan" else tensor.abs().max() + 1
        return result

    monkeypatch.setattr(bindings, function, faulty)
    shape = Shape(heads=2, width=128, inner_width=128, norm_widths=(64,), dropouts=(0.1,))
    (failure,) = failing(ops_for(torch.bfloat16), DEVICE, torch.bfloat16, shape).items()
    assert failure[0] == FUNCTIONS[function][0]
    assert failure[1].startswith("CUDA: an illegal" if fault == "exception" else "the result differs from PyTorch's by")


def change_weight(self: AdamW, step: Any) -> None:
    step(self)
    with torch.no_grad():
        self.param_groups[0]["params"][0][0, 0] += 1e-3


def change_moment(self: AdamW, step: Any) -> None:
    step(self)
    self.state[self.param_groups[1]["params"][0]]["exp_avg"][0] = torch.nan


def keep_shadow(self: AdamW, step: Any) -> None:
    shadows = {parameter: shadow.clone() for parameter, shadow in self._shadow_weights.items()}
    step(self)
    for parameter, shadow in shadows.items():
        self._shadow_weights[parameter].copy_(2 * shadow)


def do_nothing(self: AdamW, step: Any) -> None:
    pass


def ignore_overflow(self: AdamW, step: Any) -> None:
    self.found_inf = None
    step(self)


@pytest.mark.parametrize("fault", [change_weight, change_moment, keep_shadow, do_nothing, ignore_overflow])
def test_the_self_test_finds_a_fault_of_adamw(fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    step = AdamW.step
    monkeypatch.setattr(AdamW, "step", lambda self, closure=None: fault(self, step))
    shape = Shape(heads=2, width=128, inner_width=128, norm_widths=(64,), dropouts=())
    assert list(failing(ops_for(torch.bfloat16), DEVICE, torch.bfloat16, shape)) == ["adamw"]


@pytest.mark.parametrize(("dtype", "head_width"), [(torch.float32, 64), (torch.bfloat16, 40), (torch.float16, 128)])
def test_attention_that_has_no_kernel_is_torchs(dtype: torch.dtype, head_width: int) -> None:
    assert ops_for(dtype, head_width).names["attention"] == "torch"


@pytest.mark.parametrize(("max_seqlen", "name"), [(128, "cuda"), (129, "torch")])
def test_a_job_of_longer_sequences_has_torchs_attention(max_seqlen: int, name: str) -> None:
    ops = bindings.backend(reference.backend(CUDA, torch.bfloat16), CUDA, torch.bfloat16, 64, max_seqlen)
    assert ops.names["attention"] == name


def test_longer_sequences_get_torchs_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    found = torch.zeros(1)
    plain = replace(reference.backend(CUDA, torch.bfloat16), attention=lambda *_: found)
    ops = bindings.backend(plain, CUDA, torch.bfloat16, 64)
    sequences = Sequences.from_lengths(np.array([129]))
    assert ops.attention(None, torch.zeros(129, 3 * 64, device=DEVICE), sequences, 1, 0.0) is found


#: T4, A100, A10G, L4 and L40S, H100 and H200, B200, RTX PRO 6000.
GENERATIONS = [75, 80, 86, 89, 90, 100, 120]


@pytest.mark.parametrize("capability", GENERATIONS)
@pytest.mark.parametrize(("part", "width"), [("norm", 768), ("gelu", 3072), ("adamw", 0), ("sums", 0)])
def test_it_compiles_for_every_generation(part: str, width: int, capability: int) -> None:
    assert compile_kernels(part, torch.float16, {"WIDTH": width}, capability).startswith(b"\x7fELF")


@pytest.mark.parametrize("capability", [75, 90])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("part", "width"), [("norm", 31), ("norm", 1024), ("gelu", 31)])
def test_it_compiles_for_every_dtype_and_any_width(part: str, width: int, dtype: torch.dtype, capability: int) -> None:
    assert compile_kernels(part, dtype, {"WIDTH": width}, capability).startswith(b"\x7fELF")


@pytest.mark.parametrize("capability", GENERATIONS[1:])
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
@pytest.mark.parametrize("width", HEAD_WIDTHS)
def test_attention_compiles_from_ampere_on(width: int, dtype: torch.dtype, capability: int) -> None:
    for tokens in (16, 128):
        assert compile_kernels("attention", dtype, {"WIDTH": width, "TOKENS": tokens}, capability).startswith(
            b"\x7fELF"
        )


@pytest.mark.parametrize(("part", "width"), [("norm", 768), ("adamw", 0)])
def test_a_generation_that_nvrtc_does_not_know_gets_ptx_of_the_newest(part: str, width: int) -> None:
    code = compile_kernels(part, torch.float16, {"WIDTH": width}, 135)
    assert b".version" in code and b".target sm_12" in code


def test_what_cannot_be_compiled_is_shown() -> None:
    with pytest.raises(RuntimeError, match="norm.cu cannot be compiled: .*error"):
        compile_kernels("norm", torch.float32, {"WIDTH": 0}, 90)
