"""OpenAI's chat completions over plain HTTP: their package is 30 MB, and how often it tries again is a setting here.

Like their client it tries again after 408, 409, 429, 5xx, a time-out or no answer, as `Retry-After` says, or 0.5 s and
twice as long each time. `OPENAI_MAX_RETRIES` (2) times `OPENAI_TIMEOUT_S` (20) is the longest that one question takes:
with these figures just as long as the function may run.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from email.message import Message
from typing import Any

from .settings import number, setting

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0
_AGAIN = (408, 409, 429)


class OpenAiError(Exception):
    """It refused, or did not answer, to the last attempt."""


class InvalidAnswer(OpenAiError):
    """It answered, and not with what was asked for. Asking again in the same words is the queue's affair."""


def choose(prompt: str, question: str, most: int) -> tuple[list[int], str]:
    """Which of `most` numbered options it recommends, best first, and why.

    Raises:
        OpenAiError: no answer, or InvalidAnswer, one that is none.
    """
    said = _content(_completion(prompt, question))
    try:
        document = json.loads(said)
        choices, reason = document["choices"], document["reason"]
        valid = [choice for choice in choices if type(choice) is int and 1 <= choice <= most]
    except (ValueError, KeyError, TypeError):
        raise InvalidAnswer("the completion is not the JSON that the prompt asks for") from None
    if not valid or not isinstance(reason, str):
        raise InvalidAnswer("the completion recommends nothing that was offered")
    return list(dict.fromkeys(valid)), reason


def _content(completion: Any) -> str:
    try:
        choice = completion["choices"][0]
        content = choice["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise InvalidAnswer("an answer without a choice") from None
    if not isinstance(content, str) or choice.get("finish_reason") == "length":
        raise InvalidAnswer("a completion that was cut off")
    return content


def _completion(prompt: str, question: str) -> Any:
    body = {
        "model": setting("OPENAI_MODEL", "gpt-4"),
        "messages": [{"role": "system", "content": prompt}, {"role": "user", "content": question}],
    }
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {setting('OPENAI_API_KEY')}"}
    url = f"{setting('OPENAI_BASE_URL', 'https://api.openai.com/v1')}/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - a setting
    for attempt in range(int(number("OPENAI_MAX_RETRIES", "2")), -1, -1):
        try:
            with urllib.request.urlopen(request, timeout=number("OPENAI_TIMEOUT_S", "20")) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as refusal:
            if attempt == 0 or not (refusal.code in _AGAIN or refusal.code >= 500):
                raise OpenAiError(f"OpenAI answered {refusal.code} {_code(refusal)}".rstrip()) from None
            wait_s = _asked_to_wait(refusal.headers)
        except ValueError:
            raise InvalidAnswer("an answer that is no JSON") from None
        except OSError as cause:
            if attempt == 0:
                raise OpenAiError(f"no answer of OpenAI: {type(cause).__name__}") from None
            wait_s = None
        done = int(number("OPENAI_MAX_RETRIES", "2")) - attempt
        time.sleep(min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**done) if wait_s is None else wait_s)
    raise OpenAiError("OPENAI_MAX_RETRIES: expected 0 or more")


def _asked_to_wait(headers: Message) -> float | None:
    """`Retry-After` in seconds, where it asks for a time that their client would wait."""
    try:
        asked = float(headers.get("Retry-After", ""))
    except ValueError:
        return None
    return asked if 0 < asked <= 60 else None


def _code(refusal: urllib.error.HTTPError) -> str:
    """The code of the error, and nothing of what was sent."""
    try:
        return str(json.load(refusal)["error"]["code"])
    except (ValueError, KeyError, TypeError, OSError):
        return ""
