"""Fixtures of support.launching for all tests of the launcher."""

import pytest

pytest.register_assert_rewrite("support.launching")

from support.launching import aws_stub, clock, command, completed, docker_log, job, no_aws, plan, reviews, train  # noqa: E402

__all__ = ["aws_stub", "clock", "command", "completed", "docker_log", "job", "no_aws", "plan", "reviews", "train"]
