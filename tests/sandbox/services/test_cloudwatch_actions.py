"""What holds an alarm's actions back, and when they are taken after all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.services.cloudwatch.actions import Actions

HERE: Scope = ("123456789012", "us-east-1")
TOPIC = "arn:aws:sns:us-east-1:123456789012:pager"


@dataclass
class Account:
    """Alarms, their histories, and what was published about them: (system second, alarm, state)."""

    alarms: dict[str, dict[str, Any]] = field(default_factory=dict)
    muted: set[str] = field(default_factory=set)
    told: list[tuple[float, str, str]] = field(default_factory=list)
    now_s: float = 0.0

    def __post_init__(self) -> None:
        self.actions = Actions(self, lambda _scope, name, _now_s: name in self.muted, self._notify)

    def _notify(self, topic: str, message: str, subject: str, arn: str) -> str | None:
        assert topic == TOPIC
        name = arn.rpartition(":")[2]
        self.told.append((self.now_s, name, self.alarms[name]["StateValue"]))
        return None

    def put(self, name: str, state: str = "OK", **fields: Any) -> None:
        all_actions = {key: [TOPIC] for key in ("AlarmActions", "OKActions", "InsufficientDataActions")}
        fixed = {"AlarmName": name, "AlarmArn": f"arn:alarm:{name}", "StateReason": "", "StateValue": state}
        self.alarms[name] = {**fixed, **all_actions, **fields}

    def find(self, alarm_name: str) -> dict[str, Any] | None:
        return self.alarms.get(alarm_name)

    def record_history(
        self,
        alarm_name: str,
        kind: str,
        summary: str,
        data: Mapping[str, Any],
        *,
        wall: float | None = None,
        alarm_type: str = "MetricAlarm",
    ) -> None:
        assert kind == "Action"

    def change(self, at_s: float, name: str, state: str) -> None:
        """A state changes; ten seconds before and after it, time passes as the sandbox lets it pass."""
        self.pass_until(at_s)
        alarm, old = self.alarms[name], self.alarms[name]["StateValue"]
        alarm["StateValue"], alarm["StateTransitionedTimestamp"] = state, at_s
        if self.actions.changed(HERE, alarm, old, at_s):
            self.actions.run(HERE, alarm, at_s)

    def pass_until(self, at_s: float) -> None:
        while self.now_s < at_s:
            self.now_s += 10
            self.actions.look(HERE, self.now_s)


def suppressed(**fields: Any) -> Account:
    account = Account()
    account.put("maintenance", AlarmActions=[])
    periods = {"ActionsSuppressorWaitPeriod": 60, "ActionsSuppressorExtensionPeriod": 120}
    suppressor = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:maintenance"
    account.put("page", AlarmRule="ALARM(errors)", ActionsSuppressor=suppressor, **{**periods, **fields})
    return account


def test_a_suppressor_in_alarm_holds_back_and_the_state_goes_on() -> None:
    account = suppressed()
    account.change(60, "maintenance", "ALARM")
    account.change(120, "page", "ALARM")
    account.pass_until(3600)
    page = account.alarms["page"]
    assert (page["StateValue"], page["ActionsSuppressedBy"]) == ("ALARM", "Alarm")
    assert page["ActionsSuppressedReason"] == "Actions suppressed by Alarm"
    assert [told for told in account.told if told[1] == "page"] == []


def test_actions_wait_for_the_suppressor_and_are_taken_when_it_stays_quiet() -> None:
    account = suppressed()
    account.change(60, "page", "ALARM")
    assert account.alarms["page"]["ActionsSuppressedBy"] == "WaitPeriod"
    account.pass_until(110)
    assert account.told == []
    account.pass_until(300)
    assert account.told == [(120, "page", "ALARM")]
    assert "ActionsSuppressedBy" not in account.alarms["page"]


def test_actions_are_taken_when_the_extension_is_over_if_it_still_rings() -> None:
    account = suppressed()
    account.change(60, "page", "ALARM")
    account.change(90, "maintenance", "ALARM")
    account.change(600, "maintenance", "OK")
    account.pass_until(620)
    assert account.alarms["page"]["ActionsSuppressedBy"] == "ExtensionPeriod"
    account.pass_until(1200)
    assert [told for told in account.told if told[1] == "page"] == [(730, "page", "ALARM")]


def test_an_alarm_without_a_suppressor_tells_at_once() -> None:
    account = Account()
    account.put("page")
    account.change(60, "page", "ALARM")
    assert account.told == [(60, "page", "ALARM")]


# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-mute-rules-behaviour.html


def test_a_muted_alarm_that_is_well_again_tells_nobody() -> None:
    account = Account(muted={"page"})
    account.put("page")
    account.change(60, "page", "ALARM")
    account.change(180, "page", "OK")
    account.muted.clear()
    account.pass_until(600)
    assert account.told == []


def test_a_muted_alarm_that_still_rings_tells_when_the_mute_is_over() -> None:
    account = Account(muted={"page"})
    account.put("page")
    account.change(60, "page", "ALARM")
    account.pass_until(300)
    account.muted.clear()
    account.pass_until(600)
    assert account.told == [(310, "page", "ALARM")]


def test_a_mute_holds_every_state_back() -> None:
    account = Account()
    account.put("page")
    account.change(60, "page", "ALARM")
    account.muted.add("page")
    account.change(120, "page", "OK")
    account.pass_until(300)
    assert account.told == [(60, "page", "ALARM")]
    account.muted.clear()
    account.pass_until(400)
    assert account.told[1:] == [(310, "page", "OK")]


def test_a_suppressed_alarm_that_is_released_while_muted_stays_quiet() -> None:
    account = suppressed()
    account.muted.add("page")
    account.change(60, "page", "ALARM")
    account.pass_until(600)
    assert account.told == []
    account.muted.clear()
    account.pass_until(700)
    assert account.told == [(610, "page", "ALARM")]


def test_a_deleted_alarm_tells_nobody() -> None:
    account = suppressed()
    account.change(60, "page", "ALARM")
    del account.alarms["page"]
    account.pass_until(600)
    assert account.told == []
