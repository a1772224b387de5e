"""What a job publishes cannot be forged by its data: whole jobs whose labels, texts, ids, slices, files and columns are
attacks, and every place that they reach."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from support.attacks import ATTACKS
from support.jobs import Job
from support.pages import Page
from support.tiny_model import write_tiny_model
from text_classifier.contract.errors import DataError, JobError, PeerError, SettingsError, describe
from text_classifier.contract.metric_names import REPORTED, metric_definitions
from text_classifier.contract.redaction import without_control
from text_classifier.results.artifact import code
from text_classifier.results.cells import inert, original, row_writer

#: Classes of a job: no more than the log names.
GROUP = 20

#: Those that a row may have: NUL is refused by the reader, and lone surrogates are no text.
USABLE = [attack for attack in ATTACKS if "\x00" not in attack and attack.strip()]

GROUPS = [USABLE[start : start + GROUP] for start in range(0, len(USABLE), GROUP)]

#: Keys of the rows, and the name of their file.
TEXT, LABEL, ID, SLICE = "=t<script>|`", "@l\naccuracy=1; [x](http://127.0.0.1:9/)", "+i`[x](y)", "-s</style>\x1b[31m"
FILE = "=1+1 <img src=http:x onerror=alert(1)>\n\x1b[31maccuracy=0.9; [x](http:y) ```"


@pytest.fixture(scope="module", params=range(len(GROUPS)))
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Job, str]:
    """The attacks of a finished job, the job, and its log."""
    attacks = GROUPS[request.param]
    job = Job(tmp_path_factory.mktemp("forged"), {"TEXT_OPS": "reference"})
    # Known words first, or the tokenizer counts as one of another language.
    rows = [{TEXT: "good bad " * 12 + each, LABEL: each, ID: each, SLICE: each} for each in attacks for _ in range(2)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    job.write("train", f"{FILE}.jsonl", lines)
    job.write("validation", f"{FILE}.jsonl", lines)
    model = job.base / "input" / "data" / "model"
    model.mkdir()
    write_tiny_model(model)
    config = json.loads((model / "config.json").read_text())
    claims = {"_commit_hash": "[x](http:y)", "_name_or_path": "<script>", "id2label": dict(enumerate(attacks[::-1]))}
    (model / "config.json").write_text(json.dumps(config | claims))
    code, log = job.run(
        "--epochs=1", "--max_sequence_length=64", f"--text_columns={json.dumps([TEXT])}", f"--label_column={LABEL}",
        f"--id_column={ID}", f"--slice_column={SLICE}",
    )  # fmt: skip
    assert code == 0, log
    assert "WARNING: no " not in log, log
    return attacks, job, log


def found_metrics(text: str) -> list[str]:
    """What SageMaker would read from a log."""
    return [each["Name"] for each in metric_definitions() for _ in re.findall(each["Regex"], text)]


def test_the_log_has_the_metrics_of_the_epoch_alone(done: tuple[list[str], Job, str]) -> None:
    _, _, log = done
    [epoch] = [line for line in log.splitlines() if line.startswith("epoch=")]
    assert sorted(found_metrics(log)) == sorted(found_metrics(epoch)) != []
    assert len(found_metrics(epoch)) == len(set(found_metrics(epoch))) == len(re.findall(r"\w+=", epoch)) - 2


def test_the_log_controls_no_terminal(done: tuple[list[str], Job, str]) -> None:
    _, _, log = done
    assert log == without_control(log)
    starts = ("The platform:", "Your data:", "Your settings:", "A bug in", "Traceback")
    assert not [line for line in log.splitlines() if line.startswith(starts)]


def test_the_page_is_what_the_template_says(done: tuple[list[str], Job, str]) -> None:
    attacks, job, _ = done
    page = Page((job.base / "output" / "data" / "report.html").read_text())
    page.require_self_contained()
    allowed = {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "b", "small", "strong", "table", "tr",
        "thead", "tbody", "th", "td", "figure", "img", "i", "h3", "details", "summary",
    }  # fmt: skip
    assert {tag for tag, _ in page.elements} <= allowed
    shown = " ".join(page.text.split())
    assert all(" ".join(attack.split()) in shown for attack in attacks)


def test_a_spreadsheet_runs_no_cell_and_the_cells_can_be_had_back(done: tuple[list[str], Job, str]) -> None:
    attacks, job, _ = done
    with (job.base / "output" / "data" / "predictions_validation.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert all(len(row) == len(header) for row in rows)
    for cell in (cell for row in [header, *rows] for cell in row):
        assert cell[:1] not in "=@\t\r\n\uff1d\uff0b\uff0d\uff20" or not cell
        assert cell[:1] not in ("+", "-") or float(cell) is not None
    assert {original(row[header.index("id")]) for row in rows} == {attack.strip() for attack in attacks}
    classes = json.loads((job.base / "model" / "training_manifest.json").read_text())["classes"]
    assert {original(row[header.index("label")]) for row in rows} == set(classes)
    assert sorted(map(original, header[4:])) == sorted(f"probability_{name}" for name in classes)


def test_the_card_has_no_link_no_html_and_its_own_front_matter(done: tuple[list[str], Job, str]) -> None:
    _, job, _ = done
    _, front, body = (job.base / "model" / "README.md").read_text().split("---\n", 2)
    assert set(yaml.safe_load(front)) == {"library_name", "pipeline_tag", "model-index"}
    tokens = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").parse(body)
    inline = [child for token in tokens for child in token.children or ()]
    assert {child.type for child in inline} <= {"text", "code_inline", "softbreak", "strong_open", "strong_close"}
    assert not [token for token in tokens if token.type.startswith("html")]
    headings = [body.content for token, body in itertools.pairwise(tokens) if token.type == "heading_open"]
    assert headings == ["Text classifier", "Evaluation", "Training", "Limits"]
    prose = "".join(child.content for child in inline if child.type == "text")
    assert not re.search(r"https?:|www\.|@|<|\[", prose)  # what GitHub and the Hub link by themselves


def test_the_events_have_the_metrics_as_tags(done: tuple[list[str], Job, str]) -> None:
    from tensorboardX.proto.event_pb2 import Event

    _, job, _ = done
    [path] = (job.base / "output" / "data" / "tensorboard").iterdir()
    content, tags = path.read_bytes(), set()
    while content:
        length = int.from_bytes(content[:8], "little")
        tags |= {value.tag for value in Event.FromString(content[12 : 12 + length]).summary.value}
        content = content[16 + length :]
    assert tags <= {*REPORTED, "train_loss_by_step"}


def test_a_folder_does_not_say_from_where_it_is(done: tuple[list[str], Job, str]) -> None:
    _, job, _ = done
    manifest = json.loads((job.base / "model" / "training_manifest.json").read_text())
    base = {"name": "model channel", "architecture": "bert", "revision": None, "source": "unknown"}
    assert manifest["base_model"] == base


def test_folds_pairs_folders_and_label_issues_forge_nothing(tmp_path: Path) -> None:
    """The same attacks in the columns of pairs, in names of nested folders, and in what folds judge."""
    job = Job(tmp_path, {"TEXT_OPS": "reference"})
    labels = ("=1+1 [x](http:y)", "</td><script>alert(1)</script>\naccuracy=1.0;")
    first, second = "@first\naccuracy=1;", "<img src=x onerror=alert(1)>"
    rows = [
        {
            first: "good bad " * 12 + f"{number} {labels[number % 2]}",
            second: "+cmd|' /C calc'!A0",
            LABEL: labels[number % 2],
        }
        for number in range(24)
    ]
    folder = f"{FILE[:20]}/<b>-x accuracy=0.9;\n\x1b[2J/=y"
    job.write("train", f"{folder}/a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    model = job.base / "input" / "data" / "model"
    model.mkdir()
    write_tiny_model(model)
    code, log = job.run(
        "--epochs=1", "--max_sequence_length=64", f"--text_columns={json.dumps([first])}", f"--label_column={LABEL}",
        f"--text_pair_columns={json.dumps([second])}", "--cross_validation=2", "--deduplicate=false",
        "--train_size=0.5",
    )  # fmt: skip
    assert code == 0 and "WARNING: no " not in log, log
    assert log == without_control(log) and found_metrics(log)
    assert not [metric for line in log.splitlines() if not line.startswith("epoch=") for metric in found_metrics(line)]
    output = job.base / "output" / "data"
    page = Page((output / "report.html").read_text())
    page.require_self_contained()
    assert not {"script", "iframe", "a", "link", "form"} & {tag for tag, _ in page.elements}
    assert labels[1].partition("\n")[0] in page.text
    for name in ("label_issues.csv", "predictions_validation.csv"):
        with (output / name).open(newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if cell[:1] in tuple("=@\t\r\n")]
        assert any("<b>-x" in cell for cell in cells)
    _, _, body = (job.base / "model" / "README.md").read_text().split("---\n", 2)
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    inline = {child.type for token in tokens for child in token.children or ()}
    assert inline <= {"text", "code_inline", "softbreak", "strong_open", "strong_close"}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("kind", [DataError, SettingsError, KeyError])
def test_a_failure_reason_keeps_its_class(attack: str, kind: type[Exception]) -> None:
    error = kind(f"the label {attack!r} is not in label_map") if issubclass(kind, JobError) else kind(attack)
    reason = describe(error)
    cause = getattr(kind, "cause", "A bug in the training code")
    assert reason.startswith(f"{cause}: ") and reason == without_control(reason) and not found_metrics(reason)
    forwarded = describe(PeerError(reason.splitlines()[0], "algo-2"))
    assert forwarded.startswith(f"{cause}: ") and forwarded.splitlines()[0].endswith("[reported by algo-2]")


def test_a_file_whose_name_is_not_utf8_loses_nothing(tmp_path: Path) -> None:
    job = Job(tmp_path, {"TEXT_OPS": "reference"})
    name = b"a\xff\xfe.csv".decode(errors="surrogateescape")
    for channel in ("train", "validation"):
        job.write(channel, name, "text,label\n" + "good great,1\nbad awful,0\n" * 4)
    model = job.base / "input" / "data" / "model"
    model.mkdir()
    write_tiny_model(model)
    code, log = job.run("--epochs=1", "--max_sequence_length=16")
    assert code == 0 and "WARNING: no " not in log, log
    manifest: Any = json.loads((job.base / "model" / "training_manifest.json").read_text())
    assert f"train/{name}" in manifest["files"]
    assert "a\\udcff\\udcfe.csv" in (job.base / "output" / "data" / "predictions_validation.csv").read_text()


@given(st.text())
def test_every_cell_can_be_had_back(cell: str) -> None:
    [shown] = inert([cell])
    assert original(shown) == cell
    assert not re.match(r"[=@\t\r\n]", shown)


@pytest.mark.parametrize("cell", ["-1", "+1.5e3", "-0.25", "0", "nan", "-inf", "", "positive", "a=b", ".5"])
def test_numbers_and_plain_words_stay(cell: str) -> None:
    assert inert([cell]) == [cell]


@given(st.lists(st.lists(st.text(st.sampled_from("ab\r\n\t\",=+-@' 1")), min_size=2, max_size=2), min_size=1))
def test_no_cell_ends_its_row(rows: list[list[str]]) -> None:
    """Python's writer leaves a bare carriage return, after which most readers begin a row."""
    file = io.StringIO()
    write_row = row_writer(file)
    for row in rows:
        write_row(row)
    read = list(csv.reader(io.StringIO(file.getvalue(), newline="")))
    assert [list(map(original, row)) for row in read] == rows
    assert not [cell for row in read for cell in row if cell[:1] in tuple("=@\t\r\n")]


@given(st.text())
def test_a_code_span_is_one_code_span(text: str) -> None:
    [inline] = [token for token in MarkdownIt("commonmark").parse(f"x {code(text)} y") if token.type == "inline"]
    assert [child.type for child in inline.children or ()] == ["text", "code_inline", "text"]
