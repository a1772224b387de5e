"""Data that is in S3 already, with moto as S3: listed, refused in a sentence, sampled, and never copied."""

import gzip
import json

import boto3
import botocore.client
import pytest

import launch
from launcher.aws import sources
from support.launching import BUCKET, IMAGE, JOB, REGION, ROLE, fail, refuse

pytestmark = pytest.mark.usefixtures("aws_stub", "clock")
DATA = "my-reviews"


@pytest.fixture
def s3(aws_stub, monkeypatch):
    """A bucket with data in the region of the job."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", aws_stub.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", aws_stub.url)
    client = boto3.client("s3")
    client.create_bucket(Bucket=DATA, CreateBucketConfiguration={"LocationConstraint": REGION})
    for key, body in {
        "reviews/part-1.tsv": "label\ttext\npositive\tgood\n",
        "reviews/part-2.tsv": "label\ttext\nnegative\tbad\n",
        "reviews/_SUCCESS": "x",
        "reviews-old/part-1.tsv": "old",
        "alone.tsv": "label\ttext\npositive\tgood\n",
        "two.tsv": "x",
        "two.tsv.bak": "x",
        "none/_SUCCESS": "x",
        "model/config.json": "{}",
    }.items():
        client.put_object(Bucket=DATA, Key=key, Body=body)
    return client


@pytest.fixture
def simulate(monkeypatch):
    """Answer iam:SimulatePrincipalPolicy, which moto lacks."""
    call = botocore.client.BaseClient._make_api_call

    def answer(decision):
        def made(self, operation, arguments):
            if operation == "SimulatePrincipalPolicy":
                return {"EvaluationResults": [{"EvalDecision": decision}]}
            return call(self, operation, arguments)

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", made)

    answer("allowed")
    return answer


@pytest.fixture
def findings(command, s3, simulate):
    """Run plan with its checks and return the findings by check, and the whole answer."""

    def run(*words, data=f"s3://{DATA}/reviews/"):
        _, out, err = command("plan", "--json", f"--image={IMAGE}", f"--role={ROLE}", f"--data={data}", *words)
        assert err.count("\n") <= 1, err
        answer = json.loads(out)
        return {finding["check"]: (finding["level"], finding["text"]) for finding in answer["checks"]}, answer

    return run


def uri_of(answer):
    return answer["request"]["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"]


@pytest.mark.parametrize(
    ("typed", "uri", "what"),
    [
        ("reviews/", "reviews/", "2 object(s), 49 bytes"),
        ("reviews", "reviews/", "2 object(s), 49 bytes"),
        ("reviews/part-", "reviews/part-", "2 object(s), 49 bytes"),
        ("alone.tsv", "alone.tsv", "1 object(s), 25 bytes"),
    ],
)
def test_what_lies_there_is_listed(findings, typed, uri, what):
    found, answer = findings(data=f"s3://{DATA}/{typed}")
    assert uri_of(answer) == f"s3://{DATA}/{uri}"
    assert found["train"] == ("ok", f"s3://{DATA}/{uri} in {REGION}: {what}; the role may read them")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (f"s3://{DATA}/nothing/", "--data s3://my-reviews/nothing/: there is nothing at this URI"),
        (f"s3://{DATA}/nothing/*.csv", "or put the data there; S3 has no wildcards, so give the folder"),
        (f"s3://{DATA}/none/", "--data s3://my-reviews/none/: there is no object with rows at this URI"),
        (f"s3://{DATA}/two.tsv", "SageMaker would read s3://my-reviews/two.tsv.bak too"),
        ("s3://no-such-bucket/x/", "the bucket no-such-bucket does not exist"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(findings, data, sentence):
    level, text = findings(data=data)[0]["train"]
    assert level == "failed"
    assert sentence in text


def test_a_bucket_of_another_region_is_refused(findings):
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="far-away")
    level, text = findings(data="s3://far-away/x/")[0]["train"]
    assert level == "failed"
    assert text.startswith("--data s3://far-away/x/: the bucket is in us-east-1, but the job runs in eu-west-1")


def test_a_bucket_without_access_is_refused(findings, monkeypatch):
    refuse(monkeypatch, "HeadBucket", "403", "Forbidden", status=403)
    level, text = findings()[0]["train"]
    assert level == "failed"
    assert "is not accessible with these credentials" in text


def test_a_model_needs_its_config(findings):
    assert findings(f"--model=s3://{DATA}/model/")[0]["model"][0] == "ok"
    level, text = findings(f"--model=s3://{DATA}/reviews/")[0]["model"]
    assert level == "failed"
    assert "has no config.json" in text


@pytest.mark.parametrize(
    ("decision", "level", "text"),
    [
        ("explicitDeny", "failed", "is denied s3:ListBucket and s3:GetObject; change its policies"),
        ("implicitDeny", "warning", "the policies of the role do not allow s3:ListBucket and s3:GetObject"),
    ],
)
def test_whether_the_role_may_read_is_said(findings, simulate, decision, level, text):
    simulate(decision)
    found = findings()[0]["train"]
    assert found[0] == level
    assert text in found[1]


def test_what_cannot_be_simulated_is_unknown(findings, monkeypatch):
    refuse(monkeypatch, "SimulatePrincipalPolicy", "AccessDenied", "no", status=403)
    level, text = findings()[0]["train"]
    assert (level, text.split("; ")[1]) == ("ok", "it is unknown whether the role may read them (AccessDenied)")


def test_without_credentials_plan_says_so_once(findings, monkeypatch):
    fail(monkeypatch, "HeadBucket", botocore.exceptions.NoCredentialsError())
    assert findings()[0]["train"][1].startswith("no AWS credentials were found")


def test_large_data_is_streamed_and_the_reason_is_printed(command, s3, simulate, monkeypatch):
    words = ["plan", f"--image={IMAGE}", f"--role={ROLE}", f"--data=s3://{DATA}/reviews/"]
    monkeypatch.setattr(sources, "needed", lambda uri, sizes: {"a.tsv": 20 * 10**9})
    out = command(*words)[1]
    assert "streams with FastFile: 20 GB would fill half or more of --volume-size 30" in out
    assert (
        json.loads(command(*words, "--json")[1])["request"]["AlgorithmSpecification"]["TrainingInputMode"] == "FastFile"
    )
    assert "streams" not in command(*words, "--volume-size=100")[1]
    out = command(*words, "--input-mode=File", "--volume-size=10", "--instance-type=ml.m5.xlarge")[1]
    assert "--input-mode File copies 20 GB to a disk of 10 GB; raise --volume-size, or use FastFile" in out


def test_train_sends_and_fetches_nothing(command, s3, simulate, aws_stub, monkeypatch):
    calls = []
    call = botocore.client.BaseClient._make_api_call

    def recorded(self, operation, arguments):
        calls.append(operation)
        return call(self, operation, arguments)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", recorded)
    words = [f"--image={IMAGE}", f"--role={ROLE}", f"--data=s3://{DATA}/reviews", f"--job-name={JOB}"]
    code, _, err = command("train", "--skip-checks", "--skip-data-check", *words)
    assert code == 0, err
    assert {"PutObject", "GetObject"} & set(calls) == set()
    [channel] = aws_stub.jobs[JOB]["InputDataConfig"]
    assert channel["DataSource"]["S3DataSource"]["S3Uri"] == f"s3://{DATA}/reviews/"
    assert boto3.client("s3").list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


#: A fake image that keeps what it was shown as the training data.
KEEPING = """run*) for w; do case $w in
*target=*/data/train,*) f=${w#*source=}; f=${f%%,*}; /bin/cp -r $f seen ;;
esac; done; exit 0 ;;"""


def test_check_takes_a_bounded_sample(command, s3, docker_log, tmp_path, monkeypatch):
    rows = "".join(f'{number},"a\nb ""c"""\n' for number in range(200_000))
    s3.put_object(Bucket=DATA, Key="large/1.csv", Body=rows)
    s3.put_object(Bucket=DATA, Key="large/2.csv.gz", Body=gzip.compress(b"a,b\n"))
    log = docker_log(cases=KEEPING)
    code, out, err = command("check", f"--data=s3://{DATA}/large/", "--check-rows=100")
    assert (code, err) == (0, "")
    assert out.startswith(f"train: a sample of 1 of 2 object(s) of s3://{DATA}/large/\n")
    taken = (tmp_path / "seen" / "1.csv").read_text()
    assert 100 <= taken.count("\n") <= 102
    assert taken.endswith('"\n')
    assert not (tmp_path / "seen" / "2.csv.gz").exists()
    assert not log.exists()


def test_a_sample_that_fails_says_that_it_is_one(command, s3, docker_log):
    docker_log(1, "Your data: no column\\n")
    words = [f"--image={IMAGE}", f"--role={ROLE}", f"--data=s3://{DATA}/reviews", f"--job-name={JOB}"]
    code, _, err = command("train", "--skip-checks", *words)
    assert code == launch.REFUSED
    assert err.splitlines()[-1].startswith("launch.py: Your data: no column (in a sample of the data; if the rest")
