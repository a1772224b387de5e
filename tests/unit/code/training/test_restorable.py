"""Checkpoints are input: what is not a checkpoint of this job is passed over with a line, and nothing of it is used."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from support.checkpoints import sign
from support.jobs import Job, easy_rows, table
from text_classifier.contract.errors import PlatformError
from text_classifier.modeling.precision import LossScale
from text_classifier.training import checkpoint
from text_classifier.training.checkpoint import MANIFEST, STATE, Checkpoints, Content
from text_classifier.training.evaluations import EvaluationPlan
from text_classifier.training.loss_tracking import LossCurve
from text_classifier.training.restorable import Expected, header_of
from text_classifier.training.state import Training

CPU = torch.device("cpu")
STEP, PER_EPOCH = 7, 5

EVALUATION = {
    "train_loss": 1.0, "validation_loss": 1.0, "accuracy": math.nan, "precision_macro": 0.5, "recall_macro": 0.5,
    "f1_macro": 0.5,
}  # fmt: skip


def training(width: int = 4) -> Training:
    """After the first epoch of five steps, and two more."""
    model = torch.nn.Linear(3, width)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    curve = LossCurve()
    for _ in range(STEP):
        curve.add(1.0, 2)
    return Training(
        model, optimizer, LossScale(CPU, is_used=False), torch.zeros(()), {"gelu": "torch"}, own_rows=4, rows=4,
        steps=STEP, evaluations=[EVALUATION], best_evaluation=1,
        best_weights=dict(model.state_dict()), curve=curve,
    )  # fmt: skip


def captured(of: Training) -> Content:
    cluster: Any = SimpleNamespace(device=CPU, all_gather=lambda tensor: tensor[None])
    content = of.capture(cluster)
    return Content(content.tensors, {**content.state, "origin": {"epochs": 3}})


def expected(of: Training | None = None) -> Expected:
    return Expected((of or training()).headers(1), EvaluationPlan(PER_EPOCH, 1), "single_label")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The newest of two checkpoints."""
    checkpoints = Checkpoints(tmp_path)
    earlier = captured(training())
    state = {
        **earlier.state,
        "steps": 5,
        "curve": {**earlier.state["curve"], "steps": 5, "_sums": [1.0] * 5, "_rows": [2] * 5},
    }
    checkpoints.write(5, Content(earlier.tensors, state))
    checkpoints.write(STEP, captured(training()))
    return tmp_path / f"step-{STEP}"


def found(folder: Path) -> int | None:
    newest = Checkpoints(folder.parent).newest(expected())
    return newest[0] if newest else None


def test_a_checkpoint_of_a_model_with_frozen_and_unused_parameters_fits_and_is_restored() -> None:
    """XLNet has parameters without a gradient: an embedding of masks, which no classifier reads."""

    def fresh() -> Training:
        one = training()
        one.model.register_parameter("unused", torch.nn.Parameter(torch.ones(3)))
        one.model.register_parameter("frozen", torch.nn.Parameter(torch.ones(3), requires_grad=False))
        unused = one.model.get_parameter("unused")
        one.optimizer.add_param_group({"params": [unused]})
        one.best_weights = dict(one.model.state_dict())
        return one

    content = captured(fresh())
    stored = {file: {name: header_of(t) for name, t in part.items()} for file, part in content.tensors.items()}
    other = fresh()
    assert expected(other).misfit_of_tensors(stored) is None
    assert not [name for name in stored["optimizer"] if "frozen" in name]
    cluster: Any = SimpleNamespace(device=CPU, rank=0)
    other.restore(content, cluster)
    assert torch.equal(other.optimizer.state[other.model.get_parameter("unused")]["exp_avg"], torch.zeros(3))


@pytest.mark.parametrize(("shape", "fits"), [((1, 16), True), ((0, 16), False), ((2, 16), False), ((1, 3), False)])
def test_the_random_state_of_a_gpu_is_that_of_each_rank(shape: tuple[int, int], fits: bool) -> None:
    content = captured(training())
    stored = {file: {name: header_of(t) for name, t in part.items()} for file, part in content.tensors.items()}
    stored["ranks"]["random_cuda"] = ("U8", shape)
    misfit = None if fits else "random_cuda in ranks.safetensors does not match this job's model"
    assert expected().misfit_of_tensors(stored) == misfit


def test_a_checkpoint_of_the_job_fits(folder: Path) -> None:
    assert found(folder) == STEP


def change_state(**changes: Any) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        state = json.loads((folder / STATE).read_text()) | changes
        (folder / STATE).write_text(json.dumps({key: value for key, value in state.items() if value != "(missing)"}))
        sign(folder)

    return apply


def change_tensors(file: str, change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / f"{file}.safetensors")
        change(tensors)
        save_file(tensors, folder / f"{file}.safetensors")
        sign(folder)

    return apply


def as_another_file(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder / "extra.safetensors")
    sign(folder)


CURVE = LossCurve().state()
MISFITS: dict[str, Callable[[Path], None]] = {
    "another model": change_tensors("model", lambda t: t.update(weight=torch.zeros(5, 3))),
    "another dtype": change_tensors("model", lambda t: t.update(weight=torch.zeros(4, 3, dtype=torch.float64))),
    "a tensor more": change_tensors("model", lambda t: t.update(more=torch.zeros(1))),
    "a tensor less": change_tensors("best", lambda t: t.pop("bias")),
    "another optimizer": change_tensors("optimizer", lambda t: t.pop("exp_avg.bias")),
    "more ranks": change_tensors("ranks", lambda t: t.update(own_rows=torch.zeros(2, dtype=torch.int64))),
    "a short random state": change_tensors("ranks", lambda t: t.update(random=t["random"][:, :-1].clone())),
    "a wrong random state": change_tensors("ranks", lambda t: t.update(random=torch.full_like(t["random"], 255))),
    "negative rows": change_tensors("ranks", lambda t: t.update(own_rows=-t["own_rows"])),
    "nan in the weights": change_tensors("model", lambda t: t["weight"].fill_(math.nan)),
    "inf in the optimizer": change_tensors("optimizer", lambda t: t["exp_avg_sq.weight"].fill_(math.inf)),
    "another file": as_another_file,
    "another step": change_state(steps=STEP + 1),
    "a step as text": change_state(steps="7"),
    "a huge step": change_state(steps=10**400),
    "negative steps in the optimizer": change_tensors("optimizer", lambda t: t["step.bias"].fill_(-1)),
    "negative squares in the optimizer": change_tensors("optimizer", lambda t: t["exp_avg_sq.weight"].fill_(-1e9)),
    "more epochs than steps": change_state(epochs=[EVALUATION] * 3),
    "fewer epochs than steps": change_state(epochs=[], best_epoch=0),
    "metrics of any name": change_state(epochs=[{**EVALUATION, "../../tag": 1.0}]),
    "metrics of any type": change_state(epochs=[{**EVALUATION, "accuracy": "x"}]),
    "metrics of another task": change_state(epochs=[{**EVALUATION, "mae": 1.0}]),
    "no metrics": change_state(epochs=[{}]),
    "no validation loss": change_state(epochs=[{k: v for k, v in EVALUATION.items() if k != "validation_loss"}]),
    "a best epoch to come": change_state(best_epoch=2),
    "no best epoch": change_state(best_epoch=0),
    "token limits of zero": change_state(token_limits=[0, 1]),
    "one token limit": change_state(token_limits=[1]),
    "a scale of zero": change_state(loss_scale=[0.0, 0]),
    "a scale of infinity": change_state(loss_scale=[math.inf, 0]),
    "a scale of nothing": change_state(loss_scale=[5e-324, 0]),
    "more good steps than a scale waits for": change_state(loss_scale=[1.0, 2_000]),
    "no scale": change_state(loss_scale=None),
    "no curve": change_state(curve="(missing)"),
    "a curve of other keys": change_state(curve={**CURVE, "add": 1}),
    "a curve of another length": change_state(curve={**CURVE, "steps": 3}),
    "a point without rows": change_state(curve={**CURVE, "steps": 1, "_sums": [1.0], "_rows": [0]}),
    "operations of any type": change_state(operations={"gelu": 1}),
    "no origin": change_state(origin="(missing)"),
    "an origin of any type": change_state(origin=[1]),
    "rows of any type": change_state(rows=1.5),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_is_passed_over_with_a_line(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    MISFITS[name](folder)
    assert found(folder) == 5
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"WARNING: the checkpoint step-{STEP} is not used: ")
    shutil.rmtree(folder.parent / "step-5")
    with pytest.raises(PlatformError, match="none of the 1 checkpoints in .* is complete; restore one from S3"):
        found(folder)


def large(name: str, *, is_named: bool) -> Callable[[Path], None]:
    """A file of holes, which is as large as it says and takes no space. Its sum would take an hour."""

    def apply(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.truncate(10**13)
        if is_named:
            files = json.loads((folder / MANIFEST).read_text())["files"] | {name: {"size": 10**13, "sha256": "0"}}
            (folder / MANIFEST).write_text(json.dumps({"files": files}))

    return apply


def as_link(folder: Path) -> None:
    folder.rename(folder.parent / "elsewhere")
    folder.symlink_to(folder.parent / "elsewhere")


def file_as_link(folder: Path) -> None:
    (folder / STATE).rename(folder.parent / "state")
    (folder / STATE).symlink_to(folder.parent / "state")


def as_pipe(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    os.mkfifo(folder / MANIFEST)


def manifest(content: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / MANIFEST).write_text(content)


BROKEN: dict[str, Callable[[Path], Any]] = {
    "a link to a folder": as_link,
    "a link to a file": file_as_link,
    "a pipe": as_pipe,
    "a folder for a manifest": lambda folder: ((folder / MANIFEST).unlink(), (folder / MANIFEST).mkdir()),
    "deep": manifest("[" * 100_000),
    "deep objects": manifest('{"files":' * 50_000),
    "a size as text": manifest('{"files": {"state.json": {"size": "1", "sha256": ""}}}'),
    "a huge size": manifest('{"files": {"state.json": {"size": 1e400, "sha256": 1}}}'),
    "a number of thousands of digits": manifest('{"files": {"state.json": {"size": %s, "sha256": 1}}}' % ("9" * 9_000)),
    "a path out": manifest('{"files": {"../step-5/state.json": {"size": 1, "sha256": ""}, "state.json": {}}}'),
    "an absolute path": manifest('{"files": {"/etc/passwd": {"size": 1, "sha256": ""}, "state.json": {}}}'),
    "no name": manifest('{"files": {"": {"size": 1, "sha256": ""}, "state.json": {}}}'),
    "NUL in a name": manifest('{"files": {"\\u0000": {"size": 1, "sha256": ""}, "state.json": {}}}'),
    "a surrogate in a name": manifest('{"files": {"\\ud800": {"size": 1, "sha256": ""}, "state.json": {}}}'),
    "files as text": manifest('{"files": "state.json"}'),
    "an entry as text": manifest('{"files": {"state.json": "x"}}'),
    "a huge manifest": large(MANIFEST, is_named=False),
    "a huge state": large(STATE, is_named=True),
    "huge weights": large("model.safetensors", is_named=True),
    "a huge file of another name": large("more.safetensors", is_named=True),
    "a huge file of another kind": large("notes", is_named=True),
    "a name without end": manifest('{"files": {"%s": {"size": 1, "sha256": ""}, "state.json": {}}}' % ("x" * 10**6)),
    "without a state": lambda folder: ((folder / STATE).unlink(), sign(folder)),
    "a list for a state": lambda folder: ((folder / STATE).write_text("[]"), sign(folder)),
    "no safetensors": lambda folder: ((folder / "best.safetensors").write_bytes(b"x" * 99), sign(folder)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_checkpoint_is_passed_over(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    BROKEN[name](folder)
    assert found(folder) == 5
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (0 if name == "a link to a folder" else 1)
    assert all(line.isprintable() and len(line) < 400 for line in lines)


def test_a_file_that_vanishes_while_it_is_read_is_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = checkpoint._sha256

    def vanishing(path: Path) -> str:
        if path.parent == folder:
            raise FileNotFoundError(2, "No such file or directory")
        return read(path)

    monkeypatch.setattr(checkpoint, "_sha256", vanishing)
    assert found(folder) == 5
    assert "step-7 is not used: best.safetensors cannot be read (No such file or dir" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["step-" + "9" * 200, "step-1" + "0" * 15, "step-٣", "step--1", "step-1.0", "step-"])
def test_other_folders_are_no_steps(folder: Path, name: str) -> None:
    folder.rename(folder.parent / name)
    assert found(folder) == 5


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from([*captured(training()).state, "other"]), value=json_values)
def test_any_value_of_the_state_is_restored_or_passed_over(key: str, value: Any) -> None:
    content = captured(training())
    content = Content(content.tensors, {**content.state, key: value})
    job = training()
    if expected().misfit_of_content(STEP, content) is None:
        job.restore(content, SimpleNamespace(rank=0, device=CPU))  # type: ignore[arg-type]
        job.curve.add(1.0, 2)
        assert len(job.curve.points()["losses"]) == len(job.curve.points()["steps"])
        assert job.steps == STEP and job.best_evaluation <= len(job.evaluations)


def test_two_jobs_in_one_folder_are_found_out(tmp_path: Path) -> None:
    ours, theirs = Checkpoints(tmp_path), Checkpoints(tmp_path)
    assert ours.newest() is None and theirs.newest() is None
    ours.write(5, captured(training()))
    with pytest.raises(
        PlatformError, match="another job writes checkpoints to .* too \\(step-5 is not this job's\\); give"
    ):
        theirs.write(6, captured(training()))
    ours.write(7, captured(training()))
    again = Checkpoints(tmp_path)  # after a kill
    assert again.newest() is not None
    again.write(8, captured(training()))
    with pytest.raises(PlatformError, match="another job writes"):
        ours.write(9, captured(training()))


def test_a_checkpoint_of_a_later_step_that_cannot_be_used_costs_none_of_the_jobs(folder: Path) -> None:
    for number in (10**9, 10**9 + 1):
        (folder.parent / f"step-{number}").mkdir()
    checkpoints = Checkpoints(folder.parent)
    assert found(folder) == STEP
    checkpoints.write(8, captured(training()))
    checkpoints.write(9, captured(training()))
    assert {path.name for path in folder.parent.iterdir()} >= {"step-8", "step-9"}


def test_nothing_is_removed_through_a_link(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / MANIFEST).write_text("{}")
    (folder.parent / "step-3").symlink_to(outside)
    (folder.parent / "step-9").symlink_to(outside)
    checkpoints = Checkpoints(folder.parent)
    for step in (8, 9):
        checkpoints.write(step, captured(training()))
    assert (outside / MANIFEST).exists() and not (folder.parent / "step-9").is_symlink()


def test_a_checkpoint_folder_that_is_a_file_is_one_sentence(ready_job: Job, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _ = ready_job.run("--epochs=1", f"--checkpoint_dir={tmp_path / 'file'}")
    assert code == 1
    assert ready_job.failure == (
        f"The platform: the checkpoints in {tmp_path / 'file'} cannot be read (Not a directory); use another "
        "checkpoint folder"
    )


FOUR_STEPS = ("--epochs=1", "--train_batch_size=16", "--checkpoint_seconds=0", "--precision=fp32")


def with_checkpoints(job: Job) -> Path:
    """The checkpoint of the last step of a job that has ended."""
    job.write("train", "reviews.tsv", table(easy_rows(64)))
    code, log = job.run(*FOUR_STEPS)
    assert code == 0, log
    return job.base / "checkpoints" / "step-4"


def test_a_job_passes_over_the_checkpoint_of_another_model(ready_job: Job) -> None:
    folder = with_checkpoints(ready_job)
    tensors = load_file(folder / "model.safetensors")
    name = next(iter(tensors))
    save_file({**tensors, name: torch.zeros(3)}, folder / "model.safetensors")
    sign(folder)
    code, log = ready_job.run(*FOUR_STEPS)
    assert code == 0, log
    assert f"WARNING: the checkpoint step-4 is not used: {name} in model.safetensors does not match this job's" in log
    # Of step 3, unless its checkpoint was due while that of step 2 was still being written.
    assert re.search("Resuming from the checkpoint of step [123]$", log, re.MULTILINE)


def test_a_checkpoint_forges_no_line_of_the_log(ready_job: Job) -> None:
    """Its operations have any names, and its settings any values."""
    folder = with_checkpoints(ready_job)
    names = ["accuracy=0.99;", "a\nThe platform: gone\nf1_macro=1;", *(f"more{number}" for number in range(10_000))]
    change_state(operations=dict.fromkeys(names, "auprc=1;"))(folder)
    code, log = ready_job.run(*FOUR_STEPS)
    assert code == 0 and "Resuming from the checkpoint of step 4" in log, log
    [line] = [line for line in log.splitlines() if "operations are computed in another way" in line]
    assert "accuracy\\x3d0.99; (auprc\\x3d1;, now None), a\\nThe platform" in line and len(line) < 1_300
    assert not [line for line in log.splitlines() if line.startswith(("The platform", "f1_macro"))]
    change_state(origin=json.loads((folder / STATE).read_text())["origin"] | {"seed": "x" * 10**6})(folder)
    code, log = ready_job.run(*FOUR_STEPS)
    assert code == 1 and "are from a job with seed=xxx" in ready_job.failure and len(log) < 5_000
    assert ready_job.failure.endswith("x, this one has 42; use another checkpoint folder, or the previous settings")


def test_a_checkpoint_folder_that_cannot_be_made_is_one_sentence(ready_job: Job) -> None:
    code, _ = ready_job.run("--epochs=1", "--checkpoint_dir=/proc/1/none")
    assert code == 1
    assert ready_job.failure == (
        "The platform: the checkpoint folder /proc/1/none cannot be made (No such file or directory); use another "
        "checkpoint folder"
    )


@pytest.mark.parametrize("published", ["model", "output/data/checkpoints"])
def test_checkpoints_are_not_published(ready_job: Job, published: str) -> None:
    folder = ready_job.base / published
    code, _ = ready_job.run("--epochs=1", f"--checkpoint_dir={folder}")
    assert code == 1
    assert re.fullmatch(
        f"Your settings: checkpoint_dir={folder} is in .*, all of which the job publishes; use a folder of its own",
        ready_job.failure,
    )
    assert not list(ready_job.base.glob("model/*"))
