"""What the alarm watcher records of real alarms: on what they rang, who changed them, and who was told when."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tests.sandbox.aws.shop import Shop, eventually

from tocsin.actors.alarm_watcher import AlarmWatcher
from tocsin.actors.context import RunContext, StopRequest
from tocsin.model.events import (
    AlarmActed,
    AlarmChanged,
    AlarmNotified,
    AlarmPath,
    AlarmRedefined,
    AlarmSeen,
    Event,
    NotificationIgnored,
)
from tocsin.model.experiment import Expect, Experiment, Extension, MustAlarm, RecoveryTarget
from tocsin.model.system import CloudWatchAlarm, CompositeAlarm, Endpoint, MetricAlarm, Notifications, System
from tocsin.record.history import History

E = TypeVar("E")


class Watched:
    """One alarm of the shop under a watcher that is polled by hand."""

    def __init__(self, shop: Shop, root: Path, *documented: MetricAlarm | CompositeAlarm, **entry: Any) -> None:
        self.events: list[Event] = []
        names = [alarm.alarm_name for alarm in documented]
        system = System(
            system="shop",
            title="Shop",
            endpoint=Endpoint(url="http://127.0.0.1:9"),
            notifications=Notifications(queue="shop-alerts-inbox"),
            alarms={alarm.alarm_name: CloudWatchAlarm(title="t", cloudwatch=alarm) for alarm in documented},
        )
        must = tuple(MustAlarm(alarm=name, within=60, **entry) for name in names)
        extension = Extension(system="shop", expect=Expect(must=must, recovery=RecoveryTarget(within=60)))
        history = History(root / "history.jsonl")
        history.listen(self.events.append, "test")
        ctx = RunContext(
            drill="d",
            root=root,
            directory=root,
            experiment=Experiment(slug="s", path="s", title="s", method=(), rollbacks=(), extension=extension),
            system=system,
            target=shop.account.target,
            history=history,
            base_url="http://127.0.0.1:9",
            seed=1,
            stop=StopRequest(),
        )
        self.watcher = AlarmWatcher(ctx)
        self.watcher.look()

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def rang(self) -> list[AlarmChanged]:
        """Each time that the alarm was seen to ring."""
        return [event for event in self.of(AlarmChanged) if event.after == "ALARM"]

    def until(self, seen: Callable[[], Any]) -> None:
        def look() -> bool:
            self.watcher.poll()
            return bool(seen())

        eventually(look)


def documented(shop: Shop, name: str, **changes: Any) -> MetricAlarm:
    """Put an alarm on `Sum >= 5` into the shop, and have it OK."""
    shop.put_alarm(name, AlarmActions=[shop.topic], **changes)
    shop.wait_for(name, "OK")
    described = shop.describe(name)
    known = {field.alias or one for one, field in MetricAlarm.model_fields.items()}
    return MetricAlarm.model_validate({field: value for field, value in described.items() if field in known})


def test_a_ring_is_recorded_with_its_evidence_and_when_it_was_read(shop: Shop, tmp_path: Path) -> None:
    watched = Watched(shop, tmp_path, documented(shop, "bread"), all_clear=True)
    assert [path.state for path in watched.of(AlarmPath)] == ["ALARM", "OK"]
    shop.publish("bread", 9)
    # A message may be there before the next look at the alarm is.
    watched.until(lambda: watched.of(AlarmNotified) and watched.rang())
    ring = watched.rang()[0]
    assert (ring.evidence, ring.breached_at is not None) == ("datapoints", True)
    told = watched.of(AlarmNotified)[0]
    assert told.state == "ALARM"
    assert told.absent_at is not None
    assert told.arrived_at is not None
    assert ring.at - 0.01 <= told.at <= told.arrived_at
    assert told.absent_at <= told.arrived_at

    def acted_on() -> bool:
        # CloudWatch writes an action down when it is done: people may have read the message by then.
        watched.watcher.record_paths()
        return bool(watched.of(AlarmActed))

    eventually(acted_on)
    watched.watcher.record_paths()
    (acted,) = watched.of(AlarmActed)
    assert (acted.succeeded, acted.summary) == (True, f"Successfully executed action {shop.topic}")
    assert not watched.of(AlarmRedefined)


def test_a_state_that_somebody_set_has_no_evidence(shop: Shop, tmp_path: Path) -> None:
    watched = Watched(shop, tmp_path, documented(shop, "butter"))
    shop.client("cloudwatch").set_alarm_state(AlarmName="butter", StateValue="ALARM", StateReason="rehearsal")
    watched.until(lambda: watched.of(AlarmChanged))
    first = watched.of(AlarmChanged)[0]
    assert (first.after, first.evidence, first.reason) == ("ALARM", "none", "rehearsal")


def test_a_definition_that_somebody_changes_is_recorded_once(shop: Shop, tmp_path: Path) -> None:
    alarm = documented(shop, "cheese")
    watched = Watched(shop, tmp_path, alarm)
    watched.watcher.poll()
    assert not watched.of(AlarmRedefined)
    shop.put_alarm("cheese", AlarmActions=[shop.topic], Threshold=0)
    watched.until(lambda: watched.of(AlarmRedefined))
    watched.watcher.poll()
    (change,) = watched.of(AlarmRedefined)
    assert change.changes == ("Threshold was 5.0, is 0.0",)
    again = Watched(shop, tmp_path, alarm)
    (seen,) = again.of(AlarmSeen)
    assert seen.definition is not None
    assert seen.definition["Threshold"] == 0
    assert "StateValue" not in seen.definition


def test_only_the_alarm_itself_tells_people(shop: Shop, tmp_path: Path) -> None:
    watched = Watched(shop, tmp_path, documented(shop, "milk"))
    message = {
        "AlarmName": "milk",
        "NewStateValue": "ALARM",
        "AlarmArn": shop.describe("milk")["AlarmArn"].replace("us-east-1", "eu-north-1"),
    }
    shop.client("sns").publish(TopicArn=shop.topic, Message=json.dumps(message))
    watched.until(lambda: watched.of(NotificationIgnored))
    assert not watched.of(AlarmNotified)
    (ignored,) = watched.of(NotificationIgnored)
    assert ignored.detail.startswith("it is of arn:aws:cloudwatch:eu-north-1:")


def test_a_composite_says_which_alarm_made_it_ring(shop: Shop, tmp_path: Path) -> None:
    child = documented(shop, "eggs")
    rule = {"AlarmName": "kitchen", "AlarmRule": "ALARM(eggs)", "AlarmActions": [shop.topic]}
    shop.client("cloudwatch").put_composite_alarm(**rule)
    shop.wait_for("kitchen", "OK")
    watched = Watched(shop, tmp_path, child, CompositeAlarm.model_validate(rule))
    shop.publish("eggs", 9)
    watched.until(lambda: [event for event in watched.of(AlarmChanged) if event.alarm == "kitchen"])
    ring = next(event for event in watched.of(AlarmChanged) if event.alarm == "kitchen")
    assert (ring.evidence, ring.triggered_by) == ("children", ("eggs",))
