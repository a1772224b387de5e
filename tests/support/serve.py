"""Serves a model like Hugging Face's SageMaker containers: `python serve.py FOLDER`, JSON requests on stdin.

The model server (multi-model-server) has a Java front end for HTTP and a Python back end. This is the back end: its
loader loads the toolkit's handler, and its service passes requests to the handler. Runs on the image's torch, with
tests/container/serving-requirements.lock first on the path.
"""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import transformers
from mms.model_loader import ModelLoaderFactory
from mms.service import Service

HANDLER = "sagemaker_huggingface_inference_toolkit.handler_service"
JSON = "application/json"


def request(body: bytes) -> dict[str, Any]:
    """A request in the format of the Java side."""
    headers = [{"name": name, "value": JSON.encode()} for name in (b"Content-Type", b"Accept")]
    parameter = {"name": "body", "contentType": JSON, "value": body}
    return {"requestId": b"1", "headers": headers, "parameters": [parameter]}


def answer(service: Service, body: Any) -> Any:
    """The response of the service to one request. Raises RuntimeError for an error."""
    status, response = respond(service, body)
    if status != 200:
        raise RuntimeError(f"{status} {response}")
    return response


def respond(service: Service, body: Any) -> tuple[int, Any]:
    """The status and the response of the service to one request.

    The frame has the format of mms.protocol: code, message, then for each response the request, content type, code,
    phrase, headers and value. Numbers have four bytes, and each text is preceded by its length.
    """
    frame = io.BytesIO(service.predict([request(json.dumps(body).encode())]))

    def number() -> int:
        return int.from_bytes(frame.read(4), "big")

    def text() -> str:
        return frame.read(number()).decode()

    code, message = number(), text()
    if code != 200:
        return code, message
    identity, _, status, _ = text(), text(), number(), text()
    assert identity == "1"
    for _ in range(number()):
        text(), text()
    return status, json.loads(text())


def main() -> None:
    """Load the model once and respond to the list of requests with a list of statuses and responses."""
    assert transformers.__version__.startswith("4."), transformers.__version__
    service = ModelLoaderFactory.get_model_loader("").load("model", sys.argv[1], HANDLER, None, 1)
    json.dump([respond(service, body) for body in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main()
