"""The share of tokens that a tokenizer does not know: a guard against one that is not for these texts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from transformers import PreTrainedTokenizerBase

from text_classifier.contract.errors import SettingsError

#: Share of unknown tokens above which training is refused.
MOST_UNKNOWN = 0.5


def unknown_share(ids: np.ndarray, tokenizer: PreTrainedTokenizerBase) -> float:
    """The share of unknown tokens among those that are not special, such as [CLS]; 0 without such tokens."""
    special = np.array([each for each in tokenizer.all_special_ids if each != tokenizer.unk_token_id], dtype=ids.dtype)
    unknown, counted = 0, 0
    for start in range(0, len(ids), 1 << 16):  # they are mapped from a file, and stay in the cache
        block = ids[start : start + (1 << 16)]
        unknown += int(np.count_nonzero(block == tokenizer.unk_token_id)) if tokenizer.unk_token_id is not None else 0
        counted += len(block) - int(np.count_nonzero(np.isin(block, special)))
    return unknown / counted if counted else 0.0


def require_known_tokens(shares: Mapping[str, float]) -> None:
    """Raise SettingsError if most tokens of a split are unknown. `shares` are those of `unknown_share` by split."""
    split, share = max(shares.items(), key=lambda pair: pair[1])
    if share > MOST_UNKNOWN:
        raise SettingsError(
            f"{share:.0%} of the tokens of {split} are unknown to the model's tokenizer; use a model for the language "
            "of the texts, with the tokenizer that it was trained with"
        )
