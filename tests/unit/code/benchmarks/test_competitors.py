"""The benchmark's competitors: a speed is comparable when all of them do the same work."""

from __future__ import annotations

import json
import mmap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.flop_counter import FlopCounterMode, mm_flop
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks import competition, parity, run, sidelights, weights
from benchmarks.clock import Clock, StepClock, forget_peak_memory, peak_memory
from benchmarks.competitors import COMPETITORS
from benchmarks.contest import Result, Task
from benchmarks.corpus import Rows
from benchmarks.figures import Geometry
from benchmarks.sidelights import Speed
from benchmarks.trainers import Choice, TrainerTuned
from support.jobs import easy_rows
from text_classifier.modeling.load import make_classifier
from text_classifier.modeling.precision import Precision
from text_classifier.tokenization.tokens import tokenize

ROWS = Rows([text for text, _ in easy_rows(24)], [int(label == "positive") for _, label in easy_rows(24)])


@dataclass
class Seen:
    """What a training run does, seen from below: by torch's own hooks."""

    steps: int = 0
    weights: list[tuple[int, float]] = field(default_factory=list)  #: before the first step
    tokens: Counter[int] = field(default_factory=Counter)
    rates: list[float] = field(default_factory=list)


@pytest.fixture
def seen(task: Task) -> Iterator[Seen]:
    found = Seen()
    pad, vocabulary = 0, len(AutoTokenizer.from_pretrained(task.model))

    def step(optimizer: torch.optim.Optimizer, *_: object) -> None:
        if not found.steps:
            parameters = [tensor for group in optimizer.param_groups for tensor in group["params"]]
            found.weights = sorted((tensor.numel(), tensor.double().sum().item()) for tensor in parameters)
        found.steps += 1
        found.rates.append(float(optimizer.param_groups[0]["lr"]))

    def embed(module: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, torch.nn.Embedding) and module.num_embeddings == vocabulary and torch.is_grad_enabled():
            found.tokens.update(token for token in arguments[0].flatten().tolist() if token != pad)

    handles = [register_optimizer_step_pre_hook(step), register_module_forward_pre_hook(embed)]
    yield found
    for handle in handles:
        handle.remove()


@pytest.fixture
def task(tiny_model: Path, tmp_path: Path) -> Task:
    weights.write(tmp_path / "start", tiny_model, None)
    return Task(tmp_path / "start", tokens=12, batch_size=8, device="cpu")


@pytest.mark.parametrize("name", COMPETITORS)
def test_each_competitor_trains_the_same_rows_from_the_same_weights_for_as_many_steps(
    name: str, task: Task, seen: Seen
) -> None:
    result = COMPETITORS[name](task).run(ROWS)
    start = AutoModelForSequenceClassification.from_pretrained(task.model)
    assert seen.weights == sorted((tensor.numel(), tensor.double().sum().item()) for tensor in start.parameters())
    encoded = AutoTokenizer.from_pretrained(task.model)(list(ROWS.texts), truncation=True, max_length=task.tokens)
    assert seen.tokens == Counter(token for ids in encoded["input_ids"] for token in ids)
    assert seen.steps == 3
    assert seen.rates == pytest.approx([5e-5, 5e-5 * 2 / 3, 5e-5 / 3])
    assert result.seconds > 0
    real = seen.tokens.total()
    assert result.tokens_computed is not None
    assert result.tokens_computed == len(ROWS) * task.tokens if name == "T" else result.tokens_computed >= real


def test_the_tuned_trainer_starts_each_run_from_the_same_weights(task: Task, seen: Seen) -> None:
    tuned = TrainerTuned(task)
    tuned.run(ROWS)
    first = seen.weights
    seen.steps = 0
    tuned.run(ROWS)
    assert seen.weights == first


def test_the_tuned_trainer_keeps_what_was_fastest(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(choice: Choice) -> float:
        return 1.0 + (choice.precision == "bf16") + (choice.attention == "sdpa") + choice.workers

    tuned = TrainerTuned(task)
    monkeypatch.setattr(tuned, "_try", lambda choice, *_: seconds(choice))
    tuned.prepare(ROWS)
    assert tuned.choice == Choice("fp32", "eager", workers=0)
    assert "fp32, eager attention, 0 workers" in tuned.setup


def test_the_clock_of_our_loop_starts_with_the_first_step_and_ends_behind_the_last() -> None:
    clock = Clock("cpu")
    stop = StepClock(2, clock)
    assert [stop.requested for _ in range(3)] == [False, False, True]
    assert clock.seconds > 0


def test_peak_memory_forgets_what_was_before() -> None:
    def use(size: int) -> None:
        """Memory of its own: what torch frees may stay with the process (kernels.cpp)."""
        with mmap.mmap(-1, size) as memory:
            for page in range(0, size, mmap.PAGESIZE):
                memory[page] = 1

    use(200_000_000)
    forget_peak_memory("cpu")
    before = peak_memory("cpu")
    use(100_000_000)
    assert 80e6 < peak_memory("cpu") - before < 150e6


def test_the_work_that_is_counted_is_the_work_that_is_done(task: Task) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(task.model)
    classifier = make_classifier(model, 0, Precision("fp32", torch.device("cpu")))
    tokens = tokenize(AutoTokenizer.from_pretrained(task.model), [ROWS.texts[6]], task.tokens)
    (length,) = tokens.lengths
    # Which the counter does not know.
    in_place = {torch.ops.aten.addmm_: lambda _, left, right, *rest, **named: mm_flop(left, right)}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        classifier(**classifier.inputs(tokens, torch.tensor([0]).numpy())).sum().backward()
    config = json.loads((task.model / "config.json").read_text())
    geometry = Geometry.of(config)
    assert geometry is not None
    head = 3 * 2 * (geometry.width**2 + 2 * geometry.width)
    # The counter knows torch's operations alone. Attention has two products, for one query in the second of two layers.
    attention = 3 * 2 * 2 * geometry.width * int(length**2 + length)
    assert counter.get_total_flops() + attention == geometry.flops(int(length)) + head


def test_the_share_is_of_the_products_right_before_and_behind_a_run(task: Task) -> None:
    found = competition.Rounds(task, steps=1, setups={"T": "", "ours": ""}, tried={"T": {}, "ours": {}})
    found.lengths = [[5], [5]]
    found.results = {name: [Result(1.0, 1.0, None, 0), Result(1.0, 1.0, None, 0)] for name in ("T", "ours")}
    found.products = [{"fp32": Speed(1e9, 1e9), "bf16": Speed(speed, speed)} for speed in (2e9, 4e9, 8e9, 16e9, 32e9)]
    geometry = Geometry.of(json.loads((task.model / "config.json").read_text()))
    assert geometry is not None
    shares = {name: values["mfu"] for name, values in competition.summarize(found)["competitors"].items()}
    for name, slow, fast in (("T", 3e9, 12e9), ("ours", 6e9, 24e9)):
        assert shares[name]["max"] == pytest.approx(geometry.flops(5) / slow)
        assert shares[name]["min"] == pytest.approx(geometry.flops(5) / fast)


def test_a_checkpoint_costs_something(task: Task) -> None:
    cost = sidelights.checkpoint_cost(task, ROWS)
    assert 0 < cost["share"] == pytest.approx((cost["seconds_blocked"] + cost["cpu_seconds_writing"]) / 120)


def test_paired_accuracies() -> None:
    found = parity.compare([(0.80, 0.79), (0.82, 0.80), (0.84, 0.81)])
    assert found["mean_difference"] == pytest.approx(2.0)
    # Student's t with 2 degrees of freedom, standard deviation 1 over the root of 3
    assert found["interval"] == pytest.approx([2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5], abs=1e-3)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--device", "cuda"], "--device cuda: torch finds no GPU"),
        (["--model", "nowhere"], "--model nowhere has no config.json"),
    ],
)
def test_what_cannot_run_is_refused_in_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main([*words, "--rows", "made-up", "--shape", "minilm"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"benchmark: {sentence}")


@pytest.mark.parametrize("shape", weights.SHAPES)
def test_shapes_are_those_of_the_models(shape: str) -> None:
    sizes = {"minilm": (6, 384, 1536), "distilbert-base": (6, 768, 3072), "bert-base": (12, 768, 3072)}
    assert Geometry.of(weights.SHAPES[shape].to_dict()) == Geometry(*sizes[shape])
