"""How a secret is written down: what is searched for, where its value is known.

These are the forms that are found in one pass, also where only a part of them stands. Whatever else was encoded is
decoded first (`encoded`); what cannot be told from any other text is here alone: quotation marks, base85.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus

_EMBEDDED_BYTES = 6
"""Shorter values are not looked for inside of other values in base64: three letters of it are found everywhere."""
_EMBEDDED_IN_85 = 8
_BASE85 = (base64.b85encode, base64.a85encode)
"""As git and Python have it (https://www.rfc-editor.org/rfc/rfc1924), and as PostScript has it."""
_HTML_SAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
"""How JSON is written where it must not be read as HTML: https://pkg.go.dev/encoding/json#Marshal"""
_ENTITIES = {"'": "&#39;", '"': "&#34;"}
"""As templates of Python write them (https://markupsafe.palletsprojects.com); html.escape has others."""


def forms_of(value: str) -> frozenset[str]:
    """The value as it is, in JSON (up to three times), Python, shells, SQL, URLs, HTML, XML, hex, base64 and base85.

    In base64 and base85 also as a part of something longer, such as `user:password`.
    """
    written = {value, *_in_json(value)}
    texts = {*written, *_each(_in_markup, written), *_each(_in_url, written)}
    texts |= {quote(text, safe="") for text in _in_url(value)}
    return frozenset(
        text for text in (*texts, *_encoded(value), *_each(_embedded, written), *_embedded85(value)) if text
    )


def _each(write: object, texts: Iterable[str]) -> Iterator[str]:
    assert callable(write)
    for text in texts:
        yield from write(text)


def _in_json(value: str) -> Iterator[str]:
    once = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    once |= {text.replace("/", "\\/") for text in once}
    once |= {_replaced(text, _HTML_SAFE) for text in once}
    yield from once
    for text in once:
        twice = json.dumps(text)[1:-1]
        yield from (twice, json.dumps(twice)[1:-1])
    # As Python shows a text, and bytes; both choose the quotation mark.
    for shown in (repr(value)[1:-1], repr(value.encode())[2:-1]):
        for quoted in (shown, shown.replace("\\'", "'"), shown.replace("\\'", "'").replace("'", "\\'")):
            yield from (quoted, json.dumps(quoted)[1:-1])
    # As a shell is told it, and as SQL, YAML and CSV double a quotation mark.
    yield from (value.replace("'", written) for written in ("'\"'\"'", "'\\''", "''"))
    yield value.replace('"', '""')
    yield value.encode().decode("latin-1")  # as somebody reads it who was not told that it is UTF-8


def _in_markup(text: str) -> Iterator[str]:
    yield from (html.escape(text), html.escape(text, quote=False), html.escape(html.escape(text)))
    yield _escaped(text, {"'": "&apos;", '"': "&quot;"})
    yield _escaped(text, {'"': "&quot;"})
    yield _escaped(text, _ENTITIES)


def _in_url(text: str) -> Iterator[str]:
    for safe in ("", "/", "/:@!$&'()*+,;="):
        coded = quote(text, safe=safe)
        yield from (coded, _lower_escapes(coded))
    yield from (quote_plus(text), _lower_escapes(quote_plus(text)))


def _escaped(text: str, entities: Mapping[str, str]) -> str:
    """As `xml.sax.saxutils.escape`, whose import takes a fifth of what `tocsin --help` does: it brings all of HTTP."""
    coded = html.escape(text, quote=False)
    for character, entity in entities.items():
        coded = coded.replace(character, entity)
    return coded


def _lower_escapes(coded: str) -> str:
    first, *rest = coded.split("%")
    return "".join([first, *(f"%{part[:2].lower()}{part[2:]}" for part in rest)])


def _encoded(value: str) -> Iterator[str]:
    raw = value.encode()
    for written in (raw.hex(), *(raw.hex(mark) for mark in ": -")):
        yield from (written, written.upper())
    yield from in_base85(value)
    for coded in (base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()):
        yield from (coded, coded.rstrip("="), quote(coded, safe=""))


def _embedded(text: str) -> Iterator[str]:
    """The letters of base64 that a value gives wherever it stands in what was encoded."""
    for coding in ("utf-8", "utf-16-le", "utf-16-be"):
        yield from _shifted(text.encode(coding))


def _shifted(raw: bytes) -> Iterator[str]:
    """Three shifts: three bytes are four letters."""
    if len(raw) < _EMBEDDED_BYTES:
        return
    for shift in range(3):
        # Letters that also hold bits of the bytes before or after are left out.
        first, last = (0, 2, 3)[shift], (shift + len(raw)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            coded = encode(b"\0" * shift + raw).decode()[first:last]
            yield from {coded, quote(coded, safe="")}


def in_base85(value: str) -> Iterator[str]:
    """The whole value in base85."""
    yield from (encode(value.encode()).decode() for encode in _BASE85)


def _embedded85(value: str) -> Iterator[str]:
    """The same in base85, of which five letters stand for four bytes: four shifts."""
    raw = value.encode()
    for shift in range(4):
        skipped = -shift % 4
        whole = raw[skipped : skipped + (len(raw) - skipped) // 4 * 4]
        if len(whole) >= _EMBEDDED_IN_85:
            # Nothing may be written shorter at the end: Adobe's has one letter for four zeros, and values hold none.
            yield from (encode(whole).decode() for encode in _BASE85)


def _replaced(text: str, marks: dict[str, str]) -> str:
    for mark, written in marks.items():
        text = text.replace(mark, written)
    return text
