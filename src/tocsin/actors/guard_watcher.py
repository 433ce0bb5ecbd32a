"""Keeps asking, while a drill runs, what must not change: the first no ends the drill, which undoes and reports."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tocsin.actors.base import ThreadActor
from tocsin.actors.context import RunContext
from tocsin.errors import CredentialsExpired, Refused, TargetError
from tocsin.guards.admission import check_freeze, check_window
from tocsin.guards.base import cannot_be_evaluated
from tocsin.guards.clock import Standstill, SteadyClock
from tocsin.guards.kill_switch import KillSwitch
from tocsin.guards.limits import HeldFaults, StopConditions

_LOOK_WALL_S = 0.1
"""Between two looks at this machine, which cost nothing: whoever sets its kill switch waits no second."""


@dataclass(frozen=True)
class Pace:
    """How often guards are asked, and how long one may be without an answer: the longer of the two clocks counts."""

    switch_production_s: float = 2.0
    """The kill switch in the account: one cheap call, by which people end a drill."""
    poll_production_s: float = 10.0
    poll_wall_s: float = 0.5
    """No faster than this, so that watching a fast clock does not disturb what it watches."""
    patience_production_s: float = 60.0
    patience_wall_s: float = 5.0
    """AWS throttles now and then, and a drill should not end for that."""


class _Asker(ThreadActor):
    """Asks the same questions again and again, until stopped or until one of them is answered with no."""

    def __init__(self, ctx: RunContext, every_wall_s: float, ask: Callable[[], None]) -> None:
        super().__init__("guards", ctx.history)
        self._ctx = ctx
        self._every = every_wall_s
        self._ask = ask

    def run(self) -> None:
        try:
            while not self._stopping.wait(self._every):
                self._ask()
        except Refused as no:
            self._ctx.stop.ask(no)
        except Exception as error:
            # Nobody watches any more: the drill may not go on.
            self._ctx.stop.ask(Refused("guards", f"expected the guards to keep watching, found {error!r}."))
            raise


class LocalWatcher:
    """What is known without asking the account: the kill switch of this machine, clocks, the longest time of a fault.

    Apart from the other guards: an account that does not answer must not keep anybody from ending a drill.
    """

    name = "guards"

    def __init__(self, ctx: RunContext) -> None:
        self._kill_switch = KillSwitch(ctx.root, ctx.target)
        self._held = HeldFaults(ctx.target)
        self._clock = SteadyClock()
        self._standstill = Standstill()
        ctx.history.listen(self._held.see, "guards")
        self._asker = _Asker(ctx, _LOOK_WALL_S, self._ask)

    def start(self) -> None:
        """Begin to look."""
        self._asker.start()

    def stop(self) -> None:
        """Look no more."""
        self._asker.stop()

    def check_clocks(self) -> None:
        """Whether the clocks went evenly, and somebody looked at them all the time.

        Raises:
            Refused: no time in this drill can be relied on.
        """
        self._clock.check()
        self._standstill.check()

    def _ask(self) -> None:
        self.check_clocks()
        self._held.check()
        self._kill_switch.check_here()


class GuardWatcher:
    """What is asked of the account, and while something is broken of the calendar.

    The kill switch has a thread of its own: it is asked more often, and waits for nobody else's answer.
    """

    name = "guards"

    def __init__(self, ctx: RunContext, pace: Pace = Pace()) -> None:
        self._ctx = ctx
        self._kill_switch = KillSwitch(ctx.root, ctx.target)
        self._conditions = StopConditions.of(ctx.target, ctx.system, ctx.experiment.extension)
        self._held = HeldFaults(ctx.target)
        ctx.history.listen(self._held.see, "guards")
        self._patience = max(ctx.wall(pace.patience_production_s), pace.patience_wall_s)
        self._silent_since: dict[str, float] = {}
        self._askers = (
            _Asker(ctx, max(ctx.wall(pace.switch_production_s), pace.poll_wall_s), self._ask_switch),
            _Asker(ctx, max(ctx.wall(pace.poll_production_s), pace.poll_wall_s), self._ask_rest),
        )

    def start(self) -> None:
        """Begin to ask."""
        for asker in self._askers:
            asker.start()

    def stop(self) -> None:
        """Ask no more."""
        for asker in self._askers:
            asker.stop()

    def _ask_switch(self) -> None:
        self._patiently("kill-switch", self._kill_switch.check)

    def _ask_rest(self) -> None:
        if self._held.in_place:
            check_freeze(self._ctx.target.rules, self._ctx.now())
            check_window(self._ctx.target.rules, self._ctx.now())
        self._patiently("stop-conditions", self._conditions.check)

    def _patiently(self, guard: str, question: Callable[[], str]) -> None:
        """Ask; an error is no answer, and no answer for too long is a no."""
        try:
            question()
        except TargetError as error:
            if isinstance(error, CredentialsExpired):
                self._ctx.target.renew()  # those that were renewed outside are read again
            since = self._silent_since.setdefault(guard, time.monotonic())
            if time.monotonic() - since > self._patience:
                raise cannot_be_evaluated(guard, error) from error
        else:
            self._silent_since.pop(guard, None)
