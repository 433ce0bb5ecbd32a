"""Secrets whose value is known in this process: they are hidden wherever they turn up, in whatever form.

What is too short or too common to be looked for would take half of a history with it:

- up to 3 characters, up to 5 digits, and the words of `COMMON`: not by value (still by the name of the field);
- 4 to 7 characters, or digits only: where they stand alone, with no letter or digit on either side;
- 8 and more: everywhere, also inside of other words, and cut off: at the end of a text, or with an ellipsis.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tocsin.masking.encoded import Span, spans
from tocsin.masking.forms import forms_of, in_base85
from tocsin.masking.names import is_secret_name, leads_only

HIDDEN = "(not shown)"

SHORTEST = 4
SHORTEST_NUMBER = 6
ANYWHERE = 8
COMMON = frozenset(
    {
        *("null", "none", "true", "false", "undefined", "empty", "default", "example", "dummy", "placeholder"),
        *("test", "tests", "testing", "demo", "local", "localhost", "sandbox", "development", "staging", "production"),
        *("user", "users", "username", "owner", "admin", "administrator", "root", "guest", "master", "postgres"),
        *("secret", "secrets", "password", "passwd", "token", "tokens", "string", "value", "name", "text", "data"),
        *("enabled", "disabled", "required", "bearer", "basic", "shown", "not shown", "json", "https", "http"),
        *("alarm", "pass", "fail", "unknown", "fault", "baseline", "recovery", "preflight", "error", "message"),
        *("us-east-1", "us-east-2", "us-west-1", "us-west-2", "eu-west-1", "eu-central-1", "ap-northeast-1"),
        *("000000000000", "123456789012"),
    }
)
"""Words that stand in every history; whoever has one of them as a password has none."""
_KEY = 4
_LINE = 16
"""Lines of a secret of several lines (a PEM) are known by themselves from this length on."""
_REFERENCE = re.compile(r"\$\{[^}]*\}|arn:[\w-]+:.*|\*+", re.DOTALL)
"""What stands for a value, and is none."""
_CUT = re.compile(r"\.{3}|\u2026")
"""Where something long was cut short."""
_WORD = re.compile(r"[A-Za-z0-9]")
_SCHEME = re.compile(r"(?:bearer|basic|token)\s+(?P<value>\S+)$", re.IGNORECASE)
_COOKIE = re.compile(r"(?:^|;\s*)[\w.-]+=(?P<value>[^;\s]{8,})")


class KnownSecrets:
    """Values, and how to find them: one compiled pattern of how forms begin, and a table of what may follow.

    A text is gone through once, however many values are known. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: set[str] = set()
        self._forms: dict[str, list[tuple[str, bool]]] = {}
        """first letters -> forms that begin so, the longest first, and whether each must stand alone"""
        self._unsorted: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._beginnings = 0

    def copy(self) -> KnownSecrets:
        """Another one that knows the same."""
        other = KnownSecrets()
        other.become(self)
        return other

    def become(self, other: KnownSecrets) -> None:
        """Know what `other` knows, and nothing else."""
        with self._lock:
            self._values = set(other._values)
            self._forms = {begins: list(forms) for begins, forms in other._forms.items()}
            self._unsorted, self._beginnings, self._pattern = set(self._forms), 0, None

    def learn(self, value: object) -> None:
        """Hide a value from now on; a text, bytes, a number, or a JSON text, whose own values are secrets too."""
        text = _text(value)
        if text is None or text in self._values:
            return
        parts = {text, text.strip(), *(line.strip() for line in text.splitlines() if len(line.strip()) >= _LINE)}
        with self._lock:
            self._values.add(text)
            for part in parts:
                if is_looked_for(part) and not part.startswith("-----"):
                    self._values.add(part)
                    self._add(part)
                elif part.startswith("-----"):
                    # Its lines are known, as it is and decoded. In base85 it is a text like any other.
                    self._add_forms(in_base85(part), alone=False)
        self._learn_inside(text)

    def learn_leaves(self, value: object) -> None:
        """Hide every value of something that is a secret as a whole."""
        if isinstance(value, Mapping):
            for name, item in value.items():
                # Of a list of users only what each of them has beside a name is secret.
                items = item if isinstance(item, list | tuple) else (item,)
                if leads_only(str(name)):
                    items = [one for one in items if isinstance(one, Mapping)]
                for one in items:
                    self.learn_leaves(one)
        elif isinstance(value, list | tuple):
            for item in value:
                self.learn_leaves(item)
        else:
            self.learn(value)

    def learn_named(self, value: object) -> None:
        """Hide those values of a document that stand under the name of a secret."""
        if isinstance(value, Mapping):
            for name, item in value.items():
                if is_secret_name(str(name)) and not isinstance(item, Mapping | list | tuple):
                    self._learn_field(str(name).lower(), item)
                else:
                    self.learn_named(item)
            if is_secret_name(_told_name(value)):
                self.learn(_told_value(value))
        elif isinstance(value, list | tuple):
            for item in value:
                self.learn_named(item)

    def hide(self, text: str) -> str:
        """The text without them, as they are or encoded (`encoded`)."""
        if self._current() is None or len(text) < SHORTEST:
            return text
        kept: list[str] = []
        done = 0
        for start, end in spans(text, self._find):
            kept += [text[done:start], HIDDEN]
            done = end
        return "".join([*kept, text[done:]]) if kept else text

    def _find(self, text: str) -> list[Span]:
        """Where the text holds one of their forms."""
        pattern = self._current()
        found: list[Span] = []
        at = 0
        while pattern is not None and (begins := pattern.search(text, at)) is not None:
            start = begins.start()
            end = self._end(text, start)
            at = start + 1 if end is None else end
            if end is not None:
                found.append((start, end))
        return found

    def _end(self, text: str, start: int) -> int | None:
        """Where the value ends that begins here; None when none does."""
        cut: int | None = None
        for form, alone in self._forms[text[start : start + _KEY]]:
            end = start + len(form)
            if text.startswith(form, start):
                if not alone or not (_is_word(text, start - 1) or _is_word(text, end)):
                    return end
            elif end > len(text) >= start + ANYWHERE and form.startswith(text[start:]):
                return len(text)
            elif form.startswith(text[start : start + ANYWHERE]):
                # Of several that begin so, the one that ends so, too.
                cut = max(_end_of_cut(form, text, start), cut or 0) or None
        return cut

    def _learn_field(self, name: str, value: object) -> None:
        """What is secret in a field: of a header what is behind its scheme, the password of a user, each cookie."""
        text = _text(value) or ""
        scheme = _SCHEME.match(text)
        if name in ("cookie", "set-cookie"):
            for cookie in _COOKIE.finditer(text):
                self.learn(cookie["value"])
        elif scheme is None:
            self.learn(value)
        else:
            self.learn(scheme["value"])
            with suppress(ValueError):  # else it is no user and password in base64
                self.learn(base64.b64decode(scheme["value"], validate=True).decode().partition(":")[2])

    def _learn_inside(self, text: str) -> None:
        if text[:1] in "{[":
            try:
                inside = json.loads(text)
            except (ValueError, RecursionError):
                return
            self.learn_leaves(inside)

    def _add(self, value: str) -> None:
        self._add_forms(forms_of(value), alone=len(value) < ANYWHERE or value.isdecimal())

    def _add_forms(self, forms: Iterable[str], *, alone: bool) -> None:
        for form in forms:
            if len(form) >= _KEY:
                begins = form[:_KEY]
                self._forms.setdefault(begins, []).append((form, alone))
                self._unsorted.add(begins)

    def _current(self) -> re.Pattern[str] | None:
        if self._unsorted:
            with self._lock:
                for begins in self._unsorted:
                    self._forms[begins] = sorted(set(self._forms[begins]), key=lambda one: (-len(one[0]), one))
                self._unsorted.clear()
                if len(self._forms) != self._beginnings:
                    self._pattern = re.compile(_beginnings(sorted(self._forms)))
                    self._beginnings = len(self._forms)
        return self._pattern


def _beginnings(words: Sequence[str]) -> str:
    """A pattern of words of one length, in which each letter is looked at once."""
    tree: dict[str, list[str]] = {}
    for word in words:
        tree.setdefault(word[0], []).append(word[1:])
    if not words[0][1:]:
        return "[" + "".join(map(re.escape, tree)) + "]"
    branches = [re.escape(letter) + _beginnings(rest) for letter, rest in tree.items()]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def is_looked_for(value: str) -> bool:
    """Whether a value is long and rare enough to be hidden wherever it stands."""
    shortest = SHORTEST_NUMBER if value.isdecimal() else SHORTEST
    return len(value) >= shortest and value.lower() not in COMMON and _REFERENCE.fullmatch(value) is None


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="ignore")
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _end_of_cut(form: str, text: str, start: int) -> int:
    """Where a form ends that somebody cut short with an ellipsis, also with its end behind that, as some show it; 0
    where nobody did."""
    cut = _CUT.search(text, start + ANYWHERE, start + len(form) + _KEY)
    if cut is None or not form.startswith(text[start : cut.start()]):
        return 0
    behind = text[cut.end() : cut.end() + len(form)]
    return cut.end() + next((length for length in range(len(behind), 0, -1) if form.endswith(behind[:length])), 0)


def _is_word(text: str, at: int) -> bool:
    return 0 <= at < len(text) and _WORD.match(text[at]) is not None


_NAME_FIELDS = ("name", "Name", "key", "Key", "ParameterKey")
_VALUE_FIELDS = ("value", "Value", "ParameterValue")


def _told_name(fields: Mapping[Any, Any]) -> str:
    """The name in `{"name": ..., "value": ...}`, as environments of containers and parameters of stacks have it."""
    return next((fields[one] for one in _NAME_FIELDS if isinstance(fields.get(one), str)), "")


def _told_value(fields: Mapping[Any, Any]) -> object:
    return next((fields[one] for one in _VALUE_FIELDS if one in fields), None)
