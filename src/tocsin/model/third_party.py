"""How a third party answers wrongly: what the fault door of a stub is told, and what an experiment asks for."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from tocsin.model.base import Model

DOOR = "/_tocsin/fault"
"""Where every stub has its fault door: GET reads it, PUT opens it, DELETE closes it. No third party has this path."""
CALLS = "/_tocsin/calls"
"""Where every stub tells the calls it received."""
RECEIVED = "/_tocsin/received"
"""Where the stub of one who is told of alarms tells what it was told."""
MARK = "x-tocsin-fault"
"""Header of an answer that the door changed: tells a broken 401 from the stub's own."""

LOOKING = "tocsin"
"""User agent of a fault that looks for its effect: how such a call is told from the system's."""

Mode = Literal["answer", "malformed", "cut", "stream", "drop", "hang"]

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NO_ANSWER = ("drop", "hang")
_REPLACING = ("status", "headers", "body")
_OF_A_CASE = ("status", "body")


class WrongAnswer(Model):
    """What is wrong with the answers of a third party, and which requests it happens to."""

    mode: Mode = Field(
        default="answer",
        description="answer: with `status`, `headers`, `body`, or the usual answer after `delay_s`; "
        "malformed: JSON that does not parse; cut: the connection ends in the middle of the body; "
        "stream: in pieces over `delay_s`; drop: the connection ends without an answer; hang: no answer",
    )
    case: str | None = Field(
        default=None,
        description="a wrong answer that the third party has a name for, as `insufficient_quota`; in the place of "
        "`mode`, `status` and `body`",
    )
    status: int | None = Field(default=None, ge=200, le=599, description="status code; without it the usual one")
    headers: dict[str, str] = Field(default={}, description="headers beside the usual ones, as Retry-After")
    body: str | None = Field(default=None, description="body; without it the usual one, or an error of the third party")
    delay_s: float = Field(default=0.0, ge=0, description="real seconds: how long a request takes is never scaled")
    percent: float = Field(default=100.0, ge=1, le=100, description="of the requests, by chance")
    path: str = Field(default="/", min_length=1, description="only paths that contain this; `*` is any text")
    method: str | None = Field(default=None, pattern=r"^[A-Z]+$", description="only requests with this method")

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not _TOKEN.fullmatch(name) or not value.isprintable() or not value.isascii():
                raise ValueError(f"expected a header of printable ASCII, found {name!r}")
        return headers

    @model_validator(mode="after")
    def _is_wrong(self) -> Self:
        if self.case is not None:
            return self._is_one_case()
        given = [name for name in _REPLACING if getattr(self, name)]
        if self.mode in _NO_ANSWER and given:
            raise ValueError(f"expected no `{given[0]}` with the mode {self.mode}: there is no answer")
        if self.mode == "malformed" and self.body is not None:
            raise ValueError("expected no `body` with the mode malformed: say mode answer to choose the body")
        if self.mode == "stream" and not self.delay_s:
            raise ValueError("expected `delay_s` with the mode stream: the time over which the answer comes")
        if self.mode == "answer" and not given and not self.delay_s:
            raise ValueError(
                "expected what is wrong (`mode`, `case`, `status`, `headers`, `body` or `delay_s`), found nothing"
            )
        return self

    def _is_one_case(self) -> Self:
        given = ["mode"] if self.mode != "answer" else [name for name in _OF_A_CASE if getattr(self, name) is not None]
        if given:
            raise ValueError(f"expected no `{given[0]}` with the case {self.case}: the name stands for it")
        return self

    def concerns(self, method: str, path: str) -> bool:
        """Whether this is about a request, chance left aside."""
        pattern = re.escape(self.path).replace(r"\*", ".*")
        return self.method in (None, method) and re.search(pattern, path) is not None

    @property
    def example(self) -> str:
        """A path that this is about."""
        path = self.path.replace("*", "tocsin")
        return path if path.startswith("/") else f"/{path}"
