"""Output in pieces: whole lines are handed on, what belongs together is together, and nothing is lost."""

from __future__ import annotations

import base64

import pytest

from tocsin.masking.lines import Lines

CODED = base64.encodebytes(bytes(range(150))).decode()


def handed_on(*pieces: str, finish: bool = False) -> list[str]:
    told: list[str] = []
    lines = Lines(told.append)
    for piece in pieces:
        lines.add(piece.encode())
    if finish:
        lines.finish()
    return told


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        (["one\n", "two\n"], ["one\n", "two\n"]),
        (["one\ntwo", "\n"], ["one\ntwo\n"]),
        (["o", "n", "e"], []),
        (["one\r\n"], ["one\n"]),
        ([*CODED.splitlines(keepends=True)], []),
        ([*CODED.splitlines(keepends=True), "end\n"], [f"{CODED}end\n"]),
        (["=5A=71=\n", "=37\n"], ["=5A=71=\n=37\n"]),
        (["5a:71:37:27:22:3c:\n", "26\n"], ["5a:71:37:27:22:3c:\n26\n"]),
        (["\n", "a = b, and that is all of it\n"], ["\n", "a = b, and that is all of it\n"]),
    ],
)
def test_what_belongs_together_is_handed_on_together(pieces: list[str], told: list[str]) -> None:
    assert handed_on(*pieces) == told


@pytest.mark.parametrize("pieces", [["one"], [CODED], ["one\n", CODED, "x" * 70_000, "é"], ["A" * 16 + "\n"] * 9_000])
def test_in_the_end_all_was(pieces: list[str]) -> None:
    assert "".join(handed_on(*pieces, finish=True)) == "".join(pieces)


def test_no_more_is_held_back_than_that() -> None:
    assert len("".join(handed_on("x" * 70_000))) == 70_000
    assert handed_on(*["A" * 16 + "\n"] * 4_000)


def test_bytes_that_are_no_text_are_lines_too() -> None:
    told: list[str] = []
    lines = Lines(told.append)
    lines.add(b"\xff one\n")
    assert told == ["\ufffd one\n"]
