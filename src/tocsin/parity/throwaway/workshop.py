"""Where a measurement makes what it needs, and looks at it, within a budget of time and of calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tocsin.aws.target import Aws
from tocsin.errors import TargetError, Unavailable
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.model.duration import format_duration
from tocsin.model.events import FaultStage
from tocsin.parity.assumptions import ASSUMPTIONS
from tocsin.parity.context import ParityContext
from tocsin.parity.model import Key, Measured
from tocsin.parity.throwaway.kinds.base import Throwaway
from tocsin.parity.throwaway.telling import Telling

_PAUSE_S = 1.0
"""Production seconds between two looks: DescribeAlarms may be asked nine times a second in an account, by all who ask.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html
"""
_PAUSE_WALL_S = 0.05
"""No sooner than this on a fast clock."""

T = TypeVar("T")
Made = TypeVar("Made", bound=Throwaway)


class NotSeen(TargetError):
    """What a measurement waited for did not come within its budget."""


@dataclass
class Budget:
    """What all measurements of a run may use together: looks, and the time until which they may begin."""

    ends_at: float
    """epoch seconds on the wall"""
    looks: int

    def spend(self, now: float) -> None:
        """Take one look.

        Raises:
            NotSeen: none is left.
        """
        if self.looks <= 0 or now >= self.ends_at:
            found = "no look" if self.looks <= 0 else "no time"
            raise NotSeen(f"expected to go on measuring, found that {found} of the budget is left. Call it again")
        self.looks -= 1


@dataclass(frozen=True)
class Workshop:
    """What the measurements of one run share. `run` is what the names of all that it makes begin with."""

    ctx: ParityContext
    lifecycle: FaultLifecycle
    run: str
    budget: Budget
    telling: Telling

    @property
    def aws(self) -> Aws:
        """For what a measurement itself asks."""
        return Aws(self.ctx.target, entry="", wait=self.ctx.clock.wait)

    def name(self, what: str) -> str:
        """Name of a resource of this run."""
        return f"{self.run}-{what}"

    def make(self, resource: Made) -> Made:
        """Write a resource into the ledger, create it, and see that it is there.

        Raises:
            Refused: something of its name is there, a guard says no, or the end was asked for.
            LedgerError: nothing was written, and nothing was created.
            TargetError: it was not created, or is not seen.
        """
        self.ctx.progress(f"creating {resource.resource}")
        stage = self.lifecycle.inject(resource)
        if stage is not FaultStage.EFFECTIVE:
            within = format_duration(resource.effect_within_s)
            raise NotSeen(f"expected {resource.resource} to be there within {within}, found: {self.telling.last}")
        return resource

    def seen(self, what: str, question: Callable[[], T | None], within_s: float) -> T:
        """Ask until there is an answer other than None, for so many production seconds.

        A call that is not answered tells nothing, and is made again.

        Raises:
            NotSeen: none came.
            Refused: the end was asked for.
        """
        clock = self.ctx.clock
        deadline = clock.now() + self.ctx.wall(within_s)
        self.ctx.progress(f"waiting until {what}, at most {format_duration(within_s)}")
        why = ""
        while True:
            self.budget.spend(clock.now())
            try:
                answer = question()
            except Unavailable as error:
                answer, why = None, f"; last, {error}"
            if answer is not None:
                return answer
            if clock.now() >= deadline:
                raise NotSeen(f"expected that {what} within {format_duration(within_s)}, found that it was not so{why}")
            clock.wait(max(_PAUSE_WALL_S, self.ctx.wall(_PAUSE_S)))

    def since(self, epoch_s: float) -> float:
        """Production seconds from a moment on the wall until now."""
        return self.between(epoch_s, self.ctx.clock.now())

    def between(self, first: float, then: float) -> float:
        """Production seconds between two moments on the wall; 0 where clocks disagree about which was first."""
        return max(0.0, round(self.ctx.production(then - first), 3))


def figure(key: Key, about: str, here: float, detail: str = "", *, looks: int = 1) -> Measured:
    """A row with a figure, held against what drills can live with."""
    return Measured(key=key, about=about, here=here, holds=ASSUMPTIONS[key].holds(here), detail=detail, looks=looks)
