#!/usr/bin/env python3
"""Fine-tune the text classifier: on this machine (local), on Amazon SageMaker (train), or on paper (plan)."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Sequence

from launcher.cli import arguments, commands
from launcher.cli.arguments import WRONG_USE
from launcher.errors import JobFailed, LostContact, Refused
from launcher.local import inside
from launcher.local import job as local
from launcher.plan import bill, checks, search, submission
from launcher.signals import Aborted, Interrupted

# isort: split
# Importing launcher has made the training code's own modules importable.
from text_classifier.contract.errors import UserError

COMPLETED = 0
FAILED = 1
REFUSED = 3
LOST_CONTACT = 4


def main(words: Sequence[str]) -> int:
    """Run a command. Exit codes: 0 completed, 1 failed, 2 wrong use, 3 refused, 4 lost contact, 128 + n signal n."""
    try:
        options = arguments.parse(words or ["--help"], COMMANDS)
        return options.function(options)
    except UserError as error:
        return _end(str(error), WRONG_USE)
    except local.TrainingFailed as error:
        return _end(f"the job failed. {error}", FAILED)
    except JobFailed as error:
        return _end(str(error), FAILED)
    except Refused as error:
        return _end(str(error), REFUSED)
    except LostContact as error:
        return _end(str(error), LOST_CONTACT)
    except BrokenPipeError:  # as of `launch.py logs JOB | head`; nothing more can be printed, at exit neither
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        return _end(f"{error}; make room there, or change the permissions", FAILED)
    except Interrupted as interrupt:
        return _end("interrupted; nothing is left of this run", interrupt.exit_code)
    except Aborted as interrupt:
        return interrupt.exit_code  # what becomes of the job is said where it is known
    except KeyboardInterrupt:
        return _end("interrupted", 128 + signal.SIGINT)


def _end(sentence: str, code: int) -> int:
    print(f"launch.py: {sentence}", file=sys.stderr)
    return code


def run_locally(options: argparse.Namespace) -> int:
    """`launch.py local`: train in containers of this machine, then use the artifact inside the same image."""
    values = options.hyperparameters
    channels = submission.channel_paths(options)
    if not options.data:
        channels = local.demo_channels() | channels
        values = local.DEMO_HYPERPARAMETERS | values
    if "model" not in channels and "model_name" not in values and (local.DEMO / "model").is_dir():
        channels["model"] = local.DEMO / "model"
        print(f"Starting from the demo's model ({local.shown(channels['model'])}), as no other is named")
    if not options.skip_data_check:
        inside.check(options.image, channels, values)
    job = local.LocalJob(submission.job_name(options), options.image, channels, values, options.instance_count)
    result = local.run(job)
    _print_result(job, result)
    return COMPLETED


def check(options: argparse.Namespace) -> int:
    """`launch.py check`: read the data as a job would."""
    options.model = None
    inside.check(options.image, submission.channel_paths(options), options.hyperparameters)
    return COMPLETED


def predict(options: argparse.Namespace) -> int:
    """`launch.py predict`: classify the rows of a file with a model."""
    checks.model_directory(options.model)
    checks.channel("--data", options.data)
    inside.predict(options.image, options.model, options.data, options.output, options.calibrated)
    return COMPLETED


def plan(options: argparse.Namespace) -> int:
    """`launch.py plan`: print the request, what it means and, unless they are skipped, the findings of doctor."""
    job = submission.prepare(options, search.read(options) if options.tune else None)
    if not options.json:
        print(json.dumps(job.request, indent=2))
        print(f"\n{job.short_form(options.price)}\n", flush=True)
    findings = []
    if not options.skip_checks:
        from launcher.aws import doctor

        findings = doctor.report(options, not options.json, job.parallel_jobs)
    if options.json:
        cost = bill.estimate(job.job, job.price(options.price), job.trials)
        found = [dataclasses.asdict(finding) for finding in findings]
        print(json.dumps({"request": job.request, "bill": cost, "checks": found}, indent=2))
    if findings:
        doctor.require_health(findings)
    return COMPLETED


def remote(options: argparse.Namespace) -> int:
    """All other commands that ask AWS. boto3 is imported for them alone."""
    from launcher.aws import commands as remote

    return remote.COMMANDS[options.command](options)


def _print_result(job: local.LocalJob, result: local.Result) -> None:
    width = max(len(prediction["text"]) for prediction in result.predictions)
    print()
    for prediction in result.predictions:
        print(f"{prediction['text']:{width}}  {prediction['label']} {prediction['score']:.3f}")
    headline = result.metrics["headline"]
    simpler = [f"{baseline['name']} {baseline[headline]:.3f}" for baseline in result.metrics.get("baselines", [])]
    print()
    print(f"{headline:12}  {result.metrics[headline]:.3f} ({'; '.join(simpler) or 'no baseline was measured'})")
    print(f"model.tar.gz  {local.shown(job.directory / 'model.tar.gz')}")
    print(f"report        {local.shown(job.directory / 'output' / 'data' / 'report.html')}")
    seconds = ", ".join(f"{stage} {duration:.1f} s" for stage, duration in result.seconds.items())
    print(f"wall time     {sum(result.seconds.values()):.1f} s: {seconds}")


COMMANDS = dict.fromkeys(commands.COMMANDS, remote) | {
    "local": run_locally,
    "check": check,
    "predict": predict,
    "plan": plan,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
