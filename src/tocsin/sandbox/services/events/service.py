# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Amazon EventBridge: events of a bus reach the targets of its rules, are tried again, and end as dead letters.

ministack keeps buses, rules, archives and replays, and matches patterns. What is taken in, delivered, counted and
scheduled is Tocsin's.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.ministack import expect
from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.services.awslambda.asynchronous import Asynchronous
from tocsin.sandbox.services.events import api_destinations, metrics, permissions, targets
from tocsin.sandbox.services.events.archives import Archives
from tocsin.sandbox.services.events.clockwork import Clockwork
from tocsin.sandbox.services.events.delivery import deliver
from tocsin.sandbox.services.events.entries import entry_error, request_problem
from tocsin.sandbox.services.events.parcels import Delivery, RuleParcel
from tocsin.sandbox.services.events.rules import MAX_TARGETS, rule_problem, target_problem
from tocsin.sandbox.world import World

Json = dict[str, Any]

_OFF = "DISABLED"
_SELF_TEST: Scope = ("000000000001", "us-east-1")
_logger = logging.getLogger("tocsin.sandbox")


class Events:
    """The event buses of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        **permissions.RELIED_ON,
        **targets.RELIED_ON,
        "core.responses": {
            "error_response_json": "code, message, status, extra, message_key, content_type",
            "json_response": "data, status, content_type",
        },
        "services.eventbridge": {
            **api_destinations.RELIED_ON["services.eventbridge"],
            **Archives.RELIED_ON,
            **Clockwork.RELIED_ON,
            "_event_buses": "",
            "_rules": "",
            "_targets": "",
            "_rule_key": "rule_name, bus_name",
            "_ensure_default_bus": "",
            "_event_bus_name_from_ref": "name",
            "_pattern_event_view": "event",
            "_matches_pattern_view": "pattern_str, view, owner",
            "_put_events": "data, allow_aws_source",
            "_dispatch_event": "event, view",
            "_put_rule": "data",
            "_delete_rule": "data",
            "_enable_rule": "data",
            "_disable_rule": "data",
            "_put_targets": "data",
        },
    }

    def adapt(self, world: World) -> None:
        """Take over what ministack does with an event."""
        self._world = world
        self._responses = world.ministack.module("core.responses")
        self._events = events = world.ministack.module("services.eventbridge")
        allowed = permissions.Permissions(world.ministack, world.keys)
        sdk = targets.Targets(world.ministack, allowed, world.service(Asynchronous))
        self._services = sdk.services
        self._delivery = Delivery(
            world, sdk, api_destinations.ApiDestinations(world.ministack, allowed), allowed, self._forward
        )
        self._archives = Archives(world)
        self._clockwork = Clockwork(world, self.run)
        replace = world.ministack.replace
        replace(events, "_put_events", self._put_events)
        replace(events, "_dispatch_event", self._dispatch)
        self._store_rule = replace(events, "_put_rule", self._put_rule)
        self._store_targets = replace(events, "_put_targets", self._put_targets)
        self._drop_rule = replace(events, "_delete_rule", self._delete_rule)
        for name in ("_enable_rule", "_disable_rule"):
            original = getattr(events, name)
            replace(events, name, lambda data, original=original: self._of_a_rule(data) or original(data))

    def start(self) -> None:
        """Begin to look at schedules."""
        self._world.ministack.in_background(self._clockwork.tick_for_ever())

    def next_date(self, expression: str, after: datetime) -> datetime | None:
        """The first date after another one at which a `cron(...)` is due; None: never, or it is no valid one."""
        return self._clockwork.next_date(expression, after)

    def is_cron(self, expression: str) -> bool:
        """Whether an expression is a valid `cron(...)`."""
        return self._events._parse_cron_fields(expression) is not None

    async def try_out(self) -> None:
        """An event that a rule matches reaches the queue that is its target."""
        events, sqs = self._events, self._world.ministack.module("services.sqs")
        with self._world.ministack.scope(_SELF_TEST):
            events._ensure_default_bus()
            url = sqs._act_create_queue({"QueueName": "events-self-test"}, "")["QueueUrl"]
            queue = sqs._queues[url]
            arn = queue["attributes"]["QueueArn"]
            queue["attributes"]["Policy"] = {
                "Statement": {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
            }
            self._put_rule({"Name": "self-test", "EventPattern": '{"source": ["self-test"]}'})
            self._put_targets({"Rule": "self-test", "Targets": [{"Id": "1", "Arn": arn}]})
            self._put_events({"Entries": [{"Source": "self-test", "DetailType": "t", "Detail": "{}"}]})
            deadline = time.monotonic() + 2
            while not queue["messages"] and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            expect(self, "an event that a rule matches reaches its target", bool(queue["messages"]))
            events._rules.pop(events._rule_key("self-test", "default"), None)
            events._targets.pop(events._rule_key("self-test", "default"), None)
            sqs._act_delete_queue({"QueueUrl": url}, url)

    # ------------------------------------------------------------------------------------------ the API

    def _put_events(self, data: Json, allow_aws_source: bool = False) -> Any:
        problem = request_problem(data)
        if problem is not None:
            return self._refused("ValidationException", problem)
        results = [self.put(entry, of_aws=allow_aws_source) for entry in data["Entries"]]
        failed = sum("ErrorCode" in result for result in results)
        metrics.put_events(self._world.store, self._world.ministack.current_scope(), len(results), failed)
        return self._responses.json_response({"FailedEntryCount": failed, "Entries": results})

    def put(self, entry: Mapping[str, Any], *, of_aws: bool = False) -> Json:
        """Take in one entry of PutEvents: its `EventId`, or `ErrorCode` and `ErrorMessage`.

        `of_aws`: it comes from an AWS service.
        """
        bus, unknown = self._events._event_bus_name_from_ref(entry.get("EventBusName") or "default")
        if unknown:
            return {"ErrorCode": unknown[0], "ErrorMessage": unknown[1]}
        error = entry_error(entry, of_aws=of_aws)
        if error is not None:
            return {"ErrorCode": error.code, "ErrorMessage": error.message}
        identity, told = str(uuid.uuid4()), entry.get("Time")
        account, region = self._world.ministack.current_scope()
        self._dispatch(
            {
                "EventId": identity,
                "Source": entry["Source"],
                "DetailType": entry["DetailType"],
                "Detail": entry["Detail"],
                "EventBusName": bus,
                "Time": int(told if isinstance(told, int | float) else time.time()),
                "Resources": list(entry.get("Resources") or ()),
                "Account": account,
                "Region": region,
            }
        )
        return {"EventId": identity}

    def _put_rule(self, data: Json) -> Any:
        problem = rule_problem(data)
        return self._store_rule(data) if problem is None else self._refused("ValidationException", problem)

    def _put_targets(self, data: Json) -> Any:
        scope = self._world.ministack.current_scope()
        asked = data.get("Targets") or []
        found = (target_problem(target, scope, self._services) for target in asked)
        problem = next((problem for problem in found if problem is not None), None)
        if problem is not None:
            return self._refused("ValidationException", problem)
        present = self._events._targets.get(self._key(data)) or []
        if len({target["Id"] for target in [*present, *asked]}) > MAX_TARGETS:
            return self._refused("LimitExceededException", "The requested resource exceeds the maximum number allowed.")
        return self._of_a_rule(data, "Rule") or self._store_targets(data)

    def _delete_rule(self, data: Json) -> Any:
        if self._events._targets.get(self._key(data, "Name")):
            return self._refused("ValidationException", "Rule can't be deleted since it has targets.")
        return self._drop_rule(data)

    def _of_a_rule(self, data: Json, named: str = "Name") -> Any:
        """The answer when there is no such rule; None when there is."""
        if self._key(data, named) in self._events._rules:
            return None
        bus = data.get("EventBusName", "default")
        return self._refused("ResourceNotFoundException", f"Rule {data.get(named)} does not exist on EventBus {bus}.")

    def _key(self, data: Json, named: str = "Rule") -> str:
        return str(self._events._rule_key(data.get(named), data.get("EventBusName", "default")))

    def _refused(self, code: str, message: str) -> Any:
        return self._responses.error_response_json(code, message, 400)

    # ------------------------------------------------------------------------------------------ events

    def _dispatch(self, event: Json, view: Any = None) -> None:
        """Take an event in, from whatever thread; its rules run in the event loop, in the order of the events."""
        del view
        scope = self._world.ministack.current_scope()
        # An empty context: a delivery does not act for whoever put the event.
        self._world.loop.call_soon_threadsafe(
            self._take_in, {**event, "TakenIn": time.time()}, scope, context=contextvars.Context()
        )

    def _take_in(self, event: Json, scope: Scope) -> None:
        with self._world.ministack.scope(scope):
            view = self._events._pattern_event_view(event)
            replayed = self._archives.replayed(event)
            if replayed is None:
                self._archives.keep(event, view)
            elif not replayed.wanted:
                return
            hit = [
                (key, rule)
                for key, rule in list(self._events._rules.items())
                if rule.get("EventBusName", "default") == event["EventBusName"]
                and rule.get("State") != _OFF
                and rule.get("EventPattern")
                and (replayed is None or replayed.reaches(rule["Arn"]))
                and self._events._matches_pattern_view(rule["EventPattern"], view, f"rule {key}")
            ]
            if hit:
                metrics.matched(self._world.store, scope, event["EventBusName"])
            for key, rule in hit:
                self.run(key, rule, event, scope)

    def run(self, key: str, rule: Mapping[str, Any], event: Json, scope: Scope) -> None:
        """Deliver an event to all targets of a rule."""
        counted = metrics.RuleMetrics(self._world.store, scope, rule["EventBusName"], rule["Name"])
        counted.count("MatchedEvents", "TriggeredRules")
        path = event.get("DispatchPath") or ()
        with self._world.ministack.scope(scope):
            delivered = self._events._pattern_event_view(event).event_with_detail()
            for target in list(self._events._targets.get(key) or ()):
                if key in path:
                    # It would run because of itself, for ever.
                    counted.count("DeadLetterInvocations")
                    continue
                parcel = RuleParcel(self._delivery, dict(rule), target, event, delivered, scope, counted)
                self._world.ministack.in_background(deliver(parcel, self._world.clock))

    def _forward(self, bus: str, event: Json, scope: Scope, rule_key: str, detail: str | None) -> bool:
        """Put an event on another bus of the same account and region; False when there is none of that name."""
        with self._world.ministack.scope(scope):
            if bus not in self._events._event_buses:
                return False
        passed = {name: value for name, value in event.items() if name != "ReplayName"}
        passed |= {
            "EventBusName": bus,
            "DispatchPath": (*(event.get("DispatchPath") or ()), rule_key),
            "TakenIn": time.time(),
        }
        if detail is not None:
            passed["Detail"] = detail
        self._take_in(passed, scope)
        return True
