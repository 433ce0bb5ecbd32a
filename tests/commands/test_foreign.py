"""What code of others prints reaches nobody unmasked, acts nowhere, is not lost, and never fails them."""

from __future__ import annotations

import base64
import io
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rich.text import Text
from tests.masking import leaks

from tocsin.commands.console import PlainConsole, footer, plain_console
from tocsin.commands.foreign import finish_lines, foreign_streams
from tocsin.commands.streams import lasting_streams
from tocsin.commands.terminal import say
from tocsin.masking import HIDDEN, KNOWN

VALUE = leaks.nasty("foreign")
PEM = "-----BEGIN X-----\n" + "\n".join(leaks.plain(f"line {n}") * 3 for n in range(8)) + "\n-----END X-----\n"
ESC = "\x1b"


class _Written(io.BytesIO):
    def isatty(self) -> bool:
        return True


class _Terminal(io.TextIOWrapper):
    """A terminal of which one reads what was written to it."""

    def __init__(self) -> None:
        super().__init__(_Written(), encoding="utf-8", newline="")

    def said(self) -> str:
        self.flush()
        raw = self.buffer
        assert isinstance(raw, io.BytesIO)
        return raw.getvalue().decode()


def shout(text: str, end: str = "\n", *, err: bool = False) -> None:
    """As `print` does it: two writes."""
    stream = sys.stderr if err else sys.stdout
    stream.write(text)
    stream.write(end)


@pytest.fixture(autouse=True)
def _knows() -> None:
    KNOWN.learn(VALUE)
    KNOWN.learn(PEM)


@contextmanager
def _terminals(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[_Terminal, _Terminal]]:
    out, err = _Terminal(), _Terminal()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", out)
        patched.setattr(sys, "stderr", err)
        yield out, err


@pytest.mark.parametrize("form", leaks.KNOWN)
def test_what_is_printed_holds_no_secret_that_is_known(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with _terminals(monkeypatch) as (out, err):
        with lasting_streams():
            shout(leaks.KNOWN[form](VALUE))
            shout(leaks.KNOWN[form](VALUE), err=True)
            sys.stdout.buffer.write(f"{leaks.KNOWN[form](VALUE)}\n".encode())
        for said in (out.said(), err.said()):
            assert HIDDEN in said
            assert leaks.FRONT not in said
            assert leaks.BACK not in said


def test_nothing_that_is_printed_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    with _terminals(monkeypatch) as (out, err):
        with lasting_streams():
            shout(f"{ESC}]0;planted\x07\n::error::planted")
            shout(f"{ESC}[31m##[error]planted", err=True)
        assert out.said() == "\\x1b]0;planted\\x07\n: :error::planted\n"
        assert err.said() == "\\x1b[31m# #[error]planted\n"


def test_what_is_ours_keeps_its_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with _terminals(monkeypatch) as (out, err):
        with lasting_streams():
            plain_console().print(Text("all is well", style="green"))
            say("and said so", err=True, colour="green")
        assert out.said() == f"{ESC}[32mall is well{ESC}[0m\n"
        assert err.said() == f"{ESC}[32mand said so{ESC}[0m\n"


def test_beside_a_footer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with _terminals(monkeypatch) as (out, _), lasting_streams():
        console = PlainConsole(width=80, force_terminal=True)
        with footer(console, lambda: Text("the footer")):
            shout(f"{ESC}]0;planted\x07 {VALUE}")
            shout("on the other stream", err=True)
        sys.stdout.flush()
        said = out.said()
    assert f"\\x1b]0;planted\\x07 {HIDDEN}" in said
    assert "on the other stream" in said
    assert leaks.FRONT not in said


def test_a_secret_in_pieces_and_in_several_lines_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    coded = base64.encodebytes(PEM.encode()).decode()
    with _terminals(monkeypatch) as (out, _):
        with lasting_streams():
            for character in f"one {VALUE} two\n":
                sys.stdout.write(character)
                sys.stdout.flush()
            shout(coded)
            for line in coded.splitlines():
                shout(line)
            shout("and three")
        assert out.said() == f"one {HIDDEN} two\n{HIDDEN}\n\n{HIDDEN}\nand three\n"


def test_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with _terminals(monkeypatch) as (out, _):
        with lasting_streams():
            shout("é " * 100_000)
            shout("no end", end="")
            assert out.said() == "é " * 100_000 + "\n"
            finish_lines()
            assert out.said().endswith("\nno end")
            shout(", and again", end="")
        assert out.said().endswith("\nno end, and again")


def test_all_threads_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    def speak(name: int) -> None:
        for number in range(200):
            sys.stdout.write(f"{name} {number}\n")

    with _terminals(monkeypatch) as (out, _):
        with lasting_streams():
            threads = [threading.Thread(target=speak, args=[name]) for name in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert sorted(out.said().splitlines()) == sorted(
            f"{name} {number}" for name in range(4) for number in range(200)
        )


def test_who_keeps_the_stream_prints_on_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.Logger("theirs")
    with _terminals(monkeypatch) as (_, err):
        with lasting_streams():
            logger.addHandler(logging.StreamHandler())
            logger.error("within %s", VALUE)
            with lasting_streams():
                logger.error("within both %s", VALUE)
        logger.error("afterwards %s", VALUE)
        assert err.said() == f"within {HIDDEN}\nwithin both {HIDDEN}\nafterwards {HIDDEN}\n"


class _Broken(_Terminal):
    def write(self, text: str, /) -> int:
        raise RuntimeError("no paper")


def test_an_output_that_fails_fails_nobody_who_prints() -> None:
    with foreign_streams(_Broken(), _Broken()):
        shout("to nobody")
        sys.stdout.close()
        shout("to nobody")
        shout("to nobody", end="", err=True)


def test_what_cannot_be_looked_at_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(text: str) -> str:
        raise RecursionError

    monkeypatch.setattr("tocsin.commands.foreign.mask", fails)
    with _terminals(monkeypatch) as (out, _):
        with lasting_streams():
            shout("to somebody")
        assert out.said() == f"{HIDDEN}\n"


def test_what_is_started_has_the_real_stream(capfd: pytest.CaptureFixture[str]) -> None:
    with foreign_streams():
        subprocess.run([sys.executable, "-c", "print('from a child')"], stdout=sys.stdout, check=True)
    assert capfd.readouterr().out == "from a child\n"
