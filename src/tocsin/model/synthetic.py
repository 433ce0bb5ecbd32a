"""What a system file says of the data that drills write: how it is told from that of people, and how it goes again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Literal
from urllib.parse import unquote, unquote_plus

from pydantic import Field, model_validator

from tocsin.model.base import Model

Writer = Literal["identities", "load", "canaries", "contract", "activities"]
"""The parts of a drill by which something may come to be in a system: a synthetic user, a booking, a mail."""


READING = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""HTTP methods that change nothing: https://www.rfc-editor.org/rfc/rfc9110#name-safe-methods"""


def carries(marks: Iterable[str], *parts: str | bytes | None) -> bool:
    """Whether one of the marks occurs in one of the parts of a request; without marks any request will do.

    The parts are what is sent, never the objects that it is made of: how an open file is shown has its path in it.
    """
    marks = tuple(marks)
    texts = [text for part in parts if part is not None for text in _readings(part)]
    return not marks or any(mark in text for mark in marks for text in texts)


def _readings(part: str | bytes) -> Iterator[str]:
    """A part as whoever receives it reads it: as it is, as a query or a form, and as JSON."""
    text = part.decode("utf-8", "replace") if isinstance(part, bytes) else part
    yield unquote(text)
    yield unquote_plus(text)
    if "\\" in text:
        try:
            yield json.dumps(json.loads(text), ensure_ascii=False)
        except (ValueError, RecursionError):
            return


def unmarked(marks: Iterable[str], request: str) -> str:
    """Why a request is not sent, in words."""
    return (
        f"expected {request} to carry the mark of `test_data` ({' or '.join(marks)}), in the name of the user who "
        "sends it, its path, its headers or its body, found none. It was not sent: nobody could tell what it would "
        "write from the data of people"
    )


def unmarked_statement(marks: Iterable[str], statement: str) -> str:
    """Why a statement of SQL is not run, in words. Its values may be secrets, so only its first word is told."""
    return (
        f"expected a statement that changes something to carry the mark of `test_data` ({' or '.join(marks)}), in its "
        f"text or in its values, found none in {first_word(statement)} ... It was not run: nobody could tell what it "
        "would change from the data of people"
    )


_LOOKING = frozenset({"SELECT", "SHOW", "EXPLAIN", "WITH", "TABLE", "VALUES"})
"""First words of statements that may only look. What they do all the same, a transaction that may only read refuses."""
_NO_CODE = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
"""Texts and comments."""


def may_only_look(statement: str) -> bool:
    """Whether a statement of SQL begins as one that looks, and no other follows, which could end a transaction."""
    alone = ";" not in _NO_CODE.sub(" ", statement).rstrip().rstrip(";")
    return alone and first_word(statement) in _LOOKING


def first_word(statement: str) -> str:
    """The word with which a statement of SQL begins, in capital letters."""
    found = re.search(r"[A-Za-z]+", _NO_CODE.sub(" ", statement))
    return found[0].upper() if found is not None else "nothing"


class SyntheticKind(Model):
    """One kind of it: users, bookings, payments, uploads, mails."""

    title: str
    written_by: tuple[Writer, ...] = Field(min_length=1, description="the parts of a drill that make it")
    tenant: str | None = Field(default=None, description="the tenant in which there is nothing else")
    tag: str | None = Field(default=None, description="or the mark that each piece of it carries")
    mark: str = Field(
        min_length=3,
        description="the text by which it is told: in the name of the synthetic user who sends it, or in the request. "
        "A request of load or canaries that may change something and does not carry it is not sent",
    )
    counted_apart: str = Field(min_length=1, description="how reports, bills and metrics of the system leave it out")
    cleanup: str | None = Field(
        default=None,
        pattern=r"^[^:]+\.py:[A-Za-z_]\w*$",
        description="`file.py:function` that removes it: a journey, as a canary is one; called by `tocsin cleanup`",
    )
    expires: str | None = Field(default=None, description="or what removes it without being asked, and when")

    @model_validator(mode="after")
    def _is_told_and_goes(self) -> SyntheticKind:
        for one, other in (("tenant", "tag"), ("cleanup", "expires")):
            named = [name for name in (one, other) if getattr(self, name)]
            if len(named) != 1:
                raise ValueError(f"expected either `{one}` or `{other}`, found {'both' if named else 'neither'}")
        return self


class SyntheticData(Model):
    """All that the drills of a system write. What nobody names here may not be written to an account."""

    reads_only: tuple[Writer, ...] = Field(default=(), description="parts of a drill that write nothing")
    kinds: dict[str, SyntheticKind] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_no_contradiction(self) -> SyntheticData:
        both = [writer for writer in self.reads_only if writer in self._writers]
        if both:
            raise ValueError(f"expected {both[0]} in `reads_only` or in `written_by`, found it in both")
        return self

    @property
    def _writers(self) -> frozenset[Writer]:
        return frozenset(writer for kind in self.kinds.values() for writer in kind.written_by)

    def marks(self, writer: Writer | None) -> tuple[str, ...]:
        """The marks of what a part of a drill writes, of what any does for None: each that it sends carries one."""
        kinds = (kind for kind in self.kinds.values() if writer is None or writer in kind.written_by)
        return tuple(dict.fromkeys(kind.mark for kind in kinds))

    def untold(self, writers: Iterable[Writer]) -> tuple[Writer, ...]:
        """Those of the parts of a drill of which nothing is said."""
        told = self._writers.union(self.reads_only)
        return tuple(writer for writer in writers if writer not in told)
