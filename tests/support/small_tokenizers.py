"""Small tokenizers of several families, and texts that are hard for them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from support import ROOT

MODEL = ROOT / "build" / "demo" / "model"
LANGUAGES = [
    "a wonderful book, I couldn't put it down!", "ein großes Vergnügen für Ärzte", "очень хорошая книга",
    "非常好的书 很好看", "とても面白い本です", "كتاب رائع جدا", "बहुत अच्छी किताब", "ΟΔΥΣΣΕΥΣ τέλος", "thú vị lắm",
    "อ่านสนุกมาก", "זה ספר טוב", "소설 책",
]  # fmt: skip
ODD = [
    "[SEP]", "<mask>", " <mask> ", "</s>", "\u0d4e", "e\u0301", "\u0301", "\u200d", "\u00a0", "\u3000", "\ufb01",
    "\U0001f468\u200d\U0001f469", "\u0600", "x" * 120, "1,000.5", "it's", "don 't", "\t", "\n\n", "  ", "a" * 30,
    "book", "bookx", "xx#x", "AB", "Abook", "\x00", "bo\x01ok", "\x7f", "\x0b", "\r", "[UNK", "~`^_{|}\\", "bxbxbxbx",
    "\ufffd", "\u0085", "\u1100\u1161", "İ", "ß",
]  # fmt: skip
WORDS = sorted({word for text in LANGUAGES for word in text.split()})
TEXTS = st.lists(
    st.one_of(st.sampled_from(WORDS), st.sampled_from(WORDS), st.sampled_from(ODD), st.text(max_size=8)), max_size=60
).flatmap(lambda parts: st.sampled_from(["", " ", " ", " "]).map(lambda space: space.join(parts)))


def fast(backend: Tokenizer, **options: Any) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=512, **options)


def byte_level() -> PreTrainedTokenizerFast:
    """Like RoBERTa's."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        LANGUAGES * 5, trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet)
    )
    backend.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    mask = AddedToken("<mask>", lstrip=True)
    return fast(backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>", mask_token=mask)


def unigram() -> PreTrainedTokenizerFast:
    """Like XLM-RoBERTa's."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    special = ["<s>", "</s>", "<pad>", "<unk>", "<mask>"]
    backend.train_from_iterator(
        LANGUAGES * 5, trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>")
    )
    backend.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return fast(backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>", mask_token="<mask>")


def cased() -> PreTrainedTokenizerFast:
    """Like a cased BERT's, with few pieces and a low limit of characters per word."""
    names = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "b",
        "bo",
        "##o",
        "##ok",
        "##k",
        "x",
        "##x",
        "#",
        "A",
        "##B",
        ",",
        "'",
        "t",
    ]
    backend = Tokenizer(models.WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    backend.model.max_input_chars_per_word = 7
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return fast(backend, **special, model_input_names=["input_ids", "token_type_ids", "attention_mask"])


TOKENIZERS: dict[str, Callable[[], Any]] = {
    "wordpiece": lambda: AutoTokenizer.from_pretrained(MODEL), "byte-level": byte_level, "unigram": unigram,
}  # fmt: skip


@functools.cache
def made(name: str) -> Any:
    return {**TOKENIZERS, "cased": cased}[name]()
