"""Each measurement on the sandbox, and on targets that are worse than it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.parity.throwaway.account import everything
from tests.parity.throwaway.conftest import Place
from tests.parity.throwaway.spoiled import Request, spoil

from tocsin.commands.permissions import arns_of, policy_of
from tocsin.errors import Interrupted
from tocsin.faults.base import Change
from tocsin.guards.kill_switch import KillSwitch
from tocsin.parity.context import Clock
from tocsin.parity.model import Key, Measured
from tocsin.parity.throwaway import (
    alarm_lags,
    iam_propagation,
)
from tocsin.parity.throwaway.registry import RECOVERABLE
from tocsin.parity.throwaway.running import MEASUREMENTS, Measurement, Thrown, grants, guarded, measure
from tocsin.sandbox.drill_user import user_of_a_run


def anything(change: Change, aws: object) -> None:
    """No guard."""


def only(key: Key) -> tuple[Measurement, ...]:
    return tuple(one for one in MEASUREMENTS if one.rows[0][0] is key)


def measured(place: Place, key: Key) -> Thrown:
    return measure(place.context, anything, measurements=only(key))


def row(thrown: Thrown, about: str) -> Measured:
    return next(one for one in thrown.rows if one.about == about)


def open_entries(place: Place) -> list[str]:
    return [entry.resource for entry in place.ledger.entries(only_open=True)]


# --- all of it ----------------------------------------------------------------------------------------------


def test_the_sandbox_is_as_it_says_and_as_before_with_no_more_than_the_printed_policy(place: Place) -> None:
    before = everything(place.shop.client)
    policy = policy_of(grants(arns_of(place.target)))
    with user_of_a_run(place.shop.account, policy.text()) as key:
        place.target = replace(place.target, access_key_id=key.access_key_id, secret_access_key=key.secret_access_key)
        place.target.calls.take()
        thrown = measure(place.context, guarded(place.target, KillSwitch(place.shop.root, place.target), None))
        used = set(place.target.calls.take())
        # A minute is a second here: what a machine that stood still made late is not late each time.
        late = list(dict.fromkeys(one.key for one in thrown.rows if not one.holds))
        for _ in range(5):
            late = [key for key in late if not all(one.holds for one in measured(place, key).rows)]
    assert [(one.key, one.about) for one in thrown.rows] == [pair for one in MEASUREMENTS for pair in one.rows]
    assert late == []
    assert thrown.left == ()
    assert open_entries(place) == []
    assert everything(place.shop.client) == before
    # TagResource and PassRole are asked for by calls of other names.
    assert used <= policy.actions
    assert {one for one in policy.actions - used if "Tag" not in one and not one.endswith("PassRole")} == set()


def test_every_resource_is_in_the_ledger_before_it_is_made(place: Place) -> None:
    unwritten: list[str] = []

    def look(named: str) -> Callable[[Request], None]:
        def check(asked: Request) -> None:
            if not any(asked[named] in resource for resource in open_entries(place)):
                unwritten.append(asked[named])

        return check

    spoil(
        place.target,
        CreateQueue=look("QueueName"),
        CreateTopic=look("Name"),
        PutMetricAlarm=look("AlarmName"),
        CreateRole=look("RoleName"),
        CreateFunction=look("FunctionName"),
        CreateSchedule=look("Name"),
    )
    thrown = measure(place.context, anything)
    kinds = Counter(entry.fault for entry in place.ledger.entries())
    assert (unwritten, thrown.left) == ([], ())
    assert set(kinds) == set(RECOVERABLE) & {f"parity_{one}" for one in _KINDS}
    assert len(kinds) == len(_KINDS)


_KINDS = ("alarm", "function", "queue", "role", "schedule", "topic")


# --- what is worse than the sandbox -------------------------------------------------------------------------


def test_a_history_that_lags_is_told_with_its_lag(place: Place) -> None:
    """By two minutes, where a minute is what drills can live with."""
    behind_s, first = 120.0, list[float]()

    def late(request: Request) -> Mapping[str, Any] | None:
        first.append(time.monotonic())
        return {"AlarmHistoryItems": []} if first[-1] - first[0] < behind_s / place.target.scale else None

    spoil(place.target, DescribeAlarmHistory=late)
    lag = row(measured(place, Key.METRIC_LAG), alarm_lags.HISTORY_SEEN)
    assert isinstance(lag.here, float)
    assert lag.here >= behind_s
    assert lag.holds is False


def test_whole_seconds_are_told_and_lost_transitions_do_not_hold(place: Place) -> None:
    held: list[Request] = []

    def keep(request: Request) -> None:
        held.append(request)

    def every_other(request: Request) -> Mapping[str, Any]:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        items = [
            {
                "AlarmName": one["AlarmName"],
                "Timestamp": at + timedelta(seconds=number),
                "HistoryItemType": "StateUpdate",
                "HistoryData": json.dumps({"newState": {"stateValue": "OK", "stateReason": one["StateReason"]}}),
            }
            for number, one in enumerate(held)
            if number % 2
        ]
        return {"AlarmHistoryItems": items}

    spoil(place.target, SetAlarmState=keep, DescribeAlarmHistory=every_other)
    thrown = measured(place, Key.TIMESTAMPS)
    assert row(thrown, alarm_lags.TOLD).here == 1.0
    assert (row(thrown, alarm_lags.APART).holds, row(thrown, alarm_lags.APART).detail[:6]) == (False, "3 of 6")


def test_a_target_that_asks_no_policies_is_told_so(place: Place) -> None:
    """Its first look as a new role succeeds, as on emulators."""
    spoil(place.target, AssumeRole=lambda asked: {"Credentials": _own_keys(place)})
    thrown = measured(place, Key.IAM_PROPAGATION)
    assert [(one.about, one.holds) for one in thrown.rows] == [
        (iam_propagation.ASSUMED, True),
        (iam_propagation.ALLOWED, None),
        (iam_propagation.DENIED_AGAIN, None),
    ]
    assert "does not ask policies" in row(thrown, iam_propagation.ALLOWED).detail


def _own_keys(place: Place) -> Mapping[str, Any]:
    """Keys of a session that may do everything."""
    iam = place.shop.client("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{place.target.account}:root"}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [{**trust, "Action": "sts:AssumeRole"}]})
    allow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    role = iam.create_role(RoleName="may-do-everything", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    iam.put_role_policy(RoleName="may-do-everything", PolicyName="all", PolicyDocument=json.dumps(allow))
    keys: Mapping[str, Any] = place.shop.client("sts").assume_role(RoleArn=role, RoleSessionName="all")["Credentials"]
    return keys


# --- however it ends ----------------------------------------------------------------------------------------


def stopping_at(place: Place, line: str) -> Clock:
    """A clock whose waits end when that was shown."""

    def wait(wall_s: float) -> None:
        if any(line in said for said in place.said):
            raise Interrupted("SIGINT")
        time.sleep(wall_s)

    return Clock(wait=wait)


@pytest.mark.parametrize("line", ["rings, at most", "can be assumed", "creating schedule"])
def test_a_stop_in_the_middle_deletes_and_verifies(place: Place, line: str) -> None:
    before = everything(place.shop.client)
    context = replace(place.context, clock=stopping_at(place, line))
    with pytest.raises(Interrupted):
        measure(context, anything)
    assert [entry.state.value for entry in place.ledger.entries()].count("verified") == len(place.ledger.entries()) > 0
    assert everything(place.shop.client) == before
