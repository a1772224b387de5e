"""The competitors. Each trains the same rows from the same weights for the same number of steps, in its own way.

What differs from one to the next is what its README entry says, and nothing else: batch size, learning rate, schedule,
clipping, dropout and the number of threads are the same for all.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader, Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    get_linear_schedule_with_warmup,
)
from transformers.trainer_pt_utils import get_length_grouped_indices

from benchmarks.clock import Clock, StepClock, forget_peak_memory, peak_memory
from benchmarks.corpus import Rows
from cluster import Cluster
from contract import Contract
from data import read_data
from hosts import Hosts
from hyperparameters import parse
from job import Job
from stop import StopSignal

WEIGHT_DECAY = 0.01
MAX_GRAD_NORM = 1.0

#: Batches that Trainer sorts by length together in a long run.
BATCHES_IN_GROUP = 50


@dataclass(frozen=True)
class Task:
    """What all competitors are given."""

    model: Path  #: folder with weights, head and tokenizer
    tokens: int  #: of a row at most
    batch_size: int
    device: str  #: cpu or cuda
    epochs: int = 1
    learning_rate: float = 5e-5
    warmup_ratio: float = 0.0
    seed: int = 1


@dataclass(frozen=True)
class Result:
    """What one competitor did with one round's rows."""

    seconds: float
    cpu_seconds: float  #: of this process alone
    tokens_computed: int | None  #: padding included; None where the competitor does not tell
    peak_bytes: int


class Competitor:
    """Trains rounds of rows."""

    name = ""
    setup = ""  #: in words

    def __init__(self, task: Task) -> None:
        self.task = task
        self.tried: dict[str, float] = {}  #: seconds of each set-up that was tried

    def prepare(self, rows: Rows) -> None:
        """Train `rows` before any round, so that what happens once in a process does not count."""
        self.run(rows)

    def run(self, rows: Rows) -> Result:
        """Train one round. The number of rows is a multiple of the batch size."""
        assert len(rows) % self.task.batch_size == 0
        clock = Clock(self.task.device)
        forget_peak_memory(self.task.device)
        computed = self.train(rows, clock)
        return Result(clock.seconds, clock.cpu_seconds, computed, peak_memory(self.task.device))

    def train(self, rows: Rows, clock: Clock) -> int | None:
        """Load the weights, train, return the number of tokens computed."""
        raise NotImplementedError


class OneAtATime(Dataset):
    """Tokenises a row each time it is asked for, padded to the maximum."""

    def __init__(self, rows: Rows, tokenizer: Any, tokens: int) -> None:
        self.rows = rows
        self.tokenizer = tokenizer
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.rows)

    def encode(self, index: int) -> Any:
        """Token ids and attention mask of a row, as lists."""
        return self.tokenizer(
            self.rows.texts[index],
            padding="max_length",
            truncation=True,
            max_length=self.tokens,
            return_token_type_ids=False,
        )

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        encoded = self.encode(index)
        return {
            "input_ids": torch.tensor(encoded["input_ids"]),
            "attention_mask": torch.tensor(encoded["attention_mask"]),
            "labels": torch.tensor(self.rows.classes[index]),
        }


class Tutorial(Competitor):
    """The way of the tutorial that this project replaces."""

    name = "T"
    setup = "fp32, one row at a time padded to the maximum"

    def train(self, rows: Rows, clock: Clock) -> int | None:
        """A plain loop over a DataLoader."""
        task = self.task
        device = torch.device(task.device)
        torch.manual_seed(task.seed)
        model = AutoModelForSequenceClassification.from_pretrained(task.model, dtype="float32").to(device)
        dataset = OneAtATime(rows, AutoTokenizer.from_pretrained(task.model), task.tokens)
        loader = DataLoader(dataset, task.batch_size, shuffle=True)
        vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
        matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
        groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=task.learning_rate)
        total = len(loader) * task.epochs
        schedule = get_linear_schedule_with_warmup(optimizer, round(total * task.warmup_ratio), total)
        computed = 0
        loss_sum = 0.0
        model.train()
        for _ in range(task.epochs):
            for batch in loader:
                clock.start()
                batch = {name: tensor.to(device) for name, tensor in batch.items()}
                computed += batch["input_ids"].numel()
                loss = model(**batch).loss
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                loss_sum += loss.item()
        clock.stop()
        return computed


class TokenisedRows(Dataset):
    """Rows that were tokenised beforehand, as `datasets.map` leaves them: padding is the collator's."""

    def __init__(self, rows: Rows, tokenizer: Any, tokens: int) -> None:
        encoded = tokenizer(list(rows.texts), truncation=True, max_length=tokens, return_token_type_ids=False)
        self.items = [
            {"input_ids": ids, "attention_mask": mask, "labels": label}
            for ids, mask, label in zip(encoded["input_ids"], encoded["attention_mask"], rows.classes, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index]


class TimedTrainer(Trainer):
    """Trainer with a clock, and with a count of the tokens in its batches."""

    def __init__(self, clock: Clock, **options: Any) -> None:
        super().__init__(**options, callbacks=[StopClock(clock)])
        self.clock = clock
        self.tokens_computed = 0

    def training_step(self, model: Any, inputs: Any, *others: Any, **named: Any) -> torch.Tensor:
        self.clock.start()
        self.tokens_computed += inputs["input_ids"].numel()
        return super().training_step(model, inputs, *others, **named)


class StopClock(TrainerCallback):
    """Stops the clock behind the last step."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if state.global_step == state.max_steps:
            self.clock.stop()


class GroupedTrainer(TimedTrainer):
    """Batches of like length, made from all rows of a round.

    Trainer's own sampler sorts 50 batches together in a long run, but only a quarter of the batches in a run as short
    as a round, which would be a handicap.
    """

    def _get_train_sampler(self, train_dataset: Any = None) -> list[int]:
        lengths = [len(item["input_ids"]) for item in self.train_dataset.items]
        batch_size = self.args.train_batch_size
        return get_length_grouped_indices(lengths, batch_size, mega_batch_mult=BATCHES_IN_GROUP)


class TrainerDefaults(Competitor):
    """transformers.Trainer as it comes, with rows tokenised beforehand and padded to the longest of their batch."""

    name = "H0"
    setup = "Trainer, its defaults, per-batch padding"

    def train(self, rows: Rows, clock: Clock) -> int | None:
        """Trainer.train()."""
        trainer = self.trainer(rows, clock)
        trainer.train()
        return trainer.tokens_computed

    def trainer(
        self, rows: Rows, clock: Clock, kind: type[TimedTrainer] = TimedTrainer, model: Any = None, **arguments: Any
    ) -> TimedTrainer:
        """A Trainer of this kind, for a model as the task has it or one given. `arguments` are TrainingArguments beyond
        what the task gives."""
        task = self.task
        tokenizer = AutoTokenizer.from_pretrained(task.model)
        given = TrainingArguments(
            output_dir=str(task.model),  # must be named, and nothing is written there
            per_device_train_batch_size=task.batch_size,
            num_train_epochs=task.epochs,
            learning_rate=task.learning_rate,
            weight_decay=WEIGHT_DECAY,
            max_grad_norm=MAX_GRAD_NORM,
            warmup_steps=task.warmup_ratio,  # below 1 it is a share
            seed=task.seed,
            use_cpu=task.device == "cpu",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **arguments,
        )
        multiple = 8 if given.bf16 and task.device == "cuda" else None
        return kind(
            clock,
            model=model or AutoModelForSequenceClassification.from_pretrained(task.model, dtype="float32"),
            args=given,
            train_dataset=TokenisedRows(rows, tokenizer, task.tokens),
            data_collator=DataCollatorWithPadding(tokenizer, pad_to_multiple_of=multiple),
        )


@dataclass(frozen=True)
class Choice:
    """What is tried for H*; every field is one that makes some hardware faster and some slower."""

    bf16: bool = True
    attention: str = "sdpa"
    workers: int = 0
    compiles: bool = False

    def __str__(self) -> str:
        compiled = ", torch.compile" if self.compiles else ""
        return f"{'bf16' if self.bf16 else 'fp32'}, {self.attention} attention, {self.workers} workers{compiled}"


class TrainerTuned(TrainerDefaults):
    """The fastest that Trainer gets on this hardware: length-grouped, fused AdamW, no NaN filter, and what `prepare`
    finds out."""

    name = "H*"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.choice = Choice()
        self._models: dict[Choice, Any] = {}
        self._weights = load_file(task.model / "model.safetensors")

    @property
    def setup(self) -> str:  # type: ignore[override]
        return f"Trainer, grouped by length, fused AdamW, no NaN filter, {self.choice}"

    def prepare(self, rows: Rows) -> None:
        """Try one change after the other, and keep those that are faster."""
        best = self._try(self.choice, rows)
        changes: list[dict[str, Any]] = [{"bf16": False}, {"attention": "eager"}, {"workers": 4}]
        if self.task.device == "cuda" and importlib.util.find_spec("triton"):
            changes.append({"compiles": True})
        for change in changes:
            changed = replace(self.choice, **change)
            seconds = self._try(changed, rows)
            if seconds < best:
                self.choice, best = changed, seconds
        self._models = {choice: model for choice, model in self._models.items() if choice == self.choice}

    def _try(self, choice: Choice, rows: Rows) -> float:
        """The better of two runs, so that what happens once (compiling above all) does not count."""
        seconds = []
        for _ in range(2):
            clock = Clock(self.task.device)
            self._trainer(choice, rows, clock).train()
            seconds.append(clock.seconds)
        self.tried[str(choice)] = min(seconds)
        return min(seconds)

    def train(self, rows: Rows, clock: Clock) -> int | None:
        """Trainer.train(), as chosen."""
        trainer = self._trainer(self.choice, rows, clock)
        trainer.train()
        return trainer.tokens_computed

    def _trainer(self, choice: Choice, rows: Rows, clock: Clock) -> TimedTrainer:
        # One model for each choice, filled anew for each run: another object would be compiled anew.
        if choice not in self._models:
            self._models[choice] = AutoModelForSequenceClassification.from_pretrained(
                self.task.model, dtype="float32", attn_implementation=choice.attention
            )
        self._models[choice].load_state_dict(self._weights)
        arguments = {"tf32": True} if self.task.device == "cuda" else {}
        return self.trainer(
            rows,
            clock,
            GroupedTrainer,
            self._models[choice],
            bf16=choice.bf16,
            dataloader_num_workers=choice.workers,
            torch_compile=choice.compiles,
            optim="adamw_torch_fused",
            logging_nan_inf_filter=False,
            train_sampling_strategy="group_by_length",
            **arguments,
        )


class Ours(Competitor):
    """This project's job, as train.py runs it, up to its first evaluation."""

    name = "ours"

    def prepare(self, rows: Rows) -> None:
        """Train them once, and keep what the job says of itself."""
        with contextlib.redirect_stdout(io.StringIO()) as log:
            super().prepare(rows)
        said = next(line for line in log.getvalue().splitlines() if line.startswith("rows: "))
        self.setup = f"code/job.py: {said.rpartition('; ')[2]}"

    def train(self, rows: Rows, clock: Clock) -> int | None:
        """Job.train(), with a stop behind the last step of its only epoch."""
        steps = len(rows) // self.task.batch_size
        with job_of(self.task, rows, one_of_each_class(rows), StepClock(steps, clock)) as job:
            job.train()
            is_packed = job.classifier.name == "packed"
            return int(job.splits["train"].tokens.lengths.sum()) if is_packed else None


@contextlib.contextmanager
def job_of(task: Task, rows: Rows, validation: Rows, stop: StopSignal, **more: Any) -> Iterator[Job]:
    """Our job on these rows, ready to train; `more` are hyperparameters beyond what the task gives."""
    with folders_of(task, rows, validation) as base:
        contract = Contract(base)
        settings = parse(hyperparameters(task) | {name: str(value) for name, value in more.items()})
        cluster = Cluster(Hosts.from_resources({}), settings.collective_timeout_seconds)
        yield Job(contract, settings, read_data(contract, settings), cluster, stop)


@contextlib.contextmanager
def folders_of(task: Task, rows: Rows, validation: Rows) -> Iterator[Path]:
    """The folders of a job with these rows in its channels and the task's model."""
    with tempfile.TemporaryDirectory(prefix="ours-") as name:
        base = Path(name)
        write_channel(base / "input" / "data" / "train", rows)
        write_channel(base / "input" / "data" / "validation", validation)
        (base / "input" / "data" / "model").symlink_to(task.model.resolve())
        yield base


def hyperparameters(task: Task) -> dict[str, str]:
    """Our job's, as SageMaker hands them over."""
    values = {
        "epochs": task.epochs,
        "train_batch_size": task.batch_size,
        "learning_rate": task.learning_rate,
        "warmup_ratio": task.warmup_ratio,
        "weight_decay": WEIGHT_DECAY,
        "max_grad_norm": MAX_GRAD_NORM,
        "max_sequence_length": task.tokens,
        "seed": task.seed,
        "label_map": "0=negative;1=positive",
        "checkpoint_seconds": 1e9,
    }
    return {name: str(value) for name, value in values.items()}


def write_channel(folder: Path, rows: Rows) -> None:
    """Write rows as a person would hand them in."""
    folder.mkdir(parents=True)
    with (folder / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        writer.writerows(zip(rows.texts, rows.classes, strict=True))


def one_of_each_class(rows: Rows) -> Rows:
    """As few rows to evaluate on as there can be."""
    return rows.take([rows.classes.index(label) for label in (0, 1)])


COMPETITORS: dict[str, type[Competitor]] = {kind.name: kind for kind in (Tutorial, TrainerDefaults, TrainerTuned, Ours)}
