"""The queue: order, turns, limits, failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError

import numpy as np
import pytest

from support.fake_clock import Clock
from support.served import WordModel, logits_of, wait_until
from text_classifier.contract.errors import PlatformError, SettingsError
from text_classifier.serving import batching
from text_classifier.serving.batching import Batcher, Failed, Overloaded, Row, Work

Start = Callable[..., Batcher[WordModel]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a batcher with a model, and wait until it is loaded."""
    started: list[Batcher[WordModel]] = []

    def run(model: WordModel, **options: object) -> Batcher[WordModel]:
        started.append(Batcher(lambda: model, **options))  # type: ignore[arg-type]
        started[-1].start()
        wait_until(lambda: started[-1].model is not None)
        return started[-1]

    yield run
    for each in started:
        if each.model is not None:
            each.model.gate.set()
        each.close()


def send(batcher: Batcher[WordModel], rows: Sequence[Row]) -> Work:
    work = batcher.admit(len(rows), sum(map(len, rows)))
    batcher.add(work, rows)
    return work


def hold(batcher: Batcher[WordModel], model: WordModel) -> Work:
    """A request whose batch runs until the model's gate is opened."""
    model.gate.clear()
    work = send(batcher, [[1]])
    wait_until(lambda: batcher.waiting_rows == 0)
    return work


def test_each_row_gets_its_logits_in_order(start: Start) -> None:
    batcher = start(WordModel(), batch_tokens=20)
    requests = [[[number, each, 1] for each in range(1, 40)] for number in range(1, 8)]
    works = [send(batcher, rows) for rows in requests]
    for rows, work in zip(requests, works, strict=True):
        assert np.allclose(work.future.result(10), [logits_of(row, 3) for row in rows])


def test_rows_may_be_added_while_others_are_computed(start: Start) -> None:
    batcher = start(WordModel())
    work = batcher.admit(3, 6)
    for number in (1, 2, 3):
        batcher.add(work, [[number, 5]])
        wait_until(lambda: batcher.waiting_rows == 0)
    assert np.allclose(work.future.result(10), [logits_of([number, 5], 3) for number in (1, 2, 3)])


def test_windows_are_more_rows_than_their_texts(start: Start) -> None:
    """Of three texts: the last windows come after the first ones were answered."""
    batcher = start(WordModel())
    work = batcher.admit(3, 9)
    batcher.add(work, [[1, 5], [2, 5], [3, 5]], texts=1)
    wait_until(lambda: batcher.waiting_rows == 0)
    batcher.add(work, [[4, 5], [5, 5], [6, 5]], texts=2)
    assert np.allclose(work.future.result(10), [logits_of([number, 5], 3) for number in range(1, 7)])


def test_what_waits_becomes_one_batch_up_to_the_budget(start: Start) -> None:
    model = WordModel()
    batcher = start(model, batch_tokens=6)
    hold(batcher, model)
    works = [send(batcher, [[number] * 2]) for number in range(2, 7)]
    model.gate.set()
    for work in works:
        work.future.result(10)
    assert model.batches[1:] == [[[2, 2], [3, 3], [4, 4]], [[5, 5], [6, 6]]]


def test_a_padded_batch_counts_its_padding(start: Start) -> None:
    model = WordModel(is_padded=True)
    batcher = start(model, batch_tokens=12)
    hold(batcher, model)
    work = send(batcher, [[2], [3], [4] * 4, [5]])
    model.gate.set()
    work.future.result(10)
    assert model.batches[1:] == [[[2], [3], [4] * 4], [[5]]]


def test_a_row_longer_than_the_budget_is_a_batch(start: Start) -> None:
    batcher = start(WordModel(), batch_tokens=2)
    assert send(batcher, [[1] * 9, [2]]).future.result(10).shape == (2, 3)


def test_requests_take_turns_row_by_row(start: Start) -> None:
    model = WordModel()
    batcher = start(model, batch_tokens=4)
    hold(batcher, model)
    large = send(batcher, [[2]] * 100)
    small = send(batcher, [[3]])
    model.gate.set()
    small.future.result(10)
    large.future.result(10)
    assert model.batches[1] == [[2], [3], [2], [2]]


def test_a_request_that_was_given_up_is_not_computed(start: Start) -> None:
    model = WordModel()
    batcher = start(model, batch_tokens=4)
    hold(batcher, model)
    gone, other = send(batcher, [[2]] * 9), send(batcher, [[3]])
    gone.future.cancel()
    model.gate.set()
    other.future.result(10)
    wait_until(lambda: batcher.waiting_rows == 0)
    assert model.batches[1:] == [[[3]]]
    with pytest.raises(CancelledError):
        gone.future.result()


def test_a_request_given_up_within_its_batch_harms_no_other(start: Start) -> None:
    model = WordModel()
    batcher = start(model)
    held = hold(batcher, model)
    held.future.cancel()
    model.gate.set()
    assert send(batcher, [[2]]).future.result(10).shape == (1, 3)


class Breaking(WordModel):
    """Runs out of memory on more than two rows, and breaks on a row of 13."""

    def logits(self, rows: Sequence[Row]) -> np.ndarray:
        if len(rows) > 2 and any(any(row) for row in rows):
            raise RuntimeError("CUDA error: out of memory")
        if [13] in rows:
            raise ArithmeticError("13")
        return super().logits(rows)


def test_a_batch_that_fails_is_halved_and_fails_one_request_alone(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Breaking()
    batcher = start(model)
    good = send(batcher, [[number] for number in range(1, 9)])
    bad, also_good = send(batcher, [[3], [13], [4]]), send(batcher, [[5]])
    assert good.future.result(10).shape == (8, 3)
    assert also_good.future.result(10).shape == (1, 3)
    with pytest.raises(Failed):
        bad.future.result(10)
    with pytest.raises(Failed):
        send(batcher, [[13]]).future.result(10)
    log = capsys.readouterr().err
    assert log.count("ArithmeticError: 13") == 1 and log.count("RuntimeError: CUDA error: out of memory") == 1
    assert batcher.problem() is None


def test_texts_that_all_fail_make_the_server_unhealthy_until_one_succeeds(start: Start) -> None:
    batcher = start(Breaking())
    for _ in range(batching.MOST_FAILURES):
        with pytest.raises(Failed):
            send(batcher, [[13]]).future.result(10)
    assert batcher.problem() == "the last 10 texts failed"
    send(batcher, [[1]]).future.result(10)
    assert batcher.problem() is None


def test_a_request_that_would_wait_too_long_is_refused_and_a_lone_one_never(start: Start) -> None:
    model, clock = WordModel(), Clock()
    batcher = start(model, max_wait_seconds=10.0, clock=clock.monotonic)
    batcher._tokens_per_second = 100.0
    hold(batcher, model)
    send(batcher, [[2] * 10] * 1_000)  # 100 s of work, of which a request waits for as much as it brings itself
    send(batcher, [[2]])
    with pytest.raises(Overloaded):
        batcher.admit(500, 5_000)
    model.gate.set()
    wait_until(lambda: batcher.waiting_rows == 0)
    batcher.admit(1_000_000, 10**9)


def test_a_batch_that_hangs_makes_the_server_unhealthy(start: Start) -> None:
    model, clock = WordModel(), Clock()
    batcher = start(model, clock=clock.monotonic)
    hold(batcher, model)
    assert batcher.problem() is None
    clock.now += batching.STUCK_SECONDS + 1
    assert batcher.problem() == "a batch has been running for more than 60 s"
    model.gate.set()
    wait_until(lambda: batcher.problem() is None)


def test_the_size_of_batches_follows_the_speed() -> None:
    batcher: Batcher[WordModel] = Batcher(WordModel)
    for _ in range(40):
        batcher._measure(WordModel(), 1_000, batching.BATCH_SECONDS)
    assert batcher._most_tokens == pytest.approx(1_000, rel=0.01)
    batcher._measure(WordModel(), 10, 0.1)  # a small batch is slow for its tokens, and says nothing
    assert batcher._most_tokens == pytest.approx(1_000, rel=0.01)
    for _ in range(40):
        batcher._measure(WordModel(), 1_000, 10.0)
    assert batcher._most_tokens == batching.FEWEST_TOKENS
    for _ in range(40):
        batcher._measure(WordModel(), 1_000_000, batching.BATCH_SECONDS)
    assert batcher._most_tokens == WordModel.most_tokens


def test_a_model_that_cannot_be_loaded_is_the_problem() -> None:
    def load() -> WordModel:
        raise SettingsError("no model; mount one")

    batcher: Batcher[WordModel] = Batcher(load)
    assert batcher.problem() == "the model is being loaded"
    batcher.start()
    wait_until(lambda: batcher.error is not None)
    assert batcher.problem() == "the model cannot be served (no model; mount one)"


def test_a_model_for_which_memory_is_lacking_is_the_platforms_fault(capsys: pytest.CaptureFixture[str]) -> None:
    def load() -> WordModel:
        raise MemoryError

    batcher: Batcher[WordModel] = Batcher(load)
    batcher.start()
    wait_until(lambda: batcher.error is not None)
    assert isinstance(batcher.error, PlatformError) and "the host ran out of memory" in str(batcher.error)
    assert "Traceback" not in capsys.readouterr().err
