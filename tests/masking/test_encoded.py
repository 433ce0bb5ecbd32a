"""What was encoded is decoded and looked into; what holds no value stays, and costs a time in proportion to it."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.masking import leaks

from tocsin.masking import HIDDEN, KnownSecrets
from tocsin.masking.encoded import DEPTH, Span, merged, spans

VALUE = leaks.nasty("encoded")
PEM = "-----BEGIN X-----\n" + "\n".join(leaks.plain(f"line {n}") * 3 for n in range(8)) + "\n-----END X-----\n"
KNOWN = KnownSecrets()
KNOWN.learn(VALUE)
KNOWN.learn(PEM)

Encode = Callable[[str], str]
LAYERS: dict[str, Encode] = {
    "JSON": json.dumps,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of lines": lambda text: base64.encodebytes(text.encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base32": lambda text: base64.b32encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "hex with colons": lambda text: text.encode().hex(":"),
    "URL": lambda text: quote(text, safe=""),
    "references": lambda text: "".join(f"&#{ord(character)};" for character in text),
    "Python": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()),
    "printable": lambda text: "".join(f"={byte:02X}" for byte in text.encode()),
}


def find(text: str) -> list[Span]:
    """The one place of the value, or none."""
    at = text.find(VALUE)
    return [] if at < 0 else [(at, at + len(VALUE))]


@settings(deadline=None)
@given(st.lists(st.sampled_from(sorted(LAYERS)), max_size=3), st.text(max_size=20), st.text(max_size=20))
@example(["URL", "base64 of lines", "JSON"], "", "")
@example(["hex", "base32", "base64"], "é", "\0")
def test_it_is_found_in_any_encodings_of_each_other(layers: list[str], before: str, behind: str) -> None:
    text = f"{before} {VALUE} {behind}".encode("utf-8", "replace").decode()
    for layer in layers:
        text = LAYERS[layer](text)
    assert spans(text, find)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_key_of_several_lines_is_hidden(layer: str) -> None:
    coded = LAYERS[layer](PEM)
    masked = KNOWN.hide(f"the key: {coded}, as told")
    assert masked.startswith("the key: ")
    assert masked.endswith(", as told")
    assert HIDDEN in masked
    assert not [
        at
        for at in range(0, len(coded) - 40, 20)
        if len(set(coded[at : at + 40])) > 20 and coded[at : at + 40] in masked
    ]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"a%20{quote(VALUE)}%20b&#233;", f"a%20{HIDDEN}%20b&#233;"),
        (f"&lt;{LAYERS['references'](VALUE)}&gt;", f"&lt;{HIDDEN}&gt;"),
        (f"key = {LAYERS['base64 of lines'](PEM)}then this", f"key = {HIDDEN}\nthen this"),
        (f"{LAYERS['hex with colons'](VALUE)} at 12:30", f"{HIDDEN} at 12:30"),
    ],
)
def test_what_stands_beside_it_stays(text: str, masked: str) -> None:
    hidden = KNOWN.hide(text)
    assert hidden == masked
    assert KNOWN.hide(hidden) == hidden


_PIECES = st.one_of(
    st.text(max_size=30),
    st.text(string.ascii_letters + string.digits + "+/=-_", max_size=80),
    st.sampled_from(["\\", "\\\\", "\\x41", "\\u00e9", "\\ud83d", "\\U99999999", "\\u{ffffff}", "\\377", "\\³"]),
    st.sampled_from(["&#233;", "&#x110000;", "&amp;", "&nosuch;", "=C3", "=\n", "\0", "5a:71", "0x5a, "]),
    st.sampled_from(["\r\n", " ", "[90, 113, 256, 1]", "%41", "%ff", "%", "+"]),
    st.binary(max_size=40).map(lambda raw: base64.b64encode(raw).decode()),
    st.binary(max_size=40).map(lambda raw: base64.encodebytes(raw).decode()),
    st.binary(max_size=40).map(lambda raw: base64.b32encode(raw).decode()),
    st.binary(max_size=40).map(lambda raw: raw.hex(":")),
    st.text(max_size=30).map(json.dumps),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(_PIECES, max_size=12).map("".join))
@example("leave-attendance-dev-calendarSyncWorker at 2026-11-30T12:05:03Z, 9cf03f6e-a4b3-4902-b61e-50011e452c36")
@example("-----BEGIN X-----\n" + "A" * 64 + "\n-----END X-----")
def test_a_text_without_a_value_stays_as_it_is(text: str) -> None:
    assert KNOWN.hide(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("\\" * 20_000, "%25" * 7_000, "&amp;" * 4_000, "=" * 20_000, "A" * 20_000, ("A" * 15 + "\n") * 1_000),
        *(("ABCDEFGH" * 2 + " ") * 1_000, "1 " * 10_000, "5a:" * 7_000, "aB3" * 12 + " " * 20_000, "\0" * 20_000),
        json.dumps(json.dumps(json.dumps([{"a b": "%41+&amp;=41"}] * 500))),
        base64.encodebytes(random.Random(1).randbytes(20_000)).decode(),
        base64.encodebytes(base64.encodebytes(base64.encodebytes(b"nothing of it. " * 700))).decode(),
    ],
    ids=lambda text: text[:12].encode("unicode_escape").decode(),
)
def test_what_is_looked_at_is_bounded_by_the_length(text: str) -> None:
    """Counted, not timed: how many characters are gone through in all."""
    seen: list[int] = []

    def count(part: str) -> list[Span]:
        seen.append(len(part))
        return []

    assert spans(text, count) == []
    assert sum(seen) <= 13 * len(text) + 20_000


def test_an_ordinary_text_is_looked_at_once() -> None:
    seen: list[str] = []
    text = "guard lock: /tocsin/lock is ours until 2026-11-30 12:16:44 UTC, for leave-attendance-dev-calendarSyncWorker"
    spans(text, lambda part: [(0, 0)] if seen.append(part) else [])  # type: ignore[func-returns-value]
    assert seen[0] == text
    assert len(seen) <= 2, seen


def test_no_more_levels_than_that() -> None:
    text = VALUE
    for _ in range(DEPTH):
        text = LAYERS["references"](text) if len(text) < 5_000 else quote(text, safe="")
    assert spans(text, find)
    for _ in range(2):
        text = quote(text.replace("%", "%25"), safe="")
    assert not spans(text, find)


def test_places_that_overlap_are_one() -> None:
    assert merged([(4, 9), (0, 2), (8, 12), (2, 4)]) == [(0, 2), (2, 4), (4, 12)]
