"""Metric math is read a second time: a reader by hand, one function a level of precedence, that makes plain tuples.

("number", 2.0), ("id", "m1"), ("string", "errors"), ("word", "REPEAT"), ("minus", x), ("array", (x, ...)),
("call", "FILL", (x, ...)), and (operator, left, right).
"""

from __future__ import annotations

from typing import Any

Node = tuple[Any, ...]

LEVELS = (("OR",), ("AND",), ("==", "!=", "<=", ">=", "<", ">"), ("+", "-"), ("*", "/"))
"""Operators from the loosest to the tightest; above them stand the minus sign and then the power."""
_SIGNS = ("==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "^", "(", ")", "[", "]", ",")


class NoSuchExpression(Exception):
    """CloudWatch would not take this expression."""


def words_of(text: str) -> list[tuple[str, str]]:
    """(kind, word) of each word: number, string, name, sign."""
    found, at = [], 0
    while at < len(text):
        here = text[at]
        if here.isspace():
            at += 1
            continue
        end = at + 1
        if here in "\"'":
            end = text.find(here, end) + 1
            kind = "string"
            if not end:
                raise NoSuchExpression("a string that is not closed")
        elif here.isdigit() or (here == "." and text[end : end + 1].isdigit()):
            kind, end = "number", _end_of_number(text, at)
        elif here.isascii() and here.isalpha():
            while end < len(text) and text[end].isascii() and (text[end].isalnum() or text[end] == "_"):
                end += 1
            kind = "name"
        else:
            sign = next((sign for sign in _SIGNS if text.startswith(sign, at)), None)
            if sign is None:
                raise NoSuchExpression(f"found {here}")
            kind, end = "sign", at + len(sign)
        found.append((kind, text[at:end]))
        at = end
    return [(kind, {"&&": "AND", "||": "OR"}.get(word, word)) for kind, word in found]


def _end_of_number(text: str, at: int) -> int:
    while at < len(text) and text[at].isdigit():
        at += 1
    if text[at : at + 1] == ".":
        at += 1
        while at < len(text) and text[at].isdigit():
            at += 1
    if text[at : at + 1] in ("e", "E"):
        end = at + 1 + (text[at + 1 : at + 2] in ("+", "-"))
        if text[end : end + 1].isdigit():
            while end < len(text) and text[end].isdigit():
                end += 1
            return end
    return at


class _Reader:
    def __init__(self, text: str) -> None:
        self.words = [*words_of(text), ("end", "")]
        self.at = 0

    def peek(self) -> str:
        kind, word = self.words[self.at]
        return "" if kind == "string" else word

    def take(self, wanted: str | None = None) -> tuple[str, str]:
        kind, word = self.words[self.at]
        if kind == "end" or (wanted is not None and self.peek() != wanted):
            raise NoSuchExpression(f"expected {wanted or 'a word'}, found {word or 'the end'}")
        self.at += 1
        return kind, word

    def level(self, number: int) -> Node:
        if number == len(LEVELS):
            return self.minus()
        found = self.level(number + 1)
        while self.peek() in LEVELS[number]:
            _, sign = self.take()
            found = (sign, found, self.level(number + 1))
            if sign in LEVELS[2] and self.peek() in LEVELS[2]:
                raise NoSuchExpression("two comparisons in a row")
        return found

    def minus(self) -> Node:
        if self.peek() == "-":
            self.take()
            return ("minus", self.minus())
        found = self.part()
        if self.peek() == "^":
            self.take()
            return ("^", found, self.minus())
        return found

    def part(self) -> Node:
        kind, word = self.take()
        if kind == "number":
            if float(word) == float("inf"):
                raise NoSuchExpression(f"no double is as large as {word}")
            return ("number", float(word))
        if kind == "string":
            return ("string", word[1:-1])
        if word == "(":
            found = self.level(0)
            self.take(")")
            return found
        if word == "[":
            return ("array", self.arguments("]"))
        if kind != "name" or word in ("AND", "OR"):
            raise NoSuchExpression(f"found {word}")
        if word[0].islower():
            return ("id", word)
        if not word.isupper():
            raise NoSuchExpression(f"found {word}")
        if self.peek() == "(":
            self.take()
            return ("call", word, self.arguments(")"))
        return ("word", word)

    def arguments(self, closing: str) -> tuple[Node, ...]:
        found: list[Node] = []
        while self.peek() != closing or self.words[self.at][0] == "string":
            if found:
                self.take(",")
            found.append(self.level(0))
        self.take(closing)
        return tuple(found)


def parse(text: str) -> Node:
    """The expression as tuples. Raises NoSuchExpression."""
    reader = _Reader(text)
    found = reader.level(0)
    if reader.words[reader.at][0] != "end":
        raise NoSuchExpression(f"found {reader.words[reader.at][1]}")
    return found


def written(node: Node) -> str:
    """The expression of a tree, with every parenthesis."""
    kind, *rest = node
    if kind in ("number",):
        return f"{rest[0]:g}" if float(f"{rest[0]:g}") == rest[0] else repr(rest[0])
    if kind == "string":
        return f'"{rest[0]}"'
    if kind in ("id", "word"):
        return str(rest[0])
    if kind == "minus":
        return f"(-{written(rest[0])})"
    if kind == "array":
        return f"[{', '.join(map(written, rest[0]))}]"
    if kind == "call":
        return f"{rest[0]}({', '.join(map(written, rest[1]))})"
    return f"({written(rest[0])} {kind} {written(rest[1])})"


def parts(node: Node) -> tuple[Node, ...]:
    """The nodes right below one."""
    kind, *rest = node
    if kind in ("number", "string", "id", "word"):
        return ()
    if kind in ("array", "call"):
        found: tuple[Node, ...] = rest[-1]
        return found
    return tuple(rest)


def everything(node: Node) -> list[Node]:
    """A node and all below it."""
    return [node, *(below for part in parts(node) for below in everything(part))]
