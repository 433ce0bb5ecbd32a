"""Finds a value also in what was encoded: what looks encoded is decoded, again a few levels deep, and looked into.

Two kinds of encodings. An escape stands for a character, and all around it stays as it is: `%27`, `\\u0027`, `&#39;`,
`=27`. A run is encoded as a whole, and is shown or hidden as a whole: base64, base32, hex and lists of numbers, also
with line ends or marks inside.

Every pattern is bounded, each text is decoded once, and what is decoded in all is bounded by the length of the text:
however a text was made, it takes no more than a time in proportion to its length.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

Span = tuple[int, int]
"""Beginning and end of a part of a text."""
Find = Callable[[str], list[Span]]
"""Says where the values are in a text as it is."""

DEPTH = 5
"""Levels: JSON in JSON in base64 in a URL in JSON is five."""
_EFFORT = 12
_AT_LEAST = 20_000
"""Characters that are decoded in all: so many times the length of the text, and at least so many."""


def spans(text: str, find: Find, depth: int = DEPTH) -> list[Span]:
    """Where the values are that `find` finds, as they are or encoded, up to so many levels deep.

    In order, and none overlaps another.
    """
    return _Search(find, _EFFORT * len(text) + _AT_LEAST).spans(text, depth)


class _Search:
    """One text and all that is decoded of it."""

    def __init__(self, find: Find, effort: int) -> None:
        self._find = find
        self._left = effort
        self._known: dict[tuple[int, str], list[Span]] = {}
        """What was found in a text: two orders of the same escapes lead to one."""

    def spans(self, text: str, depth: int) -> list[Span]:
        """As the function of that name."""
        known = self._known.get((depth, text))
        if known is None:
            known = self._find(text)
            if depth > 0:
                known = merged([*known, *self._in_runs(text, depth - 1), *self._behind_escapes(text, depth - 1)])
            self._known[depth, text] = known
        return known

    def _in_runs(self, text: str, depth: int) -> Iterator[Span]:
        for run in _RUNS:
            for found in run.pattern.finditer(text):
                if any(self._decoded(inside, depth) for inside in run.decode(found[0])):
                    yield found.span()

    def _behind_escapes(self, text: str, depth: int) -> Iterator[Span]:
        for escape in _ESCAPES:
            yield from self._behind(escape, text, depth)
        for escape in _LAYOUT if depth >= DEPTH - _SHOWN else ():
            yield from self._behind(escape, text, 0)  # lines that are none belong to no other encoding

    def _behind(self, escape: _Escape, text: str, depth: int) -> Iterator[Span]:
        if all(mark in text for mark in escape.marks):
            unescaped = _Unescaped(text, escape)
            if unescaped.places:
                yield from map(unescaped.source, self._decoded(unescaped.text, depth))

    def _decoded(self, text: str, depth: int) -> list[Span]:
        if (depth, text) not in self._known:
            self._left -= len(text)
        return self.spans(text, depth) if self._left >= 0 else []


def merged(found: list[Span]) -> list[Span]:
    """The same places in order, those that overlap as one."""
    if len(found) < 2:
        return found
    first, *rest = sorted(found)
    one = [first]
    for start, end in rest:
        if start < one[-1][1]:
            one[-1] = (one[-1][0], max(end, one[-1][1]))
        else:
            one.append((start, end))
    return one


# ------------------------------------------------------------------------------------------------ escapes


@dataclass(frozen=True)
class _Escape:
    """One way to write single characters. A text without all of `marks` has none, which is quickly found out."""

    marks: tuple[str, ...]
    pattern: re.Pattern[str]
    read: Callable[[str], str]


class _Unescaped:
    """A text without the escapes of one kind, and where each of its parts came from."""

    def __init__(self, text: str, escape: _Escape) -> None:
        parts: list[str] = []
        self.places: list[tuple[Span, Span]] = []
        """of each escape what it became, and what it was"""
        done = length = 0
        for found in escape.pattern.finditer(text):
            read = escape.read(found[0])
            start, end = found.span()
            parts += [text[done:start], read]
            begins = length + start - done
            length, done = begins + len(read), end
            self.places.append(((begins, length), (start, end)))
        self.text = "".join([*parts, text[done:]])
        self._begins = [became[0] for became, _ in self.places]

    def source(self, span: Span) -> Span:
        """The part of the text that became this one; of an escape always the whole."""
        return self._start(span[0]), self._end(span[1])

    def _start(self, at: int) -> int:
        index = bisect_right(self._begins, at) - 1
        if index < 0:
            return at
        (_, became_end), (start, end) = self.places[index]
        return start if at < became_end else end + at - became_end

    def _end(self, at: int) -> int:
        index = bisect_left(self._begins, at) - 1
        if index < 0:
            return at
        (_, became_end), (_, end) = self.places[index]
        return end if at <= became_end else end + at - became_end


_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


def _backslash(escape: str) -> str:
    kind = escape[1]
    if escape.startswith("\\x{"):
        return _code_points(escape.replace("\\x", "\\u"))
    if kind == "x":
        return _of_hex(escape.replace("\\x", ""))
    if kind in "uU":
        return _code_points(escape)
    if kind in "0123":
        return _characters(bytes(int(octal, 8) for octal in escape.split("\\")[1:]))
    return _CONTROLS.get(kind, kind)


def _code_points(escape: str) -> str:
    """Also characters in two halves, as JSON has those above U+FFFF: https://www.rfc-editor.org/rfc/rfc8259#section-7"""
    points = [int(point.strip("{}"), 16) for point in re.split(r"\\[uU]", escape)[1:]]
    halves = "".join(chr(point) for point in points if point <= 0x10FFFF)
    return halves.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _characters(raw: bytes) -> str:
    """Bytes as text: in UTF-8, else one character each, as Python shows a text."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _of_hex(digits: str) -> str:
    return _characters(bytes.fromhex(digits))


def _percent(escape: str) -> str:
    return " " if escape == "+" else _characters(unquote_to_bytes(escape))


def _printable(escape: str) -> str:
    return _of_hex(escape.replace("=", "")) if escape[1] not in " \t\r\n" else ""


_ESCAPES = (
    _Escape(
        ("\\",),
        re.compile(
            r"(?:\\x[0-9A-Fa-f]{2})+|(?:\\u(?:[0-9A-Fa-f]{4}|\{[0-9A-Fa-f]{1,6}\}))+|\\U[0-9A-Fa-f]{8}"
            r"|(?:\\x\{[0-9A-Fa-f]{1,6}\})+|(?:\\[0-3][0-7]{2})+|\\[nrtbf]|\\[^A-Za-z0-9\s]|\\ "
        ),
        _backslash,
    ),
    _Escape(("%",), re.compile("(?:%[0-9A-Fa-f]{2})+"), _percent),
    # https://url.spec.whatwg.org/#urlencoded-parsing
    _Escape(("%", "+"), re.compile(r"(?:%[0-9A-Fa-f]{2})+|\+"), _percent),
    # https://html.spec.whatwg.org/multipage/syntax.html#character-references
    _Escape(
        ("&", ";"),
        re.compile("&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"),
        html.unescape,
    ),
    # https://www.rfc-editor.org/rfc/rfc2045#section-6.7
    _Escape(("=",), re.compile(r"(?:=[0-9A-Fa-f]{2})+|=[ \t]{0,8}\r?\n"), _printable),
    # What is left of UTF-16.
    _Escape(("\0",), re.compile("\0+"), lambda _: ""),
    # https://tc39.es/ecma262/#sec-escape-string
    _Escape(("%u",), re.compile("(?:%u[0-9A-Fa-f]{4})+"), lambda escape: _code_points(escape.replace("%u", "\\u"))),
    # https://www.rfc-editor.org/rfc/rfc4514#section-2.4
    _Escape(("\\",), re.compile(r"(?:\\[0-9A-Fa-f]{2})+"), lambda escape: _of_hex(escape.replace("\\", ""))),
    # Without the semicolon, which browsers do not miss:
    # https://html.spec.whatwg.org/multipage/parsing.html#numeric-character-reference-end-state
    _Escape(("&#",), re.compile("&#(?:[0-9]{2,7}|[xX][0-9A-Fa-f]{2,6});?"), html.unescape),
)
_LAYOUT = (
    # Colours, as `grep` and highlighters set them within a word: ECMA-48, 8.3.117 and 8.3.41.
    _Escape(("\x1b[",), re.compile(r"(?:\x1b\[[0-9;:]{0,32}[mK])+"), lambda _: ""),
    # What was broken at the width of a terminal, also within a box or with a backslash.
    _Escape(("\n",), re.compile(r"\\?[ \t\u2502|]{0,64}\r?\n[ \t\u2502|]{0,64}"), lambda _: ""),
    # The letters beside a dump of bytes, as `hexdump -C` and `xxd` write them.
    _Escape(
        ("\n",),
        re.compile(r"\|?\r?\n[0-9a-f]{7,8}:? {1,2}(?:[0-9a-f]{2}(?:[0-9a-f]{2})? {1,2}){1,17} {0,48}\|?"),
        lambda _: "",
    ),
)
"""How a text is laid out for whoever reads it: looked behind in what is shown, not in what was encoded deep inside."""
_SHOWN = 2
"""Levels of what is shown: a text, and one in JSON."""


# ------------------------------------------------------------------------------------------------ runs


@dataclass(frozen=True)
class _Run:
    """How something looks that was encoded as a whole, and what it may have been."""

    pattern: re.Pattern[str]
    decode: Callable[[str], Iterable[str]]


_STRETCH = re.compile(rb"[\t\n\r -~]{10,}")
"""What bytes hold that were a text in part; those of a name that only looks encoded do not."""
_BESIDE = 32
"""Bytes beside a stretch that may belong to it: letters that are not ASCII, in whatever coding."""
_WIDE = re.compile(rb"(?:[ -~]\0){4}|(?:\0[ -~]){4}|(?:[ -~]\0{3}){4}")
"""Text in UTF-16 or UTF-32."""
_CONTROL = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""What no text has: a date that is read as hex has them."""
_ASCII_IN_64 = re.compile(r"(?:[A-Za-f][A-HQ-Xg-nw-z0-3][ABEFIJMNQRUVYZcdghklopstwx014589][\w+/-]){3}")
"""Nine bytes of ASCII in base64: the first bit of each is 0. One name in a hundred looks so by chance."""
_FOR_URLS = str.maketrans("-_", "+/")
_MARKS = re.compile(r"0[xX]|[^0-9A-Fa-f]")


_DEFLATED = (b"\x1f\x8b\x08", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
"""How gzip begins, and zlib: https://www.rfc-editor.org/rfc/rfc1952#section-2.3, rfc1950#section-2.2"""
_DEFLATED_IN_64 = ("H4sI", "eA", "eF", "eJ", "eN")
_INFLATED = 64
"""Times its length that of something compressed is looked at: a text is seldom shorter than a tenth of itself."""
_EITHER = 32 + zlib.MAX_WBITS
"""Of the two: https://docs.python.org/3/library/zlib.html#zlib.decompress"""


def _texts(raw: bytes) -> Iterator[str]:
    """What the bytes say, where they are a text, or one that was compressed."""
    if raw.startswith(_DEFLATED):
        with suppress(zlib.error):
            raw = zlib.decompressobj(_EITHER).decompress(raw, _INFLATED * len(raw))
    if b"\0" in raw and _WIDE.search(raw):
        # Of what has one byte the others are 0.
        yield raw.replace(b"\0", b"").decode("latin-1")
        yield from (raw.decode(coding, "ignore") for coding in ("utf-16-le", "utf-16-be"))
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        yield from _stretches(raw)
        return
    if _CONTROL.search(text):
        yield from _stretches(raw)
    else:
        yield text


def _stretches(raw: bytes) -> Iterator[str]:
    for found in _STRETCH.finditer(raw):
        part = raw[max(0, found.start() - _BESIDE) : found.end() + _BESIDE]
        yield from (part.decode("latin-1"), part.decode("utf-8", "replace"))


def _base64(run: str) -> Iterator[str]:
    lines = run.rstrip("=").split()
    if len(lines) > 1:
        # A PEM whose lines were broken elsewhere is found so.
        yield "".join(lines)
        lines.append("".join(lines))
    for line in lines:
        if _ASCII_IN_64.search(line) or line.startswith(_DEFLATED_IN_64):
            # What stands before it may be of the same letters, as in a path.
            yield from (text for skipped in range(4) for text in _texts(_raw64(line[skipped:])))


def _raw64(letters: str) -> bytes:
    whole = letters[: len(letters) - 1 if len(letters) % 4 == 1 else None].translate(_FOR_URLS)
    return binascii.a2b_base64(whole + "=" * (-len(whole) % 4))


def _base32(run: str) -> Iterator[str]:
    letters = "".join(run.rstrip("=").split()).upper()
    # https://www.rfc-editor.org/rfc/rfc4648#section-6: other numbers of letters at the end stand for no byte.
    letters = letters[: len(letters) - {1: 1, 3: 1, 6: 1}.get(len(letters) % 8, 0)]
    with suppress(binascii.Error):
        yield from _texts(base64.b32decode(letters + "=" * (-len(letters) % 8)))


def _hex(run: str) -> Iterator[str]:
    digits = _MARKS.sub("", run)
    if len(digits) < len(run):
        yield digits
    for skipped in range(2):
        whole = digits[skipped : len(digits) - (len(digits) - skipped) % 2]
        yield from _texts(bytes.fromhex(whole))


def _numbers(run: str) -> Iterator[str]:
    numbers = [int(number) for number in re.findall("[0-9]+", run)]
    if max(numbers) < 256:
        yield from _texts(bytes(numbers))


# No pattern begins with a look behind it: that would be asked at every character of every text.
_RUNS = (
    _Run(
        re.compile(
            r"[A-Za-z0-9+/_-]{12,}"
            r"(?:\s{1,64}[A-Za-z0-9+/_-]{16,}"
            # A short line is the last one, and no beginning of a sentence.
            r"|[ \t]{0,64}\r?\n[ \t]{0,64}[A-Za-z0-9+/_-]++(?![ \t]{1,64}\w|[.,:;]))*={0,2}"
        ),
        _base64,
    ),
    _Run(
        re.compile(r"[A-Z2-7]{16,}(?:\s{1,64}[A-Z2-7]{8,}|[ \t]{0,64}\r?\n[ \t]{0,64}[A-Z2-7]+)*={0,6}"),
        _base32,
    ),
    _Run(re.compile(r"[a-z2-7]{16,}(?:\r?\n[a-z2-7]{8,})*={0,6}"), _base32),
    # Marks between bytes as in certificates, dumps and sources of C.
    _Run(
        re.compile(r"[0-9A-Fa-f]{2}(?:[\s:.,;_-]{0,3}(?:0[xX])?[0-9A-Fa-f]{2}){5,}[0-9A-Fa-f]?"),
        _hex,
    ),
    _Run(re.compile(r"[0-9](?<![0-9]{2})[0-9]{0,2}(?:[,;\s]{1,3}[0-9]{1,3}){5,}(?![0-9])"), _numbers),
)
