"""How a command of launch.py can end, beside a UserError (wrong use) and success. The message is one sentence."""

from __future__ import annotations


class Refused(Exception):
    """AWS, or a check that asked it, refuses; nothing was started. The sentence has the remedy."""


class LostContact(Exception):
    """AWS can no longer be asked, while the job may well run. The sentence says why."""


class JobFailed(Exception):
    """The job ended without success. The first line is its reason."""
