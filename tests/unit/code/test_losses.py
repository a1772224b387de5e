from __future__ import annotations

import numpy as np
import pytest
import torch

from losses import STEPS_BETWEEN_CHECKS_ON_GPU, LossNotFinite, LossWatch


def rows_of_step(step: int) -> np.ndarray:
    return np.array([10 * step, 10 * step + 1])


@pytest.mark.parametrize(("device", "noticed"), [("cpu", 3), ("cuda", STEPS_BETWEEN_CHECKS_ON_GPU)])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_first_bad_step_is_named_with_its_rows(device: str, noticed: int, bad: float) -> None:
    watch = LossWatch(torch.device(device), rows_of_step)
    for step in range(1, noticed):
        watch.add(step, torch.tensor(bad if step >= 3 else 0.5))
    with pytest.raises(LossNotFinite) as caught:
        watch.add(noticed, torch.tensor(bad))
    assert (caught.value.step, caught.value.rows) == (3, [30, 31])
    sentence = caught.value.sentence(["a.tsv line 7", "a.tsv line 2"], 0.1).splitlines()[0]
    assert sentence == (
        f"the loss is {bad} at step 3, on a.tsv line 7 and 1 other rows; lower learning_rate=0.1 (no model is saved)"
    )


def test_the_rest_is_checked_at_the_end() -> None:
    watch = LossWatch(torch.device("cuda"), rows_of_step)
    watch.add(1, torch.tensor(float("nan")))
    with pytest.raises(LossNotFinite):
        watch.check()
    watch.check()
