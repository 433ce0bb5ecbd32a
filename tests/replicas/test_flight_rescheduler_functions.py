"""The functions of Flight Rescheduler alone: OpenAI in trouble, weather, and a poisoned batch."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

CODE = Path(__file__).parents[2] / "replicas" / "flight-rescheduler" / "code"
KEY = "not-a-secret"


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    """The package can be imported, and is gone afterwards."""
    sys.path.insert(0, str(CODE))
    yield
    sys.path.remove(str(CODE))
    for name in [name for name in sys.modules if name.partition(".")[0] == "flight_rescheduler"]:
        del sys.modules[name]


def module(name: str) -> ModuleType:
    return importlib.import_module(f"flight_rescheduler.{name}")


class Model(ThreadingHTTPServer):
    """OpenAI: one answer after the other, the last one for ever."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, Mapping[str, str], str]] = []
        self.asked: list[dict[str, Any]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Model

    def do_POST(self) -> None:
        model = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        model.asked.append({"path": self.path, "authorization": self.headers["authorization"], **body})
        status, headers, text = model.answers.pop(0) if len(model.answers) > 1 else model.answers[0]
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(text.encode()))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    with Model() as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_MAX_RETRIES", "1")
        yield server
        server.shutdown()
        thread.join()


def completion(content: object, finish: str = "stop") -> str:
    return json.dumps({"choices": [{"message": {"content": content}, "finish_reason": finish}]})


def says(document: object) -> str:
    return completion(json.dumps(document))


GOOD = says({"choices": [2, 1, 2, 9], "reason": "The storm is over then."})
BUSY = (429, {"Retry-After": "0.01"}, json.dumps({"error": {"code": "rate_limit_exceeded"}}))
DOWN = (500, {"Retry-After": "0.01"}, "")


def test_what_was_not_offered_or_said_before_is_left_out(model: Model) -> None:
    model.answers = [(200, {}, GOOD)]
    assert module("openai").choose("Choose.", "1. A 2. B", 2) == ([2, 1], "The storm is over then.")
    (asked,) = model.asked
    assert (asked["path"], asked["authorization"]) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert [message["content"] for message in asked["messages"]] == ["Choose.", "1. A 2. B"]


@pytest.mark.parametrize("first", [BUSY, DOWN], ids=["busy", "down"])
def test_it_asks_again_as_often_as_it_is_told(model: Model, first: tuple[int, dict[str, str], str]) -> None:
    model.answers = [first, (200, {}, GOOD)]
    assert module("openai").choose("p", "q", 2)[0] == [2, 1]
    assert len(model.asked) == 2
    model.answers = [first]
    with pytest.raises(module("openai").OpenAiError, match=f"OpenAI answered {first[0]}"):
        module("openai").choose("p", "q", 2)
    assert len(model.asked) == 4


def test_a_key_that_is_none_is_not_asked_for_again(model: Model) -> None:
    model.answers = [(401, {}, json.dumps({"error": {"code": "invalid_api_key", "message": KEY}}))]
    with pytest.raises(module("openai").OpenAiError, match=r"^OpenAI answered 401 invalid_api_key$"):
        module("openai").choose("p", "q", 2)
    assert len(model.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        '{"choices": [',
        "<html>busy</html>",
        '{"choices": []}',
        '{"unexpected": true}',
        completion(None),
        completion('{"choices": [1], "rea', "length"),
        completion("Take the first one."),
        says({"unexpected": True}),
        says({"choices": [9], "reason": "x"}),
        says({"choices": ["1"], "reason": "x"}),
        says({"choices": [True], "reason": "x"}),
        says({"choices": [1], "reason": None}),
    ],
)
def test_an_answer_that_is_none_is_an_error_and_asked_for_once(model: Model, answer: str) -> None:
    model.answers = [(200, {}, answer)]
    with pytest.raises(module("openai").InvalidAnswer):
        module("openai").choose("p", "q", 2)
    assert len(model.asked) == 1


@pytest.mark.parametrize(
    ("code", "wind", "severity"),
    [
        (800, 3.0, None),
        (211, 3.0, "SEVERE"),
        (601, 3.0, "SEVERE"),
        (500, 20, "MODERATE"),
        (None, 3.0, "SEVERE"),
        ("211", 3.0, "SEVERE"),
        (800, "strong", None),
        (800, None, None),
    ],
)
def test_weather_that_cannot_be_read_is_bad_weather(code: object, wind: object, severity: str | None) -> None:
    assert module("monitor").severity_of({"code": code, "windMs": wind}) == severity


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A batch of two that nobody can read, where neither database nor CloudWatch answers."""
    for name, value in {
        "DATABASE_URL": "postgresql://nobody:nothing@127.0.0.1:9/nowhere",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": KEY,
    }.items():
        monkeypatch.setenv(name, value)
    record = {"body": "poison", "attributes": {"ApproximateReceiveCount": "1"}}
    return {"Records": [{**record, "messageId": "first"}, {**record, "messageId": "second"}]}


CONTEXT = SimpleNamespace(aws_request_id="request", function_name="ai-rescheduler-production")


def test_a_batch_that_fails_is_named_message_by_message(
    poisoned: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    answer = module("rescheduler").handler(poisoned, CONTEXT)
    assert answer == {"batchItemFailures": [{"itemIdentifier": "first"}, {"itemIdentifier": "second"}]}
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["alert.failed", "alert.failed", "metrics.failed"]
    assert {line["level"] for line in lines} == {"ERROR"}


def test_or_it_is_raised_at_the_first(poisoned: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ON_FAILURE", "raise")
    with pytest.raises(ValueError, match="Expecting value"):
        module("rescheduler").handler(poisoned, CONTEXT)
