"""Follows a job to its end: prints its stages and its log as they appear."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from launcher.aws import client, jobs
from launcher.errors import LostContact
from text_classifier.contract.redaction import without_control

POLL_SECONDS = 10
#: CloudWatch shows the last log lines a few seconds after the end of a job.
LOG_LAG_SECONDS = 5
#: Give up when AWS has been unreachable for this long. Each call has its own retries besides.
PATIENCE_SECONDS = 600

#: Each endpoint has a log group of its own below this one.
ENDPOINTS = "/aws/sagemaker/Endpoints"

#: Lines of the log of what failed.
_TAIL_LINES = 20

#: What SageMaker appends to the name of a host in the name of a job's log stream.
_STAMP = re.compile(r"-\d{10,13}")


class Log:
    """The log of all hosts of a job, or of an endpoint's variant.

    Each call of `new_lines` yields the lines since the last call.
    """

    def __init__(self, logs: Any, name: str, group: str) -> None:
        self._logs = logs
        self._name = name
        self.group = group
        self._tokens: dict[str, str] = {}

    def new_lines(self) -> Iterator[str]:
        """The lines since the last call. Raises boto3's exceptions."""
        streams = self._streams()
        for stream in streams:
            host = _STAMP.sub("", stream.removeprefix(f"{self._name}/"))
            prefix = f"{host} | " if len(streams) > 1 else ""
            for message in self._new_messages(stream):
                yield f"{prefix}{without_control(message)}"  # a script may print what its data holds

    def _streams(self) -> list[str]:
        try:
            pages = self._logs.get_paginator("describe_log_streams").paginate(
                logGroupName=self.group, logStreamNamePrefix=f"{self._name}/"
            )
            return [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
        except ClientError as error:
            if client.code_of(error) == "ResourceNotFoundException":
                return []  # the first job of an account creates the log group, as an endpoint does its own
            raise

    def _new_messages(self, stream: str) -> Iterator[str]:
        """The token advances only after its page was yielded, so that a failed call loses no lines."""
        while True:
            token = self._tokens.get(stream)
            position = {"nextToken": token} if token else {}
            page = self._logs.get_log_events(
                logGroupName=self.group, logStreamName=stream, startFromHead=True, **position
            )
            yield from (event["message"] for event in page["events"])
            self._tokens[stream] = page["nextForwardToken"]
            if page["nextForwardToken"] == token:
                return


def print_tail(log: Log) -> None:
    """Print the end of the log of what failed; that it is empty or cannot be read is printed, too."""
    try:
        lines = deque(log.new_lines(), maxlen=_TAIL_LINES)
        print(*lines or [f"The log {log.group} is empty: the container did not start."], sep="\n", flush=True)
    except client.FAILURES as error:
        print(f"The log cannot be read: {client.explain(error)}", flush=True)


def follow(sagemaker: Any, logs: Any, name: str, kind: jobs.Kind) -> dict[str, Any]:
    """Print the stages and the log of a job until it ends. Returns its description. Raises LostContact."""
    log = Log(logs, name, kind.log_group)
    shown: list[str] = []

    def poll() -> dict[str, Any] | None:
        job = jobs.description(sagemaker, name, kind)
        for stage in _new_stages(job, kind, shown):
            print(f"--- {stage}", flush=True)
            shown.append(stage)
        _print_log(log)
        if job[kind.status] not in jobs.ENDED:
            return None
        time.sleep(LOG_LAG_SECONDS)
        _print_log(log)
        return job

    return until_ended(poll)


def until_ended(poll: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    """Call `poll` until it returns a description, through transient errors. Raises LostContact."""
    since: float | None = None
    while True:
        try:
            if ended := poll():
                return ended
            since = None
        except (BotoCoreError, ClientError) as error:
            now = time.monotonic()
            since = since or now
            if not client.is_transient(error) or now - since > PATIENCE_SECONDS:
                raise LostContact(client.explain(error)) from None
            print(f"... {client.explain(error)}; retrying", flush=True)
        time.sleep(POLL_SECONDS)


def _new_stages(job: Mapping[str, Any], kind: jobs.Kind, shown: Sequence[str]) -> list[str]:
    """The stages after those shown. Only a training job lists them; of another the present status is known."""
    if kind is not jobs.TRAINING:
        return [] if shown and shown[-1] == job[kind.status] else [job[kind.status]]
    stages = job.get("SecondaryStatusTransitions", [])
    return [": ".join(filter(None, (stage["Status"], stage.get("StatusMessage")))) for stage in stages[len(shown) :]]


def _print_log(log: Log) -> None:
    for line in log.new_lines():
        print(line, flush=True)
