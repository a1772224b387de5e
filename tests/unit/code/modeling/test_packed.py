"""The packed forward pass matches transformers with padding: logits, gradients, losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification

from support.small_models import FAMILIES, LENGTHS, gradients, model_of, pairs_of, split_of
from text_classifier.modeling.load import make_classifier
from text_classifier.modeling.packed import PackedClassifier, padding_lengths
from text_classifier.modeling.padded import PaddedClassifier
from text_classifier.modeling.precision import Precision
from text_classifier.ops import linear
from text_classifier.tokenization.tokens import Tokens
from text_classifier.training.batches import Split, collate

CPU = torch.device("cpu")
FP32, BF16 = Precision("fp32", CPU), Precision("bf16", CPU)


def run(classifier: torch.nn.Module, split: Split, rows: np.ndarray | None = None) -> tuple[torch.Tensor, np.ndarray]:
    batch = collate(classifier, split, np.arange(len(split)) if rows is None else rows, len(split))
    return classifier(**batch.inputs), batch.rows


@pytest.mark.parametrize("rows_of", [split_of, pairs_of])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_are_those_of_the_padded_model(
    family: str, lengths: list[int], rows_of: Callable[[list[int]], Split]
) -> None:
    model = model_of(family, **({} if family == "distilbert" else {"type_vocab_size": 2}))
    split = rows_of(lengths)
    packed = make_classifier(model, model.config.pad_token_id, FP32)
    assert isinstance(packed, PackedClassifier)
    both = []
    for way in (packed, PaddedClassifier(model, model.config.pad_token_id, FP32)):
        logits, rows = run(way, split)
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(split.targets[rows])).backward()
        both.append((logits.detach(), gradients(model)))
    (logits, gradient), (expected, expected_gradient) = both
    assert torch.allclose(logits, expected, atol=1e-5, rtol=0)
    assert gradient.keys() == expected_gradient.keys()
    largest = max(g.abs().max() for g in expected_gradient.values())
    for name, one in gradient.items():
        assert torch.allclose(one, expected_gradient[name], rtol=1e-4, atol=1e-4 * float(largest)), name


@pytest.mark.parametrize("rows_of", [split_of, pairs_of])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_padding_a_batch_to_a_bucket_size_changes_nothing(
    lengths: list[int], rows_of: Callable[[list[int]], Split]
) -> None:
    model, split = model_of("bert"), rows_of(lengths)
    packed = make_classifier(model, 0, FP32)
    both = []
    for pads_to_bucket in (False, True):
        packed.pads_to_bucket = pads_to_bucket
        logits, rows = run(packed, split)
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(split.targets[rows])).backward()
        both.append((logits.detach(), gradients(model)))
    (logits, gradient), (bucketed, bucketed_gradient) = both
    assert torch.allclose(logits, bucketed, rtol=0, atol=1e-6)
    for name, one in gradient.items():
        assert torch.allclose(one, bucketed_gradient[name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("smallest", [16, 64])
def test_batches_are_padded_to_few_bucket_sizes(smallest: int) -> None:
    sizes = set()
    for tokens in range(1, 70_000):
        padding = padding_lengths(tokens, 100, smallest)
        assert 1 <= min(padding) <= max(padding) <= 100
        assert sum(padding) <= max(smallest, tokens / 16) + len(padding)
        sizes.add(tokens + sum(padding))
    assert len(sizes) < 210


def test_batches_outside_training_have_few_numbers_of_sequences() -> None:
    """oneDNN compiles the matmuls of the last layer for each."""
    packed = make_classifier(model_of("bert"), 0, FP32)
    packed.pads_to_bucket = True
    counts = {}
    for is_training in (False, True):
        packed.train(is_training)
        found = set()
        for rows in range(1, 65):
            split = split_of([7] * rows)
            found.add(len(packed.inputs(split.tokens, np.arange(rows))["sequences"].first_tokens))
        counts[is_training] = len(found)
    assert counts[True] == 64
    assert counts[False] <= 16


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_stays_near_fp32(family: str) -> None:
    model, split = model_of(family), split_of(LENGTHS[0])
    with torch.no_grad():
        exact, _ = run(make_classifier(model, 0, FP32), split)
        rounded, _ = run(make_classifier(model, 0, BF16), split)
    assert 0 < (rounded - exact).abs().max() < 2e-2 * exact.abs().max()


def test_a_sequence_is_independent_of_its_neighbors() -> None:
    packed = make_classifier(model_of("bert"), 0, FP32)
    split = split_of(LENGTHS[0])
    with torch.no_grad():
        before, rows = run(packed, split)
        split.tokens.ids[split.tokens.offsets[2] : split.tokens.offsets[3]] = 7
        after, _ = run(packed, split)
    changed = (before != after).any(dim=1).numpy()
    assert rows[changed].tolist() == [2]


def test_fifty_steps_give_the_losses_of_a_plain_loop() -> None:
    """The plain loop is transformers' own forward pass on a padded batch, and AdamW."""
    split = split_of([int(n) for n in np.random.default_rng(5).integers(2, 60, 64)])
    losses = []
    for way in ("packed", "plain"):
        model = model_of("bert")
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        packed = make_classifier(model, 0, FP32)
        padded = PaddedClassifier(model, 0, FP32)
        found = []
        for step in range(50):
            rows = np.random.default_rng(step).choice(64, 8, replace=False)
            if way == "packed":
                logits, rows = run(packed, split, rows)
            else:
                logits = model(**padded.inputs(split.tokens, rows)).logits
            loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(split.targets[rows]))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            found.append(loss.item())
        losses.append(found)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("place", ["hidden_dropout_prob", "attention_probs_dropout_prob"])
@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_spreads_the_logits_as_in_transformers(family: str, place: str) -> None:
    names = {"hidden_dropout_prob": "dropout", "attention_probs_dropout_prob": "attention_dropout"}
    model = model_of(family, **{names[place] if family == "distilbert" else place: 0.3})
    split = split_of([20, 12, 5])
    packed, padded = make_classifier(model, 0, FP32), PaddedClassifier(model, 0, FP32)
    count = 1_000

    def draws(classifier: torch.nn.Module) -> torch.Tensor:
        """[count, rows, classes]"""
        logits, rows = run(classifier.train(), split, np.tile(np.arange(len(split)), count))
        return torch.stack([logits[torch.from_numpy(rows == row)] for row in range(len(split))], dim=1)

    torch.manual_seed(3)
    with torch.no_grad():
        assert torch.equal(run(packed.eval(), split)[0], run(packed, split)[0])
        ours, theirs = draws(packed), draws(padded)
    error = theirs.std(0) * (2 / count) ** 0.5
    assert ((ours.mean(0) - theirs.mean(0)).abs() < 5 * error).all()
    assert ((ours.std(0) / theirs.std(0)).log().abs() < 5 / count**0.5).all()


def test_an_unsupported_family_is_padded() -> None:
    config = transformers.AlbertConfig(
        vocab_size=120, embedding_size=16, hidden_size=32, num_attention_heads=4, intermediate_size=64, num_labels=3
    )
    model = AutoModelForSequenceClassification.from_config(config)
    padded = make_classifier(model, 0, FP32)
    assert isinstance(padded, PaddedClassifier)
    logits, _ = run(padded, split_of([7, 3]))
    assert logits.shape == (2, 3)


@pytest.mark.parametrize("family", ["bert", "electra", "distilbert"])
def test_pairs_have_the_logits_of_transformers(family: str) -> None:
    """Each row alone, without padding, as its tokenizer would hand it over."""
    model, split = model_of(family), pairs_of(LENGTHS[0])
    assert split.tokens.second is not None
    with torch.no_grad():
        found, rows = run(make_classifier(model, 0, FP32), split)
        for logits, row in zip(found, rows, strict=True):
            ids = torch.from_numpy(split.tokens.flat(np.array([row])).astype(np.int64))
            types = (torch.arange(len(ids)) >= int(split.tokens.second[row])).long()
            inputs = {"input_ids": ids[None]} | ({} if family == "distilbert" else {"token_type_ids": types[None]})
            assert torch.allclose(model(**inputs).logits[0], logits, atol=1e-5, rtol=0)
        ones, _ = run(make_classifier(model, 0, FP32), split_of(LENGTHS[0]))
    assert torch.equal(found, ones) == (family == "distilbert")


def test_bf16_pairs_stay_near_fp32() -> None:
    model, split = model_of("bert"), pairs_of(LENGTHS[0])
    with torch.no_grad():
        exact, _ = run(make_classifier(model, 0, FP32), split)
        rounded, _ = run(make_classifier(model, 0, BF16), split)
    assert 0 < (rounded - exact).abs().max() < 2e-2 * exact.abs().max()


def test_padding_is_masked() -> None:
    padded = PaddedClassifier(model_of("bert"), 0, FP32)
    inputs = padded.inputs(Tokens(np.array([7, 8, 9, 5, 6], dtype=np.int32), np.array([0, 3, 5])), np.array([0, 1]))
    assert inputs["input_ids"].tolist() == [[7, 8, 9], [5, 6, 0]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert "token_type_ids" not in inputs
    tokens = Tokens(
        np.array([7, 8, 9, 5, 6], dtype=np.int32), np.array([0, 3, 5]), second=np.array([1, 2], dtype=np.int32)
    )
    assert padded.inputs(tokens, np.array([0, 1]))["token_type_ids"].tolist() == [[0, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize("precision", [FP32, BF16], ids=lambda precision: precision.name)
def test_outside_training_the_weights_are_converted_once(precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of the weights takes effect with the next call of eval; the logits are those of converted weights."""
    model, split = model_of("bert"), split_of(LENGTHS[0])
    packed = make_classifier(model, 0, precision)
    with torch.inference_mode():
        expected, _ = run(packed, split)  # in training mode: the model has no dropout
        converted: list[int] = []
        concatenated = linear._concatenated

        def counting(parts: Sequence[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
            converted.append(len(parts))
            return concatenated(parts, dtype)

        monkeypatch.setattr(linear, "_concatenated", counting)
        packed.eval()
        assert converted
        converted.clear()
        found, _ = run(packed, split)
        assert torch.allclose(found, expected, rtol=0, atol=1e-6) and not converted
    with torch.no_grad():
        model.bert.encoder.layer[0].attention.self.query.weight *= 2
        assert torch.equal(run(packed, split)[0], found)
        assert not torch.allclose(run(packed.eval(), split)[0], found, rtol=0, atol=1e-6)
    packed.train()
    assert packed._frozen is None


@pytest.mark.parametrize("ops", ["auto", "reference"])
@pytest.mark.parametrize("rows_of", [split_of, pairs_of])
@pytest.mark.parametrize("precision", [FP32, BF16], ids=lambda precision: precision.name)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_classifier_has_each_matrix_once_and_the_same_logits(
    family: str, precision: Precision, rows_of: Callable[[list[int]], Split], ops: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXT_OPS", ops)
    model, split = model_of(family, **({} if family == "distilbert" else {"type_vocab_size": 2})), rows_of(LENGTHS[0])
    packed = make_classifier(model, model.config.pad_token_id, precision)
    assert isinstance(packed, PackedClassifier)
    with torch.inference_mode():
        expected, _ = run(packed.eval(), split)
    packed.freeze()
    with torch.inference_mode():
        assert torch.equal(run(packed, split)[0], expected)
    weights = [module.weight for layer in packed.parts.layers for module in (layer.query, layer.intermediate)]
    if packed._frozen is None:
        assert packed._prepacked and not any(weight.numel() for weight in weights)
    else:
        copies = packed._frozen.by_parameter
        assert all(copies[weight].data_ptr() == weight.data_ptr() for weight in weights)
    assert packed.parts.embeddings.word_embeddings.weight.dtype == precision.dtype


def test_in_fp32_outside_training_few_rows_have_prepacked_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of more rows, passes with gradients and training do not."""
    prepacked_rows: list[int] = []
    matmul = linear.PrepackedWeights.linear

    def recorded(self: linear.PrepackedWeights, x: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        prepacked_rows.append(len(x))
        return matmul(self, x, *arguments, **options)

    packed = make_classifier(model_of("bert"), 0, FP32)
    monkeypatch.setattr(linear.PrepackedWeights, "linear", recorded)
    assert isinstance(packed, PackedClassifier)
    packed.ops = replace(packed.ops, prepacked_rows=64)
    few, many = split_of([21, 6]), split_of([50, 30])
    expected = run(packed, few)[0], run(packed, many)[0]
    with_gradients = run(packed.eval(), few)[0]
    assert with_gradients.requires_grad and torch.equal(with_gradients, expected[0]) and not prepacked_rows
    with torch.inference_mode():
        found = run(packed, few)[0], run(packed, many)[0]
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-6)
    assert set(prepacked_rows) == {27, 2}  # of `many` only the first tokens
