"""How a command of launch.py can end: exit codes and exceptions.

A UserError is wrong use; the exceptions below carry one sentence for the user as well.
"""

from __future__ import annotations

from collections.abc import Mapping

COMPLETED = 0
FAILED = 1
WRONG_USE = 2
REFUSED = 3
LOST_CONTACT = 4
#: Plus the number of the signal that ended the command, as shells report it.
SIGNAL = 128

#: The exit codes for --help and the documentation.
EXIT_CODES: Mapping[str, str] = {
    str(COMPLETED): "completed",
    str(FAILED): "failed: the job, the endpoint, or access to a local file",
    str(WRONG_USE): "wrong use: a flag, a setting or a path is wrong or missing; nothing was started",
    str(REFUSED): "refused by a check or by AWS; nothing was started",
    str(LOST_CONTACT): "lost contact with AWS; the job or endpoint may still be running",
    f"{SIGNAL} + n": "interrupted by signal n (130 for Ctrl-C)",
}


class Refused(Exception):
    """AWS, or a check, refused, and nothing was started. The message includes the remedy."""


class LostContact(Exception):
    """AWS can no longer be reached, but the job may be running. The message gives the reason."""


class JobFailed(Exception):
    """The job or endpoint ended without success. The first line of the message is the reason."""
