"""TOML with the line of each table and name, as far as they are written in the usual way."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from math import isfinite, log2
from pathlib import Path
from typing import Any

from tocsin.errors import InvalidInput
from tocsin.project.nodes import LONGEST_NUMBER, Builder, Limits, Place

_LONGEST_BITS = LONGEST_NUMBER * log2(10)
_LINE = re.compile(r"line (\d+)")
_TABLE = re.compile(r"\s*\[\[?\s*([^\[\]#]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


def read_toml(text: str, path: Path, limits: Limits) -> tuple[dict[str, Any], Place]:
    """The tables of a TOML file.

    Raises:
        InvalidInput: it is not TOML (which refuses a name that is said twice), or goes beyond the limits.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = _LINE.search(str(error))
        raise InvalidInput(f"expected TOML: {error}", file=path, line=int(line[1]) if line else 1) from None
    except ValueError as error:  # what Python makes of a number or a date
        raise InvalidInput(f"expected TOML: {error}", file=path, line=1) from None
    except RecursionError:
        raise InvalidInput("expected TOML, found it nested too deeply", file=path, line=1) from None
    places = _places(text)
    _check(data, places, Builder(path, limits))
    return data, places


def _check(data: dict[str, Any], places: Place, builder: Builder) -> None:
    """Without recursion: dotted names nest as deeply as they are long."""
    waiting: list[tuple[Any, Place, int]] = [(data, places, 0)]
    while waiting:
        value, place, depth = waiting.pop()
        builder.count(1, depth, place.line)
        if isinstance(value, dict):
            waiting.extend((inner, _below(place, name), depth + 1) for name, inner in value.items())
        elif isinstance(value, list):
            waiting.extend((inner, place, depth + 1) for inner in value)
        elif isinstance(value, float) and not isfinite(value):
            raise builder.invalid(f"expected a finite number, found {value}", place.line)
        elif isinstance(value, int) and value.bit_length() > _LONGEST_BITS:
            raise builder.invalid(
                f"expected a number of at most {LONGEST_NUMBER} digits, found a longer one", place.line
            )


def _below(place: Place, name: str) -> Place:
    found = place.child(name)
    return Place(place.line) if found is None else found[1]


def _places(text: str) -> Place:
    root = Place(1, names={})
    table = root
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _TABLE.fullmatch(line):
            table = _named(root, header[1], number)
        elif key := _KEY.match(line):
            _named(table, key[1], number)
    return root


def _named(place: Place, dotted: str, line: int) -> Place:
    for name in _parts(dotted):
        if place.names is None:
            place.names = {}
        _, place = place.names.setdefault(name, (line, Place(line)))
    return place


def _parts(dotted: str) -> Iterator[str]:
    return (part.strip("\"'") for part in _PART.findall(dotted))
