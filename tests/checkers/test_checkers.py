"""Every checker against hand-written histories: what passes, what fails, and what nobody can know.

Each row plants one bug in the drill that passes (`Scene()`); its healthy twin is `test_healthy_twin_passes`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.checkers.histories import (
    EXPECT,
    HEALTHY,
    START,
    SYSTEM,
    Scene,
    add,
    drop,
    failing,
    forecast,
    gap,
    passing,
    tweak,
    without,
)

from tocsin.checkers import judge
from tocsin.checkers.answers import Answer
from tocsin.checkers.timeline import Timeline
from tocsin.errors import InvalidInput
from tocsin.model.events import (
    Act,
    ActEnded,
    ActivityRan,
    ActorDied,
    AlarmChanged,
    AlarmNotified,
    AlarmSeen,
    AlarmsPolled,
    CanaryRan,
    ContractFailure,
    ContractRan,
    DrillEnded,
    Event,
    FaultChanged,
    FaultStage,
    GuardChecked,
    HypothesisChecked,
    LoadSecond,
    ResidueChecked,
    Stopped,
    WorkCounted,
)
from tocsin.model.experiment import BlindAlarm, Expect, MustAlarm, QuietAlarm
from tocsin.model.system import Objectives
from tocsin.model.verdict import Judgement, Outcome, Reason, Verdict

SCENE = Scene()
MINUTE = 60 / SCENE.scale
RUNG = SCENE.accepted + 372 / SCENE.scale
"""When api-5xx rings."""
BAD = ContractFailure(operation="GET /parcels", check="not_a_server_error", message="500", status=500)

History = list[Event]


def changed(event: Event, alarm: str, after: str | None = None) -> bool:
    return isinstance(event, AlarmChanged) and event.alarm == alarm and after in (None, event.after)


def stage(event: Event, *stages: FaultStage) -> bool:
    return isinstance(event, FaultChanged) and event.stage in stages


def staged(history: History, old: FaultStage, new: FaultStage) -> History:
    return tweak(history, lambda event: stage(event, old), stage=new)


def ran(event: Event, canary: str, start: float, end: float) -> bool:
    return isinstance(event, CanaryRan) and event.canary == canary and start <= event.at <= end


def ringing(alarm: str, at: float, *, clear: bool = True) -> list[Event]:
    """Two transitions that a story did not have, unseen by any poll."""
    ring = AlarmChanged(at=at, alarm=alarm, before="OK", after="ALARM")
    cleared = AlarmChanged(at=at + MINUTE / 2, alarm=alarm, before="ALARM", after="OK")
    return [ring, cleared] if clear else [ring]


def breached(alarm: str, at: float) -> History:
    """The oldest datapoint of the breach, of five minutes, begins at an instant."""
    return tweak(passing(), lambda event: changed(event, alarm, "ALARM"), breached_at=at)


def left_broken(*, after_rollbacks: bool) -> History:
    """What the undo found broken: before the experiment's own rollbacks had ended, or after them."""
    at = SCENE.verified + (0.002 if after_rollbacks else 0.0)
    return tweak(passing(), lambda event: stage(event, FaultStage.UNDONE), was_broken=True, at=at)


def blind_polls(history: History, start: float, end: float) -> History:
    """The watcher looked away between two instants."""
    return drop(history, lambda event: isinstance(event, AlarmsPolled) and start < event.at < end)


def silent(alarm: str) -> History:
    return Scene(rings={name: times for name, times in SCENE.rings.items() if name != alarm}).history()


def in_act(act: Act, kind: type[Event]) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, kind) and getattr(event, "act", None) == act


def slow(**fields: object) -> Callable[[Event], bool]:
    """Seconds of the baseline."""
    return lambda event: isinstance(event, LoadSecond) and event.at < SCENE.requested - 1


def with_expect(**changes: object) -> Scene:
    return replace(SCENE, expect=EXPECT.model_copy(update=changes))


def interrupted() -> History:
    return SCENE.interrupted()


Row = tuple[str, Callable[[], History], str, Outcome, Reason]
F, U, P = Outcome.FAIL, Outcome.UNKNOWN, Outcome.PASS


ALARM_ROWS: list[Row] = [
    ("never rings", lambda: silent("api-5xx"), "must:api-5xx", F, Reason.DID_NOT_RING),
    (
        "cannot ring",
        lambda: add(SCENE.refused(), forecast("api-5xx", feasible=False)),
        "must:api-5xx",
        U,
        Reason.INFEASIBLE,
    ),
    (
        "silent although it could ring",
        lambda: add(silent("api-5xx"), forecast("api-5xx")),
        "must:api-5xx",
        F,
        Reason.DID_NOT_RING,
    ),
    ("rings as forecast", lambda: add(passing(), forecast("api-5xx")), "must:api-5xx", P, Reason.AS_EXPECTED),
    ("never rang, never clears", lambda: silent("api-5xx"), "clears:api-5xx", U, Reason.NO_EVIDENCE),
    (
        "rings a minute late",
        lambda: Scene(rings={"api-5xx": (720.0, 300.0)}, hold_s=900).history(),
        "must:api-5xx",
        F,
        Reason.RANG_LATE,
    ),
    (
        "rings, goes back to OK, and rings again under the fault",
        lambda: add(passing(), *ringing("api-5xx", SCENE.accepted + 2 * MINUTE)),
        "must:api-5xx",
        F,
        Reason.FLAPPED,
    ),
    (
        "rings once under the fault, and once more after it",
        lambda: add(passing(), *ringing("api-5xx", SCENE.verified + 7.5 * MINUTE)),
        "must:api-5xx",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "rings for datapoints that breached before the fault",
        lambda: breached("api-5xx", SCENE.accepted - 6 * MINUTE),
        "must:api-5xx",
        U,
        Reason.RANG_BEFORE_FAULT,
    ),
    (
        "rings for a datapoint that ended while the injection was made",
        lambda: breached("api-5xx", (SCENE.requested + SCENE.accepted) / 2 - 5 * MINUTE),
        "must:api-5xx",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "rings for a datapoint in whose period the fault began",
        lambda: breached("api-5xx", SCENE.accepted - 4 * MINUTE),
        "must:api-5xx",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "nobody is told",
        lambda: drop(passing(), lambda e: isinstance(e, AlarmNotified) and e.alarm == "api-5xx"),
        "must:api-5xx",
        F,
        Reason.NOT_NOTIFIED,
    ),
    (
        "told only that it is OK again",
        lambda: drop(passing(), lambda e: isinstance(e, AlarmNotified) and e.state == "ALARM"),
        "must:api-latency",
        F,
        Reason.NOT_NOTIFIED,
    ),
    (
        "rings already at the first look",
        lambda: tweak(passing(), lambda e: isinstance(e, AlarmSeen) and e.alarm == "api-5xx", state="ALARM"),
        "must:api-5xx",
        U,
        Reason.RANG_BEFORE_FAULT,
    ),
    (
        "rings between baseline and injection",
        lambda: add(passing(), *ringing("api-5xx", SCENE.requested - 2 * MINUTE)),
        "must:api-5xx",
        U,
        Reason.RANG_BEFORE_FAULT,
    ),
    (
        "rings at the very instant of the injection, not after it",
        lambda: add(silent("api-5xx"), *ringing("api-5xx", SCENE.accepted)),
        "must:api-5xx",
        U,
        Reason.RANG_BEFORE_FAULT,
    ),
    (
        "silent while the watcher looked away",
        lambda: blind_polls(silent("api-5xx"), SCENE.accepted, SCENE.undo_requested),
        "must:api-5xx",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "silent and never looked at",
        lambda: without(silent("api-5xx"), AlarmsPolled, AlarmSeen),
        "must:api-5xx",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "rings, but nobody knows what it was before",
        lambda: without(passing(), AlarmSeen),
        "must:api-5xx",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "a poll saw it, its history holds no transition",
        lambda: drop(passing(), lambda e: changed(e, "api-5xx")),
        "must:api-5xx",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "the fault ended before the deadline",
        lambda: Scene(rings={}, hold_s=300).history(),
        "must:api-5xx",
        U,
        Reason.WINDOW_CUT,
    ),
    ("stopped before the deadline", interrupted, "must:api-5xx", U, Reason.WINDOW_CUT),
    (
        "nothing injected",
        lambda: without(passing(), FaultChanged),
        "must:api-5xx",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "does not clear",
        lambda: Scene(rings={"api-5xx": (372, 2000), "api-latency": (312, 300)}).history(),
        "clears:api-5xx",
        F,
        Reason.DID_NOT_CLEAR,
    ),
    (
        "clears too late",
        lambda: Scene(rings={"api-5xx": (372, 500), "api-latency": (312, 300)}).history(),
        "clears:api-5xx",
        F,
        Reason.DID_NOT_CLEAR,
    ),
    (
        "no longer has data instead of clearing",
        lambda: tweak(
            drop(passing(), lambda e: isinstance(e, AlarmsPolled) and e.at > SCENE.verified + 6.0),
            lambda e: changed(e, "api-5xx", "OK"),
            after="INSUFFICIENT_DATA",
        ),
        "clears:api-5xx",
        F,
        Reason.DID_NOT_CLEAR,
    ),
    (
        "rings again",
        lambda: add(passing(), *ringing("api-5xx", SCENE.verified + 7.5 * MINUTE)),
        "clears:api-5xx",
        F,
        Reason.RANG_AGAIN,
    ),
    (
        "the drill ended before it could clear",
        lambda: Scene(recovery_s=200).history(),
        "clears:api-5xx",
        U,
        Reason.WINDOW_CUT,
    ),
    (
        "cleared, and then nobody looked whether it stayed clear",
        lambda: blind_polls(passing(), SCENE.verified + 4, SCENE.end + 1),
        "clears:api-latency",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "undo never verified, so no clock to clear against",
        lambda: drop(passing(), lambda e: stage(e, FaultStage.VERIFIED)),
        "clears:api-5xx",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "quiet alarm rings",
        lambda: Scene(rings={**SCENE.rings, "label-dlq": (400, 100)}).history(),
        "quiet:label-dlq",
        F,
        Reason.RANG_BUT_QUIET,
    ),
    (
        "quiet alarm rings between two polls",
        lambda: add(passing(), *ringing("label-dlq", SCENE.accepted + 3 * MINUTE)),
        "quiet:label-dlq",
        F,
        Reason.RANG_BUT_QUIET,
    ),
    (
        "quiet alarm rings in recovery only",
        lambda: add(passing(), *ringing("label-dlq", SCENE.verified + 2 * MINUTE)),
        "quiet:label-dlq",
        F,
        Reason.RANG_BUT_QUIET,
    ),
    (
        "quiet alarm rang before the fault",
        lambda: add(passing(), *ringing("label-dlq", SCENE.requested - 2 * MINUTE)),
        "quiet:label-dlq",
        U,
        Reason.RANG_BEFORE_FAULT,
    ),
    (
        "quiet because nobody looked",
        lambda: blind_polls(passing(), SCENE.accepted, SCENE.verified),
        "quiet:label-dlq",
        U,
        Reason.NOT_WATCHED,
    ),
    ("quiet until stopped", interrupted, "quiet:label-dlq", U, Reason.WINDOW_CUT),
    (
        "quiet window longer than the fault",
        lambda: with_expect(quiet=(QuietAlarm(alarm="label-dlq", window=900.0),)).history(),
        "quiet:label-dlq",
        U,
        Reason.WINDOW_CUT,
    ),
    (
        "blind alarm sees after all",
        lambda: Scene(rings={**SCENE.rings, "api-5xx-legacy": (400, 100)}).history(),
        "blind:api-5xx-legacy",
        F,
        Reason.NOT_BLIND,
    ),
    (
        "blind alarm not watched",
        lambda: blind_polls(passing(), SCENE.accepted, SCENE.verified),
        "blind:api-5xx-legacy",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "an alarm refutes the gap",
        lambda: add(gap(), *ringing("label-dlq", SCENE.accepted + MINUTE)),
        "gap",
        F,
        Reason.GAP_REFUTED,
    ),
    (
        "a gap nobody watched",
        lambda: blind_polls(gap(), SCENE.accepted, SCENE.verified),
        "gap",
        U,
        Reason.NOT_WATCHED,
    ),
    ("a gap without a fault", lambda: without(gap(), FaultChanged), "gap", U, Reason.NO_EVIDENCE),
]

FAULT_ROWS: list[Row] = [
    (
        "the rollbacks left the fault in place",
        lambda: left_broken(after_rollbacks=True),
        "rollbacks",
        F,
        Reason.NOT_ROLLED_BACK,
    ),
    (
        "nobody saw what the rollbacks left",
        lambda: drop(left_broken(after_rollbacks=True), lambda event: stage(event, FaultStage.UNDONE)),
        "rollbacks",
        U,
        Reason.NO_EVIDENCE,
    ),
    ("a rollback undid the fault", lambda: left_broken(after_rollbacks=False), "rollbacks", P, Reason.AS_EXPECTED),
    (
        "no canary looked whether it recovered",
        lambda: drop(passing(), lambda e: isinstance(e, CanaryRan) and e.at > SCENE.verified),
        "recovery",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "only broken canaries looked whether it recovered",
        lambda: tweak(passing(), lambda e: isinstance(e, CanaryRan) and e.at > SCENE.verified, broken=True, ok=False),
        "recovery",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "no load was there to recover",
        lambda: drop(passing(), lambda e: isinstance(e, LoadSecond) and e.at > SCENE.verified - 1),
        "recovery",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "the clock jumped",
        lambda: add(
            SCENE.interrupted(), Stopped(at=SCENE.accepted + MINUTE, guard="clock", detail="it jumped ahead by 1h")
        ),
        "guard:clock",
        U,
        Reason.CLOCK_JUMPED,
    ),
    (
        "accepted and nothing changed",
        lambda: staged(passing(), FaultStage.EFFECTIVE, FaultStage.NO_EFFECT),
        "effect",
        U,
        Reason.NO_EFFECT,
    ),
    (
        "no evidence of effect",
        lambda: drop(passing(), lambda e: stage(e, FaultStage.EFFECTIVE)),
        "effect",
        U,
        Reason.NO_EVIDENCE,
    ),
    ("no fault at all", lambda: without(passing(), FaultChanged), "effect", U, Reason.NO_EVIDENCE),
    (
        "one of two faults without effect",
        lambda: add(
            passing(),
            FaultChanged(at=SCENE.accepted, entry="2", fault="other", stage=FaultStage.ACCEPTED),
            FaultChanged(at=SCENE.verified, entry="2", fault="other", stage=FaultStage.VERIFIED),
        ),
        "effect",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "undo fails",
        lambda: staged(passing(), FaultStage.VERIFIED, FaultStage.UNDO_FAILED),
        "undo",
        F,
        Reason.UNDO_FAILED,
    ),
    (
        "undo reported, never read back",
        lambda: drop(passing(), lambda e: stage(e, FaultStage.VERIFIED)),
        "undo",
        F,
        Reason.UNDO_FAILED,
    ),
    (
        "one of two faults left in place",
        lambda: add(passing(), FaultChanged(at=SCENE.accepted, entry="2", fault="other", stage=FaultStage.ACCEPTED)),
        "undo",
        F,
        Reason.UNDO_FAILED,
    ),
    (
        "somebody else changed it",
        lambda: staged(passing(), FaultStage.VERIFIED, FaultStage.DRIFTED),
        "undo",
        U,
        Reason.DRIFTED,
    ),
    (
        "undo fails once and works at the second attempt",
        lambda: add(
            passing(),
            FaultChanged(
                at=SCENE.verified - 0.01,
                entry=f"{SCENE.slug}-1",
                fault=SCENE.fault,
                stage=FaultStage.UNDO_FAILED,
            ),
        ),
        "undo",
        P,
        Reason.AS_EXPECTED,
    ),
    ("no fault to undo", lambda: without(passing(), FaultChanged), "undo", U, Reason.NO_EVIDENCE),
    (
        "residue",
        lambda: tweak(passing(), lambda e: isinstance(e, ResidueChecked), open_entries=("entry-1",)),
        "residue",
        F,
        Reason.RESIDUE,
    ),
    ("nobody asked the ledger", lambda: without(passing(), ResidueChecked), "residue", U, Reason.NO_EVIDENCE),
    (
        "action fails",
        lambda: tweak(passing(), in_act(Act.FAULT, ActivityRan), ok=False),
        "method",
        F,
        Reason.ACTIVITY_FAILED,
    ),
    ("action not run", lambda: without(passing(), ActivityRan), "method", U, Reason.NO_EVIDENCE),
    (
        "rollback fails",
        lambda: tweak(passing(), in_act(Act.RECOVERY, ActivityRan), ok=False),
        "rollbacks",
        F,
        Reason.ACTIVITY_FAILED,
    ),
    ("rollback not run", lambda: without(passing(), ActivityRan), "rollbacks", U, Reason.NO_EVIDENCE),
    (
        "steady state not there before",
        lambda: tweak(passing(), in_act(Act.PREFLIGHT, HypothesisChecked), met=False),
        "steady-state:before",
        F,
        Reason.HYPOTHESIS_NOT_MET,
    ),
    (
        "steady state does not return",
        lambda: tweak(passing(), in_act(Act.RECOVERY, HypothesisChecked), met=False),
        "steady-state:after",
        F,
        Reason.HYPOTHESIS_NOT_MET,
    ),
    (
        "steady state not checked",
        lambda: without(passing(), HypothesisChecked),
        "steady-state:after",
        U,
        Reason.NO_EVIDENCE,
    ),
    ("cut off in the middle", lambda: without(passing(), DrillEnded), "drill", U, Reason.WINDOW_CUT),
    (
        "an actor dies",
        lambda: add(passing(), ActorDied(at=SCENE.accepted, actor="load", detail="exit code -9")),
        "actor:load",
        U,
        Reason.ACTOR_DIED,
    ),
    (
        "a guard that said no and stopped nothing",
        lambda: add(passing(), GuardChecked(at=START, guard="lock", ok=False, detail="held by another run")),
        "guard:lock",
        U,
        Reason.REFUSED,
    ),
]

TRAFFIC_ROWS: list[Row] = [
    ("no load", lambda: without(passing(), LoadSecond), "load", U, Reason.NO_TRAFFIC),
    ("no answers in the fault", lambda: without(passing(), LoadSecond), "answers", U, Reason.NO_TRAFFIC),
    (
        "no answers before the fault",
        lambda: without(passing(), LoadSecond),
        "baseline:errors",
        U,
        Reason.NO_TRAFFIC,
    ),
    (
        "no latency before the fault",
        lambda: without(passing(), LoadSecond),
        "baseline:latency",
        U,
        Reason.NO_TRAFFIC,
    ),
    (
        "load that sends nothing",
        lambda: tweak(passing(), lambda e: isinstance(e, LoadSecond), sent=0, offered=0, statuses={}, latency_ms={}),
        "load",
        U,
        Reason.NO_TRAFFIC,
    ),
    (
        "arrivals dropped",
        lambda: tweak(passing(), lambda e: isinstance(e, LoadSecond), dropped=2),
        "load",
        U,
        Reason.LOAD_INVALID,
    ),
    (
        "requests leave late",
        lambda: tweak(passing(), lambda e: isinstance(e, LoadSecond), lag_ms=900.0),
        "load",
        U,
        Reason.LOAD_INVALID,
    ),
    (
        "generator stalls for four seconds",
        lambda: drop(passing(), lambda e: isinstance(e, LoadSecond) and SCENE.accepted < e.at < SCENE.accepted + 4),
        "load",
        U,
        Reason.LOAD_INVALID,
    ),
    (
        "generator ends with the fault",
        lambda: drop(passing(), lambda e: isinstance(e, LoadSecond) and e.at > SCENE.verified),
        "load",
        U,
        Reason.LOAD_INVALID,
    ),
    (
        "offers a tenth of the plan",
        lambda: tweak(passing(), lambda e: isinstance(e, LoadSecond), offered=2, sent=2),
        "load",
        U,
        Reason.LOAD_INVALID,
    ),
    (
        "errors before the fault",
        lambda: tweak(passing(), slow(), statuses={"200": 18, "500": 2}),
        "baseline:errors",
        F,
        Reason.TOO_MANY_ERRORS,
    ),
    (
        "slow before the fault",
        lambda: tweak(passing(), slow(), latency_ms={"p50": 900.0, "p95": 1400.0, "p99": 1500.0}),
        "baseline:latency",
        F,
        Reason.TOO_SLOW,
    ),
    (
        "nobody saw the end of the baseline",
        lambda: without(tweak(passing(), slow(), latency_ms={"p95": 1400.0}), FaultChanged, ActEnded),
        "baseline:latency",
        U,
        Reason.NO_TRAFFIC,
    ),
    (
        "undocumented answers",
        lambda: Scene(fault_statuses={"500": 0.5, "503": 0.5}).history(),
        "answers",
        F,
        Reason.UNDOCUMENTED_ANSWER,
    ),
    (
        "no answer at all",
        lambda: Scene(fault_statuses={"error": 0.5, "503": 0.5}).history(),
        "answers",
        F,
        Reason.UNDOCUMENTED_ANSWER,
    ),
    (
        "a documented answer where none is allowed",
        lambda: with_expect(degraded=None).history(),
        "answers",
        F,
        Reason.UNDOCUMENTED_ANSWER,
    ),
    (
        "healthy answers where no other is allowed",
        lambda: replace(with_expect(degraded=None), fault_statuses=HEALTHY).history(),
        "answers",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "more degraded answers than allowed",
        lambda: with_expect(
            degraded=EXPECT.degraded.model_copy(update={"max_share": 0.5}) if EXPECT.degraded else None
        ).history(),
        "answers",
        F,
        Reason.TOO_MANY_ERRORS,
    ),
    *(
        (
            f"contract broken in {act.value}",
            lambda act=act: tweak(passing(), in_act(act, ContractRan), failures=(BAD,)),
            f"contract:{act.value}",
            F,
            Reason.CONTRACT_BROKEN,
        )
        for act in (Act.BASELINE, Act.FAULT, Act.RECOVERY)
    ),
    *(
        (
            f"contract not run in {act.value}",
            lambda act=act: drop(passing(), in_act(act, ContractRan)),
            f"contract:{act.value}",
            U,
            Reason.NO_EVIDENCE,
        )
        for act in (Act.BASELINE, Act.FAULT, Act.RECOVERY)
    ),
    (
        "contract run cut short",
        lambda: tweak(passing(), in_act(Act.FAULT, ContractRan), complete=False),
        "contract:fault",
        U,
        Reason.WINDOW_CUT,
    ),
    (
        "contract run without a case",
        lambda: tweak(passing(), in_act(Act.RECOVERY, ContractRan), cases=0),
        "contract:recovery",
        U,
        Reason.NO_TRAFFIC,
    ),
    (
        "work lost",
        lambda: tweak(passing(), lambda e: isinstance(e, WorkCounted), processed=36, lost=("a",), lost_count=1),
        "conserved:labels",
        F,
        Reason.WORK_LOST,
    ),
    (
        "work done twice",
        lambda: tweak(passing(), lambda e: isinstance(e, WorkCounted), duplicated=("a",), duplicated_count=1),
        "conserved:labels",
        F,
        Reason.WORK_DUPLICATED,
    ),
    (
        "fewer processed than accepted",
        lambda: tweak(passing(), lambda e: isinstance(e, WorkCounted), processed=30),
        "conserved:labels",
        F,
        Reason.WORK_LOST,
    ),
    (
        "no work",
        lambda: tweak(passing(), lambda e: isinstance(e, WorkCounted), accepted=0, processed=0),
        "conserved:labels",
        U,
        Reason.NO_TRAFFIC,
    ),
    ("nobody counted", lambda: without(passing(), WorkCounted), "conserved:labels", U, Reason.NO_EVIDENCE),
]

CANARY_ROWS: list[Row] = [
    (
        "canary that cannot fail",
        lambda: Scene(failing_canaries=()).history(),
        "canary:create_parcel",
        F,
        Reason.CANARY_BLIND,
    ),
    (
        "canary that fails before the fault too",
        lambda: tweak(passing(), lambda e: ran(e, "create_parcel", START, SCENE.requested), ok_after_retry=False),
        "canary:create_parcel",
        U,
        Reason.RANG_BEFORE_FAULT,
    ),
    (
        "canary that raises in itself",
        lambda: tweak(passing(), lambda e: ran(e, "create_parcel", SCENE.accepted, SCENE.end), broken=True),
        "canary:create_parcel",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "canary that notices too late",
        lambda: tweak(
            passing(),
            lambda e: ran(e, "create_parcel", SCENE.accepted, SCENE.accepted + 6 * MINUTE),
            ok_after_retry=True,
        ),
        "canary:create_parcel",
        F,
        Reason.RANG_LATE,
    ),
    (
        "canary cut short",
        lambda: Scene(failing_canaries=(), hold_s=120).history(),
        "canary:create_parcel",
        U,
        Reason.WINDOW_CUT,
    ),
    (
        "canary fails before",
        lambda: tweak(passing(), lambda e: ran(e, "health", START, SCENE.requested), ok=False, ok_after_retry=False),
        "canaries:before",
        F,
        Reason.CANARY_FAILED,
    ),
    (
        "canary broken before",
        lambda: tweak(passing(), lambda e: ran(e, "health", START, SCENE.requested), broken=True),
        "canaries:before",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "canary did not run before",
        lambda: drop(passing(), lambda e: ran(e, "health", START, SCENE.requested)),
        "canaries:before",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "passes only after a retry",
        lambda: tweak(passing(), lambda e: ran(e, "health", START, SCENE.requested), ok=False),
        "canaries:before",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "canary does not return",
        lambda: tweak(passing(), lambda e: ran(e, "health", SCENE.verified, SCENE.end), ok=False, ok_after_retry=False),
        "canaries:after",
        F,
        Reason.NOT_RECOVERED,
    ),
    (
        "canary stopped running",
        lambda: drop(passing(), lambda e: ran(e, "health", SCENE.verified, SCENE.end)),
        "canaries:after",
        U,
        Reason.NO_EVIDENCE,
    ),
    ("no canary at all", lambda: without(passing(), CanaryRan), "canaries:after", U, Reason.NO_EVIDENCE),
    (
        "canary returns too late",
        lambda: tweak(
            passing(),
            lambda e: ran(e, "health", SCENE.verified, SCENE.verified + 6 * MINUTE),
            ok_after_retry=False,
        ),
        "recovery",
        F,
        Reason.NOT_RECOVERED,
    ),
    (
        "steady state returns too late",
        lambda: tweak(passing(), in_act(Act.RECOVERY, HypothesisChecked), at=SCENE.verified + 6 * MINUTE),
        "recovery",
        F,
        Reason.NOT_RECOVERED,
    ),
    (
        "errors go on after the undo",
        lambda: tweak(passing(), lambda e: isinstance(e, LoadSecond) and e.at > SCENE.verified, statuses={"503": 20}),
        "recovery",
        F,
        Reason.NOT_RECOVERED,
    ),
    (
        "errors come back after three good seconds",
        lambda: tweak(
            passing(),
            lambda e: isinstance(e, LoadSecond) and e.at > SCENE.verified + 4,
            statuses={"200": 15, "503": 5},
        ),
        "recovery",
        F,
        Reason.NOT_RECOVERED,
    ),
    ("stopped before it recovered", interrupted, "recovery", U, Reason.WINDOW_CUT),
    (
        "never verified, never recovered",
        lambda: drop(passing(), lambda e: stage(e, FaultStage.VERIFIED)),
        "recovery",
        U,
        Reason.NO_EVIDENCE,
    ),
]


def bare(scene: Scene, **system: object) -> Scene:
    """The system has less."""
    return replace(scene, system=scene.system.model_copy(update=system))


def unverified(history: History) -> History:
    return drop(history, lambda event: stage(event, FaultStage.VERIFIED))


def canaries_not_named() -> History:
    """None ran, and the experiment names none that must notice."""
    must = tuple(entry for entry in EXPECT.must if isinstance(entry, MustAlarm))
    return without(with_expect(must=must).history(), CanaryRan)


def idle() -> History:
    """An experiment without a single activity, a load, canaries or a hypothesis."""
    scene = bare(replace(SCENE, load=None), canaries=None)
    started = scene.started()
    empty = started.experiment.model_copy(update={"method": (), "rollbacks": (), "hypothesis": False})
    return tweak(scene.history(), lambda event: event.kind == "drill_started", experiment=empty)


DARK_ROWS: list[Row] = [
    ("a guard said no before the fault", SCENE.refused, "guard:alarms_quiet", U, Reason.REFUSED),
    ("a signal ended it", interrupted, "guard:interrupted", U, Reason.INTERRUPTED),
    ("a signal ended it in the fault", interrupted, "drill", U, Reason.WINDOW_CUT),
    (
        "an act never ended",
        lambda: drop(passing(), in_act(Act.RECOVERY, ActEnded)),
        "drill",
        U,
        Reason.WINDOW_CUT,
    ),
    ("an experiment that does nothing", idle, "method", U, Reason.NO_EVIDENCE),
    ("nothing that could recover", idle, "recovery", U, Reason.NO_EVIDENCE),
    (
        "took effect, and was never accepted",
        lambda: drop(passing(), lambda e: stage(e, FaultStage.ACCEPTED)),
        "effect",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "answers without a latency",
        lambda: tweak(passing(), lambda e: isinstance(e, LoadSecond) and e.at < SCENE.requested, latency_ms={}),
        "baseline:latency",
        U,
        Reason.NO_DATA,
    ),
    (
        "steady state not checked before",
        lambda: without(passing(), HypothesisChecked),
        "steady-state:before",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "rings where no pager can be watched",
        lambda: bare(SCENE, notifications=None).history(),
        "must:api-5xx",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "rings, and the drill ends before anybody could be told",
        lambda: [
            *drop(passing(), lambda e: isinstance(e, AlarmNotified) or e.at > RUNG + MINUTE / 2),
            DrillEnded(at=RUNG + MINUTE / 2),
        ],
        "must:api-5xx",
        U,
        Reason.WINDOW_CUT,
    ),
    (
        "nobody looked whether it cleared",
        lambda: blind_polls(
            Scene(rings={"api-5xx": (372, 2000), "api-latency": (312, 300)}).history(), SCENE.verified, SCENE.end
        ),
        "clears:api-5xx",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "quiet, and nobody read it before the fault",
        lambda: without(passing(), AlarmSeen),
        "quiet:label-dlq",
        U,
        Reason.NOT_WATCHED,
    ),
    ("no canary ran before", canaries_not_named, "canaries:before", U, Reason.NO_EVIDENCE),
    ("no canary ran after", canaries_not_named, "canaries:after", U, Reason.NO_EVIDENCE),
    ("undo never verified", lambda: unverified(passing()), "canaries:after", U, Reason.NO_EVIDENCE),
    (
        "canary that was not seen to pass before the fault",
        lambda: drop(passing(), lambda e: ran(e, "create_parcel", START, SCENE.requested)),
        "canary:create_parcel",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "canary that was broken before the fault",
        lambda: tweak(passing(), lambda e: ran(e, "create_parcel", START, SCENE.requested), broken=True),
        "canary:create_parcel",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "nothing injected for a canary to notice",
        lambda: without(passing(), FaultChanged),
        "canary:create_parcel",
        U,
        Reason.NO_EVIDENCE,
    ),
]
"""Where nobody looked, or there was nothing to see."""

ROWS = [*ALARM_ROWS, *FAULT_ROWS, *TRAFFIC_ROWS, *CANARY_ROWS, *DARK_ROWS]


def found(verdict: Verdict, judgement_id: str) -> Judgement:
    return next(judgement for judgement in verdict.judgements if judgement.id == judgement_id)


@pytest.mark.parametrize(
    ("history", "judgement_id", "outcome", "reason"),
    [row[1:] for row in ROWS],
    ids=[f"{row[2]}-{row[0].replace(' ', '-')}" for row in ROWS],
)
def test_planted_bug(history: Callable[[], History], judgement_id: str, outcome: Outcome, reason: Reason) -> None:
    verdict = judge(history())
    judgement = found(verdict, judgement_id)
    assert (judgement.outcome, judgement.reason) == (outcome, reason), judgement.message
    if outcome != Outcome.PASS:
        assert verdict.outcome != Outcome.PASS


@pytest.mark.parametrize("scale", [1.0, 10.0, 60.0])
def test_healthy_twin_passes(scale: float) -> None:
    verdict = judge(Scene(scale=scale).history())
    assert [j for j in verdict.judgements if j.outcome != Outcome.PASS] == []
    assert (verdict.outcome, verdict.exit_code) == (Outcome.PASS, 0)


def test_every_planted_judgement_passes_in_the_healthy_twin() -> None:
    known = {judgement.id for history in (passing(), gap()) for judgement in judge(history).judgements}
    only_when_planted = ("actor:", "guard:")
    assert {row[2] for row in ROWS if not row[2].startswith(only_when_planted)} <= known


def test_judgement_ids_are_unique() -> None:
    for history in (passing(), failing(), gap(), SCENE.refused(), interrupted()):
        ids = [judgement.id for judgement in judge(history).judgements]
        assert len(ids) == len(set(ids))


def test_order_of_the_lines_does_not_matter() -> None:
    assert judge(reversed(passing())) == judge(passing())


def test_detection_counts_stages_in_production_seconds_whatever_the_scale() -> None:
    for scale in (1.0, 60.0):
        detection = judge(Scene(scale=scale).history()).detections[0]
        assert detection.alarm == "api-5xx"
        assert detection.accepted_s == pytest.approx(4, abs=0.1)
        assert detection.effective_s == pytest.approx(22, abs=0.1)
        assert detection.breached_s == pytest.approx(286, abs=0.1)
        assert detection.alarm_s == pytest.approx(376, abs=0.1)
        assert detection.notified_s == pytest.approx(384, abs=0.1)
        assert detection.cleared_s == pytest.approx(361, abs=0.1)


def test_a_breach_is_never_shown_before_the_injection_that_caused_it() -> None:
    early = tweak(passing(), lambda e: changed(e, "api-5xx", "ALARM"), breached_at=SCENE.requested - 3)
    detection = judge(early).detections[0]
    assert detection.breached_s == detection.accepted_s


def test_times_to_roll_back_and_to_recover() -> None:
    verdict = judge(passing())
    assert verdict.time_to_roll_back_s == pytest.approx(14, abs=0.1)
    assert verdict.time_to_recover_s == pytest.approx(14 + 361, abs=0.1), "the slowest alarm clears last"


def test_an_alarm_that_never_clears_is_no_recovery() -> None:
    history = Scene(rings={"api-5xx": (372, 2000), "api-latency": (312, 300)}).history()
    assert judge(history).time_to_recover_s is None


def test_an_alarm_that_cleared_during_the_undo_is_clear() -> None:
    history = Scene(rings={"api-5xx": (372, -5), "api-latency": (312, 300)}).history()
    judgement = found(judge(history), "clears:api-5xx")
    assert judgement.outcome == Outcome.PASS
    assert judgement.measured["cleared_s"] == 0


def test_a_poll_that_crossed_a_transition_is_not_a_second_ring() -> None:
    cleared = SCENE.verified + 361 / SCENE.scale
    stale = AlarmsPolled(at=cleared + 0.05, polls=1, states={"api-5xx": "ALARM"})
    assert judge(add(passing(), stale)).outcome == Outcome.PASS


def test_a_notification_stamped_in_whole_milliseconds_is_the_one_of_this_ring() -> None:
    ring = next(e for e in passing() if changed(e, "api-5xx", "ALARM"))
    told = tweak(
        passing(),
        lambda e: isinstance(e, AlarmNotified) and e.alarm == "api-5xx" and e.state == "ALARM",
        at=ring.at - 0.0009,
    )
    assert found(judge(told), "must:api-5xx").outcome == Outcome.PASS


def test_an_outage_within_the_second_of_the_injection_is_seen() -> None:
    def hurt(event: Event) -> Event:
        if isinstance(event, LoadSecond) and event.at <= SCENE.accepted < event.at + 1:
            return event.model_copy(update={"statuses": {"503": event.sent}})
        return event

    def told(history: list[Event]) -> str:
        return next(one.message for one in judge(history).findings if one.kind == "gap")

    assert "Seen: 0.0% of" in told(gap())
    assert "Seen: 0.0% of" not in told([hurt(event) for event in gap()])


def test_counting_work_for_long_does_not_make_the_load_look_cut() -> None:
    waited = 9.0
    history = [
        event.model_copy(update={"at": event.at + waited, "waited_s": waited})
        if isinstance(event, WorkCounted)
        else event.model_copy(update={"at": event.at + waited})
        if isinstance(event, ResidueChecked | DrillEnded) or in_act(Act.RECOVERY, ActEnded)(event)
        else event
        for event in passing()
    ]
    polls = (
        AlarmsPolled(at=SCENE.end + second, polls=4, states=dict.fromkeys(SYSTEM.alarms, "OK"))
        for second in range(int(waited) + 1)
    )
    verdict = judge(add(history, *polls))
    assert found(verdict, "load").outcome == Outcome.PASS
    assert verdict.outcome == Outcome.PASS


def test_whether_a_metric_has_data_may_be_asked_at_the_end() -> None:
    later = AlarmSeen(at=SCENE.end - 0.01, alarm="api-5xx-legacy", state="OK", has_data=True)
    assert "Its metric has data" in judge(add(passing(), later)).findings[0].message


def test_no_effect_is_the_first_thing_said() -> None:
    history = staged(passing(), FaultStage.EFFECTIVE, FaultStage.NO_EFFECT)
    verdict = judge(history)
    unknown = [judgement for judgement in verdict.judgements if judgement.outcome == Outcome.UNKNOWN]
    assert unknown[0].reason == Reason.NO_EFFECT
    assert verdict.exit_code == 3


def test_gap_is_a_finding_that_tells_what_hurt() -> None:
    verdict = judge(gap())
    assert verdict.outcome == Outcome.PASS
    finding = next(finding for finding in verdict.findings if finding.kind == "gap")
    assert "print_label" in finding.message
    assert "37 messages wait" in finding.message


def test_blind_alarm_is_a_finding_with_the_state_of_its_metric() -> None:
    finding = judge(passing()).findings[0]
    assert (finding.kind, finding.subject) == ("blind_alarm", "api-5xx-legacy")
    assert "never had a datapoint" in finding.message


def test_definition_drift_is_a_finding_and_told_beside_the_ring() -> None:
    verdict = judge(
        tweak(
            passing(),
            lambda e: isinstance(e, AlarmSeen) and e.alarm == "api-5xx",
            definition_drift=("Threshold", "Period"),
        )
    )
    assert [f.subject for f in verdict.findings if f.kind == "definition_drift"] == ["api-5xx"]
    assert "Threshold, Period" in found(verdict, "must:api-5xx").message


def test_a_guard_stops_the_drill_before_anything_is_judged() -> None:
    verdict = judge(SCENE.refused())
    assert (verdict.outcome, verdict.stopped, verdict.exit_code) == (Outcome.UNKNOWN, "alarms_quiet", 4)
    assert [judgement.id for judgement in verdict.judgements] == ["guard:alarms_quiet"]


def test_a_stopped_drill_fails_nothing_it_could_not_finish() -> None:
    rung = Scene(rings={**SCENE.rings, "label-dlq": (60, 10)})
    verdict = judge(rung.interrupted(after_s=300))
    assert (verdict.outcome, verdict.stopped, verdict.exit_code) == (Outcome.UNKNOWN, "interrupted", 4)
    quiet = found(verdict, "quiet:label-dlq")
    assert (quiet.outcome, quiet.reason) == (Outcome.UNKNOWN, Reason.WINDOW_CUT)
    assert "rang 1m" in quiet.message


def test_a_stopped_drill_still_fails_for_a_fault_left_behind() -> None:
    left = drop(interrupted(), lambda e: stage(e, FaultStage.VERIFIED))
    open_ledger = tweak(left, lambda e: isinstance(e, ResidueChecked), open_entries=("entry-1",))
    verdict = judge(open_ledger)
    assert (verdict.outcome, verdict.residue, verdict.exit_code) == (Outcome.FAIL, ("entry-1",), 5)


def test_a_history_that_breaks_off_in_the_fault_leaves_residue() -> None:
    killed = [event for event in passing() if event.at < SCENE.accepted + 2]
    verdict = judge(killed)
    assert (verdict.outcome, verdict.exit_code) == (Outcome.FAIL, 5)
    assert verdict.residue == (f"{SCENE.slug}-1",)


def test_what_a_system_does_not_have_is_not_asked_and_said() -> None:
    bare = SYSTEM.model_copy(update={"contract": None, "canaries": None, "notifications": None, "conservation": {}})
    expect = Expect(
        must=(MustAlarm(alarm="api-5xx", within=660),),
        degraded=EXPECT.degraded,
        recovery=EXPECT.recovery,
    )
    scene = replace(SCENE, system=bare, expect=expect)
    verdict = judge(without(scene.history(), AlarmNotified))
    assert verdict.outcome == Outcome.PASS
    told = " ".join(verdict.not_observed)
    for words in ("contract", "canaries", "anybody is told", "api-latency: watched and not judged; it rang"):
        assert words in told


def test_an_experiment_without_load_says_so() -> None:
    verdict = judge(replace(SCENE, load=None).history())
    assert verdict.outcome == Outcome.PASS
    assert any("under load" in what for what in verdict.not_observed)
    assert not any(judgement.id in ("load", "answers") for judgement in verdict.judgements)


def test_a_quiet_alarm_without_data_proves_little() -> None:
    history = tweak(passing(), lambda e: isinstance(e, AlarmSeen) and e.alarm == "label-dlq", has_data=False)
    assert any(
        what.startswith("label-dlq: its metric has never had a datapoint") for what in judge(history).not_observed
    )


def test_blind_and_quiet_use_the_longest_deadline() -> None:
    expect = EXPECT.model_copy(update={"blind": (BlindAlarm(alarm="label-dlq", because="x"),), "quiet": ()})
    cut = replace(SCENE, expect=expect, hold_s=400).history()
    assert found(judge(cut), "blind:label-dlq").reason == Reason.WINDOW_CUT


def test_baseline_objectives_come_from_the_system() -> None:
    strict = SYSTEM.model_copy(update={"objectives": Objectives(p95_ms=50.0)})
    verdict = judge(replace(SCENE, system=strict).history())
    assert found(verdict, "baseline:latency").reason == Reason.TOO_SLOW


def test_a_checker_that_raises_is_unknown_and_the_others_are_asked() -> None:
    def check_nothing(timeline: Timeline) -> list[Answer]:
        raise ZeroDivisionError("planted")

    verdict = judge(passing(), checkers=[check_nothing])  # type: ignore[list-item]
    crashed = found(verdict, "checker:nothing")
    assert (crashed.outcome, crashed.reason) == (Outcome.UNKNOWN, Reason.CHECKER_CRASHED)
    assert "planted" in crashed.message
    assert found(verdict, "undo").outcome == Outcome.PASS
    assert verdict.outcome == Outcome.UNKNOWN


def test_a_history_without_its_first_line_cannot_be_judged() -> None:
    with pytest.raises(InvalidInput, match="drill_started"):
        judge([Stopped(at=START, guard="lock", detail="held")])
