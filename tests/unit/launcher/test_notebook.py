"""The functions for Python: the same request as launch.py, and the SDK's own fit, attach and tuner."""

import json
import re

import pytest

import launcher
from launcher.plan.channels import Channel
from launcher.sdk import estimators
from support.launching import BUCKET, IMAGE, JOB, REGION, ROLE, keys
from text_classifier.contract.errors import UserError

# isort: split
# launcher.sdk.estimators must be imported before the SDK, which it configures.
from sagemaker.tuner import ContinuousParameter, HyperparameterTuner

pytestmark = pytest.mark.usefixtures("aws_stub")

OPTIONS = {
    "image": IMAGE,
    "role": ROLE,
    "bucket": BUCKET,
    "instance_type": "ml.g6.xlarge",
    "instance_count": 2,
    "max_run": 7200,
    "tag": {"team": "reviews"},
    "environment": {"HF_HOME": "/tmp/hub"},
    "subnet": ["subnet-1"],
    "security_group": ["sg-1"],
    "kms_key": "alias/result",
    "hyperparameters": {"epochs": 2, "label_map": "1=bad;2=good"},
}


def as_words(options):
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if name == "hyperparameters":
            yield from (f"{key}={item}" for key, item in value.items())
        elif isinstance(value, dict):
            yield from (f"{flag}={key}={item}" for key, item in value.items())
        else:
            yield from (f"{flag}={item}" for item in (value if isinstance(value, list) else [value]))


def test_fit_sends_the_request_of_plan(aws_stub, command, reviews):
    words = [*as_words(OPTIONS), f"--data={reviews}", f"--job-name={JOB}"]
    request = json.loads(command("plan", "--skip-checks", "--json", *words)[1])["request"]
    [channel] = request["InputDataConfig"]
    launcher.estimator(**OPTIONS).fit(
        {"train": channel["DataSource"]["S3DataSource"]["S3Uri"]}, job_name=JOB, wait=False
    )
    for key in request.keys() - {"Tags", "ProfilerConfig"}:
        assert aws_stub.jobs[JOB][key] == request[key], key
    assert aws_stub.calls == ["CreateTrainingJob"]


def test_options_come_from_train_yaml_too(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(f"image: {IMAGE}\nrole: {ROLE}\nmax_run: 60\nhyperparameters: {{epochs: 2, seed: 7}}\n")
    estimator = launcher.estimator(file, max_run=120, hyperparameters={"seed": 8})
    assert estimator.max_run == 120
    assert estimator.hyperparameters() == {"epochs": "2", "seed": "8"}
    assert [definition["Name"] for definition in estimator.metric_definitions][:2] == ["train_loss", "validation_loss"]


def test_a_function_reads_its_own_options_of_train_yaml(tmp_path, monkeypatch):
    file = tmp_path / "job.yaml"
    file.write_text("image: ${NO_SUCH_VARIABLE}\nmodel: s3://b/model/\ndata: none.tsv\n")
    with pytest.raises(UserError, match="none.tsv does not exist"):
        launcher.check(file)
    file.write_text("data: ${NO_SUCH_VARIABLE}\n")
    assert launcher.estimator(file, image=IMAGE, role=ROLE).role == ROLE


def test_upload_sends_the_data_and_returns_what_fit_takes(aws_stub, reviews):
    inputs = launcher.upload(image=IMAGE, role=ROLE, data=str(reviews))
    assert keys() == [f"text-classification/data/{Channel.from_path(reviews).content_hash}/reviews.tsv"]
    launcher.estimator(image=IMAGE, role=ROLE).fit(inputs, job_name=JOB, wait=False)
    [channel] = aws_stub.jobs[JOB]["InputDataConfig"]
    assert channel["ChannelName"] == "train"
    assert channel["DataSource"]["S3DataSource"]["S3Uri"] == f"s3://{BUCKET}/{keys()[0].rpartition('/')[0]}/"


def test_upload_says_what_it_needs(reviews):
    for options, sentence in (
        ({"data": str(reviews)}, "upload() needs image; give it here or in train.yaml"),
        ({"data": str(reviews), "image": IMAGE}, "upload() needs role; give it here or in train.yaml"),
        ({"image": IMAGE, "role": ROLE}, "upload() needs data, validation, test or model; give it here or in train"),
    ):
        with pytest.raises(UserError, match=f"^{re.escape(sentence)}"):
            launcher.upload(**options)


def test_a_list_or_mapping_is_the_json_of_a_hyperparameter():
    values = {"label_map": {1: "bad", "2": "gut ä"}, "text_columns": ["a, b", "c"]}
    assert launcher.estimator(image=IMAGE, role=ROLE, hyperparameters=values).hyperparameters() == {
        "label_map": '{"1": "bad", "2": "gut ä"}',
        "text_columns": '["a, b", "c"]',
    }


def test_attach_finds_the_job(aws_stub):
    estimator = launcher.estimator(**OPTIONS)
    estimator.fit({"train": "s3://b/reviews/"}, job_name=JOB, wait=False)
    aws_stub.end(JOB)
    attached = type(estimator).attach(JOB, sagemaker_session=estimator.sagemaker_session)
    assert attached.model_data == f"s3://{BUCKET}/text-classification/{JOB}/output/model.tar.gz"
    assert attached.hyperparameters()["epochs"] == "2"


def test_a_tuner_takes_it(aws_stub):
    estimator = launcher.estimator(**OPTIONS)
    ranges = {"learning_rate": ContinuousParameter(1e-5, 1e-4)}
    tuner = HyperparameterTuner(
        estimator, "f1_macro", ranges, metric_definitions=estimator.metric_definitions, max_jobs=2
    )
    tuner.fit({"train": "s3://b/reviews/"}, job_name="tuning-1", include_cls_metadata=False, wait=False)
    definition = aws_stub.tuning_jobs["tuning-1"]["TrainingJobDefinition"]
    assert definition["AlgorithmSpecification"]["TrainingImage"] == IMAGE
    # Unlike `launch.py tune`, the SDK names the objective among the hyperparameters.
    expected = OPTIONS["hyperparameters"] | {"epochs": "2", "_tuning_objective_metric": "f1_macro"}
    assert definition["StaticHyperParameters"] == expected


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"image": IMAGE}, "estimator() needs role; give it here or in train.yaml"),
        (OPTIONS | {"data": "x.tsv"}, "estimator() takes no data; give the data to fit, as in fit(upload(data=...))"),
        (OPTIONS | {"instance_tpye": "x"}, "estimator(): 'instance_tpye' is unknown; did you mean instance_type?"),
        (OPTIONS | {"hyperparameters": {"epoch": 2}}, "unknown hyperparameter 'epoch'; did you mean epochs?"),
        (OPTIONS | {"max_run": "long"}, "estimator(): max_run: 'long' is not an integer of 1 or more"),
        (OPTIONS | {"instance_type": "g5"}, "--instance-type 'g5' is not a SageMaker instance type"),
        (OPTIONS | {"max_wait": 9}, "--max-wait applies to spot instances only"),
    ],
)
def test_a_mistake_is_one_sentence(options, sentence):
    with pytest.raises(UserError) as error:
        launcher.estimator(**options)
    assert str(error.value).startswith(sentence)


def test_check_returns_the_report_of_the_image(docker_log, reviews, monkeypatch):
    """The fake image writes the report where the real one does: into the mounted output folder."""
    report = "for word; do case $word in *target=/opt/ml/output/data) f=${word#*source=}; f=${f%%,*}; esac; done"
    docker_log(cases=f'run*) {report}; echo \'{{"rows": 1}}\' >"$f/data_report.json"; exit 0 ;;')
    assert launcher.check(data=str(reviews)) == {"rows": 1}


def test_doctor_returns_its_findings(aws_stub, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_SERVICE_QUOTAS", aws_stub.url)
    findings = {finding.check: finding for finding in launcher.doctor(role=ROLE, region=REGION)}
    assert findings["credentials"].level == "ok"
    assert findings["role"].level == "failed"


def test_local_mode_needs_neither_a_role_nor_credentials(docker_log, monkeypatch, tmp_path):
    docker_log()
    monkeypatch.setattr("launcher.local.local_job.RUNS", tmp_path / "runs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    estimator = launcher.estimator(instance_type="local", hyperparameters={"epochs": 1})
    assert isinstance(estimator, estimators.Estimator)
    assert estimator.output_path.startswith(f"file://{tmp_path}/runs/text-classification-")
    assert estimator.sagemaker_session.local_mode


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'estimators'"):
        _ = launcher.estimators
