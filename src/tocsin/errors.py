"""Every error Tocsin raises on purpose, on one page.

    TocsinError
    ├── InvalidInput         what the user wrote cannot be used                      exit 2
    │   └── InvalidInputs    several of them, told together                          exit 2
    ├── Refused              a guard said no, or somebody stopped the drill          exit 4
    │   └── Interrupted      SIGINT, SIGTERM or SIGHUP arrived                       exit 4
    ├── TargetError          the account or sandbox did not answer as it should      exit 3
    │   ├── NotFound         a resource that the system file names is not there      exit 3
    │   └── Unavailable      throttled, timed out, 5xx: try again                    exit 3
    │       ├── Busy                 another change of it is going on: try again     exit 3
    │       ├── Incomplete           an answer lacks what it must say: try again     exit 3
    │       └── CredentialsExpired   try again when they are renewed                 exit 3
    ├── ResidueLeft          a fault could not be undone, or not be seen undone      exit 5
    ├── LedgerError          the ledger cannot be read or written                    exit 4
    ├── HistoryError         the history cannot be written                          exit 3
    ├── NothingAsked         nothing was selected, so nothing is known               exit 3
    └── SandboxError         the embedded sandbox could not be started or stopped    exit 3

A message says what was expected, what was found (file and line where there is one) and the next move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import ParamSpec, TypeVar

from tocsin.masking import mask
from tocsin.shown import for_terminal

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")

_MESSAGE_CHARACTERS = 1000
"""What is told of one mistake fits on a screen, however long the value is that is wrong."""
_PATH_CHARACTERS = 400
_NAME_CHARACTERS = 100
_NAMES = 20


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
        self.message = shortened(for_terminal(mask(message)), _MESSAGE_CHARACTERS)
        place = "" if self.file is None else shortened(for_terminal(self.file), _PATH_CHARACTERS)
        place = f"{place}:{line}" if place and line is not None else place
        super().__init__(f"{place}: {self.message}" if place else self.message)

    @property
    def problems(self) -> tuple[InvalidInput, ...]:
        """Each thing that is wrong."""
        return (self,)


class NotEvaluated(InvalidInput):
    """A definition that CloudWatch takes, and that nobody but CloudWatch evaluates."""


class InvalidInputs(InvalidInput):
    """Everything that is wrong with what the user gave: each problem once, in the order in which it was found."""

    def __init__(self, problems: Iterable[InvalidInput]) -> None:
        self._problems = tuple({str(one): one for problem in problems for one in problem.problems}.values())
        super().__init__(self._problems[0].message, file=self._problems[0].file, line=self._problems[0].line)

    @property
    def problems(self) -> tuple[InvalidInput, ...]:
        """Each thing that is wrong."""
        return self._problems

    def __str__(self) -> str:
        """One line for each."""
        return "\n".join(str(problem) for problem in self._problems)


class Complaints:
    """Goes on where something is wrong, so that everything can be told at once."""

    def __init__(self) -> None:
        self._found: list[InvalidInput] = []

    def add(self, problem: InvalidInput) -> None:
        """Keep one for later."""
        self._found.append(problem)

    def extend(self, problems: Iterable[InvalidInput]) -> None:
        """Keep several."""
        self._found.extend(problems)

    def attempt(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What `work` gives; None where it raised InvalidInput, which is kept for later."""
        try:
            return work(*args, **kwargs)
        except InvalidInput as error:
            self._found.append(error)
            return None

    def each(self, work: Callable[[Item], T], items: Iterable[Item]) -> list[T]:
        """What `work` gives for those items with which nothing is wrong."""
        done = [self.attempt(work, item) for item in items]
        return [one for one in done if one is not None]

    @property
    def problems(self) -> tuple[InvalidInput, ...]:
        """What was kept, each problem once."""
        return InvalidInputs(self._found).problems if self._found else ()

    def tell(self) -> None:
        """End here when something was wrong.

        Raises:
            InvalidInput: what was kept; InvalidInputs when it is more than one problem.
        """
        problems = self.problems
        if problems:
            raise problems[0] if len(problems) == 1 else InvalidInputs(problems)


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
    """AWS throttled, timed out or failed by itself: the same call may succeed later."""


class CredentialsExpired(Unavailable):
    """The credentials ended: the same call may succeed when whoever owns them has renewed them."""


class Incomplete(Unavailable):
    """AWS answered, and not what is needed: the same call may be answered in whole later."""


class Busy(Unavailable):
    """Nothing was done, because another change of the resource is going on: the same call may succeed after it."""


class ResidueLeft(TocsinError):
    """A fault is still in place: `tocsin recover` has work to do."""

    exit_code = 5


class LedgerError(TocsinError):
    """The ledger cannot be read or written: no fault may be injected."""

    exit_code = 4


class HistoryError(TocsinError):
    """The history cannot be written: what is not recorded cannot be judged, so the drill ends and undoes."""


class NothingAsked(TocsinError):
    """What was selected is nothing: nothing was started, and nothing is known."""


class SandboxError(TocsinError):
    """The embedded sandbox could not be started, reached or stopped."""


def near_match(name: str, known: Iterable[str]) -> str:
    """A sentence that offers the nearest known name, or lists what there is."""
    names = sorted(known)
    close = get_close_matches(name[:_NAME_CHARACTERS], names, n=1, cutoff=0.5)
    if close:
        return f"Did you mean '{shortened(close[0])}'?"
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f"Known: {', '.join(shortened(one) for one in names[:_NAMES])}{more}." if names else "None is known."


def shortened(text: str, characters: int = _NAME_CHARACTERS) -> str:
    """A text with its middle left out where it is longer than that."""
    if len(text) <= characters:
        return text
    half = (characters - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


# Of several drills' exit codes the first in this order is the run's: the loudest problem wins.
EXIT_PRECEDENCE = (5, 2, 4, 1, 3, 0)


def worst_exit(codes: Iterable[int]) -> int:
    """Of several exit codes, the one to leave with; 3 (unknown) when there is none at all."""
    return min(codes, key=EXIT_PRECEDENCE.index, default=3)
