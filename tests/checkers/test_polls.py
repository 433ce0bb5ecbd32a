"""A watcher of many alarms writes only what is news; what it saw is read back whole."""

from __future__ import annotations

from tests.checkers.histories import SYSTEM, Scene, add, drop, passing, told_by_news
from tests.checkers.spoiled import MINUTE, SCENE, found

from tocsin.checkers import judge
from tocsin.checkers.polls import alarm_events
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import AlarmsPolled
from tocsin.model.verdict import Outcome, Reason


def polls(*told: AlarmsPolled) -> list[dict[str, str]]:
    return [dict(event.states) for event in alarm_events(told) if isinstance(event, AlarmsPolled)]


def part(number: int, states: dict[str, str], missing: tuple[str, ...] = (), **same: int) -> AlarmsPolled:
    line = {"at": 1, "polls": 1, "part": number, "states": states, "same": same, "missing": missing}
    return AlarmsPolled.model_validate(line)


def test_what_was_told_before_is_put_in_again() -> None:
    assert polls(part(0, {"a": "OK", "b": "OK"}), part(0, {"a": "ALARM"}, OK=1), part(0, {}, ALARM=1, OK=1)) == [
        {"a": "OK", "b": "OK"},
        {"a": "ALARM", "b": "OK"},
        {"a": "ALARM", "b": "OK"},
    ]


def test_parts_do_not_know_of_each_other() -> None:
    assert polls(part(0, {"a": "OK"}), part(1, {"b": "OK"}), part(1, {}, OK=1)) == [
        {"a": "OK"},
        {"b": "OK"},
        {"b": "OK"},
    ]


def test_an_alarm_that_is_gone_was_not_looked_at() -> None:
    assert polls(part(0, {"a": "OK", "b": "OK"}), part(0, {}, ("b",), OK=1))[-1] == {"a": "OK"}


def test_a_poll_vouches_only_for_its_news_when_what_was_told_before_is_lost() -> None:
    assert polls(part(0, {"a": "OK"}, OK=5)) == [{"a": "OK"}]
    # The line that told of the alarm is lost: nobody knows any more which of both rang.
    assert polls(part(0, {"a": "OK", "b": "OK"}), part(0, {}, OK=1, ALARM=1))[-1] == {}


def test_what_is_written_without_parts_is_whole() -> None:
    line = AlarmsPolled(at=1, polls=1, states={"a": "OK"})
    assert polls(part(0, {"b": "OK"}), line)[-1] == {"a": "OK"}


def test_a_state_is_known_between_its_changes() -> None:
    full, news = Timeline.of(passing()), Timeline.of(told_by_news(passing(), at_once=3))
    for alarm in SYSTEM.alarms:
        assert news.said(alarm) == full.said(alarm)
        assert news.watch_gap(alarm, SCENE.accepted, SCENE.end) == full.watch_gap(alarm, SCENE.accepted, SCENE.end)


def test_a_watcher_that_misses_an_alarm_has_not_watched_it() -> None:
    def loses(event: object) -> bool:
        return isinstance(event, AlarmsPolled) and event.at > SCENE.accepted + MINUTE

    kept, lost = drop(passing(), loses), [event for event in passing() if loses(event)]
    partial = [
        event.model_copy(update={"states": {name: s for name, s in event.states.items() if name != "label-dlq"}})
        for event in lost
        if isinstance(event, AlarmsPolled)
    ]
    verdict = judge(told_by_news(add(kept, *partial)))
    judgement = found(verdict, "quiet:label-dlq")
    assert (judgement.outcome, judgement.reason) == (Outcome.UNKNOWN, Reason.NOT_WATCHED)
    assert found(verdict, "must:api-5xx").outcome is Outcome.PASS


def test_a_drill_that_passes_passes_with_news_only() -> None:
    assert judge(told_by_news(Scene().history())).outcome is Outcome.PASS
