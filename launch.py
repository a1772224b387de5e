#!/usr/bin/env python3
"""The command line: fine-tune the text classifier on this machine (local) or on Amazon SageMaker (train)."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher import program
from launcher.cli import arguments
from launcher.cli.commands import COMMANDS
from launcher.errors import COMPLETED, FAILED, LOST_CONTACT, REFUSED, SIGNAL, WRONG_USE, JobFailed, LostContact, Refused
from launcher.local import comparison, comparison_page, image_commands, local_job, server
from launcher.plan import bill, checks, inputs, search, submission
from launcher.signals import Aborted, Interrupted

# isort: split
# Importing launcher puts code/ on the path.
from text_classifier.contract.errors import UserError, printable

#: What to do where a file cannot be written or read.
_REMEDIES: Mapping[int | None, str] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free disk space"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "change the permissions"),
}


def main(words: Sequence[str]) -> int:
    """Run a command. Returns one of launcher.errors.EXIT_CODES."""
    try:
        options = arguments.parse(words or ["--help"], FUNCTIONS)
        return options.function(options)
    except UserError as error:
        return _end(str(error), WRONG_USE)
    except local_job.TrainingFailed as error:
        return _end(f"the job failed. {error}", FAILED)
    except JobFailed as error:
        return _end(str(error), FAILED)
    except Refused as error:
        return _end(str(error), REFUSED)
    except LostContact as error:
        return _end(str(error), LOST_CONTACT)
    except BrokenPipeError:  # as in `launch.py logs JOB | head`; a flush of stdout at exit would fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SIGNAL + signal.SIGPIPE
    except OSError as error:
        return _end(f"{error}; {_REMEDIES.get(error.errno, 'give another path')}", FAILED)
    except Interrupted as interrupt:
        return _end("interrupted; the files and containers of this run were removed", interrupt.exit_code)
    except Aborted as interrupt:
        return interrupt.exit_code  # the command has printed what happens to the job
    except KeyboardInterrupt:
        return _end("interrupted", SIGNAL + signal.SIGINT)


def _end(sentence: str, code: int) -> int:
    """Print why the command ends; names of files that it quotes may have any characters."""
    print("\n".join(map(printable, f"launch.py: {sentence}".split("\n"))), file=sys.stderr)
    return code


def run_locally(options: argparse.Namespace) -> int:
    """`launch.py local`: train in containers on this machine, then classify a few validation rows with the model."""
    values = options.hyperparameters
    channels = inputs.channel_paths(options)
    if not options.data:
        channels = local_job.demo_channels() | channels
        values = local_job.DEMO_HYPERPARAMETERS | values
    demo_model = local_job.DEMO / "model"
    if "model" not in channels and "model_name" not in values and demo_model.is_dir():
        channels["model"] = demo_model
        print(f"Starting from the demo's model ({local_job.relative(demo_model)}); set another with --model")
    if not options.skip_data_check:
        image_commands.check(options.image, channels, values)
    job = local_job.LocalJob(submission.job_name(options), options.image, channels, values, options.instance_count)
    _print_result(job, local_job.run(job))
    return COMPLETED


def check(options: argparse.Namespace) -> int:
    """`launch.py check`: validate the data like a training job."""
    options.model = None
    if inputs.s3_sources(options):
        return run_on_aws(options)
    image_commands.check(options.image, inputs.channel_paths(options), options.hyperparameters)
    return COMPLETED


def predict(options: argparse.Namespace) -> int:
    """`launch.py predict`: classify the rows of a file with a model."""
    checks.unpacked_model(options.model)
    checks.channel("--data", options.data)
    image_commands.predict(
        options.image,
        options.model,
        options.data,
        options.output,
        options.calibrated,
        uses_fitted_thresholds=options.fitted_thresholds,
    )
    return COMPLETED


def serve(options: argparse.Namespace) -> int:
    """`launch.py serve`: serve a model on this machine until Ctrl-C."""
    checks.unpacked_model(options.model, "MODEL")
    server.serve(options.image, options.model, options.port)
    return COMPLETED


def compare(options: argparse.Namespace) -> int:
    """`launch.py compare`: two runs side by side."""
    runs = [comparison.load(_metrics_of(name, options)) for name in (options.first, options.second)]
    tables = comparison.tables(*runs)
    page = options.output or comparison.PAGES / comparison_page.file_name(*runs)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(comparison_page.as_page(tables, *runs), encoding="utf-8", errors="backslashreplace")
    print(comparison_page.as_text(tables))
    print(f"\npage  {local_job.relative(page)}")
    return COMPLETED


def _metrics_of(run: str, options: argparse.Namespace) -> Path:
    """The metrics.json of a run; a job whose results are not here is downloaded."""
    if found := comparison.find(run):
        return found
    run_on_aws(argparse.Namespace(command="download", job=run, to=None, region=options.region, json=False))
    if found := comparison.find(run):
        return found
    region = f" --region {options.region}" if options.region else ""
    raise Refused(f"job {run} left no metrics; see `launch.py logs {run}{region}`")


def plan(options: argparse.Namespace) -> int:
    """`launch.py plan`: print what the job reads, writes and costs and, unless skipped, the findings of doctor."""
    if inputs.s3_sources(options) and not options.skip_checks:
        from launcher.aws import sources

        sources.look(options)
    job = submission.create(options, search.from_options(options) if options.tune else None)
    if not options.json:
        print(f"{job.summary(options.price)}\n", flush=True)
    findings = []
    if not options.skip_checks:
        from launcher.aws import doctor

        findings = doctor.report(options, not options.json, job.parallel_jobs)
    if options.json:
        cost = bill.estimate(job.job, job.price(options.price), job.trials)
        found = [dataclasses.asdict(finding) for finding in findings]
        print(json.dumps({"request": job.request, "bill": cost, "checks": found}, indent=2))
    elif options.request:
        print(f"\n{json.dumps(job.request, indent=2)}")
    if findings:
        doctor.require_health(findings)
    return COMPLETED


def run_on_aws(options: argparse.Namespace) -> int:
    """All other commands. They use AWS, and only they import boto3."""
    from launcher.aws import client, commands, endpoint_commands, transform_command, watch_commands

    modules = (commands, watch_commands, endpoint_commands, transform_command)
    functions = {name: function for module in modules for name, function in module.COMMANDS.items()}
    with client.one_sentence():
        return functions[options.command](options)


def _shortened(text: str, most: int = 30) -> str:
    line = printable(text)
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _answer(row: dict[str, Any]) -> str:
    """The predicted label of a row, with its probability if the task has one."""
    predicted = _shortened(row["predicted"])
    return predicted if row["probability"] is None else f"{predicted} {row['probability']:.3f}"


def _print_result(job: local_job.LocalJob, result: local_job.Result) -> None:
    print()
    rows = [(_shortened(row["text"], 60), _shortened(row["label"]), _answer(row)) for row in result.predictions]
    table = [("validation row", "label", "predicted"), *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip())
    headline = result.metrics["headline"]
    baselines = [f"{baseline['name']} {baseline[headline]:.3f}" for baseline in result.metrics.get("baselines", [])]
    print()
    if headline in result.metrics:
        print(f"{headline:12}  {result.metrics[headline]:.3f} ({'; '.join(baselines) or 'no baselines'})")
    else:
        print(f"{headline:12}  not evaluated: the job was stopped before its first evaluation")
    print(f"model.tar.gz  {local_job.relative(job.directory / 'model.tar.gz')}")
    print(f"report        {local_job.relative(job.directory / 'output' / 'data' / 'report.html')}")
    seconds = ", ".join(f"{stage} {duration:.1f} s" for stage, duration in result.seconds.items())
    print(f"wall time     {sum(result.seconds.values()):.1f} s: {seconds}")


FUNCTIONS = dict.fromkeys(COMMANDS, run_on_aws) | {
    "local": run_locally,
    "check": check,
    "predict": predict,
    "serve": serve,
    "compare": compare,
    "plan": plan,
}

if __name__ == "__main__":
    program.run("launch.py", lambda: main(sys.argv[1:]))
