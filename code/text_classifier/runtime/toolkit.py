"""What the sagemaker-training toolkit is given instead of reading hyperparameters.json itself.

It takes its own hyperparameters (`sagemaker_*`) as they come, and ends with a traceback where one has another type than
the SDK gives it, such as a job name of digits only.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from text_classifier.contract.errors import printable

#: The toolkit's hyperparameters that are texts, and what each must look like to be of use.
_TEXTS = {
    "sagemaker_program": r".+",
    "sagemaker_submit_directory": r".+",
    "sagemaker_job_name": r".+",
    "sagemaker_region": r"[a-z0-9-]+",
    "sagemaker_s3_output": r"s3://.+",
}
_LOG_LEVEL = "sagemaker_container_log_level"
_GROUPS = "sagemaker_distribution_instance_groups"


def hyperparameters(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters as the toolkit wants them: decoded from JSON, and its own of the types that it expects.

    One of its own that is null or empty is left out, and one that is of no use too, with a line in the log.
    """
    values = {name: decoded(value) for name, value in raw.items()}
    for name in values.keys() & {*_TEXTS, _LOG_LEVEL, _GROUPS}:
        value = _own(name, raw[name])
        del values[name]
        if value is not None:
            values[name] = value
        elif text(raw[name]):
            print(f"The hyperparameter {name} is ignored: {printable(repr(raw[name]))[:100]} is not valid", flush=True)
    return values


def decoded(value: Any) -> Any:
    """The value that a hyperparameter's JSON stands for; the text itself where it is not JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def text(value: Any) -> str:
    """A hyperparameter that is a text: with the SDK's JSON quotes or without, also if it looks like a number.

    Empty for null.
    """
    inner = decoded(value)
    if inner is None:
        return ""
    return inner if isinstance(inner, str) else value if isinstance(value, str) else json.dumps(value)


def _own(name: str, raw: Any) -> Any:
    """The value of one of the toolkit's own hyperparameters; None where it is of no use."""
    words = text(raw)
    if name == _GROUPS:
        groups = decoded(raw)
        return groups if isinstance(groups, list) and all(isinstance(group, str) for group in groups) else None
    if name == _LOG_LEVEL:
        return int(words) if re.fullmatch(r"\d{1,3}", words) else logging.getLevelNamesMapping().get(words.upper())
    return words if words.isprintable() and re.fullmatch(_TEXTS[name], words) else None


def own_failure(failure: str) -> str | None:
    """The error in a failure file that the toolkit wrote for an exception of its own; None for any other content."""
    if not failure.startswith("Framework Error:"):
        return None
    _, _, last = failure.rpartition("Traceback (most recent call last):\n")
    return next((line for line in last.splitlines() if line and not line.startswith(" ")), "no reason given")
