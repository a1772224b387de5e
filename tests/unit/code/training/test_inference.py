from __future__ import annotations

import numpy as np
import pytest
import torch

from support.refusing import Refusing
from support.small_models import in_windows, model_of, split_of
from text_classifier.contract.errors import SettingsError
from text_classifier.modeling.load import make_classifier
from text_classifier.modeling.padded import PaddedClassifier
from text_classifier.modeling.precision import Precision
from text_classifier.runtime.hosts import Hosts
from text_classifier.runtime.stop import StopSignal
from text_classifier.training.cluster import Cluster
from text_classifier.training.inference import predict, row_logits
from text_classifier.training.micro_batches import TokenLimit

CPU = torch.device("cpu")
SPLIT = split_of([int(n) for n in np.random.default_rng(4).integers(2, 30, 50)])


@pytest.mark.parametrize("make", [make_classifier, PaddedClassifier])
def test_what_does_not_fit_at_once_has_the_same_logits(make: type[PaddedClassifier]) -> None:
    cluster = Cluster(Hosts.from_resources({}), 60)
    classifier = make(model_of("bert"), 0, Precision("fp32", CPU))
    expected = predict(classifier, SPLIT, 16, cluster, StopSignal())
    refusing, limit = Refusing(70), TokenLimit("evaluation")
    refusing.watch(classifier)
    found = predict(classifier, SPLIT, 16, cluster, StopSignal(), limit=limit)
    assert found is not None and expected is not None
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    refused = refusing.refused
    assert 0 < refused <= 4 and limit.tokens <= 70
    predict(classifier, SPLIT, 16, cluster, StopSignal(), limit=limit)
    assert refusing.refused == refused  # the limit is known


@pytest.mark.parametrize("make", [make_classifier, PaddedClassifier])
def test_the_logits_of_a_text_are_the_mean_over_its_windows(make: type[PaddedClassifier]) -> None:
    cluster, counts = Cluster(Hosts.from_resources({}), 60), [1, 7, 2, 30, 10]
    classifier = make(model_of("bert"), 0, Precision("fp32", CPU))
    rows = row_logits(classifier, SPLIT, 16, cluster, StopSignal())
    assert rows is not None
    expected = [part.mean(axis=0) for part in np.split(rows, np.cumsum(counts)[:-1])]
    found = predict(classifier, in_windows(SPLIT, counts), 16, cluster, StopSignal())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_row_that_does_not_fit_names_where_the_batch_size_comes_from() -> None:
    classifier = make_classifier(model_of("bert"), 0, Precision("fp32", CPU))
    Refusing(20).watch(classifier)
    with pytest.raises(
        SettingsError, match="ran out of memory with --batch-size=16: the model, or a single row, does not fit"
    ):
        predict(classifier, SPLIT, 16, Cluster(Hosts.from_resources({}), 60), StopSignal(), setting="--batch-size")
