"""Runs the method, the rollbacks and the hypothesis of an experiment with Chaos Toolkit, one activity at a time.

Chaos Toolkit is lenient in ways a drill must not be: a failed action leaves the experiment `completed`, a hypothesis
not met before the method still ends with exit code 0. Here each activity's own result is recorded and looked at.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chaoslib.activity import execute_activity
from chaoslib.caching import cache_activities, clear_cache
from chaoslib.configuration import load_configuration
from chaoslib.hypothesis import run_steady_state_hypothesis, within_tolerance
from chaoslib.secret import load_secrets

from tocsin.actors.foreign import ForeignFaults, is_foreign, name_of
from tocsin.context import RunContext
from tocsin.faults.base import Aws
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.faults.session import CONFIGURATION_KEY
from tocsin.masking import mask_all
from tocsin.model.events import Act, ActivityRan, HypothesisChecked, ProbeResult
from tocsin.procedures import change_of

_PROOF_S = 300.0
"""Production seconds that what a foreign action did may take to be seen: longer than ECS or RDS usually need."""
_PROOF_WALL_S = 3.0
_POLL_S, _POLL_WALL_S = 5.0, 0.1


def _permit_all(action: str) -> None:
    """Without guards nothing is refused."""


class Injector:
    """The experiment's own activities, in the drill's hands."""

    def __init__(
        self,
        ctx: RunContext,
        raw: Mapping[str, Any],
        faults: FaultLifecycle,
        permit_foreign: Callable[[str], None] = _permit_all,
    ) -> None:
        """`permit_foreign` is asked before an action of another extension; raises Refused to forbid it."""
        self._ctx = ctx
        self._permit_foreign = permit_foreign
        self._permit_change = faults.permit
        self._raw = dict(raw)
        configuration = load_configuration(self._raw.get("configuration", {}))
        self._secrets = load_secrets(self._raw.get("secrets", {}), configuration)
        # The region of the system is that of AWS extensions too, unless the experiment says otherwise.
        self._configuration = {"aws_region": faults.target.region, **configuration, CONFIGURATION_KEY: faults}
        self._target = faults.target
        self._foreign = ForeignFaults(ctx.history, self._raw.get("rollbacks") or ())
        self._journal: dict[str, Any] = {
            "experiment": self._raw,
            "start": _iso(),
            "steady_states": {"before": None, "after": None},
            "run": [],
            "rollbacks": [],
        }

    def check_hypothesis(self, act: Act) -> bool:
        """Run every probe of the steady-state hypothesis; no hypothesis at all is met."""
        if not self._raw.get("steady-state-hypothesis"):
            return True
        with _references(self._raw), self._target.as_default():
            state = run_steady_state_hypothesis(self._raw, self._configuration, self._secrets, None, None)
        self._journal["steady_states"]["before" if act is Act.PREFLIGHT else "after"] = state
        probes = tuple(
            ProbeResult(name=run["activity"]["name"], ok=run.get("tolerance_met", False), detail=_outcome(run))
            for run in state["probes"]
        )
        met = bool(state["steady_state_met"])
        self._ctx.history.record(HypothesisChecked(at=self._ctx.now(), act=act, met=met, probes=probes))
        return met

    @property
    def pauses_wall_s(self) -> float:
        """Wall seconds that the method pauses in all."""
        return pauses(self._raw)

    def run_method(self) -> bool:
        """Run the method; ends after the first activity that fails, or when the end is asked for."""
        return self._run_all("method", Act.FAULT, self._journal["run"], stop_at_failure=True)

    def run_rollbacks(self) -> bool:
        """Run every rollback, whatever happened before and whichever of them fails."""
        ok = self._run_all("rollbacks", Act.RECOVERY, self._journal["rollbacks"], stop_at_failure=False)
        self._foreign.rolled_back()
        return ok

    def run_owed_rollbacks(self) -> None:
        """Run the rollbacks of a drill that ended early, where only they undo what was done."""
        if self._foreign.in_force:
            self.run_rollbacks()

    def write_journal(self, path: Path) -> None:
        """Chaos Toolkit's journal of what ran, for tools that read it."""
        journal = {**self._journal, "end": _iso()}
        path.write_text(json.dumps(mask_all(json.loads(json.dumps(journal, default=str))), indent=2), encoding="utf-8")

    def _run_all(self, part: str, act: Act, runs: list[dict[str, Any]], *, stop_at_failure: bool) -> bool:
        all_ok = True
        for activity in self._raw.get(part) or []:
            if stop_at_failure and self._ctx.stop.is_set():
                return False
            ok = self._run(activity, act, runs)
            all_ok = all_ok and ok
            if stop_at_failure and not ok:
                return False
        return all_ok

    def _run(self, activity: Mapping[str, Any], act: Act, runs: list[dict[str, Any]]) -> bool:
        started = time.monotonic()
        if act is Act.FAULT:
            self._permit(activity)
        self._foreign.begins(activity, act)
        run, ok = self._execute(activity)
        runs.append(run)
        self._foreign.ended(activity, act, ok=ok, detail="" if ok else _outcome(run))
        self._ctx.history.record(
            ActivityRan(
                at=self._ctx.now(),
                act=act,
                name=run["activity"].get("name") or "unnamed",
                ok=ok,
                duration_s=round(time.monotonic() - started, 3),
                detail=_outcome(run),
            )
        )
        return ok

    def _permit(self, activity: Mapping[str, Any]) -> None:
        """Ask the guards about what no fault of ours asks them about itself; the way back is never forbidden."""
        change = change_of(activity)
        if is_foreign(activity):
            self._permit_foreign(name_of(activity))
        elif change is not None:
            self._permit_change(change, Aws(self._target, entry=""))

    def _execute(self, activity: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """Run one activity: the toolkit's record of it, and whether it did what it should.

        A probe that shows what a foreign action did is asked again until it does.
        """
        deadline = time.monotonic() + max(self._ctx.wall(_PROOF_S), _PROOF_WALL_S)
        while True:
            with _references(self._raw), self._target.as_default():
                run: dict[str, Any] = execute_activity(self._raw, activity, self._configuration, self._secrets, None)
            ok = run["status"] == "succeeded" and _tolerated(run)
            if ok or not self._foreign.is_proof(activity) or time.monotonic() > deadline:
                return run, ok
            pause = max(_POLL_WALL_S, self._ctx.wall(_POLL_S))
            # A drill that was asked to end still looks at what it undoes.
            (time.sleep if self._ctx.stop.is_set() else self._ctx.stop.wait)(pause)


@contextmanager
def _references(raw: Mapping[str, Any]) -> Iterator[None]:
    """chaoslib keeps activities that others refer to by `ref` in a cache of its own while they run."""
    cache_activities(raw)
    try:
        yield
    finally:
        clear_cache()


def pauses(raw: Mapping[str, Any]) -> float:
    """Wall seconds of Chaos Toolkit's pauses before and after the activities of the method."""
    found = (activity.get("pauses") or {} for activity in raw.get("method") or [])
    return sum(float(p[when]) for p in found for when in ("before", "after") if isinstance(p.get(when), int | float))


def quiet_chaos_toolkit() -> None:
    """Chaos Toolkit logs every activity; a drill has its own progress and its own record."""
    logger = logging.getLogger("chaostoolkit")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


def _tolerated(run: dict[str, Any]) -> bool:
    """A probe of the method with a tolerance must meet it: Chaos Toolkit runs it and ignores the answer."""
    activity = run["activity"]
    if activity.get("type") != "probe" or "tolerance" not in activity:
        return True
    try:
        return bool(within_tolerance(activity["tolerance"], run["output"]))
    except Exception as error:  # whatever an extension's tolerance raises says nothing about the system
        run["status"], run["exception"] = "failed", [f"its tolerance cannot be asked: {error}"]
        return False


def _outcome(run: Mapping[str, Any]) -> str:
    if run["status"] == "succeeded":
        return f"answered {run['output']!r}"[:300]
    return str((run.get("exception") or ["failed without a message"])[-1]).strip()[-600:]


def _iso() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
