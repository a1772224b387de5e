"""Requests to an endpoint: texts in, labels and scores out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from launcher.aws import client
from launcher.errors import Refused

#: SageMaker waits 60 s for a response; a CPU takes at most some ten seconds for so many texts.
TEXTS_PER_REQUEST = 200
#: Serverless endpoints take 4 MB.
BYTES_PER_REQUEST = 3_000_000


def classify(
    runtime: Any, name: str, texts: Sequence[str], parameters: Mapping[str, Any]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each text with its labels and scores, best first, in order. Raises Refused."""
    for chunk in _chunks(texts):
        answers = _request(runtime, name, {"inputs": chunk, "parameters": dict(parameters)})
        lists = [answer if isinstance(answer, list) else [answer] for answer in _list(answers)]
        if len(lists) != len(chunk) or not all(_is_scored(each) for scores in lists for each in scores):
            raise Refused(f"endpoint {name} does not answer like the image's `serve`; was it created by `deploy`?")
        yield from zip(chunk, lists, strict=True)


def _list(answers: Any) -> list[Any]:
    return answers if isinstance(answers, list) else []


def _is_scored(answer: Any) -> bool:
    """Whether it is a label with its score."""
    return (
        isinstance(answer, dict)
        and isinstance(answer.get("label"), str)
        and isinstance(answer.get("score"), (int, float))
    )


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size = 0
    for text in texts:
        more = len(json.dumps(text))
        if chunk and (len(chunk) == TEXTS_PER_REQUEST or size + more > BYTES_PER_REQUEST):
            yield chunk
            chunk, size = [], 0
        chunk.append(text)
        size += more
    if chunk:
        yield chunk


def _request(runtime: Any, name: str, body: Mapping[str, Any]) -> Any:
    try:
        answer = runtime.invoke_endpoint(
            EndpointName=name, ContentType="application/json", Accept="application/json", Body=json.dumps(body).encode()
        )
        return json.loads(answer["Body"].read())
    except ValueError:
        raise Refused(f"endpoint {name} does not answer with JSON; was it created by `deploy`?") from None
    except (BotoCoreError, ClientError) as error:
        raise Refused(_explain(error, name, runtime.meta.region_name)) from None


def _explain(error: Exception, name: str, region: str) -> str:
    if client.code_of(error) == "ModelError" and isinstance(error, ClientError):
        status, message = error.response.get("OriginalStatusCode"), error.response.get("OriginalMessage", "")
        return f"endpoint {name} answered {status}: {_sentence(message)}"
    if client.code_of(error) == "ValidationError" and "not found" in str(error):
        return (
            f"there is no endpoint {name} in {region}; `launch.py endpoints --region {region}` shows existing ones, "
            "--region selects another region"
        )
    return client.explain(error)


def _sentence(message: str) -> str:
    """The sentence in a response of `serve`, {"error": "..."}; other responses as they are."""
    try:
        return str(json.loads(message)["error"])
    except (ValueError, KeyError, TypeError):
        return message.strip() or "no message"
