"""Runs the method, the rollbacks and the hypothesis of an experiment with Chaos Toolkit, one activity at a time.

Chaos Toolkit is lenient in ways a drill must not be: a failed action leaves the experiment `completed`, a hypothesis
not met before the method still ends with exit code 0. Here each activity's own result is recorded and looked at.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chaoslib.activity import execute_activity
from chaoslib.caching import cache_activities, clear_cache
from chaoslib.configuration import load_configuration
from chaoslib.hypothesis import run_steady_state_hypothesis, within_tolerance
from chaoslib.secret import load_secrets

from tocsin.context import RunContext
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.faults.session import CONFIGURATION_KEY
from tocsin.model.events import Act, ActivityRan, HypothesisChecked, ProbeResult


class Injector:
    """The experiment's own activities, in the drill's hands."""

    def __init__(self, ctx: RunContext, raw: Mapping[str, Any], faults: FaultLifecycle) -> None:
        self._ctx = ctx
        self._raw = dict(raw)
        configuration = load_configuration(self._raw.get("configuration", {}))
        self._secrets = load_secrets(self._raw.get("secrets", {}), configuration)
        self._configuration = {**configuration, CONFIGURATION_KEY: faults}
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
        with _references(self._raw):
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
        return self._run_all("rollbacks", Act.RECOVERY, self._journal["rollbacks"], stop_at_failure=False)

    def write_journal(self, path: Path) -> None:
        """Chaos Toolkit's journal of what ran, for tools that read it."""
        journal = {**self._journal, "end": _iso()}
        path.write_text(json.dumps(journal, indent=2, default=str), encoding="utf-8")

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
        with _references(self._raw):
            run = execute_activity(self._raw, activity, self._configuration, self._secrets, None)
        runs.append(run)
        ok = run["status"] == "succeeded" and _tolerated(run)
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


def _tolerated(run: Mapping[str, Any]) -> bool:
    """A probe of the method with a tolerance must meet it: Chaos Toolkit runs it and ignores the answer."""
    activity = run["activity"]
    if activity.get("type") != "probe" or "tolerance" not in activity:
        return True
    return bool(within_tolerance(activity["tolerance"], run["output"]))


def _outcome(run: Mapping[str, Any]) -> str:
    if run["status"] == "succeeded":
        return f"answered {run['output']!r}"[:300]
    return str((run.get("exception") or ["failed without a message"])[-1]).strip()[-600:]


def _iso() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
