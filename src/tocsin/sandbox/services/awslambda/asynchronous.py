# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Asynchronous invocation of AWS Lambda: one queue, whatever sends the event.

ministack takes events from `Invoke`, topics, buckets, log groups and stacks, and stores the event invoke configuration;
rules and schedules call `take`. What happens to an event from then on is here, in production time.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async.html
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from tocsin.alarms.cloudwatch import metric_key
from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.services.awslambda import asynchronous_sources
from tocsin.sandbox.services.awslambda.asynchronous_delivery import Deliveries, Letter, NotDeliveredError, Role
from tocsin.sandbox.services.awslambda.asynchronous_queue import (
    MAX_AGE_S,
    MAX_RETRIES,
    MIN_AGE_S,
    Condition,
    Limits,
    Over,
    Result,
    Waiting,
    after,
)
from tocsin.sandbox.services.awslambda.asynchronous_records import (
    Ended,
    Response,
    dead_letter_attributes,
    invocation_record,
    object_key,
)
from tocsin.sandbox.services.awslambda.asynchronous_sources import Sources, detached
from tocsin.sandbox.services.awslambda.environments import MAX_ENVIRONMENTS
from tocsin.sandbox.world import World

T = TypeVar("T")

_logger = logging.getLogger("tocsin.sandbox")

_BOUNDS: Mapping[str, tuple[int, int]] = {
    "MaximumRetryAttempts": (0, MAX_RETRIES),
    "MaximumEventAgeInSeconds": (MIN_AGE_S, MAX_AGE_S),
}
_UPDATED = (*_BOUNDS, "DestinationConfig")


@dataclass(frozen=True)
class _Event:
    """One asynchronous event; a retry is the same event."""

    arn: str
    """of the function, with the qualifier that it is invoked by"""
    payload: Any
    request_id: str
    received_s: float
    """system seconds"""
    context: contextvars.Context
    """of its sender: ministack keeps there how deep a chain of functions is"""

    @property
    def scope(self) -> Scope:
        """Account and region of the function."""
        return self.arn.split(":")[4], self.arn.split(":")[3]

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.arn.split(":")[6]

    @property
    def qualifier(self) -> str:
        """Version or alias; "" stands for `$LATEST`."""
        qualifier = "".join(self.arn.split(":")[7:])
        return "" if qualifier == "$LATEST" else qualifier


@dataclass(frozen=True)
class _Attempt:
    result: Result
    response: Response | None = None


class Asynchronous:
    """The asynchronous invocations of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        **asynchronous_sources.RELIED_ON,
        "core.lambda_runtime": {"execution_credentials": "config"},
        "core.responses": {"error_response_json": "code, message, status, extra, message_key, content_type"},
        "services.lambda_svc": {
            **asynchronous_sources.RELIED_ON["services.lambda_svc"],
            "handle_request": "method, path, headers, body, query_params",
            "_acquire_execution_slot": "func, config",
            "_execute_function_dispatch": "func, config, event, request_id, started",
            "_functions": "",
            "_put_event_invoke_config": "func_name, qualifier, data",
            "_release_execution_slot": "key",
            "_reserved_concurrency": "func, config",
        },
    }

    def adapt(self, world: World) -> None:
        """Let every source of asynchronous events give them to the queue."""
        self._world = world
        self._time = world.time
        self._deliveries = Deliveries(world.endpoint_url)
        self._events: set[asyncio.Task[None]] = set()
        # Of its own: requests, also those of the functions that run in these threads, must not wait for them.
        self._threads = ThreadPoolExecutor(2 * MAX_ENVIRONMENTS, "tocsin-asynchronous")
        module, replace = world.ministack.module, world.ministack.replace
        self._lambda = service = module("services.lambda_svc")
        self._error = module("core.responses").error_response_json
        self._credentials = module("core.lambda_runtime").execution_credentials
        self._configure = replace(service, "_put_event_invoke_config", self._put_config)
        self._answer = replace(service, "handle_request", self._update_config)
        Sources(world.ministack, self.take)

    async def close(self) -> None:
        """Forget the events that wait; what runs ends with its execution environment."""
        for event in self._events:
            event.cancel()
        await asyncio.gather(*self._events, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def take(self, arn: str, payload: Any, request_id: str | None = None) -> str:
        """Put an event into the queue of a function; returns its request id.

        `arn` is that of the function, a version or an alias; `payload` what JSON can say; an event without a
        `request_id` gets one. Whoever sends it has made sure that it may. Callable in every thread.
        """
        event = _Event(arn, payload, request_id or str(uuid.uuid4()), self._time.now(), detached())
        self._count(event, "AsyncEventsReceived")
        self._world.loop.call_soon_threadsafe(self._begin, event)
        return event.request_id

    # ------------------------------------------------------------------------------------------ the queue

    def _begin(self, event: _Event) -> None:
        task = self._world.loop.create_task(self._live(event))
        self._events.add(task)
        task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._events.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _logger.error("an asynchronous event was lost", exc_info=task.exception())

    async def _live(self, event: _Event) -> None:
        """One event from its arrival to its end."""
        waiting = Waiting(event.received_s)
        response: Response | None = None
        while True:
            attempt = await self._in_thread(event.context.run, self._attempt, event)
            if attempt is None:
                self._count(event, "AsyncEventsDropped")
                return
            response = attempt.response or response
            step = after(waiting, attempt.result, self._limits(event), self._time.now())
            await asyncio.sleep(max(0.0, self._time.wall(step.at_s) - time.time()))
            if isinstance(step, Over):
                ended = Ended(event.request_id, event.arn, event.payload, step.condition, step.runs, response)
                await self._in_thread(self._end, event, ended)
                return
            waiting = step.event

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await self._world.loop.run_in_executor(self._threads, work, *arguments)

    def _attempt(self, event: _Event) -> _Attempt | None:
        """Run the function once, as it is now; None when it is gone."""
        service = self._lambda
        with self._world.ministack.scope(event.scope):
            found, config, _ = service._get_func_record_for_ref(event.arn)
            if found is None or config is None:
                return None
            config = {**config, "FunctionArn": event.arn}
            function = {**found, "config": config}
            slot, _ = service._acquire_execution_slot(function, config)
            if slot is None:
                off = service._reserved_concurrency(function, config) == 0
                return _Attempt(Result.SWITCHED_OFF if off else Result.REFUSED)
            try:
                return self._run(event, function, config)
            finally:
                service._release_execution_slot(slot)

    def _run(self, event: _Event, function: dict[str, Any], config: dict[str, Any]) -> _Attempt:
        age_ms = (self._time.now() - event.received_s) * 1000
        try:
            answer = self._lambda._execute_function_dispatch(
                function, config, event.payload, event.request_id, time.time()
            )
        except Exception:  # an error of the service, after which AWS tries again
            _logger.exception("asynchronous invocation of %s", event.arn)
            return _Attempt(Result.REFUSED)
        if answer.get("throttle"):
            return _Attempt(Result.REFUSED)
        self._count(event, "AsyncEventAge", age_ms, "Milliseconds")
        failed = bool(answer.get("error"))
        response = Response(config.get("Version", "$LATEST"), answer.get("body"), failed)
        return _Attempt(Result.FAILED if failed else Result.SUCCEEDED, response)

    # ------------------------------------------------------------------------------------------ configuration

    def _put_config(self, func_name: str, qualifier: str | None, data: dict[str, Any]) -> Any:
        """PutFunctionEventInvokeConfig within AWS's bounds."""
        for name, (least, most) in _BOUNDS.items():
            value = data.get(name)
            if value is not None and not least <= int(value) <= most:
                member = name[0].lower() + name[1:]
                relation, bound = ("greater", least) if int(value) < least else ("less", most)
                return self._error(
                    "ValidationException",
                    f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: "
                    f"Member must have value {relation} than or equal to {bound}",
                    400,
                )
        return self._configure(func_name, qualifier, data)

    async def _update_config(self, method: str, path: str, headers: Any, body: bytes, query_params: Any) -> Any:
        """UpdateFunctionEventInvokeConfig, which ministack has not: what is not said stays as it is.

        https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionEventInvokeConfig.html
        """
        if method != "POST" or not path.rstrip("/").endswith("/event-invoke-config"):
            return await self._answer(method, path, headers, body, query_params)
        status, answered, found = await self._answer("GET", path, headers, b"", query_params)
        if status >= 400:
            return status, answered, found
        kept = {name: value for name, value in json.loads(found).items() if name in _UPDATED}
        body = json.dumps(kept | json.loads(body or b"{}")).encode()
        return await self._answer("PUT", path, headers, body, query_params)

    def _configuration(self, event: _Event) -> Mapping[str, Any]:
        """The event invoke configuration of the qualifier that the event was sent to."""
        with self._world.ministack.scope(event.scope):
            function = self._lambda._functions.get(event.name) or {}
        found = function.get("event_invoke_configs") or {}
        return found.get(event.qualifier) or (not event.qualifier and found.get("$LATEST")) or {}

    def _limits(self, event: _Event) -> Limits:
        configured = self._configuration(event)
        return Limits(
            int(configured.get("MaximumRetryAttempts", MAX_RETRIES)),
            float(configured.get("MaximumEventAgeInSeconds", MAX_AGE_S)),
        )

    # ------------------------------------------------------------------------------------------ the end of an event

    def _end(self, event: _Event, ended: Ended) -> None:
        """Send the record, and the dead letter when it failed; both where both are configured."""
        wall = time.time()
        destinations = self._configuration(event).get("DestinationConfig") or {}
        succeeded = ended.condition is Condition.SUCCESS
        to = (destinations.get("OnSuccess" if succeeded else "OnFailure") or {}).get("Destination")
        if to:
            record = Letter(ended, invocation_record(ended, wall), key=object_key(ended, wall, str(uuid.uuid4())))
            self._send(event, to, record, "DestinationDeliveryFailures")
        if succeeded:
            return
        to = (self._base(event).get("DeadLetterConfig") or {}).get("TargetArn")
        if to:
            letter = Letter(ended, ended.payload, dead_letter_attributes(ended))
            self._send(event, to, letter, "DeadLetterErrors")
        self._count(event, "AsyncEventsDropped")

    def _base(self, event: _Event) -> Mapping[str, Any]:
        """Configuration of the function: versions have its dead-letter queue and no other."""
        with self._world.ministack.scope(event.scope):
            return (self._lambda._functions.get(event.name) or {}).get("config") or {}

    def _send(self, event: _Event, arn: str, letter: Letter, metric: str) -> None:
        found = self._credentials(self._base(event))
        role = Role(
            found["AWS_ACCESS_KEY_ID"],
            found["AWS_SECRET_ACCESS_KEY"],
            found.get("AWS_SESSION_TOKEN") or None,
            event.scope[1],
        )
        try:
            self._deliveries.send(role, arn, letter)
        except NotDeliveredError as error:
            _logger.warning("Lambda could not send to %s what became of an event of %s: %s", arn, event.arn, error)
            self._count(event, metric)

    def _count(self, event: _Event, metric: str, value: float = 1.0, unit: str = "Count") -> None:
        """https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html#async-invocation-metrics"""
        key = metric_key("AWS/Lambda", metric, {"FunctionName": event.name})
        self._world.store.put(event.scope, key, value, unit)
