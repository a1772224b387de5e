"""H0 and H*: transformers.Trainer with its defaults, and the fastest configuration for this hardware."""

from __future__ import annotations

import importlib.util
import math
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from safetensors.torch import load_file
from torch.utils.data import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_pt_utils import get_length_grouped_indices

from benchmarks.clock import Clock
from benchmarks.contest import MAX_GRAD_NORM, WEIGHT_DECAY, Competitor, Task
from benchmarks.corpus import Rows
from benchmarks.sidelights import has_16_bits

#: Batches that Trainer groups by length in a long run.
BATCHES_IN_GROUP = 50

#: A configuration this many times slower than the best one, or a trial of this many seconds, is not repeated.
HOPELESS = 3.0
LONG = 10.0


class TokenizedRows(Dataset):
    """Rows tokenized beforehand, like with `datasets.map`; the collator pads them."""

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
    """Trainer with a clock and a count of the tokens in its batches."""

    def __init__(self, clock: Clock, **options: Any) -> None:
        super().__init__(**options, callbacks=[StopClock(clock)])
        self.clock = clock
        self.tokens_computed = 0

    def training_step(self, model: Any, inputs: Any, *others: Any, **named: Any) -> torch.Tensor:
        self.clock.start()
        self.tokens_computed += inputs["input_ids"].numel()
        return super().training_step(model, inputs, *others, **named)


class StopClock(TrainerCallback):
    """Stops the clock after the last step."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if state.global_step == state.max_steps:
            self.clock.stop()


class GroupedTrainer(TimedTrainer):
    """Length-grouped batches over all rows of a round.

    Trainer's own sampler groups 50 batches in a long run, but only a quarter of the batches in a run as short as a
    round, which would be a handicap.
    """

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        rows: Any = self.train_dataset
        lengths = [len(item["input_ids"]) for item in rows.items]
        batch_size = self.args.train_batch_size
        return get_length_grouped_indices(lengths, batch_size, mega_batch_mult=BATCHES_IN_GROUP)


class TrainerDefaults(Competitor):
    """transformers.Trainer with its defaults, on rows tokenized beforehand and padded per batch."""

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
        """A Trainer of this kind, for the given model or the task's. `arguments` are TrainingArguments besides those of
        the task."""
        task = self.task
        tokenizer = AutoTokenizer.from_pretrained(task.model)
        given = TrainingArguments(
            output_dir=str(task.model),  # required, but nothing is written there
            per_device_train_batch_size=task.batch_size,
            num_train_epochs=task.epochs,
            learning_rate=task.learning_rate,
            weight_decay=WEIGHT_DECAY,
            max_grad_norm=MAX_GRAD_NORM,
            warmup_steps=task.warmup_ratio,  # a value below 1 is a share
            seed=task.seed,
            use_cpu=task.device == "cpu",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **arguments,
        )
        multiple = 8 if (given.bf16 or given.fp16) and task.device == "cuda" else None
        return kind(
            clock,
            model=model or AutoModelForSequenceClassification.from_pretrained(task.model, dtype="float32"),
            args=given,
            train_dataset=TokenizedRows(rows, tokenizer, task.tokens),
            data_collator=DataCollatorWithPadding(tokenizer, pad_to_multiple_of=multiple),
        )


@dataclass(frozen=True)
class Choice:
    """A configuration for H*; each field makes some hardware faster and some slower."""

    precision: str = "bf16"
    attention: str = "sdpa"
    workers: int = 0
    compiles: bool = False

    def __str__(self) -> str:
        compiled = ", torch.compile" if self.compiles else ""
        return f"{self.precision}, {self.attention} attention, {self.workers} workers{compiled}"


class TrainerTuned(TrainerDefaults):
    """The fastest configuration of Trainer on this hardware: length-grouped, fused AdamW, no NaN filter, and the choice
    of `prepare`."""

    name = "H*"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.is_ampere = task.device == "cuda" and torch.cuda.get_device_capability() >= (8, 0)
        self.has_16_bits = has_16_bits(task.device)
        short = "fp16" if task.device == "cuda" and not self.is_ampere else "bf16"
        self.choice = Choice(short if self.has_16_bits else "fp32")
        self._models: dict[Choice, Any] = {}
        self._weights = load_file(task.model / "model.safetensors")

    @property
    def setup(self) -> str:  # type: ignore[override]
        return f"Trainer, grouped by length, fused AdamW, no NaN filter, {self.choice}"

    def prepare(self, rows: Rows) -> None:
        """Try one change after the other and keep those that are faster."""
        best = self._try(self.choice, rows)
        changes: list[dict[str, Any]] = [{"attention": "eager"}, {"workers": 4}]
        if self.has_16_bits:
            changes.insert(0, {"precision": "fp32"})
        if self.task.device == "cuda" and importlib.util.find_spec("triton"):
            # In 16 bits even if fp32 won, which launches fewer operations without torch.compile.
            changes.append({"precision": self.choice.precision, "compiles": True})
        for change in changes:
            changed = replace(self.choice, **change)
            seconds = self._try(changed, rows, best)
            if seconds < best:
                self.choice, best = changed, seconds
        self._models = {choice: model for choice, model in self._models.items() if choice == self.choice}

    def _try(self, choice: Choice, rows: Rows, best: float = math.inf) -> float:
        """The better of two runs, so that one-time work (GPU initialization, compiling) does not count. One run is
        enough if there is none, and it took long (the clock does not include the start of workers) or is hopeless."""
        warms_up = choice.compiles or best == math.inf
        seconds: list[float] = []
        took = 0.0
        while len(seconds) < 2 and (warms_up or (took < LONG and min(seconds, default=0.0) < HOPELESS * best)):
            clock = Clock(self.task.device)
            begun = time.monotonic()
            self._trainer(choice, rows, clock).train()
            took = time.monotonic() - begun
            seconds.append(clock.seconds)
        self.tried[str(choice)] = min(seconds)
        print(f"{choice}: {min(seconds):.2f} s", flush=True)
        return min(seconds)

    def train(self, rows: Rows, clock: Clock) -> int | None:
        """Trainer.train() with the chosen configuration."""
        trainer = self._trainer(self.choice, rows, clock)
        trainer.train()
        return trainer.tokens_computed

    def _trainer(self, choice: Choice, rows: Rows, clock: Clock) -> TimedTrainer:
        # One model per choice, whose weights are reloaded for each run: another object would be compiled again.
        if choice not in self._models:
            self._models[choice] = AutoModelForSequenceClassification.from_pretrained(
                self.task.model, dtype="float32", attn_implementation=choice.attention
            )
        self._models[choice].load_state_dict(self._weights)
        arguments = {"tf32": True} if self.is_ampere else {}
        return self.trainer(
            rows,
            clock,
            GroupedTrainer,
            self._models[choice],
            bf16=choice.precision == "bf16",
            fp16=choice.precision == "fp16",
            dataloader_num_workers=choice.workers,
            torch_compile=choice.compiles,
            optim="adamw_torch_fused",
            logging_nan_inf_filter=False,
            train_sampling_strategy="group_by_length",
            **arguments,
        )
