"""The fault door of a stub, from outside: what it is told, and what a caller gets."""

from __future__ import annotations

import http.client
import json
import math
import time
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from tocsin.errors import NotFound, TargetError, Unavailable
from tocsin.model.doors import TOKEN_HEADER
from tocsin.model.third_party import DOOR, LOOKING, MARK, Mode, WrongAnswer

PATIENCE_S = 2.0
"""Wall seconds after which a call counts as late: a stub on loopback answers in milliseconds."""
_ALMOST = 0.95
"""Clocks of two processes differ a little."""
_CERTAIN = 0.001
"""How improbable it may be that a fault of a few per cent is missed."""
_PIECE = 65536

_End = Literal["complete", "cut", "late"]
_ENDS: Mapping[Mode, tuple[_End, ...]] = {
    "answer": ("complete",),
    "malformed": ("complete",),
    "cut": ("cut",),
    "stream": ("complete", "late"),
    "drop": (),
    "hang": (),
}
"""How an answer ends that has begun."""


class Door:
    """The door of the stub that listens at `url` (`http://host:port`); it opens to `token`, where it asks for one."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url
        self._headers = {} if token is None else {TOKEN_HEADER: token}
        self._host = urlsplit(url).netloc

    def told(self) -> str | None:
        """What the door does to requests, as the JSON of a `WrongAnswer` without defaults; None when it is closed.

        Raises:
            Unavailable: nobody answers.
            NotFound: who answers is no stub.
            TargetError: the door does not open to this target.
        """
        fault = self._says("fault")
        if fault is None:
            return None
        try:
            # How many requests are left changes by itself; only a door that was told by hand counts them.
            return written(WrongAnswer.model_validate({name: fault[name] for name in fault if name != "count"}))
        except (ValueError, TypeError) as error:
            raise self._no_stub("another fault than a stub has") from error

    def kind(self) -> str:
        """The kind of the stub. Raises as `told`."""
        return str(self._says("stub"))

    def tell(self, fault: str | None) -> None:
        """Open the door with what `told` gave; close it with None.

        Raises:
            Unavailable: nobody answers.
            TargetError: the door refused.
        """
        status, body = self._ask("DELETE") if fault is None else self._ask("PUT", fault)
        if status != http.client.NO_CONTENT:
            raise TargetError(f"expected the fault door at {self._url} to take {fault}, found {status}: {body[:500]!r}")

    def shows(self, wrong: WrongAnswer) -> bool:
        """Whether a caller gets such an answer: of as many calls as it takes to be certain at its `percent`, any.

        Raises:
            Unavailable: nobody listens.
        """
        return any(self._call(wrong) for _ in range(_calls_for(wrong.percent)))

    # --- asking ---------------------------------------------------------------------------------------------

    def _says(self, name: str) -> Any:
        """What the door says when it is read. Raises as `told`."""
        status, body = self._ask("GET")
        if status == http.client.FORBIDDEN:
            raise TargetError(f"expected the fault door at {self._url} to open to this target, found: {body[:500]!r}")
        try:
            return json.loads(body)[name]
        except (ValueError, KeyError, TypeError) as error:
            raise self._no_stub(f"an answer {status}") from error

    def _no_stub(self, found: str) -> NotFound:
        return NotFound(f"expected a stub with a fault door at {self._url}, found {found}")

    def _ask(self, method: str, body: str | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._host, timeout=PATIENCE_S)
        try:
            connection.request(method, DOOR, body, self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"expected the fault door at {self._url} to answer, found {error!r}") from error
        finally:
            connection.close()

    def _call(self, wrong: WrongAnswer) -> bool:
        """One call of our own, on a path that the fault is about: whether its answer is wrong as wanted."""
        connection = http.client.HTTPConnection(self._host, timeout=PATIENCE_S)
        started = time.monotonic()
        try:
            connection.connect()
            connection.request(wrong.method or "GET", wrong.example, headers={"User-Agent": LOOKING})
            answer = connection.getresponse()
            body, end = _read(answer, started + PATIENCE_S)
        except TimeoutError:
            return wrong.mode == "hang" or wrong.delay_s >= PATIENCE_S
        except http.client.RemoteDisconnected:
            return wrong.mode == "drop"
        except ConnectionRefusedError as error:
            raise Unavailable(f"expected the stub at {self._url} to answer, found {error}") from error
        except (OSError, http.client.HTTPException):
            return wrong.mode in ("drop", "cut")
        finally:
            connection.close()
        took_s = time.monotonic() - started
        return answer.getheader(MARK) is not None and _is_wrong(wrong, answer, body, end, took_s)


def written(wrong: WrongAnswer) -> str:
    """A `WrongAnswer` as the state of a fault holds it: what is not default, always in the same order."""
    return wrong.model_dump_json(exclude_defaults=True)


def _calls_for(percent: float) -> int:
    return 1 if percent >= 100 else math.ceil(math.log(_CERTAIN) / math.log(1 - percent / 100))


def _read(answer: http.client.HTTPResponse, deadline: float) -> tuple[bytes, _End]:
    """The body as far as it came, and how it ended: complete, too early, or not in time."""
    body = b""
    while piece := answer.read1(_PIECE):
        body += piece
        if time.monotonic() > deadline:
            return body, "late"
    return body, "cut" if answer.length else "complete"


def _is_wrong(wrong: WrongAnswer, answer: http.client.HTTPResponse, body: bytes, end: _End, took_s: float) -> bool:
    """Whether everything that was asked for is so."""
    return (
        # An answer that begins just when patience ends is as late as one that does not come by then.
        (end in _ENDS[wrong.mode] or (end == "late" and wrong.delay_s >= PATIENCE_S))
        and wrong.status in (None, answer.status)
        and all(answer.getheader(name) == value for name, value in wrong.headers.items())
        and (end != "complete" or wrong.body in (None, body.decode(errors="replace")))
        and (wrong.mode != "malformed" or not _parses(body))
        and took_s >= min(wrong.delay_s, PATIENCE_S) * _ALMOST
    )


def _parses(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True
