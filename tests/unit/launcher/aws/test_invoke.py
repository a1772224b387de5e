"""invoke: the texts it sends, read as the image's `serve` reads them, and what it prints."""

import io
import json
import types

import pytest

import launch
from launcher.aws import invoke
from support.launching import JOB, REGION, assert_one_sentence
from text_classifier.serving import requests
from text_classifier.serving.settings import ServeSettings

pytestmark = pytest.mark.usefixtures("aws_stub", "clock")


SCORES = [
    {"label": "negative", "score": 0.75},
    {"label": "neutral", "score": 0.15},
    {"label": "positive", "score": 0.1},
]


@pytest.fixture
def bodies(aws_stub):
    """An endpoint that reads requests as `serve` does and answers in its form. Returns the bodies of the requests."""
    seen = []

    def answer(body, type):
        seen.append(json.loads(body))
        try:
            request = requests.read_request(body, requests.content_type(type), ServeSettings(), ())
        except requests.RequestError as error:
            return error.status, json.dumps({"error": str(error)}).encode()
        parameters = request.parameters
        each = SCORES[: parameters.top_k] if parameters.is_listed else SCORES[0]
        return 200, json.dumps([each] * len(request.texts)).encode()

    aws_stub.hosting["Endpoint"][JOB] = {}
    aws_stub.model = answer
    return seen


def stdin(monkeypatch, content):
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False))


def test_texts_are_answered_in_a_line_each(command, bodies):
    code, out, err = command("invoke", JOB, "one", "a\nb")
    assert (code, err) == (0, "")
    assert bodies == [{"inputs": ["one", "a\nb"], "parameters": {}}]
    assert out == "negative 0.750  one\nnegative 0.750  a\\nb\n"
    assert command("invoke", JOB, "one", "--top-k=2")[1] == "negative 0.750, neutral 0.150  one\n"


def test_json_has_the_texts_and_all_scores(command, bodies):
    code, out, _ = command("invoke", JOB, "one", "--json", "--top-k=3", "--calibrated")
    assert code == 0
    assert bodies[0]["parameters"] == {"top_k": 3, "calibrated": True}
    assert json.loads(out) == [{"text": "one", "scores": SCORES}]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"\xef\xbb\xbfone\r\n\r\ntwo", ["one", "", "two"]),
        ("g\u00fct\u2028\x0bx\n".encode(), ["g\u00fct\u2028\x0bx"]),
        (b"\n", [""]),
    ],
)
def test_lines_of_a_file_and_of_stdin_are_texts(command, bodies, monkeypatch, tmp_path, content, texts):
    (tmp_path / "texts.txt").write_bytes(content)
    assert command("invoke", JOB, "--data=texts.txt")[0] == 0
    stdin(monkeypatch, content)
    assert command("invoke", JOB)[0] == 0
    assert [body["inputs"] for body in bodies] == [texts, texts]


def test_many_texts_are_sent_in_order_in_small_requests(command, bodies, monkeypatch):
    monkeypatch.setattr(invoke, "BYTES_PER_REQUEST", 2000)
    texts = [f"text {number}" for number in range(450)] + ["x" * 3000, "y"]
    stdin(monkeypatch, "\n".join(texts).encode())
    code, out, _ = command("invoke", JOB, "--json")
    assert code == 0
    assert [answer["text"] for answer in json.loads(out)] == texts
    assert [text for body in bodies for text in body["inputs"]] == texts
    assert max(len(body["inputs"]) for body in bodies) <= invoke.TEXTS_PER_REQUEST
    assert bodies[-2]["inputs"] == ["x" * 3000]
    assert all(len(json.dumps(body["inputs"])) < 3100 for body in bodies)


def test_the_sentence_of_the_server_is_printed(command, bodies, aws_stub):
    result = command("invoke", JOB, "a", "--top-k=1")
    assert result[0] == 0
    aws_stub.model = lambda body, type: (503, b'{"error": "the model is being loaded"}')
    result = command("invoke", JOB, "a")
    assert_one_sentence(result, launch.REFUSED, f"endpoint {JOB} answered 503: the model is being loaded")
    aws_stub.model = lambda body, type: (500, b"")
    assert_one_sentence(command("invoke", JOB, "a"), launch.REFUSED, "answered 500: no message")


def test_a_class_name_controls_no_terminal(command, bodies, aws_stub):
    aws_stub.model = lambda body, type: (200, json.dumps([{"label": "\x1b[2Ja\nb\u202e", "score": 0.5}]).encode())
    code, out, _ = command("invoke", JOB, "text")
    assert (code, out) == (0, "\\x1b[2Ja\\nb\\u202e 0.500  text\n")


def test_another_server_is_told_from_ours(command, bodies, aws_stub):
    for content in (
        b"not JSON", b"{}", b"[]", b'["x"]', b'[{"label": "a"}]', b'[{"label": 1, "score": 1}]', b"[[1]]",
        b'[{"label": "a", "score": "x"}]',
    ):  # fmt: skip
        aws_stub.model = lambda body, type, content=content: (200, content)
        assert_one_sentence(command("invoke", JOB, "a"), launch.REFUSED, "does not answer")


def test_throttling_and_outages_are_no_error(command, bodies, aws_stub):
    aws_stub.faults["InvokeEndpoint"] = ["throttle", "503", "reset"]
    assert command("invoke", JOB, "a")[0] == 0
    aws_stub.faults["InvokeEndpoint"] = ["denied"]
    assert_one_sentence(command("invoke", JOB, "a"), launch.REFUSED, "ask for that permission")


def test_mistakes_are_one_sentence(command, bodies, monkeypatch, tmp_path):
    assert_one_sentence(command("invoke", "none", "a"), launch.REFUSED, f"there is no endpoint none in {REGION}")
    assert_one_sentence(command("invoke", JOB, "a", "--data=x"), launch.WRONG_USE, "give texts or --data, not both")
    assert_one_sentence(command("invoke", JOB, "--data=none"), launch.WRONG_USE, "--data none cannot be read")
    (tmp_path / "latin").write_bytes(b"a\xe9")
    assert_one_sentence(command("invoke", JOB, "--data=latin"), launch.WRONG_USE, "latin is not UTF-8 (byte 1)")
    stdin(monkeypatch, b"")
    assert_one_sentence(command("invoke", JOB), launch.WRONG_USE, "standard input is empty")
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(isatty=lambda: True))
    assert_one_sentence(command("invoke", JOB), launch.WRONG_USE, "invoke needs texts")
    assert bodies == []
