from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from text_classifier.contract import redaction
from text_classifier.contract.redaction import redact

TOKEN = "hf_" + "aB3" * 11
KEYS = ("AKIA" + "ABCD2345" * 2, "ASIA" + "ABCD2345" * 2)


def test_secrets_are_cut_down() -> None:
    assert redact(f"token={TOKEN}, {KEYS[0]}:{KEYS[1]}.") == "token=hf_***, AKIA***:ASIA***."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ghp_" + "a1B2" * 9, "ghp_***"), ("github_pat_" + "11AAA_b2" * 5, "github_pat_***"),
        ("glpat-" + "xY1-" * 5, "glpat-***"),
        ("sk-proj-" + "aB3_" * 8, "sk-***"), ("xoxb-123456789012-" + "aB3" * 8, "xoxb-***"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "eyJ***"),
        ("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG", "aws_secret_access_key=***"),
        ('{"password": "hunter2hunter2"}', '{"password": "***"}'), ("MY_API_KEY: abcdefgh1", "MY_API_KEY: ***"),
        ("https://me:s3cr3t@host/x", "https://me:***@host/x"),
        ("AWS_SESSION_TOKEN=FwoGZXIvYXdzEB", "AWS_SESSION_TOKEN=***"),
    ],
)  # fmt: skip
def test_secrets_are_known_by_their_first_letters_or_by_a_name(text: str, shown: str) -> None:
    assert redact(f"the value {text} is wrong") == f"the value {shown} is wrong"


@pytest.mark.parametrize(
    "text",
    [
        "hf_hub_download",
        "hf_transfer",
        "AKIA",
        "EURASIANCOUNTRIESANDPLACES",
        "self_" + "a" * 40,
        "the password",
        "secret: no",
        "sk-learn",
        "tokens of train: median 8, 90 % 16",
        "https://host:8080/a@b",
        "api_key=",
        "12:30@noon",
    ],
)
def test_other_words_stay(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"), ("a\u202eb", "a\\u202eb"), ("a\udcffb", "a\\udcffb"), ("a\tb\r\n", "a\tb\r\n"),
        ("\x9b2J", "\\x9b2J"), ("中文 é 👍🏽", "中文 é 👍🏽"),
    ],
)  # fmt: skip
def test_what_would_control_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert redaction.without_control(text) == shown


def test_prints_and_log_records_are_redacted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))  # so that both are put back
    redaction.install()
    print("print\x1b[2J", TOKEN, flush=True)
    sys.stdout.writelines([KEYS[0], "\n"])
    handler = logging.StreamHandler()
    handler.emit(logging.makeLogRecord({"msg": TOKEN}))
    printed = capsys.readouterr()
    assert printed.out == "print\\x1b[2J hf_***\nAKIA***\n"
    assert printed.err == "hf_***\n"


def test_what_the_stream_cannot_encode_is_escaped() -> None:
    program = "from text_classifier.contract import redaction; redaction.install(); print('a\\u65e5')"
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert done.stdout == b"a\\u65e5\n"
