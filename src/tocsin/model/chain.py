"""How the lines of a history hang together: each carries the hash of the one before.

So no line can be changed, taken out or put in without the next one telling. It is no signature: whoever writes all
lines anew makes a whole chain. A half-written last line, which a killed writer leaves, is no part of it.
"""

from __future__ import annotations

import hashlib
import re

FIRST = hashlib.sha256(b"tocsin").hexdigest()
"""What the first line carries: there is none before it."""
SEAL = '{"kind":"history_closed"}'
"""The last line of a history that was closed: without it the line before it could be changed, or be taken away."""
_LINK = re.compile(r'\{"before":"([0-9a-f]{64})",')
_LINKED = len('{"before":"') + len(FIRST) + len('",')


def hash_of(line: str) -> str:
    """SHA-256 of a line as it stands in the file, without its newline; in hexadecimal."""
    return hashlib.sha256(line.encode()).hexdigest()


def linked(event: str, before: str) -> str:
    """The line of an event (a JSON object that is not empty) that carries the hash of the line before."""
    return f'{{"before":"{before}",{event[1:]}'


def unlinked(line: str) -> tuple[str | None, str]:
    """The hash that a line carries, None where it carries none, and its event."""
    found = _LINK.match(line)
    return (None, line) if found is None else (found[1], f"{{{line[found.end() :]}")


def _link_to(head: str) -> str:
    return f'{{"before":"{head}",'


class Chain:
    """Follows the lines of a history, in their order, and finds the first place at which they do not hang together."""

    def __init__(self) -> None:
        self._next = _link_to(FIRST)
        """what the next line begins with"""
        self._linked = self._unlinked = 0
        self._sealed = False
        self._broken: str | None = None

    def follow(self, number: int, line: str) -> str | None:
        """Take the next whole line; its event, or None where it is the seal."""
        # Nearly every line follows the one before, and that needs no search.
        if line.startswith(self._next) and not self._sealed:
            self._linked += 1
            event = "{" + line[_LINKED:]
        else:
            event = self._out_of_line(number, line)
        self._next = _link_to(hash_of(line))
        if event == SEAL:
            self._sealed = True
            return None
        return event

    def _out_of_line(self, number: int, line: str) -> str:
        """The event of a line that comes after the seal, or does not carry the hash of the one before."""
        before, event = unlinked(line)
        if before is None:
            self._unlinked = self._unlinked or number
            return event
        self._linked += 1
        if self._sealed:
            self._break(f"line {number} comes after the last one")
        else:
            self._break(
                f"line {number} does not follow the one before it: that one was changed, or lines between them were "
                "taken out or put in"
            )
        return event

    def broken(self, *, promised: bool, ended: bool) -> str | None:
        """Why the lines are not those that the drill wrote, in words; None where nothing shows that.

        Args:
            promised: the drill said that its lines are linked. Those of older versions are not.
            ended: the drill came to its end, so the history was closed.
        """
        if not self._linked:
            return "no line carries the hash of the one before, and the drill wrote each with it" if promised else None
        if self._broken is None and self._unlinked:
            return f"line {self._unlinked} carries no hash of the one before, as the others do: it was put in"
        if self._broken is None and ended and not self._sealed:
            return "the line that closes a history is missing: its end was cut off, or its writer killed"
        return self._broken

    def _break(self, why: str) -> None:
        self._broken = self._broken or why
