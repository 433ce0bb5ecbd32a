"""Runs the method, the rollbacks and the hypothesis of an experiment with Chaos Toolkit, one activity at a time.

Chaos Toolkit is lenient in ways a drill must not be: a failed action leaves the experiment `completed`, a hypothesis
not met before the method still ends with exit code 0. Here each activity's own result is recorded and looked at.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tocsin.actors.attended import GRACE_WALL_S, LOOK_WALL_S, Call, attended
from tocsin.actors.background import Background
from tocsin.actors.context import RunContext
from tocsin.actors.controls import Controls, Level
from tocsin.actors.foreign import ForeignFaults, is_foreign, name_of, shown_after
from tocsin.actors.performing import Run, not_performed, outcome, perform, succeeded
from tocsin.actors.variables import Variables
from tocsin.aws.target import Aws
from tocsin.errors import HistoryError, Refused
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.faults.registry import FAULTS
from tocsin.faults.session import CONFIGURATION_KEY
from tocsin.masking import mask_document
from tocsin.model.events import Act, ActivityRan, ActorDied, ChangeLooked, HypothesisChecked, ProbeResult
from tocsin.model.toolkit import Activity, Document, ExperimentFile, Part, PythonProvider
from tocsin.procedures import change_of

_PROOF_S = 300.0
"""Production seconds that what a foreign action did may take to be seen: longer than ECS or RDS usually need."""
_PROOF_WALL_S = 3.0
_POLL_S, _POLL_WALL_S = 5.0, 0.1
_NEVER = threading.Event()
"""What is not in the background is not ended by itself."""
_WAY_BACK_WALL_S = 120.0
"""Longest wait for one rollback of somebody else once the end was asked for; what is ours is undone before it."""
_LATE_WALL_S = 5.0
"""Time for what was left alone to come to its end, when all that can be undone is undone."""
_CLOSING_WALL_S = 30.0
"""Longest wait for the controls that come after the experiment."""
_LEFT_ALONE = "was left alone when the end was asked for, and cannot be ended"


def _permit_all(action: str) -> None:
    """Without guards nothing is refused."""


class Injector:
    """The experiment's own activities, in the drill's hands."""

    def __init__(
        self,
        ctx: RunContext,
        toolkit: ExperimentFile,
        faults: FaultLifecycle,
        permit_foreign: Callable[[str], None] = _permit_all,
    ) -> None:
        """`permit_foreign` is asked before an action of another extension; raises Refused to forbid it.

        Raises:
            InvalidInput: a value of the experiment's configuration or secrets cannot be had.
        """
        self._ctx = ctx
        self._permit_foreign = permit_foreign
        self._permit_change = faults.permit
        self._toolkit = toolkit
        self._variables = Variables.of(toolkit)
        # The region of the system is that of AWS extensions too, unless the experiment says otherwise.
        self._variables.configuration.setdefault("aws_region", faults.target.region)
        self._variables.configuration[CONFIGURATION_KEY] = faults
        self._target = faults.target
        self._controls = Controls(toolkit, self._variables, self._end_asked_by_control, self._target.as_default)
        self._opened = False
        self._foreign = ForeignFaults(ctx.history, toolkit.activities("method"), toolkit.activities("rollbacks"))
        self._undone_by = {
            change.activity: change.undone_by
            for change in ctx.experiment.extension.changes
            if change.undone_by is not None
        }
        self._owed: set[str] = set()
        """rollbacks that undo a change of the method that was begun"""
        self._rolled_back = False
        self._following = threading.Lock()
        self._background = Background()
        self._undo_ours = faults.undo_all
        self._left: list[tuple[Activity, Call[Run]]] = []
        self._late: tuple[Activity, ...] = ()
        self._journal: dict[str, Any] = {
            "experiment": toolkit.document(),
            "start": _iso(),
            "status": None,
            "deviated": False,
            "steady_states": {"before": None, "after": None, "during": []},
            "run": [],
            "rollbacks": [],
        }

    # --- the experiment -------------------------------------------------------------------------------------

    @property
    def toolkit(self) -> ExperimentFile:
        """The experiment whose activities they are."""
        return self._toolkit

    @property
    def has_controls(self) -> bool:
        """Whether there is anything for `open` to ask."""
        return self._controls.any

    def open(self) -> str:
        """Prepare the controls of the experiment, and call those that come before it.

        Raises:
            Refused: one of them failed, or the end was asked for.
        """
        self._opened = True

        def call() -> str | None:
            self._controls.configure()
            return self._controls.before("experiment")

        try:
            failed = attended(call, self._ctx.stop, "controls before the experiment")
        except Refused:
            raise  # the end was asked for
        except BaseException as error:  # a control is anybody's code: whatever it raises is that it cannot guard
            failed = f"{type(error).__name__}: {error}"
        if failed is not None:
            raise Refused("controls", f"expected the controls to begin, found that one cannot: {failed}")
        return "the controls of the experiment are called"

    def close(self) -> None:
        """Call the controls that come after the experiment; nothing where `open` was not called."""
        if not self._opened:
            return
        journal = self._ended_journal()
        call = Call(lambda: (self._controls.after("experiment", None, journal), self._controls.clean_up()), "controls")
        if call.wait(_CLOSING_WALL_S):
            for failed in call.result():
                self._tell_failed_control(failed)
        else:
            self._tell_failed_control(f"those after the experiment are not over after {_CLOSING_WALL_S:g} s")

    def write_journal(self, path: Path) -> None:
        """Chaos Toolkit's journal of what ran, for tools that read it."""
        journal = {**self._ended_journal(), "end": _iso()}
        path.write_text(
            json.dumps(mask_document(json.loads(json.dumps(journal, default=str))), indent=2), encoding="utf-8"
        )

    def _ended_journal(self) -> dict[str, Any]:
        runs = (*self._journal["run"], *self._journal["rollbacks"])
        after = self._journal["steady_states"]["after"]
        failed = not all(succeeded(run) for run in runs)
        self._journal["status"] = "interrupted" if self._ctx.stop.is_set() else "failed" if failed else "completed"
        self._journal["deviated"] = after is not None and not after["steady_state_met"]
        return self._journal

    # --- the hypothesis -------------------------------------------------------------------------------------

    def check_hypothesis(self, act: Act) -> bool:
        """Run the probes of the steady-state hypothesis up to the first that fails; no hypothesis at all is met."""
        hypothesis = self._toolkit.hypothesis
        if hypothesis is None:
            return True
        context = hypothesis.document()
        failed = self._before("hypothesis", act, context)
        state: dict[str, Any] = {"steady_state_met": None, "probes": []}
        results = [] if failed else self._ask_probes(act, state["probes"])
        state["steady_state_met"] = failed is None and all(result.ok for result in results)
        failed = self._after("hypothesis", act, context, state) or failed
        if failed is not None:
            results.append(ProbeResult(name="controls", ok=False, detail=failed))
            state["steady_state_met"] = False
        self._journal["steady_states"]["before" if act is Act.PREFLIGHT else "after"] = state
        met = bool(state["steady_state_met"])
        self._ctx.history.record(HypothesisChecked(at=self._ctx.now(), act=act, met=met, probes=tuple(results)))
        return met

    def _ask_probes(self, act: Act, runs: list[Run]) -> list[ProbeResult]:
        results: list[ProbeResult] = []
        for probe in self._toolkit.activities("steady-state-hypothesis"):
            context = probe.document()
            failed = self._before("activity", act, context)
            run = not_performed(probe, failed) if failed else self._paused(probe)
            runs.append(run)
            failed = self._after("activity", act, context, run) or failed
            run["tolerance_met"] = failed is None and succeeded(run)
            results.append(ProbeResult(name=probe.name, ok=run["tolerance_met"], detail=failed or outcome(run)))
            if not run["tolerance_met"]:
                break
        return results

    def _paused(self, probe: Activity) -> Run:
        before_s, after_s = self._variables.pauses(probe)
        self._ctx.stop.wait(before_s)
        run = attended(partial(self._performed, probe, self._ctx.stop.is_set), self._ctx.stop, f"probe {probe.name}")
        self._ctx.stop.wait(after_s)
        return run

    def _performed(self, activity: Activity, ended: Callable[[], bool]) -> Run:
        with self._target.as_default():
            return perform(activity, self._variables, ended)

    # --- method and rollbacks -------------------------------------------------------------------------------

    @property
    def pauses_wall_s(self) -> float:
        """Wall seconds that the method pauses in all."""
        return self._variables.paused_wall_s(self._toolkit.activities("method"))

    def check_faults_bite(self) -> str:
        """Whether every fault of the method would do something on this target; what was found, in words.

        Raises:
            Refused: one would not.
        """
        names = []
        for activity in self._toolkit.activities("method"):
            called = self._variables.filled(activity).calls("tocsin.faults")
            if called is not None and called.func in FAULTS:
                self._refuse_secrets(called)
                FAULTS[called.func].model_validate(called.arguments).check_bites(Aws(self._target, entry=""))
                names.append(called.func)
        return f"{', '.join(dict.fromkeys(names))} can do harm here" if names else "no fault is injected"

    def _refuse_secrets(self, called: PythonProvider) -> None:
        """The ledger keeps the arguments of a fault, for whoever has to undo it: there they cannot be hidden.

        Raises:
            Refused: a value of `secrets` is among them.
        """
        if self._variables.have_secret(json.dumps(called.arguments, default=str)):
            raise Refused(
                "secrets",
                f"expected no secret in the arguments of {called.func}, found a value of `secrets`. The ledger keeps "
                "them until the fault is undone: name the secret instead, or write the value down.",
            )

    def run_method(self) -> bool:
        """Run the method; ends after the first activity that fails, or when the end is asked for.

        What it began in the background still runs: `finish_background` waits for it.
        """
        failed = self._before("method", Act.FAULT)
        self._tell_failed_control(failed)
        ok = failed is None and self._run_all("method", Act.FAULT, self._journal["run"], stop_at_failure=True)
        self._foreign.method_ended()
        failed = self._after("method", Act.FAULT, None, self._journal["run"])
        self._tell_failed_control(failed)
        return ok and failed is None

    @property
    def no_effect(self) -> bool:
        """Whether an action of another extension was done that nothing shows to have done anything."""
        return self._foreign.no_effect

    def run_rollbacks(self) -> bool:
        """Run every rollback, whatever happened before and whichever of them fails, also those in the background."""
        runs = self._journal["rollbacks"]
        self._rolled_back = True
        self._owed.clear()
        failed = self._before("rollback", Act.RECOVERY)
        self._tell_failed_control(failed)
        ok = self._run_all("rollbacks", Act.RECOVERY, runs, stop_at_failure=False)
        ok = not self._finish(Act.RECOVERY, float("inf"), self._way_back()) and ok
        self._foreign.rolled_back()
        failed = self._after("rollback", Act.RECOVERY, None, runs) or failed
        self._tell_failed_control(failed)
        return ok and failed is None

    def run_owed_rollbacks(self, *, owed: bool = False) -> bool:
        """Run the rollbacks of a drill that ended early, where only they put right what was done; whether they did it.

        `owed`: the ledger holds them as owed since something was about to be changed. What was tried already is not
        tried again.
        """
        wanted = self._foreign.in_force or bool(self._owed) or (owed and not self._rolled_back)
        return wanted and self.run_rollbacks()

    def run_rollbacks_of_the_dead(self) -> bool:
        """Run the rollbacks of a drill that died: what it has done is not known, and counts as done."""
        for activity in self._toolkit.activities("method"):
            if is_foreign(activity):
                self._foreign.begins(activity, Act.FAULT)
                self._foreign.ended(activity, Act.FAULT, ok=True, detail="")
        return self.run_rollbacks()

    def let_go(self) -> None:
        """Tell what the method began to end; the way back waits for none of it."""
        self._late = (
            *self._background.end(GRACE_WALL_S),
            *(activity for activity, call in self._left if not call.wait(0)),
        )

    def finish_late(self) -> None:
        """When all that can be undone is undone: wait for what still ran, and roll back again what it may have done.

        What does not even end now is told, and what it does is not known to be undone.
        """
        running = self._finish(Act.FAULT, 0, lambda: False)
        given_up = time.monotonic() + _LATE_WALL_S
        for activity, call in self._left:
            if not call.wait(given_up - time.monotonic()):
                self._tell(activity, Act.FAULT, ok=False, detail=f"still runs: it {_LEFT_ALONE}")
                running.append(activity)
        if any(self._is_undone_by_rollbacks(one) and one not in running for one in self._late):
            self._foreign.acted_after()
            self.run_rollbacks()
        acting = [activity.name for activity in running if is_foreign(activity)]
        if acting:
            self._foreign.still_acts(", ".join(acting))

    def _is_undone_by_rollbacks(self, activity: Activity) -> bool:
        return is_foreign(activity) or activity.name in self._undone_by

    def finish_background(self, wall_s: float) -> bool:
        """Wait for what the method began in the background, `wall_s` at most, and end what is not over then.

        When the end is asked for, `let_go` ends it.

        Returns:
            Whether all of it could be ended; what it did is recorded as of any other activity.
        """
        return not self._finish(Act.FAULT, wall_s, self._ctx.stop.is_set)

    def _finish(self, act: Act, wall_s: float, hurry: Callable[[], bool]) -> list[Activity]:
        left = self._background.finish(wall_s, hurry)
        for activity in left:
            self._tell(
                activity, act, ok=False, detail="still runs, though it should have been over, and cannot be ended"
            )
        return left

    def _run_all(self, part: Part, act: Act, runs: list[Run], *, stop_at_failure: bool) -> bool:
        all_ok = True
        for activity in self._toolkit.activities(part):
            if stop_at_failure and self._ctx.stop.is_set():
                return False
            ok = self._begin(activity, act, runs) if activity.background else self._run(activity, act, runs)
            all_ok = all_ok and ok
            if stop_at_failure and not ok:
                return False
        return all_ok

    def _begin(self, activity: Activity, act: Act, runs: list[Run]) -> bool:
        """Begin an activity in the background."""
        self._announce(activity, act)

        def work(ended: threading.Event) -> None:
            try:
                self._run(activity, act, runs, ended)
            except (Refused, HistoryError) as error:
                with suppress(HistoryError):  # the drill itself writes to the same disk, and says so
                    self._tell(activity, act, ok=False, detail=str(error))

        self._background.start(activity, work)
        return True

    def _run(self, activity: Activity, act: Act, runs: list[Run], ended: threading.Event = _NEVER) -> bool:
        """Run one activity with its controls; one in the background is announced already."""
        context = activity.document()
        failed = self._before("activity", act, context, ended)
        run: Run | None = None
        try:
            if failed is None or act is Act.RECOVERY:  # nothing keeps the way back from being gone
                run = self._run_between_controls(activity, act, runs, ended)
        finally:
            failed = self._after("activity", act, context, run, ended) or failed
        if run is None:
            runs.append(not_performed(activity, failed or ""))
        if failed is not None:
            self._tell(activity, act, ok=False, detail=failed)
        return failed is None and run is not None and succeeded(run)

    def _run_between_controls(self, activity: Activity, act: Act, runs: list[Run], ended: threading.Event) -> Run:
        before_s, after_s = self._variables.pauses(activity)
        # Nothing was done yet for which the first rollback could wait.
        at_once = act is Act.RECOVERY and self._ctx.stop.is_set() and not runs
        self._wait(0.0 if at_once else before_s, act, ended)
        if ended is _NEVER:
            self._announce(activity, act)
        self._look_at_change(activity, act, "before")
        started = time.monotonic()
        run = self._perform(activity, act, ended)
        runs.append(run)
        self._look_at_change(activity, act, "after")
        ok, detail = succeeded(run) and not ended.is_set(), outcome(run)
        with self._following:
            self._foreign.ended(activity, act, ok=ok, detail="" if ok else detail)
        self._tell(activity, act, ok=ok, detail=detail, took_s=time.monotonic() - started)
        self._wait(after_s, act, ended)
        return run

    def _look_at_change(self, activity: Activity, act: Act, when: Literal["before", "after"]) -> None:
        """Ask what shows the undo of a change, right before and after it; nothing where the activity has no undo."""
        rollback = self._undone_by.get(activity.name)
        if act is not Act.FAULT or rollback is None:
            return
        self._owed.add(rollback)
        for probe in self._looks_of(rollback):
            run = self.look(probe)
            self._ctx.history.record(
                ChangeLooked(
                    at=self._ctx.now(),
                    activity=activity.name,
                    probe=probe.name,
                    when=when,
                    held=succeeded(run),
                    detail=outcome(run),
                )
            )

    def _looks_of(self, rollback: str) -> Iterator[Activity]:
        rollbacks = self._toolkit.activities("rollbacks")
        at = next((index for index, one in enumerate(rollbacks) if one.name == rollback), len(rollbacks))
        return shown_after(rollbacks, at)

    def _announce(self, activity: Activity, act: Act) -> None:
        if act is Act.FAULT:
            self._permit(self._variables.filled(activity))
        held = [probe.name for probe in self._foreign.evidence_of(activity, act) if succeeded(self.look(probe))]
        with self._following:
            self._foreign.begins(activity, act, held)

    def look(self, probe: Activity) -> Run:
        """Ask a probe once, for evidence: no step of the experiment, so that controls and pauses have no part in it.

        Raises:
            Refused: the end was asked for, and it is left alone.
        """
        work = partial(self._performed, probe, self._ctx.stop.is_set)
        return attended(work, self._ctx.stop, f"probe {probe.name}")

    def _permit(self, activity: Activity) -> None:
        """Ask the guards about what no fault of ours asks them about itself; the way back is never forbidden."""
        change = change_of(activity)
        if is_foreign(activity):
            self._permit_foreign(name_of(activity))
        elif change is not None:
            self._permit_change(change, Aws(self._target, entry=""))

    def _perform(self, activity: Activity, act: Act, ended: threading.Event) -> Run:
        """Perform one activity. A probe that shows what a foreign action did is asked again until it does."""
        deadline = time.monotonic() + max(self._ctx.wall(_PROOF_S), _PROOF_WALL_S)
        while True:
            run = self._attend(activity, act, ended)
            if succeeded(run) or not self._foreign.is_proof(activity) or time.monotonic() > deadline or ended.is_set():
                return run
            self._wait(max(_POLL_WALL_S, self._ctx.wall(_POLL_S)), act, ended)

    def _attend(self, activity: Activity, act: Act, ended: threading.Event) -> Run:
        """Let an activity run beside the drill, which goes on without it when the end is asked for.

        Raises:
            Refused: the end was asked for, and this is not the way back.
        """
        work = partial(self._performed, activity, partial(self._is_over, act, ended))
        name = f"activity {activity.name}"
        if ended is not _NEVER:
            return work()  # beside it already
        if act is not Act.RECOVERY:
            return attended(work, self._ctx.stop, name, lambda call: self._left.append((activity, call)))
        ours = activity.calls("tocsin.faults") is not None
        call, given_up = Call(work, name), self._way_back(undo=not ours)
        while not call.wait(LOOK_WALL_S):
            if given_up():
                return not_performed(activity, f"still runs after {_WAY_BACK_WALL_S:g} s: it {_LEFT_ALONE}")
        return call.result()

    def _way_back(self, *, undo: bool = True) -> Callable[[], bool]:
        """Asked while somebody else's rollback runs: whether it had its time since the end was asked for.

        What is ours is undone as soon as the end is asked for: it waits for nobody else's way back.
        """
        since: list[float] = []

        def given_up() -> bool:
            if not self._ctx.stop.is_set():
                return False
            if not since:
                since.append(time.monotonic())
                if undo:
                    self._undo_ours()
            return time.monotonic() - since[0] > _WAY_BACK_WALL_S

        return given_up

    def _before(
        self, level: Level, act: Act, context: Document | None = None, ended: threading.Event = _NEVER
    ) -> str | None:
        """As `Controls.before`, which is anybody's code.

        Raises:
            Refused: the end was asked for, and this is not the way back.
        """
        return self._call_controls(lambda: self._controls.before(level, context), level, act, ended)

    def _after(
        self, level: Level, act: Act, context: Document | None, state: Any, ended: threading.Event = _NEVER
    ) -> str | None:
        """As `Controls.after`; raises as `_before`."""
        return self._call_controls(lambda: self._controls.after(level, context, state), level, act, ended)

    def _call_controls(
        self, work: Callable[[], str | None], level: Level, act: Act, ended: threading.Event
    ) -> str | None:
        if not self._controls.any or ended is not _NEVER:
            return work()
        rollback = level == "rollback" or (level == "activity" and act is Act.RECOVERY)
        if not rollback:
            return attended(work, self._ctx.stop, f"controls of the {level}")
        call, given_up = Call(work, f"controls of the {level}"), self._way_back()
        while not call.wait(LOOK_WALL_S):
            if given_up():
                return f"controls of the {level}: not over after {_WAY_BACK_WALL_S:g} s"
        return call.result()

    def _is_over(self, act: Act, ended: threading.Event) -> bool:
        # A drill that was asked to end still finishes what undoes.
        return ended.is_set() or (act is not Act.RECOVERY and self._ctx.stop.is_set())

    def _wait(self, wall_s: float, act: Act, ended: threading.Event) -> None:
        """Wait, no longer than the method does; the way back takes the time that it takes.

        Raises:
            Refused: the end was asked for, and this is not the way back.
        """
        deadline, way_back = time.monotonic() + wall_s, self._way_back()
        while not ended.is_set() and (left := deadline - time.monotonic()) > 0:
            if act is Act.RECOVERY:
                way_back()
                time.sleep(min(left, _POLL_WALL_S))
            else:
                self._ctx.stop.wait(left if ended is _NEVER else min(left, _POLL_WALL_S))

    # --- what is told ---------------------------------------------------------------------------------------

    def _tell(self, activity: Activity, act: Act, *, ok: bool, detail: str, took_s: float = 0.0) -> None:
        event = ActivityRan(
            at=self._ctx.now(), act=act, name=activity.name, ok=ok, duration_s=round(took_s, 3), detail=detail
        )
        self._ctx.history.record(event)

    def _tell_failed_control(self, failed: str | None) -> None:
        """A control that is about more than one activity is somebody who should have seen, and did not."""
        if failed is not None:
            self._ctx.history.record(ActorDied(at=self._ctx.now(), actor="controls", detail=failed))

    def _end_asked_by_control(self, why: str) -> None:
        self._ctx.stop.ask(Refused("controls", why))


def quiet_chaos_toolkit() -> None:
    """Chaos Toolkit logs every activity; a drill has its own progress and its own record."""
    logger = logging.getLogger("chaostoolkit")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


def _iso() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
