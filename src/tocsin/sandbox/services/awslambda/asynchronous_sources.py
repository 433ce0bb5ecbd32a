# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Who sends asynchronous events to functions, in ministack: each is made to give them to the queue.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-services.html
"""

from __future__ import annotations

import base64
import contextvars
import gzip
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from tocsin.sandbox.ministack import Ministack
from tocsin.sandbox.service import ReliedOn

RELIED_ON: ReliedOn = {
    "app": {"_dispatch_service_request": "method, path, headers, body, query_params, request_id"},
    "services.cloudformation.custom_resource": {
        "invoke_custom_resource": "request_type, logical_id, props, stack_name, stack_id, resource_type, "
        "physical_id, old_props",
    },
    "services.cloudwatch_logs": {
        "_fanout_to_subscription_filters": "group_name, stream_name, events",
        "_log_groups": "",
        "_subscription_pattern_matches": "pattern, message",
    },
    "services.lambda_svc": {
        "invoke_async_with_retry": "func, event",
        "_execute_function_with_config_scope": "func, event",
        "_get_func_record_for_ref": "function_ref",
    },
    "services.s3": {"_deliver_event_to_lambda": "arn, event_payload, bucket_region"},
    "services.sns": {
        "_deliver_to_lambda": "endpoint, envelope, topic_arn, sub_arn, msg_id, raw_message, message_attributes",
    },
}

_target: contextvars.ContextVar[str | None] = contextvars.ContextVar("_target", default=None)
"""ARN of the function, as it is written where the event comes from, while a source of ministack hands it over."""
_request_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("_request_id", default=None)
"""Of the `Invoke` that is being answered."""


class Take(Protocol):
    """Puts an event into the queue of a function."""

    def __call__(self, arn: str, payload: Any, request_id: str | None = None) -> str:
        """Returns the request id of the event; it gets one when it has none."""


def detached() -> contextvars.Context:
    """The present context, without what it says of a source: for what an event does later."""
    context = contextvars.copy_context()
    for variable in (_target, _request_id):
        context.run(variable.set, None)
    return context


class Sources:
    """Those of one sandbox. EventBridge needs none: it gives its events to the queue itself."""

    def __init__(self, ministack: Ministack, take: Take) -> None:
        self._ministack = ministack
        self._take = take
        module, replace = ministack.module, ministack.replace
        self._lambda = service = module("services.lambda_svc")
        self._logs = module("services.cloudwatch_logs")
        self._dispatch = replace(module("app"), "_dispatch_service_request", self._answer)
        self._run_at_once = replace(service, "_execute_function_with_config_scope", self._run_or_take)
        replace(service, "invoke_async_with_retry", self._begin)
        replace(self._logs, "_fanout_to_subscription_filters", self._from_log_group)
        self._bucket = replace(module("services.s3"), "_deliver_event_to_lambda", self._from_bucket)
        self._topic = replace(module("services.sns"), "_deliver_to_lambda", self._from_topic)
        stacks = module("services.cloudformation.custom_resource")
        self._stack = replace(stacks, "invoke_custom_resource", self._from_stack)

    async def _answer(
        self, method: str, path: str, headers: Any, body: bytes, query_params: Any, request_id: str
    ) -> Any:
        """Any request to the AWS API."""
        token = _request_id.set(request_id if path.endswith("/invocations") else None)
        try:
            return await self._dispatch(method, path, headers, body, query_params, request_id)
        finally:
            _request_id.reset(token)

    def _begin(self, func: dict[str, Any], event: Any) -> None:
        """Where ministack begins an asynchronous invocation itself: for a bucket, or for a caller of `Invoke`.

        The function runs under the request id that this caller gets as answer.
        """
        target = _target.get()
        if target is None:
            self._take(func["config"]["FunctionArn"], event, _request_id.get())
        else:
            self._take(target, event)

    def _run_or_take(self, func: dict[str, Any], event: Any) -> Any:
        """Where ministack runs a function at once: for sources that AWS calls asynchronous, it takes the event."""
        target = _target.get()
        return self._run_at_once(func, event) if target is None else {"body": self._take(target, event)}

    def _from_bucket(self, arn: str, event_payload: Any, bucket_region: str) -> None:
        """https://docs.aws.amazon.com/lambda/latest/dg/with-s3.html"""
        with _handing_over_to(arn):
            self._bucket(arn, event_payload, bucket_region)

    def _from_topic(self, endpoint: str, *args: Any, **options: Any) -> None:
        """https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html"""
        with _handing_over_to(endpoint):
            self._topic(endpoint, *args, **options)

    def _from_stack(
        self, request_type: str, logical_id: str, props: Mapping[str, Any], *args: Any, **options: Any
    ) -> Any:
        """https://docs.aws.amazon.com/lambda/latest/dg/services-cloudformation.html"""
        token = str(props.get("ServiceToken", ""))
        with _handing_over_to(token if token.count(":") >= 6 else None):
            return self._stack(request_type, logical_id, props, *args, **options)

    def _from_log_group(self, group_name: str, stream_name: str, events: Sequence[Mapping[str, Any]]) -> None:
        """https://docs.aws.amazon.com/lambda/latest/dg/services-cloudwatchlogs.html

        A function that is subscribed to its own log would invoke itself for ever, and gets nothing.
        """
        group = self._logs._log_groups.get(group_name) or {}
        for subscription in list((group.get("subscriptionFilters") or {}).values()):
            arn, pattern = subscription.get("destinationArn", ""), subscription.get("filterPattern", "")
            matches = self._logs._subscription_pattern_matches
            matching = [one for one in events if matches(pattern, one.get("message", ""))]
            itself = group_name == f"/aws/lambda/{''.join(arn.split(':')[6:7])}"
            if ":function:" in arn and matching and not itself and self._lambda._get_func_record_for_ref(arn)[0]:
                data = {
                    "messageType": "DATA_MESSAGE",
                    "owner": self._ministack.current_scope()[0],
                    "logGroup": group_name,
                    "logStream": stream_name,
                    "subscriptionFilters": [subscription.get("filterName", "")],
                    "logEvents": [{"id": uuid.uuid4().hex, **one} for one in matching],
                }
                packed = base64.b64encode(gzip.compress(json.dumps(data).encode())).decode()
                self._take(arn, {"awslogs": {"data": packed}})


@contextmanager
def _handing_over_to(arn: str | None) -> Iterator[None]:
    token = _target.set(arn)
    try:
        yield
    finally:
        _target.reset(token)
