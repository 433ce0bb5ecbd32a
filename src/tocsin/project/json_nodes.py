"""JSON with the line of each part, which the standard library's parser does not tell."""

from __future__ import annotations

import re
from json import JSONDecodeError, decoder
from pathlib import Path
from typing import Any

from tocsin.errors import InvalidInput
from tocsin.project.nodes import Builder, Limits, MappingBuilder, Place

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None}
_WORD = re.compile(r"[A-Za-z]+")
_HALF = re.compile("[\ud800-\udfff]")


def read_json(text: str, path: Path, limits: Limits) -> tuple[Any, Place]:
    """The value of a JSON file (https://www.rfc-editor.org/rfc/rfc8259).

    Raises:
        InvalidInput: it is not JSON, says a name twice, or goes beyond the limits.
    """
    return _Reader(text, path, limits).document()


class _Reader:
    def __init__(self, text: str, path: Path, limits: Limits) -> None:
        self._text = text
        self._builder = Builder(path, limits)
        self._at = 0
        self._line = 1
        self._counted = 0

    def document(self) -> tuple[Any, Place]:
        """The value, and nothing after it."""
        value = self._value(0)
        if self._peek():
            raise self._unexpected("the end of the file")
        return value

    def _peek(self) -> str:
        """The next character that is no space; empty at the end."""
        self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._text[self._at : self._at + 1]

    def _take(self, wanted: str) -> None:
        if self._peek() != wanted:
            raise self._unexpected(f"'{wanted}'")
        self._at += 1

    def _unexpected(self, wanted: str) -> InvalidInput:
        found = self._text[self._at : self._at + 20].split("\n")[0]
        return self._builder.invalid(
            f"expected JSON: {wanted}, found {found!r}"
            if found
            else f"expected JSON: {wanted}, found the end of the file or line",
            self._line,
        )

    def _value(self, depth: int) -> tuple[Any, Place]:
        start = self._peek()
        line = self._line
        self._builder.count(1, depth, line)
        if start == "{":
            return self._mapping(line, depth)
        if start == "[":
            return self._sequence(line, depth)
        if start == '"':
            return self._string(), Place(line)
        return self._plain(line), Place(line)

    def _plain(self, line: int) -> Any:
        if word := _WORD.match(self._text, self._at):
            if word[0] not in _WORDS:
                raise self._unexpected("a value")
            self._at = word.end()
            return _WORDS[word[0]]
        number = _NUMBER.match(self._text, self._at)
        if number is None:
            raise self._unexpected("a value")
        self._at = number.end()
        return self._builder.number(number[0], line, float if number[1] or number[2] else int)

    def _string(self) -> str:
        line = self._line
        try:
            text, self._at = decoder.scanstring(self._text, self._at + 1, True)  # type: ignore[attr-defined]
        except JSONDecodeError as error:
            raise self._builder.invalid(f"expected JSON: {error.msg}", error.lineno) from None
        if _HALF.search(text):
            raise self._builder.invalid("expected Unicode text, found half of a pair of surrogates", line)
        return str(text)

    def _sequence(self, line: int, depth: int) -> tuple[list[Any], Place]:
        self._at += 1
        pairs: list[tuple[Any, Place]] = []
        if self._peek() == "]":
            self._at += 1
            return self._builder.sequence(line, pairs)
        while True:
            pairs.append(self._value(depth + 1))
            if self._peek() == "]":
                self._at += 1
                return self._builder.sequence(line, pairs)
            self._take(",")

    def _mapping(self, line: int, depth: int) -> tuple[dict[str, Any], Place]:
        self._at += 1
        mapping = self._builder.mapping(line)
        if self._peek() == "}":
            self._at += 1
            return mapping.built()
        while True:
            self._entry(mapping, depth)
            if self._peek() == "}":
                self._at += 1
                return mapping.built()
            self._take(",")

    def _entry(self, mapping: MappingBuilder, depth: int) -> None:
        if self._peek() != '"':
            raise self._unexpected("a name in double quotes")
        line = self._line
        self._builder.count(1, depth + 1, line)
        name = self._string()
        mapping.check(name, line)
        self._take(":")
        mapping.add(name, line, *self._value(depth + 1))
