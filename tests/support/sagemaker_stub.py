"""SageMaker, Application Auto Scaling, CloudWatch Logs, Service Quotas and ECR on loopback, with faults moto lacks.

Implements the JSON protocol. `faults` lists, per operation, the faults of the next calls: `throttle`, `500`, `503`,
`expired` and `denied` are error responses, `reset` closes the connection before the request is processed, `lost` closes
it afterwards, `slow` responds after `latency_seconds`. With `is_slow` every call is slow.
"""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock

import pytest
from botocore.loaders import JSONFileLoader
from moto import mock_aws

ERRORS = {
    "throttle": (400, "ThrottlingException", "Rate exceeded"),
    "500": (500, "InternalFailure", "Internal error"),
    "503": (503, "ServiceUnavailable", "Unavailable"),
    "expired": (400, "ExpiredTokenException", "The security token included in the request is expired"),
    "denied": (400, "AccessDeniedException", "Not authorized"),
}


class Refusal(Exception):
    """An error response of the service."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Stub:
    """The state of the services, which tests read and change."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.tuning_jobs: dict[str, dict[str, Any]] = {}
        #: Models, endpoint configurations and endpoints by kind and name; `tags` by ARN.
        self.hosting: dict[str, dict[str, dict[str, Any]]] = {"Model": {}, "EndpointConfig": {}, "Endpoint": {}}
        self.tags: dict[str, list[dict[str, str]]] = {}
        #: The range and the policies of what is scaled, by resource. moto neither refuses missing endpoints nor answers
        #: as AWS when there is no target.
        self.scaling: dict[str, dict[str, Any]] = {}
        self.transform_jobs: dict[str, dict[str, Any]] = {}
        #: The statuses of the next descriptions of transform jobs; the last one stays.
        self.transform_statuses: list[str] = ["InProgress", "Completed"]
        #: The statuses of the next descriptions of endpoints; the last one stays.
        self.endpoint_statuses: list[str] = ["Creating", "InService"]
        #: Answers requests to endpoints: the body and the content type of a request to status and body.
        self.model: Callable[[bytes, str], tuple[int, bytes]] = lambda body, type: (500, b"")
        self.failure_reason = "The primary container for production variant all did not pass the ping health check."
        self.trials: list[dict[str, Any]] = []
        self.streams: dict[str, list[str]] = {}
        self.quotas: dict[str, float] = {}
        self.images: dict[str, dict[str, Any]] = {}
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.calls: list[str] = []
        self.latency_seconds = 0.0
        self.is_slow = False
        self.describe_hook: Callable[[dict[str, Any]], None] = lambda job: None
        self.url = ""
        self._lock = threading.Lock()

    def end(self, name: str, status: str = "Completed", **more: Any) -> None:
        """End a job."""
        self.jobs[name] |= {"TrainingJobStatus": status, "SecondaryStatus": status, **more}

    def trial(self, tuning_job: str, status: str, value: float | None, seconds: int | None, **tuned: str) -> str:
        """Add a trial to a tuning job. Returns its name."""
        number = len(self.trials) + 1
        name = f"{tuning_job}-{number:03d}-0123abcd"
        trial = {
            "TrainingJobName": name,
            "TrainingJobArn": f"arn:aws:sagemaker:eu-west-1:123456789012:training-job/{name}",
            "TuningJobName": tuning_job,
            "CreationTime": 1795377797 + number,
            "TrainingJobStatus": status,
            "TunedHyperParameters": tuned,
        }
        if value is not None:
            trial["FinalHyperParameterTuningJobObjectiveMetric"] = {"MetricName": "f1_macro", "Value": value}
        self.trials.append(trial)
        self.jobs[name] = {
            key: trial[key] for key in ("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingJobStatus")
        }
        if seconds is not None:
            self.jobs[name]["BillableTimeInSeconds"] = seconds
        return name

    def log(self, name: str, *lines: str, host: str = "algo-1") -> None:
        """Append lines to a job's log."""
        self.streams.setdefault(f"{name}/{host}-1795377797", []).extend(lines)

    def answer(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            return getattr(self, f"_{operation}")(**request)

    def next_fault(self, operation: str) -> str | None:
        with self._lock:
            self.calls.append(operation)
            return self.faults[operation].pop(0) if self.faults[operation] else None

    def _CreateTrainingJob(self, TrainingJobName: str, **request: Any) -> dict[str, Any]:
        if TrainingJobName in self.jobs:
            raise Refusal("ResourceInUse", "Training job names must be unique within an AWS account and region")
        request.pop("Tags", None)
        self.jobs[TrainingJobName] = {
            "TrainingJobName": TrainingJobName,
            **request,
            "TrainingJobArn": f"arn:aws:sagemaker:eu-west-1:123456789012:training-job/{TrainingJobName}",
            "TrainingJobStatus": "InProgress",
            "SecondaryStatus": "Starting",
            "CreationTime": 1795377797,
            "EnableNetworkIsolation": False,
        }
        return {"TrainingJobArn": self.jobs[TrainingJobName]["TrainingJobArn"]}

    def _DescribeTrainingJob(self, TrainingJobName: str) -> dict[str, Any]:
        if TrainingJobName not in self.jobs:
            raise Refusal("ValidationException", "Requested resource not found.")
        self.describe_hook(self.jobs[TrainingJobName])
        return self.jobs[TrainingJobName]

    def _ListTags(self, ResourceArn: str, **request: Any) -> dict[str, Any]:
        return {"Tags": self.tags.get(ResourceArn, [])}

    def _create_hosting(self, kind: str, noun: str, request: dict[str, Any]) -> dict[str, Any]:
        name = request[f"{kind}Name"]
        arn = f"arn:aws:sagemaker:eu-west-1:123456789012:{noun.replace(' ', '-').removesuffix('uration')}/{name}"
        if name in self.hosting[kind]:
            raise Refusal("ValidationException", f'Cannot create already existing {noun} "{arn}".')
        self.tags[arn] = request.pop("Tags", [])
        self.hosting[kind][name] = {**request, f"{kind}Arn": arn, "CreationTime": 1795377797}
        return {f"{kind}Arn": arn}

    def _described(self, kind: str, noun: str, name: str) -> dict[str, Any]:
        if name not in self.hosting[kind]:
            raise Refusal("ValidationException", f'Could not find {noun} "arn:aws:sagemaker:...:{name}".')
        return self.hosting[kind][name]

    def _CreateModel(self, **request: Any) -> dict[str, Any]:
        return self._create_hosting("Model", "model", request)

    def _DescribeModel(self, ModelName: str) -> dict[str, Any]:
        return self._described("Model", "model", ModelName)

    def _DeleteModel(self, ModelName: str) -> dict[str, Any]:
        self._described("Model", "model", ModelName)
        del self.hosting["Model"][ModelName]
        return {}

    def _CreateEndpointConfig(self, **request: Any) -> dict[str, Any]:
        self._described("Model", "model", request["ProductionVariants"][0]["ModelName"])
        return self._create_hosting("EndpointConfig", "endpoint configuration", request)

    def _DescribeEndpointConfig(self, EndpointConfigName: str) -> dict[str, Any]:
        return self._described("EndpointConfig", "endpoint configuration", EndpointConfigName)

    def _DeleteEndpointConfig(self, EndpointConfigName: str) -> dict[str, Any]:
        self._DescribeEndpointConfig(EndpointConfigName)
        if any(each["EndpointConfigName"] == EndpointConfigName for each in self.hosting["Endpoint"].values()):
            raise Refusal("ValidationException", "Cannot delete an endpoint configuration that is in use.")
        del self.hosting["EndpointConfig"][EndpointConfigName]
        return {}

    def _CreateEndpoint(self, **request: Any) -> dict[str, Any]:
        self._DescribeEndpointConfig(request["EndpointConfigName"])
        created = self._create_hosting("Endpoint", "endpoint", request)
        self.hosting["Endpoint"][request["EndpointName"]]["statuses"] = list(self.endpoint_statuses)
        return created

    def _DescribeEndpoint(self, EndpointName: str) -> dict[str, Any]:
        found = self._described("Endpoint", "endpoint", EndpointName)
        statuses = found["statuses"]
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        if status == "Gone":
            del self.hosting["Endpoint"][EndpointName]
            return self._described("Endpoint", "endpoint", EndpointName)
        reason = {"FailureReason": self.failure_reason} if status == "Failed" else {}
        return {**{key: value for key, value in found.items() if key != "statuses"}, "EndpointStatus": status, **reason}

    def _DeleteEndpoint(self, EndpointName: str) -> dict[str, Any]:
        found = self._described("Endpoint", "endpoint", EndpointName)
        if found["statuses"][0] in ("Creating", "Updating"):
            raise Refusal("ValidationException", "Cannot update in-progress endpoint.")
        found["statuses"] = ["Deleting", "Deleting", "Gone"]
        return {}

    def _ListEndpoints(self, **request: Any) -> dict[str, Any]:
        found = [
            {
                "EndpointName": name, "EndpointArn": each["EndpointArn"], "EndpointStatus": each["statuses"][0],
                "CreationTime": each["CreationTime"], "LastModifiedTime": each["CreationTime"],
            }
            for name, each in self.hosting["Endpoint"].items()
        ]  # fmt: skip
        return {"Endpoints": found[::-1]}

    def _RegisterScalableTarget(self, ResourceId: str, **request: Any) -> dict[str, Any]:
        name = ResourceId.split("/")[1]
        if self.hosting["Endpoint"].get(name, {}).get("statuses") != ["InService"]:
            raise Refusal("ValidationException", f"The endpoint {name} does not exist, or is not InService.")
        target = self.scaling.setdefault(ResourceId, {"policies": {}})
        target |= {key: request[key] for key in ("MinCapacity", "MaxCapacity")}
        return {"ScalableTargetARN": "arn:aws:application-autoscaling:eu-west-1:123456789012:scalable-target/x"}

    def _PutScalingPolicy(self, ResourceId: str, PolicyName: str, **request: Any) -> dict[str, Any]:
        self._scaled(ResourceId)["policies"][PolicyName] = request["TargetTrackingScalingPolicyConfiguration"]
        return {"PolicyARN": "arn:aws:autoscaling:eu-west-1:123456789012:scalingPolicy:x", "Alarms": []}

    def _DeregisterScalableTarget(self, ResourceId: str, **request: Any) -> dict[str, Any]:
        self._scaled(ResourceId)
        del self.scaling[ResourceId]
        return {}

    def _scaled(self, resource: str) -> dict[str, Any]:
        if resource not in self.scaling:
            raise Refusal("ObjectNotFoundException", f"No scalable target found for {resource}.")
        return self.scaling[resource]

    def _CreateTransformJob(self, TransformJobName: str, **request: Any) -> dict[str, Any]:
        self._described("Model", "model", request["ModelName"])
        if TransformJobName in self.transform_jobs:
            raise Refusal("ResourceInUse", "Job name must be unique within an AWS account and region")
        arn = f"arn:aws:sagemaker:eu-west-1:123456789012:transform-job/{TransformJobName}"
        self.tags[arn] = request.pop("Tags", [])
        self.transform_jobs[TransformJobName] = {
            "TransformJobName": TransformJobName, "TransformJobArn": arn, "CreationTime": 1795377797,
            "statuses": list(self.transform_statuses), **request,
        }  # fmt: skip
        return {"TransformJobArn": arn}

    def _DescribeTransformJob(self, TransformJobName: str) -> dict[str, Any]:
        if TransformJobName not in self.transform_jobs:
            raise Refusal("ResourceNotFound", f"Could not find requested job with name: {TransformJobName}.")
        found = self.transform_jobs[TransformJobName]
        statuses = found["statuses"]
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        more: dict[str, Any] = {"FailureReason": self.failure_reason} if status == "Failed" else {}
        more["TransformStartTime"] = 1795377800
        if status not in ("InProgress", "Stopping"):
            more["TransformEndTime"] = 1795378160
        return {
            **{key: value for key, value in found.items() if key != "statuses"},
            "TransformJobStatus": status,
            **more,
        }

    def _ListTransformJobs(self, NameContains: str, MaxResults: int = 100, **request: Any) -> dict[str, Any]:
        names = ("TransformJobName", "TransformJobArn", "CreationTime")
        found = [
            {name: job[name] for name in names} | {"TransformJobStatus": job["statuses"][0]}
            for name, job in self.transform_jobs.items()
            if NameContains in name
        ]
        return {"TransformJobSummaries": found[::-1][:MaxResults]}

    def _StopTransformJob(self, TransformJobName: str) -> dict[str, Any]:
        job = self._DescribeTransformJob(TransformJobName)
        if job["TransformJobStatus"] != "InProgress":
            raise Refusal("ValidationException", f"The request was rejected: status {job['TransformJobStatus']}.")
        self.transform_jobs[TransformJobName]["statuses"] = ["Stopping", "Stopped"]
        return {}

    def _StopTrainingJob(self, TrainingJobName: str) -> dict[str, Any]:
        job = self._DescribeTrainingJob(TrainingJobName)
        if job["TrainingJobStatus"] != "InProgress":
            raise Refusal("ValidationException", f"The request was rejected: status {job['TrainingJobStatus']}.")
        job |= {"TrainingJobStatus": "Stopping", "SecondaryStatus": "Stopping"}
        return {}

    def _ListTrainingJobs(self, NameContains: str, MaxResults: int = 100, **request: Any) -> dict[str, Any]:
        names = ("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingJobStatus")
        found = [{name: job[name] for name in names} for name, job in self.jobs.items() if NameContains in name]
        return {"TrainingJobSummaries": found[::-1][:MaxResults]}

    def _CreateHyperParameterTuningJob(self, HyperParameterTuningJobName: str, **request: Any) -> dict[str, Any]:
        if HyperParameterTuningJobName in self.tuning_jobs:
            raise Refusal("ResourceInUse", "Tuning job names must be unique within an AWS account and region")
        request.pop("Tags", None)
        arn = f"arn:aws:sagemaker:eu-west-1:123456789012:hyper-parameter-tuning-job/{HyperParameterTuningJobName}"
        request["TrainingJobDefinition"]["StaticHyperParameters"]["_tuning_objective_metric"] = "f1_macro"
        self.tuning_jobs[HyperParameterTuningJobName] = {
            "HyperParameterTuningJobName": HyperParameterTuningJobName,
            "HyperParameterTuningJobArn": arn,
            "HyperParameterTuningJobStatus": "InProgress",
            "CreationTime": 1795377797,
            "TrainingJobStatusCounters": {},
            "ObjectiveStatusCounters": {},
            **request,
        }
        return {"HyperParameterTuningJobArn": arn}

    def _DescribeHyperParameterTuningJob(self, HyperParameterTuningJobName: str) -> dict[str, Any]:
        if HyperParameterTuningJobName not in self.tuning_jobs:
            raise Refusal("ResourceNotFound", f"Amazon SageMaker can't find {HyperParameterTuningJobName}.")
        self.describe_hook(self.tuning_jobs[HyperParameterTuningJobName])
        return self.tuning_jobs[HyperParameterTuningJobName]

    def _StopHyperParameterTuningJob(self, HyperParameterTuningJobName: str) -> dict[str, Any]:
        job = self._DescribeHyperParameterTuningJob(HyperParameterTuningJobName)
        if job["HyperParameterTuningJobStatus"] != "InProgress":
            raise Refusal("ValidationException", f"The request was rejected: {job['HyperParameterTuningJobStatus']}.")
        job["HyperParameterTuningJobStatus"] = "Stopping"
        return {}

    def _ListHyperParameterTuningJobs(self, NameContains: str, MaxResults: int = 100, **request: Any) -> dict[str, Any]:
        names = (
            "HyperParameterTuningJobName", "HyperParameterTuningJobArn", "HyperParameterTuningJobStatus",
            "CreationTime", "TrainingJobStatusCounters", "ObjectiveStatusCounters",
        )  # fmt: skip
        found = [
            {name: job[name] for name in names} | {"Strategy": "Bayesian"}
            for name, job in self.tuning_jobs.items()
            if NameContains in name
        ]
        return {"HyperParameterTuningJobSummaries": found[::-1][:MaxResults]}

    def _ListTrainingJobsForHyperParameterTuningJob(
        self, HyperParameterTuningJobName: str, NextToken: str = "0", **request: Any
    ) -> dict[str, Any]:
        """Two trials per page."""
        found = [trial for trial in self.trials if trial["TuningJobName"] == HyperParameterTuningJobName]
        start = int(NextToken)
        more = {"NextToken": str(start + 2)} if start + 2 < len(found) else {}
        return {"TrainingJobSummaries": found[start : start + 2], **more}

    def _DescribeLogStreams(self, logStreamNamePrefix: str, **request: Any) -> dict[str, Any]:
        if not self.streams:
            raise Refusal("ResourceNotFoundException", "The specified log group does not exist.")
        names = [name for name in self.streams if name.startswith(logStreamNamePrefix)]
        return {"logStreams": [{"logStreamName": name} for name in names]}

    def _GetLogEvents(self, logStreamName: str, nextToken: str = "f/0", **request: Any) -> dict[str, Any]:
        """Two events per page, later more, so that long logs take few pages."""
        start = int(nextToken.removeprefix("f/"))
        lines = self.streams[logStreamName][start : start + (2 if start < 10 else 10_000)]
        events = [{"timestamp": 1795377797000, "message": line} for line in lines]
        return {"events": events, "nextForwardToken": f"f/{start + len(lines)}"}

    def _ListServiceQuotas(self, MaxResults: int = 20, NextToken: str = "0", **request: Any) -> dict[str, Any]:
        start = int(NextToken)
        quotas = list(self.quotas.items())[start : start + MaxResults]
        more = {"NextToken": str(start + MaxResults)} if start + MaxResults < len(self.quotas) else {}
        return {"Quotas": [{"QuotaName": name, "Value": value} for name, value in quotas], **more}

    def _BatchGetImage(self, imageIds: list[dict[str, str]], **request: Any) -> dict[str, Any]:
        wanted = imageIds[0].get("imageDigest") or imageIds[0]["imageTag"]
        if wanted not in self.images:
            return {"images": [], "failures": [{"imageId": imageIds[0], "failureCode": "ImageNotFound"}]}
        media_type = self.images[wanted]["mediaType"]
        manifest = {"mediaType": media_type, "config": {"digest": f"sha256:{'c' * 64}"}}
        return {"images": [{"imageManifest": json.dumps(manifest), "imageManifestMediaType": media_type}]}

    def _GetDownloadUrlForLayer(self, **request: Any) -> dict[str, Any]:
        return {"downloadUrl": f"{self.url}/config"}


_LOADER = JSONFileLoader()
_load = functools.cache(_LOADER.load_file)


def models_read_once() -> Any:
    """Cache botocore's service models: each command creates new clients, which would read megabytes of JSON."""
    return mock.patch.object(JSONFileLoader, "load_file", lambda self, path: _load(path))


@contextlib.contextmanager
def account(monkeypatch: pytest.MonkeyPatch, region: str, *services: str) -> Iterator[Stub]:
    """An empty account with credentials in the environment. `services` are served by the stub, all others by moto."""
    with running() as stub, models_read_once(), mock_aws():
        variables = {
            "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": region, "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        for name, value in (variables | {f"AWS_ENDPOINT_URL_{service}": stub.url for service in services}).items():
            monkeypatch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_REGION"):
            monkeypatch.delenv(name, raising=False)
        yield stub


@contextlib.contextmanager
def running() -> Iterator[Stub]:
    """Serve a stub; `url` is the endpoint of all its services."""
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            if self.path.startswith("/endpoints/"):
                return self.invoke(self.path.split("/")[2])
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            fault = stub.next_fault(operation)
            if fault == "reset":
                return self.reset()
            if fault == "slow" or stub.is_slow:
                time.sleep(stub.latency_seconds)
            if fault in ERRORS:
                status, code, message = ERRORS[fault]
                return self.reply(status, {"__type": code, "message": message})
            try:
                answer = stub.answer(operation, body)
            except Refusal as refusal:
                return self.reply(400, {"__type": refusal.code, "message": str(refusal)})
            return self.reset() if fault == "lost" else self.reply(200, answer)

        def invoke(self, name: str) -> None:
            """InvokeEndpoint, in which an error of the model is one of AWS with status 424."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            fault = stub.next_fault("InvokeEndpoint")
            if fault == "reset":
                return self.reset()
            if fault in ERRORS:
                status, code, message = ERRORS[fault]
                return self.reply(status, {"message": message}, code)
            if name not in stub.hosting["Endpoint"]:
                return self.reply(400, {"Message": f"Endpoint {name} of account 1 not found."}, "ValidationError")
            status, content = stub.model(body, self.headers["Content-Type"])
            if status == 200:
                return self.send(200, content, "")
            error = {
                "OriginalStatusCode": status,
                "OriginalMessage": content.decode(),
                "Message": "Received client error",
            }
            return self.reply(424, error, "ModelError")

        def do_GET(self) -> None:
            config = next(iter(stub.images.values()))
            self.reply(200, {"os": "linux", "architecture": config["architecture"]})

        def reply(self, status: int, content: dict[str, Any], error_type: str = "") -> None:
            self.send(status, json.dumps(content).encode(), error_type)

        def send(self, status: int, data: bytes, error_type: str) -> None:
            self.send_response(status)
            if error_type:
                self.send_header("x-amzn-ErrorType", error_type)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def reset(self) -> None:
            """Close with RST, like a dropped connection."""
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().finish()

        def log_message(self, *arguments: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *arguments: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    stub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
