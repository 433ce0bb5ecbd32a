"""The second half of the door: YAML and JSON as plain values, each with the line where it stands.

Both give the values that JSON has, and names are texts as they are written: `200:` and `on:` are the names "200" and
"on", as they are in the JSON form of the same document. Dates stay texts, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from tocsin.errors import InvalidInput, shortened
from tocsin.project.text import MIB

LONGEST_NUMBER = 100
"""Digits: no quantity has more, and Python refuses to print some that have."""
_MERGE = "<<"


@dataclass(frozen=True)
class Limits:
    """What a file may hold at most. Files within them are read in seconds, and in a fraction of 512 MiB."""

    size: int = 4 * MIB
    """bytes"""
    values: int = 100_000
    """names, texts, numbers, lists and mappings; those that an alias repeats count again"""
    depth: int = 100
    """lists and mappings inside of each other"""


WRITTEN = Limits()
"""Files that people write by hand."""
GENERATED = Limits(size=16 * MIB, values=300_000)
"""Contracts, which are often exported, and verdicts."""


@dataclass(slots=True)
class Place:
    """Where a value stands: its first line (from 1), and the places inside of it."""

    line: int
    size: int = 1
    """how many values it is, itself included"""
    height: int = 0
    """how deep values are inside of each other here"""
    empty: bool = False
    """nothing at all is written there: YAML takes it for null"""
    names: dict[str, tuple[int, Place]] | None = None
    """of a mapping: name -> its line and the place of its value"""
    items: list[Place] | None = None
    """of a list"""

    def child(self, part: int | str) -> tuple[int, Place] | None:
        """The line and the place of a part, if there is one."""
        if self.names is not None:
            return self.names.get(str(part))
        if self.items is not None and isinstance(part, int) and 0 <= part < len(self.items):
            return self.items[part].line, self.items[part]
        return None


class Builder:
    """Puts values together for a parser, and refuses what goes beyond the limits or is said twice."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = path
        self._limits = limits
        self._values = 0

    def invalid(self, message: str, line: int | None) -> InvalidInput:
        """A complaint about a line of the file."""
        return InvalidInput(message, file=self.path, line=line)

    def count(self, values: int, depth: int, line: int) -> None:
        """Take note of values that were found.

        Raises:
            InvalidInput: there are too many by now, or they are too deep inside of others.
        """
        self._values += values
        if self._values > self._limits.values:
            raise self.invalid(
                f"expected at most {self._limits.values:,} values, found more. What an alias repeats counts again.",
                line,
            )
        if depth > self._limits.depth:
            raise self.invalid(
                f"expected at most {self._limits.depth} lists and mappings inside of each other, found more", line
            )

    def number(self, text: str, line: int, convert: Callable[[str], Any]) -> Any:
        """A finite number.

        Raises:
            InvalidInput: it is none.
        """
        if len(text) > LONGEST_NUMBER:
            raise self.invalid(
                f"expected a number of at most {LONGEST_NUMBER} characters, found {len(text):,}: {shortened(text)}",
                line,
            )
        try:
            number = convert(text)
            finite = isfinite(number)
        except (ValueError, IndexError, OverflowError):
            raise self.invalid(f"expected a number, found {text!r}", line) from None
        if not finite:
            raise self.invalid(f"expected a finite number, found {text}", line)
        return number

    def sequence(self, line: int, pairs: Sequence[tuple[Any, Place]]) -> tuple[list[Any], Place]:
        """A list of values."""
        places = [place for _, place in pairs]
        size, height = 1 + sum(place.size for place in places), 1 + max((place.height for place in places), default=0)
        return [value for value, _ in pairs], Place(line, size=size, height=height, items=places)

    def mapping(self, line: int) -> MappingBuilder:
        """A mapping that is empty still."""
        return MappingBuilder(self, line)


class MappingBuilder:
    """One mapping while it is read."""

    def __init__(self, builder: Builder, line: int) -> None:
        self._builder = builder
        self._line = line
        self._data: dict[str, Any] = {}
        self._places: dict[str, tuple[int, Place]] = {}
        self._merged: list[tuple[Any, Place]] = []

    def check(self, name: str, line: int) -> None:
        """Refuse a name that is there already.

        Raises:
            InvalidInput: with both lines.
        """
        if name in self._places:
            raise self._builder.invalid(
                f"expected '{shortened(name)}' once in a mapping, found it again: first on line "
                f"{self._places[name][0]}. The second would silently replace the first.",
                line,
            )

    def add(self, name: str, line: int, value: Any, place: Place) -> None:
        """A name and its value."""
        self._data[name] = value
        self._places[name] = (line, place)

    def merge(self, value: Any, place: Place) -> None:
        """What YAML's `<<` names: a mapping, or a list of them, whose names count where they are not said here.

        Raises:
            InvalidInput: it is neither.
        """
        found = zip(value, place.items or (), strict=True) if isinstance(value, list) else [(value, place)]
        for one, where in found:
            if not isinstance(one, dict):
                raise self._builder.invalid(f"expected a mapping after '{_MERGE}:', found {kind_of(one)}", place.line)
            self._merged.append((one, where))

    def built(self) -> tuple[dict[str, Any], Place]:
        """The mapping, with its place."""
        for value, place in self._merged:
            for name, (line, inner) in (place.names or {}).items():
                if name not in self._places:
                    self.add(name, line, value[name], inner)
        places = [place for _, place in self._places.values()]
        size, height = 1 + sum(1 + place.size for place in places), 1 + max((one.height for one in places), default=0)
        return self._data, Place(self._line, size=size, height=height, names=self._places)


_KIND_NAMES: Mapping[type, str] = {
    dict: "a mapping",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "nothing (null)",
}


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    return _KIND_NAMES.get(type(value), type(value).__name__)
