"""Wrong settings: one sentence, exit code 2."""

import json

import pytest

import launch

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/name"

pytestmark = pytest.mark.usefixtures("no_aws")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["epoch=2"], "unknown hyperparameter 'epoch'; did you mean epochs?"),
        (["epochs=two"], "hyperparameter epochs='two' is not an integer"),
        (["epochs=1", "epochs=2"], "hyperparameter 'epochs' is given twice; remove one of the two"),
        (["epochs"], "'epochs' is neither a flag nor a hyperparameter; write hyperparameters as name=value"),
        (["--epoch", "2"], "--epoch is not a flag of this command"),
        (
            ["--instance-typ", "ml.g5.xlarge"],
            "--instance-typ is not a flag of this command; did you mean --instance-type?",
        ),
        (["--keep-alive=9", "--spot"], "--keep-alive cannot be combined with --spot"),
        (["--keep-alive=3601"], "--keep-alive 3601 is too long; the maximum is 3600 seconds"),
        (["--input-mode=Pipe"], "--input-mode 'Pipe' is not supported; use File or FastFile"),
        (["--subnet=subnet-1"], "--subnet is given without --security-group; a job in your VPC needs both"),
        (["--network-isolation"], "give the model's folder with --model"),
        (["--volume-kms-key=k"], "--volume-kms-key cannot be used with ml.g5.xlarge"),
        (["--environment=A-B=1"], "--environment 'A-B' is not the name of an environment variable"),
        (["--tag=team"], "argument --tag: 'team' is not NAME=VALUE"),
        (["--price=cheap"], "argument --price: 'cheap' is not a price; write it like 1.41"),
        (["--config=nowhere.yaml"], "--config nowhere.yaml cannot be read (No such file or directory)"),
        (["--instance-type=g5.xlarge"], "--instance-type 'g5.xlarge' is not a SageMaker instance type"),
        (["--instance-type=ml.p2.xlarge"], "ml.p2.xlarge has K80 GPUs, which the image's CUDA 13 no longer"),
        (["--instance-type=ml.p3.2xlarge"], "use an instance of ml.g4dn, ml.g5"),
        (["--instance-type=ml.p3dn.24xlarge"], "V100"),
        (["--instance-count=0"], "argument --instance-count: '0' is not an integer of 1 or more"),
        (["--max-run=never"], "argument --max-run: 'never' is not an integer of 1 or more"),
        (
            ["--spot", "--max-run=100", "--max-wait=99"],
            "--max-wait 99 is shorter than --max-run 100; it includes both waiting",
        ),
        (["--max-wait=99"], "--max-wait applies to spot instances only; add --spot, or remove it"),
        (["--job-name=under_score"], "job name 'under_score' is not allowed"),
        (["--job-name=" + "x" * 64], "use up to 63 letters, digits and hyphens"),
        (["--base-job-name=" + "x" * 40], "use up to 39 letters, digits and hyphens, and begin with a letter"),
        (["--base-job-name=my_jobs"], "--base-job-name 'my_jobs' is not allowed; use up to 39 letters"),
        (["--instance-type=local"], "write it like ml.g5.xlarge; to train on this machine, use `launch.py local`"),
        (["--instance-type=ml.trn1.2xlarge"], "has AWS's own accelerators, which the image cannot use; use an inst"),
        ([__file__], "write hyperparameters as name=value; --data takes one path: put several files into a folder"),
        (["--region=Frankfurt"], "region 'Frankfurt' is not the name of an AWS region"),
        (["--bucket=s3://my-bucket/x"], "is not the name of a bucket; give the name only"),
        (["--validation=nowhere.tsv"], "--validation nowhere.tsv does not exist"),
        (["--model=nowhere"], "--model nowhere does not exist; give a path on this machine"),
        ([f"--model={__file__}"], "is not a model folder: it has no config.json; give a folder written by save_pre"),
    ],
)
def test_mistakes_end_in_one_sentence(plan, words, sentence):
    code, out, err = plan(*words)
    assert (code, out) == (launch.WRONG_USE, "")
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("argument", "value", "sentence"),
    [
        ("image", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/name", "has no tag or digest"),
        ("image", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/name:latest", "has no tag or digest"),
        ("image", "sagemaker-text-classification:local", "exists on this machine only; push it with `make push`"),
        (
            "image",
            "registry.example.com:443/name:tag",
            "the AWS region is unknown; give --region, set AWS_REGION, or set the region of the profile",
        ),
        ("image", f"https://{ECR}:v1", "is a URL, and an image is named without https://; use the URI that"),
        ("image", f"{ECR}@sha256:abc", "has a digest that is not sha256: and 64 hexadecimal digits"),
        ("image", f"{ECR}:v1@sha256:{'0' * 64}", "has a tag and a digest, of which SageMaker takes one"),
        ("image", f"{ECR.upper()}:v1", "has capital letters in its name, which registries refuse"),
        ("role", "my-role", "--role 'my-role' is not the ARN of a role"),
        ("role", "arn:aws:iam::123456789012:role/my/", "is not the ARN of a role"),
        ("role", "arn:aws-cn:sts::123456789012:assumed-role/a/b", "as in arn:aws-cn:iam::123456789012:role/a\n"),
        ("data", "nowhere.tsv", "--data nowhere.tsv does not exist"),
    ],
)
def test_required_arguments_are_checked(plan, argument, value, sentence):
    code, out, err = plan(**{argument: value})
    assert (code, out) == (launch.WRONG_USE, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_the_archive_of_a_job_is_a_model(plan, tmp_path):
    (tmp_path / "model.tar.gz").write_bytes(b"x")
    code, out, err = plan(f"--model={tmp_path / 'model.tar.gz'}", "--network-isolation")
    assert (code, err) == (0, "")
    assert [channel["ChannelName"] for channel in json.loads(out)["InputDataConfig"]] == ["train", "model"]


def test_names_of_files_reach_the_terminal_without_control_characters(plan, tmp_path):
    folder = tmp_path / "a\x1b[31m\nb"
    folder.mkdir()
    code, _, err = plan(data=folder)
    assert code == launch.WRONG_USE
    assert err.startswith(f"launch.py: --data {tmp_path}/a\\x1b[31m\nb contains no files with rows")
    assert "\x1b" not in err


def test_empty_file_and_empty_folder_are_refused(plan, tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    assert f"--data {folder} contains no files" in plan(data=folder)[2]
    (folder / "empty.tsv").touch()
    assert f"--data {folder} contains no files with rows" in plan(data=folder)[2]
    assert f"--data: the file {folder / 'empty.tsv'} is empty" in plan(data=folder / "empty.tsv")[2]


def test_a_device_is_refused(plan):
    assert "--data /dev/null is a pipe or a device; write its rows to a file" in plan(data="/dev/null")[2]
