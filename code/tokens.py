"""Texts to token ids: all rows of a split in two flat arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

#: Rows handed to the tokenizer at once: enough to keep all cores busy, few enough to notice a stop signal soon.
CHUNK = 2_000


@dataclass(frozen=True)
class Tokens:
    """Row r is `ids[offsets[r]:offsets[r + 1]]`, special tokens too; ids int32 [tokens], offsets int64 [rows + 1]."""

    ids: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 [rows]."""
        return np.diff(self.offsets)

    def flat(self, rows: np.ndarray) -> np.ndarray:
        """Token ids of these rows, one behind the other, int32."""
        return np.concatenate([self.ids[self.offsets[row] : self.offsets[row + 1]] for row in rows])


def tokenise(tokenizer: PreTrainedTokenizerBase, texts: list[str], max_length: int) -> Tokens:
    """Tokenise once, truncated to `max_length` tokens; the tokenizer itself spreads a chunk over all cores."""
    rows: list[np.ndarray] = []
    for start in range(0, len(texts), CHUNK):
        encoded = tokenizer(
            texts[start : start + CHUNK],
            truncation=True,
            max_length=max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        rows.extend(np.asarray(ids, dtype=np.int32) for ids in encoded["input_ids"])
    offsets = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return Tokens(np.concatenate(rows), offsets)
