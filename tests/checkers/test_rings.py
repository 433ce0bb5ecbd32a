"""A ring counts only when CloudWatch made it on evidence, by the documented alarm that nobody touched, told in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.checkers.histories import EXPECT, SYSTEM, Scene, add, drop, passing, path, tweak
from tests.checkers.spoiled import (
    MINUTE,
    RUNG,
    SCENE,
    F,
    History,
    P,
    Row,
    U,
    bare,
    changed,
    check_planted,
    found,
    planted,
    with_expect,
)

from tocsin.checkers import judge
from tocsin.model.events import (
    AlarmActed,
    AlarmChanged,
    AlarmNotified,
    AlarmRedefined,
    AlarmSeen,
    AlarmsPolled,
    Event,
    NotificationIgnored,
    TopicPath,
)
from tocsin.model.experiment import MustAlarm
from tocsin.model.system import AlarmState, CloudWatchAlarm, CompositeAlarm
from tocsin.model.verdict import Outcome, Reason

ALARM = "api-5xx"
DEFINITION: dict[str, Any] = SYSTEM.cloudwatch_alarms[ALARM].cloudwatch.model_dump(by_alias=True, exclude_none=True)
OTHERS = EXPECT.must[1:]


def notified(event: Event, state: AlarmState = "ALARM") -> bool:
    return isinstance(event, AlarmNotified) and event.alarm == ALARM and event.state == state


QUIET = "label-dlq"


def quiet_by_hand() -> History:
    """Somebody sets the quiet alarm to INSUFFICIENT_DATA under the fault."""
    at = SCENE.accepted + MINUTE
    gone = AlarmChanged(at=at, alarm=QUIET, before="OK", after="INSUFFICIENT_DATA", evidence="none", reason="rehearsal")
    return add(passing(), gone)


def quiet_defined(**changes: object) -> History:
    """The account's quiet alarm is another one than the documented."""
    definition = SYSTEM.cloudwatch_alarms[QUIET].cloudwatch.model_dump(by_alias=True, exclude_none=True)
    return tweak(
        passing(),
        lambda e: isinstance(e, AlarmSeen) and e.alarm == QUIET,
        definition={**definition, **changes},
        definition_drift=tuple(changes),
    )


def by_hand(after: AlarmState) -> History:
    return tweak(passing(), lambda e: changed(e, ALARM, after), evidence="none", reason="rehearsal")


def written_anew(at: float, *changes: str) -> History:
    return add(passing(), AlarmRedefined(at=at, alarm=ALARM, changes=changes))


def defined(**changes: object) -> History:
    """The account's alarm is another one than the documented."""
    return tweak(
        passing(),
        lambda e: isinstance(e, AlarmSeen) and e.alarm == ALARM,
        definition={**DEFINITION, **changes},
        definition_drift=tuple(f"{field} is {value!r}" for field, value in changes.items()),
    )


def arriving(minutes: float, read_minutes_before: float = 0.25) -> History:
    """The notification is read that long after the injection, and the queue a while before."""
    at = SCENE.accepted + minutes * MINUTE
    return tweak(passing(), notified, arrived_at=at, absent_at=at - read_minutes_before * MINUTE)


def scene(**entry: Any) -> Scene:
    """The same drill, that asks something else of the alarm."""
    must = MustAlarm(alarm=ALARM, within=660, clears_within=480, **entry)
    return replace(with_expect(must=(must, *OTHERS)), recovery_s=1200)


def lost_source(**entry: Any) -> History:
    """The alarm goes to INSUFFICIENT_DATA, and the experiment asks for that."""
    gone: AlarmState = "INSUFFICIENT_DATA"
    history = scene(by=gone, **entry).history()
    history = tweak(history, lambda e: changed(e, ALARM, "ALARM"), after=gone, evidence="silence", breached_at=None)
    history = tweak(history, lambda e: changed(e, ALARM, "OK"), before=gone)
    history = tweak(history, notified, state=gone)
    return [
        event.model_copy(update={"states": {**event.states, ALARM: gone}})
        if isinstance(event, AlarmsPolled) and event.states.get(ALARM) == "ALARM"
        else event
        for event in history
    ]


def composite(triggered_by: Sequence[str], **child: Any) -> History:
    """A composite alarm above api-latency rings with it."""
    rule = CompositeAlarm.model_validate({"AlarmName": ALARM, "AlarmRule": "ALARM(api-latency)"})
    alarms = {**SYSTEM.alarms, ALARM: CloudWatchAlarm(title="page", cloudwatch=rule)}
    history = bare(SCENE, alarms=alarms).history()
    history = tweak(history, lambda e: changed(e, "api-latency", "ALARM"), **child)
    return tweak(
        history,
        lambda e: changed(e, ALARM, "ALARM"),
        evidence="children" if triggered_by else "none",
        triggered_by=tuple(triggered_by),
        breached_at=None,
    )


CHILD = "api-latency"


def child_defined(history: History, **changes: object) -> History:
    """The account's child of the composite alarm is another one than the documented."""
    definition = SYSTEM.cloudwatch_alarms[CHILD].cloudwatch.model_dump(by_alias=True, exclude_none=True)
    return tweak(
        history,
        lambda e: isinstance(e, AlarmSeen) and e.alarm == CHILD,
        definition={**definition, **changes},
        definition_drift=tuple(changes),
    )


def child_anew(history: History) -> History:
    return add(history, AlarmRedefined(at=SCENE.accepted + MINUTE, alarm=CHILD, changes=("Threshold was 5.0, is 1.0",)))


def quiet_composite(rule: str = "ALARM(api-5xx-legacy)") -> History:
    """The quiet alarm is composed of another one."""
    composed = CompositeAlarm.model_validate({"AlarmName": QUIET, "AlarmRule": rule})
    return bare(SCENE, alarms={**SYSTEM.alarms, QUIET: CloudWatchAlarm(title="page", cloudwatch=composed)}).history()


def all_clear(**ok: Any) -> History:
    return tweak(scene(all_clear=True).history(), lambda e: changed(e, ALARM, "OK"), **ok)


def heartbeat_that_rings_otherwise() -> History:
    """It tells people by INSUFFICIENT_DATA, is OK again, and then in ALARM to the end."""
    history = lost_source()
    at = next(event.at for event in history if changed(event, ALARM, "OK")) + MINUTE
    rang = AlarmChanged(at=at, alarm=ALARM, before="OK", after="ALARM", evidence="datapoints")
    return add(history, rang)


ROWS: list[Row] = [
    (
        "what made a composite ring is easier than documented",
        lambda: child_defined(composite([CHILD]), Threshold=1),
        "must:api-5xx",
        U,
        Reason.NOT_AS_DOCUMENTED,
    ),
    (
        "what made a composite ring is harder than documented",
        lambda: child_defined(composite([CHILD]), Threshold=100),
        "must:api-5xx",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "what made a composite ring was written anew",
        lambda: child_anew(composite([CHILD])),
        "must:api-5xx",
        U,
        Reason.DEFINITION_CHANGED,
    ),
    (
        "what made a composite ring rang for an older cause",
        lambda: composite([CHILD], breached_at=SCENE.requested - 10 * MINUTE),
        "must:api-5xx",
        U,
        Reason.RANG_BEFORE_FAULT,
    ),
    (
        "a composite clears, and its child is harder than documented",
        lambda: child_defined(composite([CHILD]), Threshold=100),
        "clears:api-5xx",
        U,
        Reason.NOT_AS_DOCUMENTED,
    ),
    (
        "a composite clears, and somebody set its child to OK",
        lambda: tweak(composite([CHILD]), lambda e: changed(e, CHILD, "OK"), evidence="none", reason="rehearsal"),
        "clears:api-5xx",
        U,
        Reason.SET_BY_HAND,
    ),
    (
        "a composite clears, and its child was written anew",
        lambda: child_anew(composite([CHILD])),
        "clears:api-5xx",
        U,
        Reason.DEFINITION_CHANGED,
    ),
    ("a composite is quiet with its child", quiet_composite, "quiet:label-dlq", P, Reason.AS_EXPECTED),
    (
        "a composite is quiet, and its child is harder than documented",
        lambda: child_defined(quiet_composite("ALARM(api-latency) AND ALARM(api-5xx-legacy)"), Threshold=100),
        "quiet:label-dlq",
        U,
        Reason.NOT_AS_DOCUMENTED,
    ),
    (
        "a composite is quiet, and its child is easier than documented",
        lambda: child_defined(quiet_composite("ALARM(api-latency) AND ALARM(api-5xx-legacy)"), Threshold=1),
        "quiet:label-dlq",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "a composite is quiet while an alarm rings that is easier than documented",
        lambda: child_defined(quiet_composite("NOT ALARM(api-latency) AND ALARM(api-5xx-legacy)"), Threshold=1),
        "quiet:label-dlq",
        U,
        Reason.NOT_AS_DOCUMENTED,
    ),
    ("people are told that it is OK again", all_clear, "all-clear:api-5xx", P, Reason.AS_EXPECTED),
    (
        "people are told that it is OK again, because somebody set it so",
        lambda: all_clear(evidence="none", reason="rehearsal"),
        "all-clear:api-5xx",
        U,
        Reason.SET_BY_HAND,
    ),
    (
        "people are told that it is OK again, by an alarm that was written anew",
        lambda: add(all_clear(), AlarmRedefined(at=SCENE.verified, alarm=ALARM, changes=("Threshold",))),
        "all-clear:api-5xx",
        U,
        Reason.DEFINITION_CHANGED,
    ),
    (
        "a heartbeat that came back rings otherwise",
        heartbeat_that_rings_otherwise,
        "clears:api-5xx",
        F,
        Reason.RANG_AGAIN,
    ),
    ("somebody set it to ALARM", lambda: by_hand("ALARM"), "must:api-5xx", U, Reason.SET_BY_HAND),
    ("somebody set it to OK", lambda: by_hand("OK"), "clears:api-5xx", U, Reason.SET_BY_HAND),
    (
        "its history does not tell on what it rang, as old ones",
        lambda: tweak(passing(), lambda e: isinstance(e, AlarmChanged), evidence=None),
        "must:api-5xx",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "rings because nothing came, and that counts as breaching",
        lambda: tweak(passing(), lambda e: changed(e, ALARM, "ALARM"), evidence="silence", breached_at=None),
        "must:api-5xx",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "its threshold is lowered during the fault",
        lambda: written_anew(SCENE.accepted + MINUTE, "Threshold was 5.0, is 0.0"),
        "must:api-5xx",
        U,
        Reason.DEFINITION_CHANGED,
    ),
    (
        "it is written anew before the fault, and reads as before",
        lambda: written_anew(SCENE.requested - MINUTE),
        "must:api-5xx",
        U,
        Reason.DEFINITION_CHANGED,
    ),
    (
        "its threshold is raised after the undo",
        lambda: written_anew(SCENE.verified + MINUTE, "Threshold was 5.0, is 500.0"),
        "clears:api-5xx",
        U,
        Reason.DEFINITION_CHANGED,
    ),
    (
        "what is done to it after the fault says nothing about its ring",
        lambda: written_anew(SCENE.verified + MINUTE, "Threshold was 5.0, is 500.0"),
        "must:api-5xx",
        P,
        Reason.AS_EXPECTED,
    ),
    ("an easier alarm rings", lambda: defined(Threshold=1.0), "must:api-5xx", U, Reason.NOT_AS_DOCUMENTED),
    ("another alarm rings", lambda: defined(MetricName="4xx"), "must:api-5xx", U, Reason.NOT_AS_DOCUMENTED),
    ("a harder alarm rings all the same", lambda: defined(Threshold=9.0), "must:api-5xx", P, Reason.AS_EXPECTED),
    ("a harder alarm clears", lambda: defined(Threshold=9.0), "clears:api-5xx", U, Reason.NOT_AS_DOCUMENTED),
    ("an easier alarm clears all the same", lambda: defined(Threshold=1.0), "clears:api-5xx", P, Reason.AS_EXPECTED),
    (
        "a quiet alarm is written anew during the drill",
        lambda: add(passing(), AlarmRedefined(at=SCENE.accepted + MINUTE, alarm=QUIET, changes=("Threshold was 5.0",))),
        f"quiet:{QUIET}",
        U,
        Reason.DEFINITION_CHANGED,
    ),
    ("a quiet alarm is set by hand", quiet_by_hand, f"quiet:{QUIET}", U, Reason.SET_BY_HAND),
    (
        "a quiet alarm is harder to ring than documented",
        lambda: quiet_defined(Threshold=500.0),
        f"quiet:{QUIET}",
        U,
        Reason.NOT_AS_DOCUMENTED,
    ),
    (
        "a quiet alarm is easier to ring than documented",
        lambda: quiet_defined(Threshold=1.0),
        f"quiet:{QUIET}",
        P,
        Reason.AS_EXPECTED,
    ),
    ("another description", lambda: defined(AlarmDescription="call us"), "must:api-5xx", P, Reason.AS_EXPECTED),
    ("people are told too late", lambda: arriving(13.5), "must:api-5xx", F, Reason.NOTIFIED_LATE),
    ("people are told just in time", lambda: arriving(12.9), "must:api-5xx", P, Reason.AS_EXPECTED),
    (
        "it may have been there in time: the queue was read shortly before the deadline, and after it",
        lambda: arriving(13.1),
        "must:api-5xx",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "it may have been there in time: nobody read the queue for minutes",
        lambda: arriving(17.0, read_minutes_before=5.0),
        "must:api-5xx",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "the experiment gives people less time",
        lambda: tweak(
            scene(notified_within=660).history(),
            notified,
            arrived_at=SCENE.accepted + 12 * MINUTE,
            absent_at=SCENE.accepted + 11.7 * MINUTE,
        ),
        "must:api-5xx",
        F,
        Reason.NOTIFIED_LATE,
    ),
    (
        "only a message of another region came",
        lambda: add(
            drop(passing(), notified),
            NotificationIgnored(
                at=RUNG + MINUTE, alarm=ALARM, detail="it is of arn:aws:cloudwatch:eu-north-1:1:alarm:a"
            ),
        ),
        "must:api-5xx",
        F,
        Reason.NOT_NOTIFIED,
    ),
    ("its source is gone, and it says so", lost_source, "must:api-5xx", P, Reason.AS_EXPECTED),
    ("its source is back", lost_source, "clears:api-5xx", P, Reason.AS_EXPECTED),
    (
        "its source is gone, and nobody is told",
        lambda: drop(lost_source(), lambda e: notified(e, "INSUFFICIENT_DATA")),
        "must:api-5xx",
        F,
        Reason.NOT_NOTIFIED,
    ),
    (
        "its source was gone before the fault",
        lambda: add(
            lost_source(),
            AlarmsPolled(at=SCENE.requested - MINUTE, polls=1, states={ALARM: "INSUFFICIENT_DATA"}),
        ),
        "must:api-5xx",
        U,
        Reason.RANG_BEFORE_FAULT,
    ),
    (
        "it had no data before its first, as every alarm",
        lambda: tweak(
            lost_source(), lambda e: isinstance(e, AlarmSeen) and e.alarm == ALARM, state="INSUFFICIENT_DATA"
        ),
        "must:api-5xx",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "it rings where it should say that its source is gone",
        lambda: scene(by="INSUFFICIENT_DATA").history(),
        "must:api-5xx",
        F,
        Reason.DID_NOT_RING,
    ),
    (
        "people are told that it is over",
        lambda: scene(all_clear=True).history(),
        "all-clear:api-5xx",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "nobody is told that it is over",
        lambda: drop(scene(all_clear=True).history(), lambda e: notified(e, "OK")),
        "all-clear:api-5xx",
        F,
        Reason.NOT_NOTIFIED,
    ),
    (
        "people are told too late that it is over",
        lambda: tweak(
            scene(all_clear=True).history(),
            lambda e: notified(e, "OK"),
            arrived_at=SCENE.verified + 15 * MINUTE,
            absent_at=SCENE.verified + 14.8 * MINUTE,
        ),
        "all-clear:api-5xx",
        F,
        Reason.NOTIFIED_LATE,
    ),
    (
        "it did not ring, so nothing is over",
        lambda: Scene(expect=scene(all_clear=True).expect, rings={"api-latency": (312.0, 301.0)}).history(),
        "all-clear:api-5xx",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "it was seen OK without a transition",
        lambda: drop(
            replace(scene(all_clear=True), rings={ALARM: (372.0, -120.0), "api-latency": (312.0, 301.0)}).history(),
            lambda e: changed(e, ALARM, "OK"),
        ),
        "all-clear:api-5xx",
        U,
        Reason.NO_EVIDENCE,
    ),
    ("a composite and its child ring", lambda: composite(["api-latency"]), "must:api-5xx", P, Reason.AS_EXPECTED),
    ("a composite is set to ALARM", lambda: composite([]), "must:api-5xx", U, Reason.SET_BY_HAND),
    (
        "the child of a composite is set to ALARM",
        lambda: composite(["api-latency"], evidence="none"),
        "must:api-5xx",
        U,
        Reason.SET_BY_HAND,
    ),
    ("a composite rings by a stranger", lambda: composite(["stranger"]), "must:api-5xx", U, Reason.NO_EVIDENCE),
    (
        "the child of a composite has no history",
        lambda: drop(composite(["api-latency"]), lambda e: changed(e, "api-latency", "ALARM")),
        "must:api-5xx",
        U,
        Reason.NO_EVIDENCE,
    ),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)


def message(history: History, judgement_id: str = "must:api-5xx") -> str:
    return found(judge(history), judgement_id).message


@pytest.mark.parametrize(
    ("history", "words"),
    [
        (by_hand("ALARM"), "somebody set it to ALARM 6m12s after the injection (rehearsal)"),
        (written_anew(SCENE.accepted, "Threshold was 5.0, is 0.0"), "(Threshold was 5.0, is 0.0): it proves nothing"),
        (written_anew(SCENE.accepted), "it reads as before, and may have been another alarm meanwhile"),
        (defined(Threshold=1.0, Period=600), "by Threshold, Period this one is easier"),
        (arriving(14), "arrived after 14m by queue oncall, later than 13m: it was sent after 6m20s"),
        (composite(["api-latency"], evidence="none"), "somebody set api-latency, which made it ring, to ALARM"),
        (composite(["stranger"]), "stranger made it ring, and is not in the system file: nobody looked at it"),
        (lost_source(), "went to INSUFFICIENT_DATA 6m12s after the injection; the notification arrived after 6m20s"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_the_cause_is_named(history: History, words: str) -> None:
    assert words in message(history)


def test_what_cloudwatch_says_of_a_failed_action_is_quoted() -> None:
    denied = 'Failed to execute action arn:aws:sns:eu-west-1:1:bells. Received error: "null (Service: AWSKMS)"'
    acted = AlarmActed(at=RUNG, alarm=ALARM, succeeded=False, summary=denied)
    silent = drop(passing(), notified)
    assert message(add(silent, acted)).endswith(f"nobody was told; its history says: {denied}")
    whole = TopicPath(topic="arn:aws:sns:eu-west-1:000000000000:bells", subscribed=True, confirmed=True)
    assert f"; its history says: {denied}" in message(add(silent, acted, path(ALARM, whole)))
    done = acted.model_copy(update={"succeeded": True})
    assert "its history says" not in message(add(silent, done))


def test_a_message_of_another_alarm_is_named_where_nobody_was_told() -> None:
    strange = NotificationIgnored(at=RUNG, alarm=ALARM, detail="it is of another region")
    assert "a message that names it does not count: it is of another region" in message(
        add(drop(passing(), notified), strange)
    )
    assert found(judge(add(passing(), strange)), "must:api-5xx").outcome is Outcome.PASS


def test_the_way_of_the_all_clear_has_its_own_causes() -> None:
    history = drop(scene(all_clear=True).history(), lambda e: notified(e, "OK"))
    whole = TopicPath(topic="arn:aws:sns:eu-west-1:000000000000:bells", subscribed=True, confirmed=True)
    history = add(history, path(ALARM, whole), path(ALARM, state="OK"))
    assert "it has no OKActions" in message(history, "all-clear:api-5xx")


def test_an_arrival_that_was_not_recorded_is_judged_as_it_was_then() -> None:
    late = tweak(passing(), notified, at=RUNG + 20 * MINUTE, arrived_at=None, absent_at=None)
    assert found(judge(late), "must:api-5xx").outcome is Outcome.PASS
    assert judge(late).detections[0].notified_s == pytest.approx(376 + 1200, abs=1)
