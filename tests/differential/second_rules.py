"""Rules of composite alarms, a second time: a hand-written reader, word by word, that decides while it reads.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-combining.html
"""

from __future__ import annotations

from collections.abc import Mapping

STATES = ("ALARM", "OK", "INSUFFICIENT_DATA")


class NoSuchRule(Exception):
    """CloudWatch would not take this rule."""


def words_of(rule: str) -> list[str]:
    """The rule as words: parentheses, commas, quoted names with their quotes, everything else between spaces."""
    found, at = [], 0
    while at < len(rule):
        here = rule[at]
        if here.isspace():
            at += 1
        elif here in "(),":
            found.append(here)
            at += 1
        elif here == '"':
            end = at + 1
            while end < len(rule) and rule[end] != '"':
                end += 2 if rule[end] == "\\" else 1
            if end >= len(rule):
                raise NoSuchRule("a quote that is not closed")
            found.append(rule[at : end + 1])
            at = end + 1
        else:
            end = at
            while end < len(rule) and not rule[end].isspace() and rule[end] not in '(),"':
                end += 1
            found.append(rule[at:end])
            at = end
    return found


class _Reader:
    def __init__(self, rule: str, states: Mapping[str, str]) -> None:
        self.words = words_of(rule)
        self.at = 0
        self.states = states
        self.names: set[str] = set()
        self.elements = 0

    def peek(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def take(self, wanted: str | None = None) -> str:
        word = self.peek()
        if not word or (wanted is not None and word != wanted):
            raise NoSuchRule(f"expected {wanted or 'a word'}, found {word or 'the end'}")
        self.at += 1
        return word

    def either(self) -> bool:
        found = self.both()
        while self.peek() == "OR":
            self.take()
            other = self.both()
            found = found or other
        return found

    def both(self) -> bool:
        found = self.negated()
        while self.peek() == "AND":
            self.take()
            other = self.negated()
            found = found and other
        return found

    def negated(self) -> bool:
        if self.peek() == "NOT":
            self.take()
            return not self.negated()
        return self.one()

    def one(self) -> bool:
        word = self.take()
        if word == "(":
            found = self.either()
            self.take(")")
            self.elements += 2
            return found
        if word in ("TRUE", "FALSE"):
            self.elements += 1
            return word == "TRUE"
        if word in STATES:
            self.take("(")
            name = self.name()
            self.take(")")
            return name in self.states and self.states[name] == word
        if word == "AT_LEAST":
            return self.at_least()
        raise NoSuchRule(f"found {word}")

    def at_least(self) -> bool:
        self.take("(")
        amount = self.take()
        self.take(",")
        negated = self.peek() == "NOT"
        if negated:
            self.take()
        state = self.take()
        if state not in STATES:
            raise NoSuchRule(f"found {state}")
        self.take(",")
        self.take("(")
        names = [self.name()]
        while self.peek() == ",":
            self.take()
            names.append(self.name())
        self.take(")")
        self.take(")")
        if not amount.removesuffix("%").isdecimal():
            raise NoSuchRule(f"found {amount}")
        counted = 0
        for name in names:
            if name in self.states:
                counted += (self.states[name] == state) is not negated
        number = int(amount.removesuffix("%"))
        if amount.endswith("%"):
            if not 1 <= number <= 100:
                raise NoSuchRule(f"found {amount}")
            return counted / len(names) >= number / 100
        if not 1 <= number <= len(names):
            raise NoSuchRule(f"found {amount} of {len(names)}")
        return counted >= number

    def name(self) -> str:
        word = self.take()
        if word in ("(", ")", ","):
            raise NoSuchRule(f"expected a name, found {word}")
        if word.startswith('"'):
            word = word[1:-1].replace('\\"', '"')
        found = word.split(":alarm:", 1)[1] if word.startswith("arn:") and ":alarm:" in word else word
        self.names.add(found)
        self.elements += 1
        return found


def holds(rule: str, states: Mapping[str, str]) -> bool:
    """Whether the composite alarm is in ALARM. Raises NoSuchRule."""
    reader = _Reader(rule, states)
    found = reader.either()
    if reader.peek():
        raise NoSuchRule(f"found {reader.peek()}")
    if len(reader.names) > 100 or reader.elements > 500:
        raise NoSuchRule("more than 100 alarms, or 500 elements")
    return found
