"""The settings of `serve`, from the environment: an endpoint has no other place for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from text_classifier.contract.errors import QUOTED, SettingsError, quoted

T = TypeVar("T")

MEGABYTE = 1 << 20

#: Bytes of a request in MB: the most that batch transform sends. Endpoints refuse larger requests themselves.
MOST_MEGABYTES = 100

#: Digits of a number. Of the processes there are no more than a host has CPUs and GPUs.
MOST_DIGITS, MOST_WORKERS = 9, 1_000


@dataclass(frozen=True)
class ServeSettings:
    """All settings, checked."""

    port: int = 8080
    workers: int | None = None  #: processes; None: one per GPU, or per 8 CPUs
    max_megabytes: int = MOST_MEGABYTES  #: of a request
    batch_tokens: int | None = None  #: None: what a batch of about 30 ms computes
    max_wait_seconds: float = 30.0  #: a request that would wait longer is refused
    marks_bad_records: bool = False  #: instead of refusing the request
    top_k: int | None = 1  #: None: all
    has_top_k: bool = False  #: whether top_k was set: answers are then lists, as in transformers
    calibrated: bool = False
    accept: str | None = None  #: type of the answer if the request names none


def serve_settings(environment: Mapping[str, str]) -> ServeSettings:
    """Read the settings. Raises SettingsError."""

    def read(name: str, parse: Callable[[str], T], default: T, wanted: str) -> T:
        text = environment.get(name, "").strip()
        try:
            return parse(text) if text else default
        except ValueError:
            raise SettingsError(f"{name}={_shown(text)} in the environment is not {wanted}; correct it") from None

    # SageMaker's own limit is 0 if it sends records one by one as it reads them, and may be any size then.
    payload = read("SAGEMAKER_MAX_PAYLOAD_IN_MB", _natural, 0, "a number of megabytes") or MOST_MEGABYTES
    # The name that other servers have for it.
    workers = read("SAGEMAKER_MODEL_SERVER_WORKERS", _workers, 0, "a number of processes")
    return ServeSettings(
        port=read("SAGEMAKER_BIND_TO_PORT", _port, 8080, "a port"),
        workers=read("SERVE_WORKERS", _workers, workers, "a number of processes") or None,
        max_megabytes=read("SERVE_MAX_MB", _positive, payload, "a number of megabytes"),
        batch_tokens=read("SERVE_BATCH_TOKENS", _positive, 0, "a number of tokens") or None,
        max_wait_seconds=float(read("SERVE_MAX_WAIT_SECONDS", _positive, 30, "a number of seconds")),
        marks_bad_records=read("SERVE_BAD_RECORDS", _bad_records, False, "`fail` or `mark`"),
        top_k=read("SERVE_TOP_K", _top_k, _top_k("1"), "a number or `all`"),
        has_top_k=bool(environment.get("SERVE_TOP_K", "").strip()),
        calibrated=read("SERVE_CALIBRATED", _boolean, False, "`true` or `false`"),
        accept=environment.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "").strip() or None,
    )


def _shown(text: str) -> str:
    return text if text.isprintable() and len(text) <= QUOTED else quoted(text)


def _natural(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > MOST_DIGITS:
        raise ValueError(text)
    return int(text)


def _positive(text: str) -> int:
    if not _natural(text):
        raise ValueError(text)
    return int(text)


def _workers(text: str) -> int:
    if _positive(text) > MOST_WORKERS:
        raise ValueError(text)
    return int(text)


def _port(text: str) -> int:
    if not 0 < _natural(text) < 1 << 16:
        raise ValueError(text)
    return int(text)


def _top_k(text: str) -> int | None:
    return None if text == "all" else _positive(text)


def _bad_records(text: str) -> bool:
    if text not in ("fail", "mark"):
        raise ValueError(text)
    return text == "mark"


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"
