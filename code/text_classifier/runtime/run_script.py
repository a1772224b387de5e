"""Runs a user's Python script as `python mine.py --name value` would, and writes the reason when it fails.

    python -P -m text_classifier.runtime.run_script mine.py --epochs 3

The current folder is the script's source.
"""

from __future__ import annotations

import runpy
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from text_classifier.contract import redaction
from text_classifier.contract.errors import ScriptError
from text_classifier.runtime.folders import job_folders

#: How a program ends that handles SIGTERM by ending.
STOPPED = 128 + signal.SIGTERM


def main(program: str, arguments: Sequence[str]) -> int:
    """Run the script. Returns the exit code; the reason of a failure is in the failure file."""
    source = Path.cwd()
    sys.argv = [program, *arguments]
    sys.path.insert(0, str((source / program).parent))
    try:
        runpy.run_path(str(source / program), run_name="__main__")
    except SystemExit as end:
        return _exit_code(program, end)
    except BaseException as error:
        traceback.print_exception(error.with_traceback(_own_frames(error, source)))
        job_folders().write_failure(_reason(error, program, source))
        return 1
    return 0


def _exit_code(program: str, end: SystemExit) -> int:
    """The exit code of sys.exit(end.code). A text is printed, and is the reason; a number has none."""
    if end.code is None or isinstance(end.code, int):
        code = end.code or 0
        if code not in (0, STOPPED):
            job_folders().write_failure(
                ScriptError(f"{program} ended with exit code {code}; look at the end of the job's log")
            )
        return code
    print(end.code, file=sys.stderr, flush=True)
    job_folders().write_failure(ScriptError(f"{program} ended itself: {end.code}"))
    return 1


def _reason(error: BaseException, program: str, source: Path) -> ScriptError:
    """Where in the script's source, exception type and message."""
    if isinstance(error, SyntaxError):
        words = [f"{type(error).__name__}: {error.msg}"]
    else:
        words = "".join(traceback.format_exception_only(error)).strip().splitlines()
    place = _place(error, source) or program
    return ScriptError("\n".join([f"{place} raised {words[0]}; the traceback is in the job's log", *words[1:]]))


def _place(error: BaseException, source: Path) -> str | None:
    """File and line of the innermost frame in the script's source."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    own = [f"{Path(file).relative_to(source)}:{line}" for file, line in places if _is_own(file, source)]
    return own[-1] if own else None


def _own_frames(error: BaseException, source: Path) -> TracebackType | None:
    """The traceback from the script's first frame on; all of it where there is none."""
    trace = error.__traceback__
    while trace is not None and not _is_own(trace.tb_frame.f_code.co_filename, source):
        trace = trace.tb_next
    return trace or error.__traceback__


def _is_own(file: str, source: Path) -> bool:
    return Path(file).is_relative_to(source)


if __name__ == "__main__":
    redaction.install()
    sys.exit(main(sys.argv[1], sys.argv[2:]))
