"""T: training like sagemaker_train_demo, the tutorial whose hyperparameter names this project kept.

Source: https://github.com/brent-lemieux/sagemaker_train_demo
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

from benchmarks.clock import Clock
from benchmarks.contest import MAX_GRAD_NORM, WEIGHT_DECAY, Competitor
from benchmarks.corpus import Rows


class OneAtATime(Dataset):
    """Tokenizes a row at each access and pads it to the maximum length."""

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
    """A plain training loop in fp32, without any of the optimizations of the others."""

    name = "T"
    setup = "fp32, one row at a time padded to the maximum"

    def train(self, rows: Rows, clock: Clock) -> int | None:
        """A loop over a DataLoader."""
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
