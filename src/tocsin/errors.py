"""Every error Tocsin raises on purpose, on one page.

    TocsinError
    ├── InvalidInput         what the user wrote cannot be used                      exit 2
    ├── Refused              a guard said no, or somebody stopped the drill          exit 4
    │   └── Interrupted      SIGINT, SIGTERM or SIGHUP arrived                       exit 4
    ├── TargetError          the account or sandbox did not answer as it should      exit 3
    │   ├── NotFound         a resource that the system file names is not there      exit 3
    │   └── Unavailable      throttled, timed out, 5xx, credentials expired: try again  exit 3
    ├── ActorError           load, contract or canary could not do its work          exit 3
    ├── ResidueLeft          a fault could not be undone, or not be seen undone      exit 5
    ├── LedgerError          the ledger cannot be read or written                    exit 4
    ├── HistoryError         the history cannot be written                          exit 3
    └── SandboxError         the embedded sandbox could not be started or stopped    exit 3

A message says what was expected, what was found (file and line where there is one) and the next move.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from tocsin.masking import mask


class TocsinError(Exception):
    """Base of all errors that are shown to the user as one message, without a traceback."""

    exit_code = 3

    def __str__(self) -> str:
        """The message; what AWS or a system repeated in it of a token or a password is not shown."""
        return mask(super().__str__())


class InvalidInput(TocsinError):
    """A file, argument or name that the user gave cannot be used."""

    exit_code = 2

    def __init__(self, message: str, *, file: Path | str | None = None, line: int | None = None) -> None:
        self.file = str(file) if file is not None else None
        self.line = line
        place = "" if self.file is None else self.file if line is None else f"{self.file}:{line}"
        super().__init__(f"{place}: {message}" if place else message)


class Refused(TocsinError):
    """A guard stopped the drill; nothing was injected, or what was injected is undone."""

    exit_code = 4

    def __init__(self, guard: str, message: str) -> None:
        self.guard = guard
        super().__init__(message)


class Interrupted(Refused):
    """A signal asked the run to end."""

    def __init__(self, signal_name: str) -> None:
        self.signal_name = signal_name
        super().__init__("interrupted", f"stopped by {signal_name}")


class TargetError(TocsinError):
    """The AWS API (or the sandbox) answered with an error, or not at all."""


class NotFound(TargetError):
    """A resource named in a system file or an experiment does not exist in the target."""


class Unavailable(TargetError):
    """AWS throttled, timed out, failed by itself, or the credentials expired: the same call may succeed later."""


class ActorError(TocsinError):
    """Load, contract test or canary could not do its work: never a statement about the system under test."""


class ResidueLeft(TocsinError):
    """A fault is still in place: `tocsin recover` has work to do."""

    exit_code = 5


class LedgerError(TocsinError):
    """The ledger cannot be read or written: no fault may be injected."""

    exit_code = 4


class HistoryError(TocsinError):
    """The history cannot be written: what is not recorded cannot be judged, so the drill ends and undoes."""


class SandboxError(TocsinError):
    """The embedded sandbox could not be started, reached or stopped."""


def near_match(name: str, known: Iterable[str]) -> str:
    """A sentence that offers the nearest known name, or lists what there is."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(names)}." if names else "None is known."


# Of several drills' exit codes the first in this order is the run's: the loudest problem wins.
EXIT_PRECEDENCE = (5, 2, 4, 1, 3, 0)


def worst_exit(codes: Iterable[int]) -> int:
    """Of several exit codes, the one to leave with; 3 (unknown) when there is none at all."""
    return min(codes, key=EXIT_PRECEDENCE.index, default=3)
