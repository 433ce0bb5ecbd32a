"""Keeps asking, while a drill runs, what must not change: the first no ends the drill, which undoes and reports."""

from __future__ import annotations

import time
from collections.abc import Callable

from tocsin.actors.base import ThreadActor
from tocsin.context import RunContext
from tocsin.errors import Refused, TargetError
from tocsin.guards.admission import check_freeze, check_window
from tocsin.guards.base import cannot_be_evaluated
from tocsin.guards.clock import SteadyClock
from tocsin.guards.kill_switch import KillSwitch
from tocsin.guards.stopping import HeldFaults, StopConditions

_POLL_PRODUCTION_S = 10.0
_POLL_WALL_S = 0.5
"""No faster than this, so that watching a fast clock does not disturb what it watches."""
_PATIENCE_PRODUCTION_S = 60.0
_PATIENCE_WALL_S = 5.0
"""How long a guard may be without an answer: AWS throttles now and then, and a drill should not end for that."""


class GuardWatcher(ThreadActor):
    """Polls clock, kill switch, stop conditions and longest duration and, while something is broken, the calendar."""

    def __init__(self, ctx: RunContext) -> None:
        super().__init__("guards", ctx.history)
        self._ctx = ctx
        self._kill_switch = KillSwitch(ctx.root, ctx.target)
        self._conditions = StopConditions.of(ctx.target, ctx.system, ctx.experiment.extension)
        self._held = HeldFaults(ctx.target)
        self._clock = SteadyClock()
        ctx.history.listen(self._held.see)
        self._interval = max(ctx.wall(_POLL_PRODUCTION_S), _POLL_WALL_S)
        self._patience = max(ctx.wall(_PATIENCE_PRODUCTION_S), _PATIENCE_WALL_S)
        self._silent_since: dict[str, float] = {}

    def run(self) -> None:
        """Ask until stopped, or until a guard says no."""
        try:
            while not self._stopping.wait(self._interval):
                self._ask_all()
        except Refused as no:
            self._ctx.stop.ask(no)
        except Exception as error:
            # Nobody watches any more: the drill may not go on.
            self._ctx.stop.ask(Refused("guards", f"expected the guards to keep watching, found {error!r}."))
            raise

    def _ask_all(self) -> None:
        self._clock.check()
        self._held.check()
        if self._held.in_place:
            check_freeze(self._ctx.target.rules, self._ctx.now())
            check_window(self._ctx.target.rules, self._ctx.now())
        self._patiently("kill-switch", self._kill_switch.check)
        self._patiently("stop-conditions", self._conditions.check)

    def _patiently(self, guard: str, question: Callable[[], str]) -> None:
        """Ask; an error is no answer, and no answer for too long is a no."""
        try:
            question()
        except TargetError as error:
            since = self._silent_since.setdefault(guard, time.monotonic())
            if time.monotonic() - since > self._patience:
                raise cannot_be_evaluated(guard, error) from error
        else:
            self._silent_since.pop(guard, None)
