"""What the mute rules of an account mean for a drill, and the words that preflight has for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tocsin.actors import alarm_mutes
from tocsin.actors.alarm_mutes import held_notes, read_mutes
from tocsin.aws.mutes import MuteRule
from tocsin.aws.target import Target
from tocsin.errors import TargetError
from tocsin.model.events import AlarmPath, Mute

RULE = MuteRule("nightly", False, "cron(* * * * *)", "PT1M", None, None, None)
NOW = datetime(2026, 11, 30, 12, 0, 30, tzinfo=UTC)
PATH = AlarmPath(at=1000.0, alarm="api-5xx", actions_enabled=True, actions=())


class Then(datetime):
    """Stands still: the tests below are made long before the last of them is run."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:
        return NOW


def read(monkeypatch: pytest.MonkeyPatch, rule: MuteRule | TargetError, scale: float = 1.0) -> alarm_mutes.Mutes:
    def rules(alarm_name: str, target: Target) -> list[MuteRule]:
        if isinstance(rule, TargetError):
            raise rule
        return [rule]

    monkeypatch.setattr(alarm_mutes, "mute_rules", rules)
    monkeypatch.setattr(alarm_mutes, "datetime", Then)
    target = Target(name="t", region="us-east-1", scale=scale)
    return read_mutes(target, "api-5xx", (NOW + timedelta(hours=1)).timestamp())


def test_a_window_within_the_drill_is_found_with_its_times(monkeypatch: pytest.MonkeyPatch) -> None:
    soon = NOW + timedelta(minutes=30)
    (mute,) = read(monkeypatch, replace(RULE, expression=soon.strftime("at(%Y-%m-%dT%H:%M)"), duration="PT10M")).found
    assert (mute.rule, mute.active) == ("nightly", False)
    assert mute.starts is not None
    assert mute.ends == mute.starts + 600
    assert mute.starts == soon.replace(second=0, microsecond=0).timestamp()


@pytest.mark.parametrize(
    "rule",
    [
        replace(RULE, expression=(NOW + timedelta(hours=2)).strftime("at(%Y-%m-%dT%H:%M)")),
        replace(RULE, starts=NOW + timedelta(hours=2)),
        replace(RULE, expires=NOW - timedelta(hours=2)),
    ],
    ids=["after the drill", "takes effect after the drill", "expired"],
)
def test_a_rule_that_mutes_nothing_in_the_drill_is_left_out(monkeypatch: pytest.MonkeyPatch, rule: MuteRule) -> None:
    assert read(monkeypatch, rule) == alarm_mutes.Mutes()


def test_a_calendar_that_passes_faster_is_known_to_the_target_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, RULE, scale=60).found == ()
    assert read(monkeypatch, replace(RULE, active=True), scale=60).found == (Mute(rule="nightly", active=True),)


def test_what_cannot_be_read_is_told_as_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(monkeypatch, TargetError("AccessDenied: no"))
    assert (found.found, found.unknown) == ((), "AccessDenied: no")


@pytest.mark.parametrize(
    ("path", "note"),
    [
        (
            {"suppressor": "deploying", "suppressed_by": "Alarm"},
            "its actions are suppressed by deploying, which is in ALARM",
        ),
        ({"mutes": (Mute(rule="nightly", active=True),)}, "its actions are muted by the rule nightly"),
        ({"mutes": (Mute(rule="n", active=True, starts=0, ends=1600),)}, "muted by the rule n, for another 10m"),
        ({"mutes": (Mute(rule="n", active=False, starts=1300, ends=1600),)}, "the rule n mutes its actions in 5m"),
        ({"mutes_unknown": "AccessDenied"}, "whether a rule mutes its actions is not known (AccessDenied)"),
    ],
)
def test_preflight_tells_who_would_not_be_told(path: dict[str, object], note: str) -> None:
    (told,) = held_notes(PATH.model_copy(update=path))
    assert note in told


def test_a_suppressor_that_rings_is_told_though_the_alarm_did_not_change_yet() -> None:
    path = PATH.model_copy(update={"suppressor": "deploying"})
    (told,) = held_notes(path, frozenset({"deploying"}))
    assert "its actions are suppressed by deploying, which is in ALARM" in told
    assert list(held_notes(path, frozenset({"another"}))) == []


def test_nothing_is_said_of_an_alarm_that_nothing_holds_back() -> None:
    assert list(held_notes(PATH.model_copy(update={"suppressor": "deploying"}))) == []
