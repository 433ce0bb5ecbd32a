"""What was not answered is asked again while there is time, and nobody's no is asked twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from tests.stubbed import Error, Request, Stubbed, refused

from tocsin.aws import again
from tocsin.aws.again import asked_again
from tocsin.aws.settings import read_settings
from tocsin.aws.target import Target
from tocsin.errors import NotFound, Unavailable
from tocsin.model.system import System
from tocsin.procedures.sqs import _move

FOR_EVER = 60.0
DEAD = "arn:aws:sqs:eu-west-1:123456789012:dead"
MOVED = {"Results": [{"Status": "COMPLETED", "SourceArn": DEAD, "ApproximateNumberOfMessagesMoved": 3}]}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(again, "_PAUSE_WALL_S", 0.001)


def answers(*said: object) -> Callable[[], object]:
    """One after the other; an exception is raised."""
    left: Iterator[object] = iter(said)

    def ask() -> object:
        one = next(left)
        if isinstance(one, Exception):
            raise one
        return one

    return ask


def once_throttled(answer: Mapping[str, Any]) -> Callable[[Request], Mapping[str, Any]]:
    """As AWS answers a call that comes too often, and the next one."""
    asked: list[Request] = []

    def say(request: Request) -> Mapping[str, Any]:
        asked.append(request)
        if len(asked) == 1:
            raise Error("ThrottlingException", "Rate exceeded")
        return answer

    return say


def test_it_is_asked_until_it_is_answered() -> None:
    assert asked_again(answers(Unavailable("a"), Unavailable("b"), 7), FOR_EVER) == 7


def test_a_no_is_an_answer() -> None:
    with pytest.raises(NotFound):
        asked_again(answers(NotFound("there is none"), 7), FOR_EVER)


def test_without_an_answer_the_last_reason_is_told() -> None:
    with pytest.raises(Unavailable, match="b"):
        asked_again(answers(Unavailable("b"), 7), 0.0)


def test_a_wait_that_is_cut_short_ends_it() -> None:
    def stop(wall_s: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        asked_again(answers(Unavailable("a"), 7), FOR_EVER, stop)


def test_a_redrive_is_not_given_up_because_its_state_was_not_told(target: Target) -> None:
    api = Stubbed(target)
    api.answers("sqs", "StartMessageMoveTask", {"TaskHandle": "h"})
    api.answers("sqs", "ListMessageMoveTasks", once_throttled(MOVED))
    assert _move(target, "orders", DEAD) == 3
    assert len(api.calls("StartMessageMoveTask")) == 1, "what changes something is not asked again"


def test_settings_are_compared_though_one_call_was_throttled(target: Target) -> None:
    arn = "arn:aws:sns:eu-west-1:123456789012:alarms"
    document = {"system": "shop", "title": "Shop", "endpoint": {"url": "x"}, "lookups": {"alarms": {"parameter": "/p"}}}
    api = Stubbed(target)
    parameter = {"Parameter": {"Name": "/p", "Type": "String", "Value": arn}}
    api.answers("ssm", "GetParameter", once_throttled(parameter))
    found = read_settings(System.model_validate(document), target)
    assert found.unread == {}
    assert "parameter /p" in found.resources
    api.answers("ssm", "GetParameter", refused("AccessDeniedException"))
    assert "AccessDenied" in read_settings(System.model_validate(document), target).unread["/p"]
