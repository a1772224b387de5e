"""What the commands of launch.py that use AWS print and ask."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from launcher.aws import tuning
from launcher.errors import Refused
from text_classifier.contract.redaction import without_control


@contextlib.contextmanager
def messages_to_stderr(options: argparse.Namespace) -> Iterator[None]:
    """With --json, print everything but the result on stderr. Keeps stdout as `options.result`."""
    options.result = sys.stdout
    with contextlib.redirect_stdout(sys.stderr if options.json else sys.stdout):
        yield


def confirm(summary: str, options: argparse.Namespace) -> None:
    """On a terminal, show what will be created at which cost, and ask. Raises Refused."""
    if options.yes or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return
    print(summary)
    try:
        answer = input("Start it? [y/N] ")
    except EOFError:  # Ctrl-D, which leaves the cursor after the question
        print()
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise Refused("nothing was started; answer y or give --yes to start it")


def print_result(summary: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Print a summary; with --json, on the stdout that `messages_to_stderr` has kept."""
    if options.json:
        print(json.dumps(summary, indent=2), file=options.result)
    else:
        print()
        print_summary(summary)


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print a summary as aligned lines, metrics among them, and the leaderboard as a table."""
    lines = {**summary, **summary["metrics"]} if "metrics" in summary else dict(summary)
    lines.pop("metrics", None)
    leaderboard = lines.pop("leaderboard", None)
    if "spot_saving" in lines:
        lines["spot_saving"] = f"{lines['spot_saving']:.0%} of the training time is not billed"
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:{width}}  {format(value, 'g') if isinstance(value, float) else without_control(str(value))}")
    if leaderboard:
        print("", *tuning.table(leaderboard), sep="\n")
