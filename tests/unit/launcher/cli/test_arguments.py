"""The command line: --help, missing flags, and what it needs to run."""

import json
import time

import pytest

import launch
from launcher.cli import arguments
from launcher.cli.commands import COMMANDS
from launcher.cli.options import resource_name
from support.launching import IMAGE, ROLE, isolated_launch

pytestmark = pytest.mark.usefixtures("no_aws")


def test_plan_and_help_need_no_package_and_answer_at_once(reviews):
    start = time.monotonic()
    done = isolated_launch("plan", "--skip-checks", "--json", "--image", IMAGE, "--role", ROLE, "--data", reviews)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert isolated_launch("--help").returncode == 0
    assert time.monotonic() - start < 4, "the two take 0.2 s on a quiet machine"


def test_without_a_command_the_list_is_printed(capsys):
    with pytest.raises(SystemExit) as end:
        launch.main([])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert all(f"\n    {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_has_examples(name, capsys):
    with pytest.raises(SystemExit) as end:
        launch.main([name, "--help"])
    assert end.value.code == 0
    assert f"examples:\n  launch.py {name}" in capsys.readouterr().out


def test_help_of_train_lists_the_hyperparameters():
    text = isolated_launch("train", "--help").stdout
    assert "learning_rate" in text
    assert "label_map" in text


def test_missing_flags_are_named():
    done = isolated_launch("plan", "--image", IMAGE)
    assert done.returncode == launch.WRONG_USE
    assert done.stderr == (
        "launch.py: plan needs --data, --role; give them here or in train.yaml, see launch.py plan --help\n"
    )


def test_a_misspelled_flag_is_named_before_what_it_leaves_missing(command):
    code, _, err = command("train", "--dta=s.tsv", f"--image={IMAGE}", f"--role={ROLE}")
    assert (code, err) == (2, "launch.py: --dta is not a flag of this command; did you mean --data?\n")


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["--region", "eu-west-1", "Broke after a week."], ["Broke after a week."]),
        (["one", "--json", "two", "--top-k=2", "-5 stars"], ["one", "two", "-5 stars"]),
        (["--json", "--", "--one", "-x"], ["--one", "-x"]),
        (["--json"], []),
    ],
)
def test_texts_may_stand_before_and_after_flags(words, texts):
    options = arguments.parse(["invoke", "my-job", *words], launch.FUNCTIONS)
    assert (options.name, options.text) == ("my-job", texts)


@pytest.mark.parametrize("word", ["--topk=3", "-k"])
def test_a_flag_of_another_name_is_no_text(command, word):
    code, _, err = command("invoke", "my-job", "--json", word)
    assert code == 2
    assert err.startswith(f"launch.py: {word.partition('=')[0]} is not a flag of this command; ")


@pytest.mark.parametrize("flag", ["data", "model", "kms-key", "bucket", "region", "job-name", "config"])
def test_an_empty_value_is_refused(command, flag):
    """As --kms-key "$KEY" without the variable: it would be no key at all, and --data the current folder."""
    code, _, err = command("plan", "--skip-checks", f"--{flag}=")
    assert code == 2
    assert f"argument --{flag}: the value is empty; give one, or leave it out" in err


def test_an_empty_value_of_the_file_is_refused(command, tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text("kms_key: ''\n")
    assert f"{file}: kms_key: the value is empty; give one, or leave it out" in command("plan", f"--config={file}")[2]


@pytest.mark.parametrize("name", ["status", "stop", "attach", "download", "deploy", "undeploy", "logs"])
def test_an_empty_name_is_refused(command, name):
    assert "the value is empty; give one" in command(name, "")[2]


@pytest.mark.parametrize("command", ["status", "logs", "download", "deploy", "transform", "compare", "undeploy"])
def test_an_arn_may_stand_for_the_name(command):
    arn = "arn:aws:sagemaker:eu-west-1:123456789012:training-job/my-job"
    words = {"transform": ["--data=new.csv"], "compare": ["other"]}.get(command, [])
    options = vars(arguments.parse([command, arn, *words], launch.FUNCTIONS))
    assert "my-job" in (options.get("job"), options.get("model"), options.get("first"), options.get("name"))


def test_an_arn_is_the_name_in_it():
    assert resource_name("arn:aws-cn:sagemaker:cn-north-1:123456789012:training-job/my-job") == "my-job"
    assert resource_name(" my-job ") == "my-job"
