"""A user's own script, which runs in place of train.py: `Estimator(image_uri=..., entry_point=..., source_dir=...)`.

The SDK names it in the hyperparameters sagemaker_program and sagemaker_submit_directory; an image that is derived from
this one may name it in SAGEMAKER_PROGRAM, and hold it in the job's code folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from text_classifier.contract.errors import CODE, PlatformError, ScriptError, SettingsError, gigabytes, listed
from text_classifier.runtime import run_script, toolkit
from text_classifier.runtime.folders import JobFolders
from text_classifier.runtime.hosts import Hosts

PROGRAM, SOURCE = "sagemaker_program", "sagemaker_submit_directory"


@dataclass(frozen=True)
class UserScript:
    """A script that the job names instead of the image's own training."""

    program: str  #: its path in `folder`
    source: str  #: where the toolkit takes it from: a folder, a tar.gz, or one in S3
    folder: Path  #: where it runs

    @classmethod
    def of_job(cls, folders: JobFolders) -> UserScript | None:
        """The job's script; None when it names none. The request comes before the image's environment."""
        hyperparameters = folders.configuration.all_hyperparameters()
        program = toolkit.text(hyperparameters.get(PROGRAM)) or os.environ.get(PROGRAM.upper())
        if not program:
            return None
        source = toolkit.text(hyperparameters.get(SOURCE)) or os.environ.get(SOURCE.upper())
        return cls(program, source or str(folders.code), folders.code)

    @property
    def is_python(self) -> bool:
        """Whether it runs once for each GPU. Any other program runs once a host, and may start processes itself."""
        return self.program.endswith(".py")

    def provide(self) -> None:
        """Fetch the script and install its requirements.txt, as the toolkit does.

        Raises SettingsError when it cannot be fetched, is not in the source, or cannot be installed.
        """
        from sagemaker_training import files, params

        if not os.environ.get(params.REGION_NAME_ENV):
            os.environ.pop(params.REGION_NAME_ENV, None)  # the toolkit leaves it empty, and would then ask that region
        try:
            files.download_and_extract(self.source, str(self.folder))
        except Exception as error:  # of boto3, botocore, tarfile and the file system
            raise SettingsError(
                f"{SOURCE}={self.source!r} cannot be fetched ({_in_words(error)}); give a folder or tar.gz that the "
                "job can read"
            ) from None
        self._require_there()
        if self.is_python:
            self._install()
        else:
            self._make_executable()

    def _install(self) -> None:
        """Install requirements.txt, or the package of a setup.py."""
        from sagemaker_training import entry_point

        path = sys.path.copy()
        try:
            entry_point.install(self.program, str(self.folder))
        except Exception as error:
            code = getattr(error, "return_code", None)
            raise SettingsError(
                f"the requirements of {self.program} cannot be installed "
                f"({f'pip ended with exit code {code}' if code else _in_words(error)}); the log says why above, and "
                "without a network they must be in the image"
            ) from None
        finally:
            sys.path[:] = path  # the script's modules are not for this process

    def _make_executable(self) -> None:
        file = self.folder / self.program
        try:
            if not os.access(file, os.X_OK):
                file.chmod(0o755)
        except OSError as error:
            raise SettingsError(
                f"{PROGRAM}={self.program!r} is not executable ({error.strerror}); run `chmod +x` on it"
            ) from None

    def _require_there(self) -> None:
        from sagemaker_training import errors, process

        try:
            process.validate_entry_point(self.program)
        except errors.ClientError as error:
            raise SettingsError(f"{PROGRAM}={self.program!r} cannot be used: {error}") from None
        if not (self.folder / self.program).is_file():
            names = sorted(path.name for path in self.folder.iterdir())
            there = f"has only {listed(names)}" if names else "is empty"
            raise SettingsError(
                f"{PROGRAM}={self.program!r} is not in {self.folder}, which {there}; name a file of the source"
            )

    def command(self) -> list[str]:
        """The command of each process, to be run in `folder`. It has the job's hyperparameters as arguments."""
        from sagemaker_training.environment import Environment

        arguments = Environment().to_cmd_args()
        if self.is_python:
            # -P: the source's own modules are found only once run_script has begun
            return [sys.executable, "-P", "-m", run_script.__name__, self.program, *arguments]
        return ["/bin/sh", "-c", 'exec "./$0" "$@"', self.program, *arguments]

    def environment(self, hosts: Hosts, is_stopping: Callable[[], bool]) -> dict[str, str]:
        """The toolkit's variables (SM_*), and the network interface between the hosts for gloo and NCCL.

        Those that the user has set win.
        """
        from sagemaker_training.environment import Environment

        variables = {name: text for name, text in Environment().to_env_vars().items() if name and "=" not in name}
        variables["SM_USER_ENTRY_POINT"] = self.program  # the toolkit lets the image's environment win
        if len(hosts.names) > 1:
            hosts.wait_for_names(is_stopping)
            interface, warning = hosts.reachable_interface(hosts.names[0])
            if warning:
                print(warning, flush=True)
            if interface:
                variables |= {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface}
        path = [folder for folder in os.environ.get("PYTHONPATH", "").split(":") if folder not in ("", str(CODE))]
        free = {name: text for name, text in variables.items() if name not in os.environ}
        return free | {"PYTHONPATH": ":".join([*path, str(CODE)])}  # ours also where the user has set another

    def killed(self) -> PlatformError:
        """The reason for a script that the OOM killer ended."""
        return PlatformError(
            f"the host ran out of memory, so {self.program} was killed; use an instance with more than {gigabytes()} GB"
        )

    def ended(self, code: int) -> ScriptError:
        """The reason for a script that left none itself."""
        return ScriptError(f"{self.program} ended with exit code {code}; look at the end of the job's log")


def _in_words(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
