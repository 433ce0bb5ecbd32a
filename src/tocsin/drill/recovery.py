"""The recovery act after the undo: callers, steady state, alarms and contract, looked at beside each other."""

from __future__ import annotations

import math
from collections.abc import Callable

from tocsin.actors.context import RunContext
from tocsin.drill.view import LiveView

_HYPOTHESIS_S = 30.0
"""Production seconds between two looks at the steady state."""
_HYPOTHESIS_WALL_S = 0.1


class Recovery:
    """What is still waited for until everything is as before, or the time for it is over.

    None of it waits for another. But the contract is asked of a system that serves its callers: where they stop being
    served once more, all of it is asked again, and that run counts. And since its requests are load, too, callers are
    looked at until it is over: they must be served at the end, when everything else is well.
    """

    def __init__(
        self,
        ctx: RunContext,
        view: LiveView,
        check_hypothesis: Callable[[], bool],
        run_contract: Callable[[], None],
        contract_runs: Callable[[], bool],
    ) -> None:
        self._ctx = ctx
        self._view = view
        self._check_hypothesis = check_hypothesis
        self._run_contract = run_contract
        self._contract_runs = contract_runs
        self._is_met = False
        self._looked_at = self._contract_at = -math.inf

    def is_seen(self) -> bool:
        """Look where it is time to; whether nothing is left to be waited for."""
        over = self._ctx.now() > self._view.recovery_deadline()
        self._look_at_hypothesis(over)
        self._look_at_contract(over)
        asked = over or not self._contract_runs()
        back, stayed = self._view.service_back(), self._view.stayed_clear()
        return (self._is_met or over) and asked and back and stayed

    def _look_at_hypothesis(self, over: bool) -> None:
        every_s = max(_HYPOTHESIS_WALL_S, self._ctx.wall(_HYPOTHESIS_S))
        if not (self._is_met or over) and self._ctx.now() - self._looked_at >= every_s:
            self._is_met = self._check_hypothesis()
            self._looked_at = self._ctx.now()

    def _look_at_contract(self, over: bool) -> None:
        since = self._view.served_since()
        begins = self._contract_at == -math.inf if over else since is not None and since > self._contract_at
        if begins:
            self._contract_at = self._ctx.now()
            self._run_contract()
