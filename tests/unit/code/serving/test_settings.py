"""The environment variables of serve."""

from __future__ import annotations

import pytest

from text_classifier.contract.errors import SettingsError, describe
from text_classifier.serving.settings import ServeSettings, serve_settings


def test_without_variables_the_defaults_hold() -> None:
    assert serve_settings({}) == ServeSettings()
    assert serve_settings({"SERVE_TOP_K": "", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "0"}) == ServeSettings()


def test_each_variable_is_read() -> None:
    read = serve_settings(
        {
            "SAGEMAKER_BIND_TO_PORT": "9000", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "6", "SERVE_BATCH_TOKENS": "512",
            "SERVE_MAX_WAIT_SECONDS": "5", "SERVE_BAD_RECORDS": "mark", "SERVE_TOP_K": "all",
            "SERVE_CALIBRATED": "true", "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv",
            "SERVE_WORKERS": "3",
        }
    )  # fmt: skip
    assert read == ServeSettings(9000, 3, 6, 512, 5.0, True, None, True, True, "text/csv")
    assert serve_settings({"SERVE_MAX_MB": "2", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "6"}).max_megabytes == 2
    assert serve_settings({"SAGEMAKER_MODEL_SERVER_WORKERS": "2"}).workers == 2
    one = serve_settings({"SERVE_TOP_K": "1"})
    assert (one.top_k, one.has_top_k) == (1, True)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "http", "a port"),
        ("SAGEMAKER_BIND_TO_PORT", "65536", "a port"),
        ("SERVE_WORKERS", "auto", "a number of processes"),
        ("SERVE_MAX_MB", "0", "a number of megabytes"),
        ("SERVE_BATCH_TOKENS", "-1", "a number of tokens"),
        ("SERVE_TOP_K", "0", "a number or `all`"),
        ("SERVE_BAD_RECORDS", "skip", "`fail` or `mark`"),
        ("SERVE_CALIBRATED", "yes", "`true` or `false`"),
        ("SERVE_MAX_WAIT_SECONDS", "soon", "a number of seconds"),
        ("SERVE_MAX_WAIT_SECONDS", "9999999999", "a number of seconds"),
        ("SERVE_WORKERS", "1001", "a number of processes"),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "1001", "a number of processes"),
    ],
)
def test_a_wrong_value_is_one_sentence(name: str, value: str, wanted: str) -> None:
    with pytest.raises(SettingsError) as error:
        serve_settings({name: value})
    assert str(error.value) == f"{name}={value} in the environment is not {wanted}; correct it"


NUMBERS = (
    "SAGEMAKER_BIND_TO_PORT", "SAGEMAKER_MAX_PAYLOAD_IN_MB", "SAGEMAKER_MODEL_SERVER_WORKERS", "SERVE_WORKERS",
    "SERVE_MAX_MB", "SERVE_BATCH_TOKENS", "SERVE_MAX_WAIT_SECONDS", "SERVE_TOP_K",
)  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value", ["9" * 400, "9" * 5_000, "-0", "1e3", "\u0663", "\u00b2", "1\n2", "0x10", "1_0", "\x1b[2J"]
)
def test_what_is_no_number_is_one_short_sentence(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as error:
        serve_settings({name: value})
    reason = describe(error.value)
    assert reason.isprintable() and reason.startswith(f"Your settings: {name}=") and len(reason) < 250
