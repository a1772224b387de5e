"""The model directory with its manifest and card, and how JSON and pages are written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, cast

import jinja2
import torch
import transformers
from huggingface_hub import EvalResult, ModelCardData
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from text_classifier.contract.errors import PlatformError, printable
from text_classifier.contract.hyperparameters import Settings
from text_classifier.contract.sagemaker import CHANNELS, image_digest
from text_classifier.contract.schema import MANIFEST, SCHEMA_VERSION, InputFile, Manifest, Metrics
from text_classifier.results import origin
from text_classifier.results.answers import TITLED, answers
from text_classifier.runtime.folders import JobFolders
from text_classifier.tasks.registry import task_of
from text_classifier.tokenization.windows import MOST_WINDOWS
from text_classifier.training.state import Training

#: Larger channels are not hashed: reading them again takes long while the other hosts wait, and with FastFile input
#: everything is downloaded from S3 a second time.
HASHED_BYTES = 4 << 30

#: Names of files need not be UTF-8: Python reads such bytes as lone surrogates, which no file can be written with.
#: `\\udcff` is how JSON spells them.
SURROGATES = "backslashreplace"

#: What the card says of the tokens that the model reads.
KEPT = {
    "head": "the first {} tokens of a text",
    "tail": "the last {} tokens of a text",
    "head_tail": "{} tokens of a text, a quarter of them from its beginning and the others from its end,",
}
KEPT_OF_PAIRS = "{} tokens of a pair of texts, of which the longer one is truncated first,"

#: Files with a model's terms, which whoever passes on a model derived from it must pass on too.
_TERMS = re.compile(r"(LICEN[CS]E|NOTICE|COPYING)([-_]\w+)*(\.(txt|md|rst))?", re.IGNORECASE | re.ASCII)
_TERMS_BYTES = 1 << 20


def write_model(
    directory: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, manifest: Manifest
) -> None:
    """Fill the model directory: weights (safetensors), config, tokenizer, training_manifest.json; flat.

    The license files of the folder that the model was loaded from are copied. A full disk leaves no partial model.
    Raises PlatformError.
    """
    try:
        with written_aside(directory) as aside:
            _set_thresholds(model.config, manifest.get("thresholds"))
            model.save_pretrained(aside)
            tokenizer.model_max_length = manifest["hyperparameters"]["max_sequence_length"]  # what was trained
            tokenizer.save_pretrained(aside)
            _for_transformers_4(aside / "tokenizer_config.json")
            write_json(aside / MANIFEST, manifest)
            _copy_terms(Path(model.name_or_path or os.devnull), aside)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise PlatformError(
            f"the model cannot be written to {directory} ({error}); give the job a larger volume"
        ) from None


def _set_thresholds(config: Any, thresholds: dict[str, float] | None) -> None:
    """Put them into the config, in place of those of the model that was fine-tuned."""
    if thresholds is not None:
        config.thresholds = thresholds
    elif hasattr(config, "thresholds"):
        del config.thresholds


@contextlib.contextmanager
def written_aside(directory: Path) -> Iterator[Path]:
    """A folder whose files move into `directory` once all of them are written; after an error they are deleted."""
    aside = directory / ".writing"
    shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed
    try:
        aside.mkdir(parents=True)
        yield aside
        for path in aside.iterdir():
            path.chmod(0o644)  # safetensors writes 0600, which the user who unpacks the archive could not read
            path.replace(directory / path.name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _copy_terms(source: Path, target: Path) -> None:
    for path in source.iterdir() if source.is_dir() else ():
        if _TERMS.fullmatch(path.name) and path.is_file() and path.stat().st_size <= _TERMS_BYTES:
            shutil.copyfile(path, target / path.name)


def _for_transformers_4(path: Path) -> None:
    """Write tokenizer_config.json as transformers 4 reads it, which serving containers have; 5 reads it too."""
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(config.get("extra_special_tokens"), list):  # in transformers 4 it is an object
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    write_json(path, config)


def manifest(
    folders: JobFolders,
    settings: Settings,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    classes: Sequence[str],
    trained: Training,
    temperature: float | None,
    thresholds: dict[str, float] | None,
) -> Manifest:
    """The content of training_manifest.json. After a stop, which has to be quick, no input file is hashed."""
    found: Manifest = {
        "schema_version": SCHEMA_VERSION,
        "status": "stopped" if trained.is_stopped else "completed",
        "steps": trained.steps,
        "epoch": math.ceil(trained.epochs_at_best),
        "classes": list(classes),
        "temperature": temperature,
        "thresholds": thresholds,
        "onnx": None,
        "hyperparameters": asdict(settings),
        "truncation_side": cast(Literal["left", "right"], tokenizer.truncation_side),
        "base_model": origin.base_model(settings, model.config, folders.channel("model")),
        "files": None if trained.is_stopped else _files(folders),
        "code_revision": os.environ.get("IMAGE_REVISION"),
        "image_digest": image_digest(),
        "training_job": origin.job_name(folders.configuration),
        "run": origin.run_of(folders),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "operations": dict(trained.operations),
    }
    if trained.stopped_early:
        found["stopped_early_after"] = len(trained.evaluations)
    return found


def _files(folders: JobFolders) -> dict[str, InputFile]:
    """Size and SHA-256 of each input file, by channel and name. No SHA-256 if the file can no longer be read, or if its
    channel has more than HASHED_BYTES."""
    files: dict[str, InputFile] = {}
    for channel in CHANNELS:
        folder = folders.channel(channel)
        if folder is None:
            continue
        sizes = {path: path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
        is_hashed = sum(sizes.values()) <= HASHED_BYTES
        for path, size in sizes.items():
            name = f"{channel}/{path.relative_to(folder)}"
            files[name] = {"bytes": size, "sha256": _sha256(path) if is_hashed else None}
    return files


def _sha256(path: Path) -> str | None:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return None


def write_card(path: Path, metrics: Metrics, manifest: Manifest) -> None:
    """Write the model card: what the model is, how it was trained, and its metrics."""
    settings = manifest["hyperparameters"]
    shown = answers(task_of(settings))
    card = page(
        "model_card.md.j2",
        front_matter=_front_matter(shown.title(manifest["classes"]), metrics, manifest),
        metrics=metrics,
        manifest=manifest,
        kind=shown.kind,
        titled=TITLED,
        run_line=code(line) if (line := origin.line(manifest)) else "",
        read_tokens=read_tokens(manifest),
        chosen_by=settings["metric_for_best_model"],
        epochs_at_best=epochs_at_best(metrics),
        most_windows=MOST_WINDOWS,
    )
    path.write_text(card, encoding="utf-8", errors=SURROGATES)
    path.chmod(0o644)


def read_tokens(manifest: Manifest) -> str:
    """What of a text the model reads. With truncation=head the model's tokenizer may keep the last tokens."""
    settings = manifest["hyperparameters"]
    if settings["long_texts"] == "mean":
        return f"at most {MOST_WINDOWS} windows of a text"
    truncation = "tail" if manifest.get("truncation_side") == "left" else settings["truncation"]
    kept = KEPT_OF_PAIRS if settings["text_pair_columns"].strip() else KEPT[truncation]
    return kept.format(settings["max_sequence_length"])


def epochs_at_best(metrics: Metrics) -> str:
    """The epochs that had passed at the evaluation whose weights were saved, as in "0.33"."""
    passed = metrics.get("best_evaluation", metrics["best_epoch"]) / metrics.get("evaluations_per_epoch", 1)
    return format(round(passed, 2), "g")


def _front_matter(title: str, metrics: Metrics, manifest: Manifest) -> str:
    """The card's metadata as YAML. The Hub shows the headline metric of each evaluated split from it."""
    base, headline = manifest["base_model"], metrics["headline"]
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type="private",
            dataset_name=f"{split} rows",
            dataset_split=split,
            metric_type=headline.partition("_")[0],  # the Hub's id: "f1" for f1_micro
            metric_name=headline,
            metric_value=cast(dict[str, Any], metrics)[split][headline],
        )
        for split in ("validation", "test")
        if split in metrics
    ]
    return ModelCardData(
        base_model=base["name"] if base["revision"] else None,
        library_name="transformers",
        pipeline_tag="text-classification",
        model_name=title if results else None,
        eval_results=results or None,
    ).to_yaml()


def page(template: str, **values: Any) -> str:
    """Render a template. In .html.j2 every value is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = code
    return environment.get_template(template).render(**values)


def code(text: object) -> str:
    """A Markdown code span of one line, in which nothing is a link or HTML. In a table `|` needs a backslash."""
    shown = printable(str(text)) or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    space = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{space}{shown}{space}{fence}"


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write standard JSON: NaN and infinity become null."""
    path.write_text(
        json.dumps(_finite(content), indent=2, ensure_ascii=False) + "\n", encoding="utf-8", errors=SURROGATES
    )


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
