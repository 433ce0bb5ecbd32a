"""A machine that cannot keep up: what hangs on time or share is not known, everything else stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tests.checkers.histories import (
    EXPECT,
    START,
    SYSTEM,
    TOPIC,
    Scene,
    add,
    drop,
    gap,
    lagged,
    on_busy_machine,
    passing,
    path,
    tweak,
    without,
)
from tests.checkers.spoiled import (
    BAD,
    MINUTE,
    SCENE,
    F,
    History,
    P,
    Row,
    U,
    blind_polls,
    check_planted,
    found,
    in_act,
    left_broken,
    planted,
    ran,
    ringing,
    silent,
    slow,
    staged,
    with_expect,
)
from tests.checkers.test_changes import WHOLE, changing

from tocsin.checkers import judge
from tocsin.checkers.answers import Answer
from tocsin.checkers.machine import STANDS, TABLE
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import (
    Act,
    ActivityRan,
    ActorDied,
    AlarmNotified,
    AlarmSeen,
    CanaryRan,
    ContractRan,
    DrillStarted,
    Event,
    FaultStage,
    HypothesisChecked,
    LoadSecond,
    MachineWatched,
    ResidueChecked,
    WorkCounted,
)
from tocsin.model.experiment import Degraded
from tocsin.model.verdict import Judgement, Outcome, Reason

DOCUMENT = Path(__file__).parents[2] / "docs" / "VERDICTS.md"

BUSY, BLIND, DID_NOT_RING = Reason.MACHINE_BUSY, Reason.CANARY_BLIND, Reason.DID_NOT_RING
PREFLIGHT = lagged(START + 0.2, START + 0.9, 0.6)
AT_THE_BEGINNING = lagged(SCENE.requested - 6, SCENE.requested - 4, 0.5)
UNDER_THE_FAULT = lagged(SCENE.accepted + 1, SCENE.accepted + 4)
A_LITTLE = lagged(SCENE.accepted + 1, SCENE.accepted + 4, 0.2)
ALL_THE_FAULT = lagged(SCENE.accepted, SCENE.undo_requested)
AT_THE_UNDO = lagged(SCENE.undo_requested, SCENE.verified + 0.1)
AFTER_THE_UNDO = lagged(SCENE.verified + 1, SCENE.verified + 4)
AT_THE_END = lagged(SCENE.end - 1, SCENE.end - 0.2)
ALL_THE_TIME = lagged(START, SCENE.end - 0.1)
GAP_FAULT, GAP_END = UNDER_THE_FAULT, AT_THE_END

# --- what goes wrong ----------------------------------------------------------------------------------------


def on_latency(scene: Scene = SCENE) -> Scene:
    """The same with alarms of which three look at a time."""
    metrics = ("5xx", "Latency", "ApproximateAgeOfOldestMessage", "TargetResponseTime")
    alarms = {
        name: alarm.model_copy(update={"cloudwatch": alarm.cloudwatch.model_copy(update={"metric_name": metric})})
        for (name, alarm), metric in zip(SYSTEM.cloudwatch_alarms.items(), metrics, strict=True)
    }
    return replace(scene, system=SYSTEM.model_copy(update={"alarms": alarms}))


LOUD = replace(SCENE, rings={**SCENE.rings, "label-dlq": (400.0, 100.0)})
SEEING = replace(SCENE, rings={**SCENE.rings, "api-5xx-legacy": (400.0, 100.0)})


def rules_on_latency() -> History:
    """The one that has to be quiet is of Prometheus, and its rules read how long something took."""
    return tweak(LOUD.history(), lambda e: isinstance(e, AlarmSeen) and e.alarm == "label-dlq", looks_at_time=True)


def of_alarm(history: History, kind: type[Event], **changes: object) -> History:
    return tweak(history, lambda e: isinstance(e, kind) and getattr(e, "alarm", "") == "api-5xx", **changes)


def drifted() -> History:
    return of_alarm(silent("api-5xx"), AlarmSeen, definition_drift=("Threshold",))


def dataless() -> History:
    return of_alarm(silent("api-5xx"), AlarmSeen, has_data=False)


def flapping() -> History:
    return add(passing(), *ringing("api-5xx", SCENE.accepted + 2 * MINUTE))


def untold() -> History:
    return drop(passing(), lambda e: isinstance(e, AlarmNotified) and e.alarm == "api-5xx")


def disabled() -> History:
    return add(untold(), path("api-5xx", TOPIC, actions_enabled=False))


def actionless() -> History:
    return add(untold(), path("api-5xx"))


def suppressed() -> History:
    held = path("api-5xx", TOPIC, suppressor="maintenance", suppressed_by="Alarm", at=SCENE.undo_requested - 0.1)
    return add(untold(), held)


def unwatched(history: History | None = None) -> History:
    return blind_polls(history or silent("api-5xx"), SCENE.accepted, SCENE.undo_requested)


def unwatched_end() -> History:
    scene = Scene(rings={**SCENE.rings, "api-5xx": (372.0, 200.0)})
    return blind_polls(scene.history(), SCENE.verified + 3.4, SCENE.end)


def clears_late() -> History:
    return Scene(rings={**SCENE.rings, "api-5xx": (372.0, 500.0)}).history()


def rings_again() -> History:
    return add(passing(), *ringing("api-5xx", SCENE.verified + 7.5 * MINUTE))


def notices_late() -> History:
    first, last = SCENE.accepted, SCENE.accepted + 6 * MINUTE
    return tweak(passing(), lambda e: ran(e, "create_parcel", first, last), ok_after_retry=True)


def did_not_run() -> History:
    return drop(passing(), lambda e: ran(e, "create_parcel", SCENE.accepted, SCENE.undo_requested))


def refuted() -> History:
    return of_alarm(gap(), AlarmSeen, state="OK") + ringing("api-5xx", SCENE.accepted + MINUTE)


def refuted_by_time() -> History:
    """The system of the gap, with the alarm on a time that rang."""
    history = add(gap(), *ringing("api-latency", SCENE.accepted + MINUTE))
    return tweak(history, lambda e: isinstance(e, DrillStarted), system=on_latency().system)


def no_answers(start: float, end: float) -> History:
    return tweak(passing(), lambda e: isinstance(e, LoadSecond) and start <= e.at <= end, statuses={"error": 20})


def unanswered() -> History:
    return no_answers(SCENE.accepted + 1, SCENE.accepted + 4)


def unanswered_later() -> History:
    return no_answers(SCENE.accepted + 8, SCENE.undo_requested)


def too_degraded() -> History:
    degraded = Degraded(status=(503,), schema_name="Problem", max_share=0.1)
    return with_expect(degraded=degraded).history()


def in_baseline(event: Event) -> bool:
    return isinstance(event, LoadSecond) and event.at < SCENE.requested - 4


def baseline_errors() -> History:
    return tweak(passing(), in_baseline, statuses={"200": 18, "500": 2})


def errors_before() -> History:
    return tweak(passing(), slow(), statuses={"200": 18, "500": 2})


def baseline_slow() -> History:
    return tweak(passing(), in_baseline, latency_ms={"p50": 900.0, "p95": 2400.0, "p99": 2500.0})


def canary_fails(start: float, end: float) -> History:
    return tweak(passing(), lambda e: ran(e, "health", start, end), ok=False, ok_after_retry=False)


def canary_before() -> History:
    return canary_fails(SCENE.requested - 6, SCENE.requested - 4)


def canary_after() -> History:
    return canary_fails(SCENE.end - 1.2, SCENE.end)


def late_load() -> History:
    return tweak(passing(), lambda e: isinstance(e, LoadSecond), lag_ms=900.0)


def recovers_late() -> History:
    return canary_fails(SCENE.verified, SCENE.verified + 7 * MINUTE)


def unseen_recovery() -> History:
    return drop(passing(), lambda e: isinstance(e, CanaryRan) and e.at > SCENE.verified)


def unsteady(act: Act) -> Callable[[], History]:
    return lambda: tweak(passing(), in_act(act, HypothesisChecked), met=False)


def cut_contract() -> History:
    return tweak(passing(), in_act(Act.FAULT, ContractRan), complete=False)


def unanswered_contract() -> History:
    return tweak(passing(), in_act(Act.FAULT, ContractRan), failures=(BAD.model_copy(update={"check": "no_answer"}),))


def broken_contract() -> History:
    return tweak(passing(), in_act(Act.FAULT, ContractRan), failures=(BAD,))


def lost() -> History:
    return tweak(passing(), lambda e: isinstance(e, WorkCounted), lost=("a",), lost_count=1)


def doubled() -> History:
    return tweak(passing(), lambda e: isinstance(e, WorkCounted), duplicated=("a",), duplicated_count=1)


def undo_failed() -> History:
    return staged(passing(), FaultStage.VERIFIED, FaultStage.UNDO_FAILED)


def left_over() -> History:
    return tweak(passing(), lambda e: isinstance(e, ResidueChecked), open_entries=("one",))


def activity_failed() -> History:
    return tweak(passing(), in_act(Act.FAULT, ActivityRan), ok=False)


def not_rolled_back() -> History:
    return left_broken(after_rollbacks=True)


def busy(history: Callable[[], History], *stretches: Event) -> Callable[[], History]:
    return lambda: on_busy_machine(history(), *stretches)


def with_alarm_late() -> History:
    return Scene(rings={"api-5xx": (720.0, 300.0)}, hold_s=900).history()


def seldom(history: History) -> History:
    """The canary ran under the fault only before that took effect."""
    first, last = SCENE.accepted + 0.3, SCENE.undo_requested
    return drop(history, lambda e: ran(e, "create_parcel", first, last))


ROWS: list[Row] = [
    # An alarm that must ring.
    ("silent", busy(lambda: silent("api-5xx"), UNDER_THE_FAULT), "must:api-5xx", U, BUSY),
    ("silent, busy only later", busy(lambda: silent("api-5xx"), AFTER_THE_UNDO), "must:api-5xx", F, DID_NOT_RING),
    ("silent, a tenth of a second late", busy(lambda: silent("api-5xx"), A_LITTLE), "must:api-5xx", F, DID_NOT_RING),
    ("silent by its definition", busy(drifted, UNDER_THE_FAULT), "must:api-5xx", F, DID_NOT_RING),
    ("silent without any data", busy(dataless, UNDER_THE_FAULT), "must:api-5xx", F, DID_NOT_RING),
    ("rings late", busy(with_alarm_late, UNDER_THE_FAULT), "must:api-5xx", U, BUSY),
    ("flaps", busy(flapping, UNDER_THE_FAULT), "must:api-5xx", U, BUSY),
    ("nobody is told", busy(untold, AFTER_THE_UNDO), "must:api-5xx", U, BUSY),
    ("its actions are disabled", busy(disabled, AFTER_THE_UNDO), "must:api-5xx", F, Reason.NOT_NOTIFIED),
    ("it has no action", busy(actionless, AFTER_THE_UNDO), "must:api-5xx", F, Reason.NOT_NOTIFIED),
    ("a suppressor held it back", busy(suppressed, AFTER_THE_UNDO), "must:api-5xx", F, Reason.NOT_NOTIFIED),
    ("nobody looked", busy(unwatched, UNDER_THE_FAULT), "must:api-5xx", U, BUSY),
    ("rings in spite of it", busy(passing, UNDER_THE_FAULT), "must:api-5xx", P, Reason.AS_EXPECTED),
    ("a time rings by itself", busy(on_latency().history, UNDER_THE_FAULT), "must:api-latency", U, BUSY),
    ("clears late", busy(clears_late, AFTER_THE_UNDO), "clears:api-5xx", U, BUSY),
    ("rings again", busy(rings_again, AFTER_THE_UNDO), "clears:api-5xx", U, BUSY),
    ("nobody looked whether it clears", busy(unwatched_end, AFTER_THE_UNDO), "clears:api-5xx", U, BUSY),
    ("stays clear", busy(passing, AFTER_THE_UNDO), "clears:api-5xx", P, Reason.AS_EXPECTED),
    ("may ring again too late to be seen", busy(passing, AT_THE_END), "clears:api-5xx", U, BUSY),
    # A canary that must notice.
    ("notices late", busy(notices_late, UNDER_THE_FAULT), "canary:create_parcel", U, BUSY),
    ("never fails", busy(Scene(failing_canaries=()).history, UNDER_THE_FAULT), "canary:create_parcel", F, BLIND),
    (
        "never fails where it was to be seen",
        busy(lambda: seldom(Scene(failing_canaries=()).history()), UNDER_THE_FAULT),
        "canary:create_parcel",
        U,
        BUSY,
    ),
    ("did not run", busy(did_not_run, UNDER_THE_FAULT), "canary:create_parcel", U, BUSY),
    ("fails by itself", busy(passing, ALL_THE_FAULT), "canary:create_parcel", U, BUSY),
    ("fails after it too", busy(passing, AT_THE_BEGINNING), "canary:create_parcel", P, Reason.AS_EXPECTED),
    # Silence.
    ("nobody looked at silence", busy(unwatched, UNDER_THE_FAULT), "quiet:label-dlq", U, BUSY),
    ("nobody looked at a blind alarm", busy(unwatched, UNDER_THE_FAULT), "blind:api-5xx-legacy", U, BUSY),
    ("nobody looked at a gap", busy(lambda: unwatched(gap()), GAP_FAULT), "gap", U, BUSY),
    ("a bell that rang", busy(LOUD.history, UNDER_THE_FAULT), "quiet:label-dlq", F, Reason.RANG_BUT_QUIET),
    ("a time rang by itself", busy(on_latency(LOUD).history, UNDER_THE_FAULT), "quiet:label-dlq", U, BUSY),
    ("a time rang, by the rules of Prometheus", busy(rules_on_latency, UNDER_THE_FAULT), "quiet:label-dlq", U, BUSY),
    ("a blind bell that rang", busy(SEEING.history, UNDER_THE_FAULT), "blind:api-5xx-legacy", F, Reason.NOT_BLIND),
    ("a blind time rang", busy(on_latency(SEEING).history, UNDER_THE_FAULT), "blind:api-5xx-legacy", U, BUSY),
    ("a gap is refuted", busy(refuted, GAP_FAULT), "gap", F, Reason.GAP_REFUTED),
    ("a gap is refuted by a time", busy(refuted_by_time, GAP_FAULT), "gap", U, BUSY),
    ("silent, and may ring later", busy(passing, AT_THE_END), "quiet:label-dlq", U, BUSY),
    ("blind, and may ring later", busy(passing, AT_THE_END), "blind:api-5xx-legacy", U, BUSY),
    ("silent long enough", busy(passing, UNDER_THE_FAULT), "quiet:label-dlq", P, Reason.AS_EXPECTED),
    ("a gap, and may ring later", busy(gap, GAP_END), "gap", U, BUSY),
    # Answers, and what is counted in shares.
    ("no answers meanwhile", busy(unanswered, UNDER_THE_FAULT), "answers", U, BUSY),
    ("no answers afterwards too", busy(unanswered_later, UNDER_THE_FAULT), "answers", F, Reason.UNDOCUMENTED_ANSWER),
    ("too many degraded", busy(too_degraded, ALL_THE_TIME), "answers", U, BUSY),
    ("errors before", busy(baseline_errors, AT_THE_BEGINNING), "baseline:errors", U, BUSY),
    ("errors before, busy later", busy(baseline_errors, AFTER_THE_UNDO), "baseline:errors", F, Reason.TOO_MANY_ERRORS),
    ("errors all the time before", busy(errors_before, AT_THE_BEGINNING), "baseline:errors", F, Reason.TOO_MANY_ERRORS),
    ("slow before", busy(baseline_slow, AT_THE_BEGINNING), "baseline:latency", U, BUSY),
    ("canary fails before", busy(canary_before, AT_THE_BEGINNING), "canaries:before", U, BUSY),
    ("canary failed earlier", busy(canary_before, UNDER_THE_FAULT), "canaries:before", F, Reason.CANARY_FAILED),
    ("canary fails after", busy(canary_after, AT_THE_END), "canaries:after", U, BUSY),
    ("load leaves late", busy(late_load, UNDER_THE_FAULT), "load", U, BUSY),
    # Times.
    ("recovers late", busy(recovers_late, AFTER_THE_UNDO), "recovery", U, BUSY),
    ("recovers late, busy before", busy(recovers_late, AT_THE_BEGINNING), "recovery", F, Reason.NOT_RECOVERED),
    ("nobody saw it recover", busy(unseen_recovery, AFTER_THE_UNDO), "recovery", U, BUSY),
    ("not steady before", busy(unsteady(Act.PREFLIGHT), PREFLIGHT), "steady-state:before", U, BUSY),
    ("not steady after", busy(unsteady(Act.RECOVERY), AT_THE_UNDO), "steady-state:after", U, BUSY),
    ("contract cut", busy(cut_contract, UNDER_THE_FAULT), "contract:fault", U, BUSY),
    ("contract without answers", busy(unanswered_contract, UNDER_THE_FAULT), "contract:fault", U, BUSY),
    # What no machine does.
    ("contract broken", busy(broken_contract, UNDER_THE_FAULT), "contract:fault", F, Reason.CONTRACT_BROKEN),
    ("work lost", busy(lost, ALL_THE_TIME), "conserved:labels", F, Reason.WORK_LOST),
    ("work doubled", busy(doubled, ALL_THE_TIME), "conserved:labels", F, Reason.WORK_DUPLICATED),
    ("undo failed", busy(undo_failed, ALL_THE_TIME), "undo", F, Reason.UNDO_FAILED),
    ("residue", busy(left_over, ALL_THE_TIME), "residue", F, Reason.RESIDUE),
    ("activity failed", busy(activity_failed, ALL_THE_TIME), "method", F, Reason.ACTIVITY_FAILED),
    ("not rolled back", busy(not_rolled_back, ALL_THE_TIME), "rollbacks", F, Reason.NOT_ROLLED_BACK),
]


@planted(ROWS)
def test_what_a_busy_machine_did_is_not_known_and_the_rest_stands(row: Row) -> None:
    check_planted(row)


def test_the_figures_are_told_with_what_explains_them() -> None:
    judgement = found(judge(on_busy_machine(late_load(), UNDER_THE_FAULT)), "load")
    assert "the timers of the sandbox were up to 3.0 s late, 3m of production time" in judgement.message
    assert "arrivals left up to 900 ms late, something waited for a processor 20% of the time" in judgement.message
    assert judgement.message.startswith("in 27 of"), "what was seen comes first"
    assert judgement.measured["machine_lag_s"] == 180


def test_a_machine_that_kept_up_changes_no_judgement() -> None:
    for history in (passing(), gap(), silent("api-5xx"), lost()):
        assert judge(on_busy_machine(history)).judgements == judge(history).judgements


def test_an_older_history_promises_no_measurement_and_is_judged_as_it_was() -> None:
    verdict = judge(passing())
    assert verdict.outcome is Outcome.PASS
    assert not any(judgement.reason is BUSY for judgement in verdict.judgements)


def test_what_was_promised_and_not_measured_is_no_silence_and_excuses_nothing() -> None:
    unmeasured = without(on_busy_machine(passing()), MachineWatched)
    assert (found(judge(unmeasured), "quiet:label-dlq").outcome, BUSY) == (U, BUSY)
    silence = without(on_busy_machine(silent("api-5xx")), MachineWatched)
    assert found(judge(silence), "must:api-5xx").reason is DID_NOT_RING


def test_on_aws_a_second_late_counts_for_requests_and_not_for_deadlines() -> None:
    scene = replace(SCENE, scale=1.0)
    late = lagged(scene.accepted + 10, scene.accepted + 11, 1.0, "harness")
    silent_scene = replace(scene, rings={"api-latency": (312.0, 301.0)})
    verdict = judge(add(silent_scene.history(), late))
    assert found(verdict, "must:api-5xx").reason is DID_NOT_RING
    longer = lagged(scene.accepted + 10, scene.accepted + 40, 20.0, "harness")
    judgement = found(judge(add(silent_scene.history(), longer)), "must:api-5xx")
    assert judgement.reason is BUSY
    assert "its own timers were up to 20.0 s late" in judgement.message


def test_every_kind_of_question_has_its_rows_or_says_why_it_stands() -> None:
    kinds = {kind_of_row(row.kind) for row in TABLE} | {kind_of_row(kind) for kind in STANDS}
    assert kinds == {judgement.id.partition(":")[0] for judgement in all_judgements()}


def kind_of_row(kind: str) -> str:
    return kind.partition(":")[0]


def all_judgements() -> list[Judgement]:
    died = ActorDied(at=SCENE.accepted, actor="load", detail="")
    must = EXPECT.must_alarms[0].model_copy(update={"all_clear": True})
    told_of_the_end = Scene(expect=EXPECT.model_copy(update={"must": (must,)})).history()
    histories = (passing(), gap(), [*passing(), died], Scene().refused(), told_of_the_end, changing(*WHOLE))
    told = [judgement for history in histories for judgement in judge(history).judgements]
    return [*told, *judge(passing(), (stumbling,)).judgements]


def stumbling(timeline: Timeline) -> Iterator[Answer]:
    raise ZeroDivisionError("planted")
    yield


def test_the_document_has_the_table() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for row in table():
        assert row in text, f"docs/VERDICTS.md: expected this line: {row}"


def table() -> list[str]:
    """The rows of docs/VERDICTS.md."""
    made = [
        f"| `{row.kind}` | {', '.join(f'`{reason.value}`' for reason in row.reasons)} | {row.how.value} | {row.why} |"
        for row in TABLE
    ]
    return [*made, *(f"| `{kind}` | every other | stands | {why} |" for kind, why in STANDS.items())]
