"""Doctor and verdict agree on whether anybody would be told: they ask one reader, and one judge."""

from __future__ import annotations

import pytest
from tests.checkers.histories import SYSTEM, TOPIC, Scene, add, path

from tocsin.checkers.alarm_causes import why_nobody_was_told
from tocsin.checkers.timeline import Timeline
from tocsin.commands.doctor.readiness import judge_paths
from tocsin.commands.doctor.result import Level
from tocsin.model.events import TopicPath

ALARM = "api-5xx"
NAME = SYSTEM.cloudwatch_alarms[ALARM].cloudwatch.alarm_name
QUEUE = "oncall"
SECOND = TOPIC.model_copy(update={"topic": f"{TOPIC.topic}-2"})


def changed(**changes: object) -> TopicPath:
    return TOPIC.model_copy(update=changes)


BROKEN = changed(subscribed=False)
WAYS: list[tuple[str, list[TopicPath], Level]] = [
    ("whole", [TOPIC], Level.OK),
    ("not subscribed", [BROKEN], Level.GAP),
    ("no such topic", [changed(subscribed=False, detail="there is no such topic")], Level.GAP),
    ("not confirmed", [changed(confirmed=False)], Level.GAP),
    ("filtered out", [changed(filter_policy='{"severity": ["critical"]}')], Level.GAP),
    ("filtered by name", [changed(filter_policy='{"AlarmName": ["no"]}', filter_scope="MessageBody")], Level.GAP),
    ("let through", [changed(filter_policy=f'{{"AlarmName": ["{NAME}"]}}', filter_scope="MessageBody")], Level.OK),
    ("perhaps", [changed(filter_policy='{"Region": ["x"]}', filter_scope="MessageBody")], Level.WARN),
    ("not readable", [TopicPath(topic=TOPIC.topic, detail="AuthorizationError")], Level.WARN),
    ("one way is enough", [BROKEN, SECOND], Level.OK),
    ("both ways are broken", [BROKEN, SECOND.model_copy(update={"confirmed": False})], Level.GAP),
]


@pytest.mark.parametrize(("topics", "level"), [row[1:] for row in WAYS], ids=[row[0] for row in WAYS])
def test_doctor_says_what_the_verdict_would_say(topics: list[TopicPath], level: Level) -> None:
    asked = judge_paths(QUEUE, {NAME: [one.topic for one in topics]}, {one.topic: one for one in topics})
    verdict = why_nobody_was_told(Timeline.of(add(Scene().history(), path(ALARM, *topics))), ALARM)
    assert asked.level is level
    # Doctor's gap is the verdict's cause, word for word; and where doctor is content, the verdict has none.
    assert verdict == (f": {asked.found}" if level is not Level.OK else verdict)
    assert (level is Level.OK) == ("its actions are enabled and oncall is subscribed" in verdict)


def test_every_alarm_needs_a_way_of_its_own() -> None:
    asked = judge_paths(
        QUEUE, {NAME: [TOPIC.topic], "other": [SECOND.topic]}, {TOPIC.topic: TOPIC, SECOND.topic: BROKEN}
    )
    assert asked.level is Level.GAP


def test_an_alarm_without_topics_is_no_question_of_the_queue() -> None:
    assert judge_paths(QUEUE, {NAME: []}, {}).level is Level.OK
