"""What a check found, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from tocsin.errors import TocsinError
from tocsin.model.base import Model

Subject = TypeVar("Subject")


class Level(StrEnum):
    """How well it is. A gap is what would refuse a drill, or keep it from passing."""

    OK = "ok"
    WARN = "warn"
    GAP = "gap"


class Result(Model):
    """The answer of one check: what was found and, when that is not well, the next move."""

    level: Level
    found: str
    mend: str = ""


def well(found: str) -> Result:
    """Nothing to do."""
    return Result(level=Level.OK, found=found)


def warn(found: str, mend: str) -> Result:
    """A drill can run, and somebody will wonder."""
    return Result(level=Level.WARN, found=found, mend=mend)


def gap(found: str, mend: str) -> Result:
    """A drill would be refused, or could not pass."""
    return Result(level=Level.GAP, found=found, mend=mend)


def ask(check: Callable[[Subject], Result], subject: Subject) -> Result:
    """The check's answer; one that cannot be given is a gap, as it is for a guard."""
    try:
        return check(subject)
    except (TocsinError, OSError) as error:
        return gap(f"cannot be told: {error}", "")
