"""Wrong answers of third parties by their names, as each of them words its own.

`insufficient_quota` of OpenAI is a status, a body and a path: written once here, for experiments that ask for it and
for the stub that answers so. Whatever every third party can do (no answer, a late one, half of one) is a `Mode`.

https://platform.openai.com/docs/guides/error-codes
https://platform.openai.com/docs/guides/rate-limits
https://platform.openai.com/docs/api-reference/chat/object
https://openweathermap.org/faq
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
https://developer.pagerduty.com/docs/send-alert-event
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from tocsin.model.third_party import WrongAnswer

_ANY_PATH = "/"
_COMPLETIONS = "/chat/completions"
_ASK_AGAIN_S = 1

_WrongT = TypeVar("_WrongT", bound=WrongAnswer)


def _says(document: object, *, status: int | None = None, path: str = _ANY_PATH, **headers: str) -> WrongAnswer:
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return WrongAnswer(status=status, body=json.dumps(document), path=path, headers=named)


def _openai_error(status: int, text: str, kind: str, code: str | None, **headers: str) -> WrongAnswer:
    error = {"message": text, "type": kind, "param": None, "code": code}
    return _says({"error": error}, status=status, **headers)


def _completion(*choices: object) -> WrongAnswer:
    """A completion with these choices; it is what it is for every request, also for one that asked for a stream."""
    head = {"id": "chatcmpl-tocsin", "object": "chat.completion", "created": 0, "model": "gpt-4"}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return _says({**head, "choices": choices, "usage": usage}, path=_COMPLETIONS)


def _choice(content: str, finish_reason: str) -> object:
    message = {"role": "assistant", "content": content, "refusal": None}
    return {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}


def _weather_error(status: int, text: str) -> WrongAnswer:
    return _says({"cod": status, "message": text}, status=status)


def _slack_error(status: int, code: str, headers: Mapping[str, str] = MappingProxyType({})) -> WrongAnswer:
    text = {"Content-Type": "text/plain; charset=utf-8"}
    return WrongAnswer(status=status, body=code, headers={**text, **headers})


_COMMON: Mapping[str, WrongAnswer] = {
    # What a proxy, or a page for maintenance, puts in the place of an answer.
    "html": WrongAnswer(
        status=200,
        headers={"Content-Type": "text/html; charset=utf-8"},
        body="<!doctype html>\n<html><head><title>Please wait</title></head><body><h1>Please wait</h1></body></html>\n",
    ),
}

_OPENAI: Mapping[str, WrongAnswer] = {
    "rate_limited": _openai_error(
        429,
        "Rate limit reached for gpt-4 in organization org-tocsin on requests per min (RPM): Limit 3, Used 3, "
        f"Requested 1. Please try again in {_ASK_AGAIN_S}s. Visit https://platform.openai.com/account/rate-limits to "
        "learn more.",
        "requests",
        "rate_limit_exceeded",
        retry_after=str(_ASK_AGAIN_S),
        x_ratelimit_remaining_requests="0",
        x_ratelimit_reset_requests=f"{_ASK_AGAIN_S}s",
    ),
    "insufficient_quota": _openai_error(
        429,
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        "error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
        "insufficient_quota",
        "insufficient_quota",
    ),
    "invalid_key": _openai_error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    "server_error": _openai_error(
        500, "The server had an error while processing your request. Sorry about that!", "server_error", None
    ),
    "empty_choices": _completion(),
    # The most tokens that may be generated were: what was said ends in the middle.
    "truncated": _completion(_choice('{"answer": "I would', "length")),
    # Complete, and not what anybody asked for.
    "wrong_schema": _completion(_choice('{"unexpected": true}', "stop")),
}

_OPENWEATHERMAP: Mapping[str, WrongAnswer] = {
    # No page names a header that says how long to wait.
    "rate_limited": _weather_error(
        429,
        "Your account is temporary blocked due to exceeding of requests limitation of your subscription type. "
        "Please choose the proper subscription https://openweathermap.org/price",
    ),
    "invalid_key": _weather_error(
        401, "Invalid API key. Please see https://openweathermap.org/faq#error401 for more info."
    ),
    "server_error": _weather_error(500, "Internal server error"),
    # Of a current weather and of a forecast alike: the names are theirs, what stands there is not.
    "wrong_schema": _says(
        {
            "cod": "200",
            "message": 0,
            "weather": [],
            "main": {"temp": None},
            "wind": {"speed": "strong"},
            "cnt": 1,
            "list": [{"dt": "soon", "weather": [], "main": {"temp": None}}],
        },
        path="/data/2.5/",
    ),
}

_PAGERS: Mapping[str, WrongAnswer] = {
    "down": WrongAnswer(mode="drop"),
    # Longer than SNS waits for an answer: it gives up, and tries again.
    # https://docs.aws.amazon.com/sns/latest/dg/SendMessageToHttp.prepare.html
    "slow": WrongAnswer(delay_s=20.0),
}

_PAGERDUTY: Mapping[str, WrongAnswer] = {
    "refuses": _says(
        {"status": "invalid event", "message": "Event object is invalid", "errors": ["'routing_key' is invalid"]},
        status=400,
    ),
    "rate_limited": WrongAnswer(status=429, body="", headers={"Content-Type": "text/plain; charset=utf-8"}),
}

_SLACK: Mapping[str, WrongAnswer] = {
    "refuses": _slack_error(403, "action_prohibited"),
    "rate_limited": _slack_error(429, "rate_limited", {"Retry-After": str(_ASK_AGAIN_S)}),
}

CASES: Mapping[str, Mapping[str, WrongAnswer]] = {
    "microsoft-graph": _COMMON,
    "openai": {**_COMMON, **_OPENAI},
    "openweathermap": {**_COMMON, **_OPENWEATHERMAP},
    "pagerduty": {**_COMMON, **_PAGERS, **_PAGERDUTY},
    "slack": {**_COMMON, **_PAGERS, **_SLACK},
}
"""Kind of a stub -> name -> answer. Retry-After is real seconds, as all that a request takes."""


def spelled_out(stub: str, wrong: _WrongT) -> _WrongT:
    """The same without `case`: with the status, headers, body and path that the name stands for.

    Headers that were given beside the name come on top, and a path in the place of the usual one.

    Raises:
        KeyError: this stub knows no such case.
    """
    if wrong.case is None:
        return wrong
    case = CASES[stub][wrong.case]
    given = {name.lower() for name in wrong.headers}
    kept = {name: value for name, value in case.headers.items() if name.lower() not in given}
    return wrong.model_copy(
        update={
            "case": None,
            "mode": case.mode,
            "status": case.status,
            "headers": {**kept, **wrong.headers},
            "body": case.body,
            "delay_s": wrong.delay_s or case.delay_s,
            "path": case.path if wrong.path == _ANY_PATH else wrong.path,
        }
    )
