"""What CreateTrainingJob would refuse is one sentence before anything is sent."""

import os

import pytest

from launcher.plan import instances, limits
from launcher.plan.channels import files_of
from support.launching import assert_one_sentence

pytestmark = pytest.mark.usefixtures("no_aws")

LONG_MAP = ";".join(f"{number}=label-{number}" for number in range(250))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([f"label_map={LONG_MAP}"], f"hyperparameter label_map is {len(LONG_MAP):,} characters long, but AWS allows"),
        (["--environment", f"A={'x' * 600}"], "--environment A is 600 characters long, but AWS allows 512; shorten it"),
        ([f"--environment=A{n}=x" for n in range(101)], "--environment has 103 values, but AWS allows 100"),
        ([f"--tag=t{n}=x" for n in range(55)], "--tag has 55 values, but AWS allows 50; remove some"),
        (["--tag=team=a,b"], "--tag 'a,b' has characters that AWS does not allow here, it must match "),
        (["--tag=aws:x=y"], "--tag 'aws:x' begins with aws:, which AWS keeps for itself"),
        (["--tag", f"{'k' * 129}=v"], "--tag is 129 characters long, but AWS allows 128"),
        (["--tag=a=1", "--tag=a=2"], "--tag a is given twice"),
        (["--kms-key=my key"], "--kms-key 'my key' has characters that AWS does not allow here"),
        (["--volume-kms-key=my key", "--instance-type=ml.m5.xlarge"], "--volume-kms-key 'my key' has characters"),
        (["--subnet=subnet-1,subnet-2", "--security-group=sg-1"], "--subnet 'subnet-1,subnet-2' has characters"),
        (["--subnet=subnet-1", "--security-group=sg 1"], "--security-group 'sg 1' has characters"),
        ([f"--subnet=s-{n}" for n in range(17)] + ["--security-group=sg-1"], "--subnet has 17 values, but AWS allows"),
        (["--instance-type=ml.g4.xlarge"], "--instance-type 'ml.g4.xlarge' is unknown to AWS; did you mean ml.g"),
        (["--max-run=8640000"], "--max-run 8640000 is out of range; AWS allows 28 days (2419200)"),
        (["--spot", "--max-run=2419200", "--max-wait=2419201"], "--max-wait 2419201 is out of range"),
        (["label_column=a\nb"], "hyperparameter label_column 'a\\nb' has a line break or a tab, which AWS"),
        (["--tag=a=b\tc"], "--tag 'b\\tc' has a line break or a tab, which AWS does not allow here; remove it"),
    ],
)  # fmt: skip
def test_a_limit_is_one_sentence(plan, words, sentence):
    assert_one_sentence(plan(*words), 2, f"launch.py: {sentence}")


def test_the_limits_of_a_search(command, reviews, tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(f"ranges: {{seed: {list(range(40))}}}\nstrategy: Random\n")
    words = ["--image=123456789012.dkr.ecr.eu-west-1.amazonaws.com/a:v1", "--role=arn:aws:iam::123456789012:role/r"]
    result = command("plan", "--tune", "--skip-checks", f"--config={file}", f"--data={reviews}", *words)
    assert_one_sentence(result, 2, "launch.py: ranges has 40 values, but AWS allows 30; remove some")


def test_the_largest_values_are_allowed(plan):
    words = [f"label_map={LONG_MAP[:2500]}", f"--environment=A={'x' * 512}", "--max-run=2419200"]
    words += [f"--tag=t{number}=Größe 1_2.3:/=+-@" for number in range(50)]
    code, _, err = plan(*words, "--spot", "--max-wait=2419200")
    assert code == 0, err


def test_every_instance_family_of_ours_is_known():
    import botocore.session

    shape = botocore.session.get_session().get_service_model("sagemaker").shape_for("TrainingInstanceType")
    assert {name.split(".")[1] for name in shape.enum} >= {*instances.FAMILIES}
    assert not list(limits._text("ml.g5.xlarge", shape))


@pytest.mark.parametrize("flag", ["--data", "--validation", "--model"])
def test_a_name_that_is_not_utf_8_is_named(plan, tmp_path, flag):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with open(os.fsencode(folder) + b"/caf\xe9.csv", "w") as file:
        file.write("label,text\n1,a\n")
    result = plan(data=folder) if flag == "--data" else plan(f"{flag}={folder}")
    assert_one_sentence(
        result, 2, rf"{flag}: the file 'caf\xe9.csv' has a name that is not UTF-8, which S3 does not take; rename it"
    )


def test_a_loop_of_links_ends(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "rows.csv").write_text("x")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert sorted(files_of(tmp_path)) == ["a/rows.csv", "b/rows.csv"]
