"""The environment variables of serve."""

from __future__ import annotations

import pytest

from text_classifier.contract.errors import SettingsError
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
    ],
)
def test_a_wrong_value_is_one_sentence(name: str, value: str, wanted: str) -> None:
    with pytest.raises(SettingsError) as error:
        serve_settings({name: value})
    assert str(error.value) == f"{name}={value} in the environment is not {wanted}; correct it"
