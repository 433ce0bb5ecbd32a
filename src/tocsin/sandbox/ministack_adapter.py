# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""The file that touches ministack's internals: everything the sandbox changes in it, and a self-test.

ministack answers the AWS API. This adapter makes it run in production time (queues, retries, schedules), hands Lambda
invocations to `Environments`, sends all metrics to `MetricStore`, and opens its stores to the plant. Each internal
that is relied on is listed in `RELIED_ON` and checked at start.
"""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import contextlib
import contextvars
import copy
import hashlib
import importlib
import importlib.metadata
import inspect
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tocsin.alarms.cloudwatch import MetricKey, metric_key
from tocsin.errors import SandboxError, TocsinError
from tocsin.sandbox.account import ROOT_SECRET
from tocsin.sandbox.clock import Clock
from tocsin.sandbox.ecs_api import named_resource as ecs_resource
from tocsin.sandbox.environments import MAX_ENVIRONMENTS, Environments, FunctionVersion, Outcome
from tocsin.sandbox.metrics import MetricStore, Scope

VERSION = "1.5.33"

RELIED_ON: Mapping[str, Mapping[str, str]] = {
    "app": {
        "app": "scope, receive, send",
        "AUTH": "",
        "_MAIN_LOOP": "",
        "SERVICE_REGISTRY": "",
        "SERVICE_NAME_ALIASES": "",
        "_resolve_stage_and_path": "api_id, tentative_stage, execute_path",
    },
    "core.concurrency": {"esm_wake": ""},
    "core.iam_actions": {
        "extract_iam_action": "service, method, path, headers, body, query_params",
        "extract_resource_arn": "service, method, path, headers, body, query_params, region, account_id",
        "_match_rest_action": "service, method, path, query_params",
        "_BOTOCORE_SERVICE_MAP": "",
        "_param": "body, query_params, fields",
    },
    "core.iam_evaluator": {
        "enforce": "access_key_id, iam_action, service, region, resource_arn, service_context",
    },
    "core.responses": {"request_scope": "account_id, region", "AccountRegionScopedDict": ""},
    "core.lambda_runtime": {"execution_credentials": "config"},
    "services.apigateway": {
        "_apis": "",
        "handle_execute": "api_id, stage, path, method, headers, body, query_params, raw_query_string",
        "find_api_scope": "api_id",
    },
    "services.cloudwatch": {
        "_alarms": "",
        "_composite_alarms": "",
        "_composite_triggers": "",
        "_history_entries": "",
        "_evaluate_alarm": "alarm",
        "_evaluate_all_alarms": "",
        "_evict_old_metrics": "",
        "_evaluate_parent_alarms": "child, seen",
        "_transition_composite": "alarm, new_state, reason, triggers, seen",
        "_record_history": "alarm_name, old_state, new_state, reason, alarm_type, reason_data",
        "_dispatch_alarm_actions": "alarm, old_state, new_state, reason",
        "_put_metric_alarm": "params, cbor_data, is_cbor, is_json",
        "_set_alarm_state": "params, cbor_data, is_cbor, is_json",
        "_get_metric_statistics": "params, cbor_data, is_cbor, is_json",
        "_get_metric_data": "params, cbor_data, is_cbor, is_json",
        "_list_metrics": "params, cbor_data, is_cbor, is_json",
        "_store_datum": "namespace, name, dims, ts, unit, value, values, counts, stat_values",
        "record_metric": "namespace, metric_name, value, unit, dimensions",
        "_json_ok": "data",
        "_error": "code, message, status, use_json, use_cbor",
        "_ts_iso": "epoch",
        "_parse_ts": "value",
        "handle_request": "method, path, headers, body, query_params",
    },
    "services.cloudwatch_logs": {
        "_log_groups": "",
        "_make_group_arn": "name",
        "_append_log_events": "stream, events",
        "_fanout_to_subscription_filters": "group_name, stream_name, events",
    },
    "services.eventbridge": {
        "_parse_rate_seconds": "expr",
        "_SCHEDULER_TICK_INTERVAL": "",
        "start_scheduler": "",
    },
    "services.lambda_svc": {
        "_functions": "",
        "_execute_function_dispatch": "func, config, event, request_id, started",
        "_execute_function_warm": "func, event, request_id",
        "_acquire_execution_slot": "func, config",
        "_release_execution_slot": "key",
        "_inflight": "",
        "_emit_lambda_metrics": "function_name, duration_ms, error, throttle",
        "_emit_lambda_logs": "func, request_id, log_text, error, duration_ms, log_source",
        "_reserved_concurrency": "func, config",
        "_runtime_env_vars": "config",
        "_xray_trace_id_for_invocation": "config, inbound_trace_header",
        "_account_region_from_function_config": "config",
        "_throttle_response": "reason_code, msg, retry_after",
        "_sqs_esm_concurrency": "esm, func_rec, config, queue",
        "_run_sqs_batch": "esm, func_rec, event, batch, queue_url, queue_name",
        "_poll_loop": "",
        "_poll_sqs": "",
        "_poll_kinesis": "",
        "_poll_dynamodb_streams": "",
        "_ESM_BACKOFF_SECONDS": "",
        "_LAMBDA_ASYNC_RETRY_BASE_SECONDS": "",
        "_LAMBDA_ASYNC_RETRY_MAX_SECONDS": "",
        "_LAMBDA_STATE_TRANSITION_DELAY": "",
        "_get_function": "name, qualifier",
        "_get_func_record_for_qualifier": "name, qualifier",
        "_update_code": "name, data",
        "_create_function": "data",
        "_publish_version": "name, data",
        "_update_alias": "func_name, alias_name, data",
        "_put_provisioned_concurrency": "func_name, qualifier, data",
        "_get_provisioned_concurrency": "func_name, qualifier",
        "_delete_provisioned_concurrency": "func_name, qualifier",
        "invalidate_worker": "func_name, qualifier, account, region",
        "invoke_async_with_retry": "func, event",
        "lambda_execute_result_to_api_proxy_response": "exec_result",
    },
    "services.alb": {"_tags": ""},
    "services.rds": {"_db_proxies": "", "_tags": ""},
    "services.secretsmanager": {"_secrets": ""},
    "services.tagging": {
        "_COLLECTORS": "",
        "_collect_ecs": "",
        "_collect_elasticache": "",
        "_collect_secretsmanager": "",
        "_get_resources": "data",
    },
    "services.sns": {
        "_fanout": "topic_arn, msg_id, message, subject, message_structure, message_attributes, "
        "message_group_id, message_dedup_id",
        "_topic_by_arn_any_scope": "topic_arn",
    },
    "services.sqs": {
        "_queues": "",
        "_queues_lock": "",
        "_HANDLERS": "",
        "_Err": "",
        "_DEDUP_WINDOW_S": "",
        "_get_q": "url, action",
        "_queue_by_arn": "arn",
        "_act_send_message": "data, qurl",
        "_act_receive_message": "data, qurl",
        "_act_delete_message": "data, qurl",
        "_act_delete_message_batch": "data, qurl",
        "_act_change_visibility": "data, qurl",
        "_collect_msgs": "q, max_n, vis_timeout",
        "_dlq_sweep": "q",
        "_expire_retained": "q",
        "_receive_messages_for_esm": "queue_url, max_number",
        "_delete_messages_for_esm": "queue_url, receipt_handles",
        "queue_delay": "q",
    },
}
"""Module -> name -> its parameters (empty: not a function, or one without parameters)."""

_RETRY_FIRST_S = 60
_RETRY_MAX_S = 300
_UPDATE_S = 3
"""Production seconds from an update of a function to `LastUpdateStatus: Successful`."""
_POLL_S = 0.02
_MOVE_BATCH = 10
_KEPT_MOVES = 10
_KEPT_LOG_EVENTS = 10_000
_KEPT_LOG_STREAMS = 200
_KEPT_VERSIONS = 200

_logger = logging.getLogger("tocsin.sandbox")
_http_api_call: contextvars.ContextVar[list[float] | None] = contextvars.ContextVar("_http_api_call", default=None)
"""Set while an HTTP API request is served: collects the milliseconds spent in its integration."""


def configure(directory: Path, port: int, account: str, region: str, *, iam: bool = False) -> None:
    """Set what ministack reads from its environment when it is imported; `iam`: policies are enforced."""
    os.environ.update(
        {
            "MINISTACK_HOST": "127.0.0.1",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "EDGE_PORT": str(port),
            "MINISTACK_ACCOUNT_ID": account,
            "MINISTACK_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "STATE_DIR": str(directory / "state"),
            "S3_DATA_DIR": str(directory / "s3"),
            "TMPDIR": str(directory),
            "LOG_LEVEL": "WARNING",
            "LAMBDA_EXECUTOR": "local",
            "PERSIST_STATE": "0",
            "S3_PERSIST": "0",
            "AUTH": str(iam).lower(),
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
        }
    )
    if iam:
        # Signatures are checked now: these are the keys of the account's root, never the developer's own.
        os.environ.update({"AWS_ACCESS_KEY_ID": account, "AWS_SECRET_ACCESS_KEY": ROOT_SECRET})
        os.environ.pop("AWS_SESSION_TOKEN", None)


def _module(name: str) -> Any:
    return importlib.import_module(f"ministack.{name}")


def check_internals(relied_on: Mapping[str, Mapping[str, str]] = RELIED_ON) -> dict[str, Any]:
    """Check that every internal that is relied on is there and takes the parameters it is called with.

    Returns the modules by name.

    Raises:
        SandboxError: another version of ministack, or the names of all that changed.
    """
    found = importlib.metadata.version("ministack")
    if found != VERSION:
        raise SandboxError(
            f"expected ministack {VERSION}, found {found}: install exactly that version (`pip install "
            f"ministack=={VERSION}`), or adapt sandbox/ministack_adapter.py to the new one"
        )
    modules = {name: _module(name) for name in relied_on}
    changed = [
        problem
        for module, names in relied_on.items()
        for name, parameters in names.items()
        if (problem := _changed(modules[module], module, name, parameters))
    ]
    if changed:
        raise SandboxError(
            f"expected the internals of ministack {VERSION}, found changes: {'; '.join(changed)}. "
            "Reinstall that version, or adapt sandbox/ministack_adapter.py"
        )
    return modules


@dataclass
class MoveTask:
    """One `StartMessageMoveTask`."""

    handle: str
    source_arn: str
    destination_arn: str | None
    rate: int | None
    to_move: int
    started: float = field(default_factory=time.time)
    moved: int = 0
    status: str = "RUNNING"
    failure: str | None = None

    def describe(self) -> dict[str, Any]:
        """The entry of `ListMessageMoveTasks`."""
        entry: dict[str, Any] = {
            "Status": self.status,
            "SourceArn": self.source_arn,
            "ApproximateNumberOfMessagesMoved": self.moved,
            "ApproximateNumberOfMessagesToMove": self.to_move,
            "StartedTimestamp": int(self.started * 1000),
        }
        optional = {
            "TaskHandle": self.handle if self.status == "RUNNING" else None,
            "DestinationArn": self.destination_arn,
            "MaxNumberOfMessagesPerSecond": self.rate,
            "FailureReason": self.failure,
        }
        return entry | {name: value for name, value in optional.items() if value is not None}


class Ministack:
    """ministack, adapted to one sandbox. Only one can exist in a process."""

    def __init__(
        self,
        clock: Clock,
        store: MetricStore,
        environments: Environments,
        endpoint_url: str,
        open_api: Callable[[str], str],
    ) -> None:
        """`open_api` is called with the id of each new HTTP API and returns the base URL at which it answers."""
        self._clock = clock
        self._store = store
        self._environments = environments
        self._endpoint_url = endpoint_url
        self._open_api = open_api
        self._moves: dict[str, list[MoveTask]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._codes: dict[str, bytes] = {}
        self._versions: dict[tuple[Any, ...], FunctionVersion] = {}
        self._modules = check_internals()
        self._responses = self._modules["core.responses"]
        self._cloudwatch = self._modules["services.cloudwatch"]
        self._logs = self._modules["services.cloudwatch_logs"]
        self._lambda = self._modules["services.lambda_svc"]
        self._sqs = self._modules["services.sqs"]
        self._sns = self._modules["services.sns"]
        self._rds = self._modules["services.rds"]
        self._apigateway = self._modules["services.apigateway"]
        self._app = self._modules["app"]
        self._adapt_sqs()
        self._adapt_lambda()
        self._adapt_cloudwatch_metrics()
        self._adapt_apigateway()
        self._adapt_eventbridge()
        self._adapt_iam()
        self._adapt_tagging()

    async def try_out(self) -> None:
        """Check the behaviour that the adapter builds on, in an account of its own that is emptied afterwards.

        Raises:
            SandboxError: says what was expected and what was found.
        """
        sqs, cloudwatch = self._sqs, self._cloudwatch
        if self._app.AUTH:
            enforce = self._modules["core.iam_evaluator"].enforce
            stranger = enforce("AKIAAAAAAAAAAAAAAAAA", "sqs:ListQueues", "sqs", "us-east-1")
            _expect("with AUTH an unknown access key is refused", stranger is not None)
        with self.scope(("000000000001", "us-east-1")):
            url = sqs._act_create_queue({"QueueName": "self-test"}, "")["QueueUrl"]
            sqs._act_send_message({"QueueUrl": url, "MessageBody": "m", "DelaySeconds": 0}, url)
            received = await sqs._HANDLERS["ReceiveMessage"]({"QueueUrl": url}, url)
            message = sqs._queues[url]["messages"][0]
            visible_in = message["visible_at"] - time.time()
            _expect("a received SQS message has a receipt handle", "Messages" in received)
            _expect("visibility is divided by the time scale", visible_in <= self._clock.wall(30) + 0.01)
            sqs._act_delete_message({"QueueUrl": url, "ReceiptHandle": received["Messages"][0]["ReceiptHandle"]}, url)
            _expect("a deleted SQS message is gone", not sqs._queues[url]["messages"])
            sqs._act_delete_queue({"QueueUrl": url}, url)
            cloudwatch._put_metric_alarm(
                {},
                {"AlarmName": "self-test", "Namespace": "n", "MetricName": "m", "Threshold": 1},
                False,
                True,
            )
            alarm = cloudwatch._alarms.get("self-test")
            _expect("a new alarm is INSUFFICIENT_DATA", bool(alarm) and alarm["StateValue"] == "INSUFFICIENT_DATA")
            cloudwatch._alarms.pop("self-test", None)
            cloudwatch._alarm_history.pop("entries", None)

    # ------------------------------------------------------------------------------------------ for the daemon

    @property
    def asgi(self) -> Any:
        """The ASGI application that answers the AWS API."""
        return self._app.app

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """What ministack's own start-up does, without the parts a sandbox has no use for."""
        self._app._MAIN_LOOP = loop
        loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(64, "ministack-worker"))
        self._modules["services.eventbridge"].start_scheduler()
        # It repeats what a failed function wrote, which is in the function's own log already.
        logging.getLogger("lambda").setLevel(logging.ERROR)

    def services(self) -> frozenset[str]:
        """Names that a request may be signed for."""
        return frozenset(self._app.SERVICE_REGISTRY) | frozenset(self._app.SERVICE_NAME_ALIASES)

    def scope(self, scope: Scope) -> contextlib.AbstractContextManager[None]:
        """Act for an account and region."""
        context: contextlib.AbstractContextManager[None] = self._responses.request_scope(*scope)
        return context

    def current_scope(self) -> Scope:
        """The account and region of the present request."""
        return self._responses.get_account_id(), self._responses.get_region()

    def _replace(self, module: Any, name: str, replacement: Any) -> Any:
        original = getattr(module, name)
        setattr(module, name, replacement)
        return original

    # ------------------------------------------------------------------------------------------ tags

    def _adapt_tagging(self) -> None:
        """The Resource Groups Tagging API finds RDS, load balancers and secrets too, and nothing of other regions.

        https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/supported-services.html
        """
        tagging = self._modules["services.tagging"]
        tagging._COLLECTORS |= {
            "ecs": partial(self._of_this_region, tagging._collect_ecs),
            "elasticache": partial(self._of_this_region, tagging._collect_elasticache),
            "elasticloadbalancing": partial(self._of_this_region, self._modules["services.alb"]._tags.items),
            "rds": partial(self._of_this_region, self._rds._tags.items),
            "secretsmanager": tagging._collect_secretsmanager,
        }

    def _of_this_region(self, collect: Callable[[], Iterable[tuple[str, Any]]]) -> Iterator[tuple[str, Any]]:
        """ARN and tags of a service that keeps those of all regions together: of the request's region."""
        _, region = self.current_scope()
        yield from ((arn, tags) for arn, tags in collect() if arn.split(":")[3] == region)

    # ------------------------------------------------------------------------------------------ HTTP APIs

    def _adapt_apigateway(self) -> None:
        store: Any = self._responses.AccountRegionScopedDict
        open_api = self._open_api

        class Apis(store):  # type: ignore[misc]
            """The APIs, each with an endpoint under which a client can really call it."""

            __slots__ = ()

            def __setitem__(self, api_id: str, api: dict[str, Any]) -> None:
                if api.get("protocolType") == "HTTP" and api_id not in self:
                    api["apiEndpoint"] = open_api(api_id)
                super().__setitem__(api_id, api)

        self._apigateway._apis = Apis()
        self._proxy_response = self._replace(
            self._lambda, "lambda_execute_result_to_api_proxy_response", self._api_response
        )

    def _api_response(self, result: dict[str, Any]) -> Any:
        """What an HTTP API answers when Lambda could not: 503 for a throttle or a timeout, else 500."""
        if _http_api_call.get() is None:
            return self._proxy_response(result)
        body = result.get("body")
        if result.get("throttle") or (
            isinstance(body, dict) and body.get("errorType") == "Sandbox.Timedout" and result.get("error")
        ):
            return _api_error(503, "Service Unavailable"), None
        if result.get("error"):
            return _api_error(500, "Internal Server Error"), None
        response, note = self._proxy_response(result)
        if not isinstance(response.get("statusCode"), int) and not str(response.get("statusCode")).isdigit():
            return _api_error(500, "Internal Server Error"), note
        return {**response, "statusCode": int(response["statusCode"])}, note

    async def call_api(
        self,
        api_id: str,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        query: dict[str, list[str]],
        raw_query: str,
    ) -> tuple[int, dict[str, Any], bytes]:
        """Serve one request to an HTTP API, and publish its metrics."""
        scope = self._apigateway.find_api_scope(api_id)
        if scope is None:
            return 404, {"Content-Type": "application/json"}, b'{"message":"Not Found"}'
        started = time.perf_counter()
        integration: list[float] = []
        token = _http_api_call.set(integration)
        try:
            first, _, rest = path.lstrip("/").partition("/")
            stage, execute_path = self._app._resolve_stage_and_path(api_id, first, "/" + rest)
            status, answer, content = await self._apigateway.handle_execute(
                api_id, stage, execute_path, method, headers, body, query, raw_query_string=raw_query
            )
        except Exception:  # API Gateway answers its callers whatever stumbles behind it
            _logger.exception("HTTP API %s: %s %s", api_id, method, path)
            stage, status, answer, content = "$default", 500, {}, b'{"message":"Internal Server Error"}'
        finally:
            _http_api_call.reset(token)
        answer.setdefault("apigw-requestid", base64.b64encode(os.urandom(11)).decode())
        latency_ms = (time.perf_counter() - started) * 1000
        self._publish_api_call(scope, api_id, stage, status, latency_ms, sum(integration))
        return status, answer, content

    def _publish_api_call(
        self, scope: Scope, api_id: str, stage: str, status: int, latency_ms: float, integration_ms: float
    ) -> None:
        values = {
            "Count": (1.0, "Count"),
            "4xx": (float(400 <= status < 500), "Count"),
            "5xx": (float(status >= 500), "Count"),
            "Latency": (latency_ms, "Milliseconds"),
            "IntegrationLatency": (integration_ms, "Milliseconds"),
        }
        for dimensions in ({"ApiId": api_id}, {"ApiId": api_id, "Stage": stage}):
            for name, (value, unit) in values.items():
                self._store.put(scope, metric_key("AWS/ApiGateway", name, dimensions), value, unit)

    # ------------------------------------------------------------------------------------------ Lambda

    def _adapt_lambda(self) -> None:
        service = self._lambda
        service._LAMBDA_ASYNC_RETRY_BASE_SECONDS = self._clock.wall(_RETRY_FIRST_S)
        service._LAMBDA_ASYNC_RETRY_MAX_SECONDS = self._clock.wall(_RETRY_MAX_S)
        service._LAMBDA_STATE_TRANSITION_DELAY = self._clock.wall(_UPDATE_S)
        service._ESM_BACKOFF_SECONDS = self._clock.wall(1)
        service._poll_loop = self._poll_event_sources
        service._emit_lambda_metrics = lambda *_, **__: None
        self._dispatch = self._replace(service, "_execute_function_dispatch", self._counted_dispatch)
        self._acquire_slot = self._replace(service, "_acquire_execution_slot", self._counted_slot)
        self._warm = self._replace(service, "_execute_function_warm", self._execute)
        self._emit_logs = self._replace(service, "_emit_lambda_logs", self._emit_foreign_logs)
        self._reserved = self._replace(service, "_reserved_concurrency", self._reserved_concurrency)
        self._invalidate = self._replace(service, "invalidate_worker", self._forget_environments)
        self._esm_concurrency = self._replace(service, "_sqs_esm_concurrency", self._esm_limit)
        self._run_batch = self._replace(service, "_run_sqs_batch", self._run_sqs_batch)
        self._retry = self._replace(service, "invoke_async_with_retry", self._invoke_async)
        self._describe = self._replace(service, "_get_function", self._get_function)
        self._update_code = self._replace(service, "_update_code", self._update_function_code)
        self._create = self._replace(service, "_create_function", self._create_function)
        self._move_alias = self._replace(service, "_update_alias", self._update_alias)
        self._provision = self._replace(service, "_put_provisioned_concurrency", self._put_provisioned)
        self._provisioned = self._replace(service, "_get_provisioned_concurrency", self._get_provisioned)
        self._unprovision = self._replace(service, "_delete_provisioned_concurrency", self._delete_provisioned)

    def _counted_dispatch(
        self,
        func: dict[str, Any],
        config: dict[str, Any],
        event: Any,
        request_id: str,
        started: float,
    ) -> Any:
        """Every invocation that was not throttled passes here, whatever its source."""
        began = time.perf_counter()
        result = self._dispatch(func, config, event, request_id, started)
        elapsed_ms = (time.perf_counter() - began) * 1000
        integration = _http_api_call.get()
        if integration is not None:
            integration.append(elapsed_ms)
        name = config.get("FunctionName", "")
        if isinstance(result, dict) and result.get("throttle"):
            self._publish_lambda(name, "Throttles", 1.0, "Count")
            return result
        failed = isinstance(result, dict) and bool(result.get("error"))
        duration = result.get("duration_ms", elapsed_ms) if isinstance(result, dict) else elapsed_ms
        for metric, value, unit in (
            ("Invocations", 1.0, "Count"),
            ("Errors", float(failed), "Count"),
            ("Throttles", 0.0, "Count"),
            ("Duration", duration, "Milliseconds"),
        ):
            self._publish_lambda(name, metric, value, unit, started)
        return result

    def _counted_slot(self, func: dict[str, Any], config: dict[str, Any]) -> Any:
        slot, limit = self._acquire_slot(func, config)
        name = config.get("FunctionName", "")
        if slot is None:
            self._publish_lambda(name, "Throttles", 1.0, "Count")
        else:
            self._publish_lambda(name, "ConcurrentExecutions", float(self._lambda._inflight.get(slot, 1)), "Count")
        return slot, limit

    def _publish_lambda(self, name: str, metric: str, value: float, unit: str, wall: float | None = None) -> None:
        key = MetricKey("AWS/Lambda", metric, (("FunctionName", name),))
        self._store.put(self.current_scope(), key, value, unit, wall=wall)

    def _reserved_concurrency(self, func: dict[str, Any], config: dict[str, Any]) -> Any:
        """Reserved concurrency belongs to the function, also when a version or an alias is invoked."""
        base = self._lambda._functions.get(config.get("FunctionName", ""))
        return self._reserved(base or func, config)

    def _execute(self, func: dict[str, Any], event: Any, request_id: str) -> Any:
        config = func.get("config") or func
        if not str(config.get("Runtime", "")).startswith("python") or not func.get("code_zip"):
            return self._warm(func, event, request_id)
        version = self._cached_version(config, func["code_zip"])
        started_ms = int(time.time() * 1000)
        outcome = self._environments.invoke(
            version,
            event,
            request_id,
            config.get("FunctionArn", ""),
            self._lambda._xray_trace_id_for_invocation(config),
        )
        if outcome.status == "throttle":
            return self._lambda._throttle_response(
                "ConcurrentInvocationLimitExceeded",
                f"Rate Exceeded: the sandbox runs at most {MAX_ENVIRONMENTS} execution environments at once",
            )
        self._write_log(version, request_id, started_ms, outcome)
        log = "\n".join(line for _, line in outcome.log)
        result = {"body": outcome.result, "log": log, "duration_ms": outcome.duration_ms}
        return result if outcome.status == "ok" else {**result, "error": True}

    def _cached_version(self, config: dict[str, Any], code_zip: bytes) -> FunctionVersion:
        """The version to run, made once for each configuration: every invocation comes by here."""
        named = ("FunctionArn", "Version", "RevisionId", "CodeSha256", "Handler", "Timeout", "MemorySize")
        variables = (config.get("Environment") or {}).get("Variables") or {}
        revision = (*(config.get(name) for name in named), *variables.items())
        if revision not in self._versions:
            if len(self._versions) >= _KEPT_VERSIONS:
                self._versions.clear()
            self._versions[revision] = self._function_version(config, code_zip)
        return self._versions[revision]

    def _function_version(self, config: dict[str, Any], code_zip: bytes) -> FunctionVersion:
        account, region = self._lambda._account_region_from_function_config(config)
        name, version = config["FunctionName"], config.get("Version", "$LATEST")
        group = (config.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{name}"
        credentials = self._modules["core.lambda_runtime"].execution_credentials(config)
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "TZ": ":UTC",
            **self._lambda._runtime_env_vars(config),
            **{key: value for key, value in credentials.items() if value},
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_ENDPOINT_URL": self._endpoint_url,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{config.get('Runtime')}",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config.get("MemorySize", 128)),
            "AWS_LAMBDA_LOG_GROUP_NAME": group,
            "_HANDLER": config.get("Handler", ""),
        }
        return FunctionVersion(
            account=account,
            region=region,
            name=name,
            version=version,
            handler=config.get("Handler", ""),
            timeout_s=float(config.get("Timeout", 3)),
            memory_mb=int(config.get("MemorySize", 128)),
            log_group=group,
            code_zip=code_zip,
            environment=tuple(sorted(environment.items())),
            code_sha256=config.get("CodeSha256", ""),
        )

    def _write_log(self, version: FunctionVersion, request_id: str, started_ms: int, outcome: Outcome) -> None:
        """START, the handler's lines, END and REPORT in the stream of the execution environment."""
        ended_ms = int(time.time() * 1000)
        billed = int(outcome.duration_ms) + 1
        lines = [
            (started_ms, f"START RequestId: {request_id} Version: {version.version}"),
            *outcome.log,
            (ended_ms, f"END RequestId: {request_id}"),
            (
                ended_ms,
                f"REPORT RequestId: {request_id}\tDuration: {outcome.duration_ms:.2f} ms\tBilled Duration: "
                f"{billed} ms\tMemory Size: {version.memory_mb} MB\tMax Memory Used: {version.memory_mb} MB",
            ),
        ]
        self._append_log(version.log_group, outcome.log_stream, lines)

    def write_log(self, scope: Scope, group: str, stream: str, lines: Sequence[tuple[int, str]]) -> None:
        """Append lines, each with its wall-clock milliseconds, to a stream; it and its group are made when missing."""
        with self.scope(scope):
            self._append_log(group, stream, lines)

    def has_log_group(self, scope: Scope, group: str) -> bool:
        """Whether a log group is there."""
        with self.scope(scope):
            return group in self._logs._log_groups

    def _append_log(self, group: str, stream_name: str, lines: Sequence[tuple[int, str]]) -> None:
        now_ms = int(time.time() * 1000)
        stream = self._log_stream(group, stream_name, lines[0][0])
        events = [{"timestamp": at, "message": line, "ingestionTime": now_ms} for at, line in lines]
        self._logs._append_log_events(stream, events)
        del stream["events"][:-_KEPT_LOG_EVENTS]
        self._logs._fanout_to_subscription_filters(
            group, stream_name, [{"timestamp": at, "message": line} for at, line in lines]
        )

    def _log_stream(self, group_name: str, stream_name: str, now_ms: int) -> Any:
        groups = self._logs._log_groups
        group = groups.setdefault(
            group_name,
            {
                "arn": self._logs._make_group_arn(group_name),
                "creationTime": now_ms,
                "retentionInDays": None,
                "tags": {},
                "subscriptionFilters": {},
                "streams": {},
            },
        )
        streams = group["streams"]
        while len(streams) > _KEPT_LOG_STREAMS:
            streams.pop(next(iter(streams)), None)
        return streams.setdefault(
            stream_name,
            {
                "events": [],
                "uploadSequenceToken": "1",
                "creationTime": now_ms,
                "firstEventTimestamp": None,
                "lastEventTimestamp": None,
                "lastIngestionTime": None,
            },
        )

    def _emit_foreign_logs(self, func: dict[str, Any], *args: Any, **options: Any) -> None:
        """Python functions have written their log already; the other runtimes still run in ministack."""
        if not str((func.get("config") or func).get("Runtime", "")).startswith("python"):
            self._emit_logs(func, *args, **options)

    def _forget_environments(
        self, name: str, qualifier: str | None = None, account: str | None = None, region: str | None = None
    ) -> None:
        here = self.current_scope()
        self._environments.forget((account or here[0], region or here[1], name), qualifier)
        self._invalidate(name, qualifier, account, region)

    def _invoke_async(self, func: dict[str, Any], event: Any) -> None:
        """Asynchronous invocation with its maximum age divided by the time scale."""
        config = func.get("event_invoke_config") or (func.get("event_invoke_configs") or {}).get("$LATEST")
        age_s = int((config or {}).get("MaximumEventAgeInSeconds", 21600))
        scaled = {**(config or {}), "MaximumEventAgeInSeconds": max(1, int(self._clock.wall(age_s)))}
        self._retry({**func, "event_invoke_config": scaled}, event)

    def _get_function(self, name: str, qualifier: str | None = None) -> Any:
        """GetFunction whose `Code.Location` serves the bytes of the version that was asked for."""
        status, headers, body = self._describe(name, qualifier)
        record, _ = self._lambda._get_func_record_for_qualifier(name, qualifier) if status == 200 else (None, None)
        code = (record or {}).get("code_zip")
        if not code:
            return status, headers, body
        digest = hashlib.sha256(code).hexdigest()
        self._codes[digest] = code
        answer = json.loads(body)
        answer["Code"]["Location"] = f"{self._endpoint_url}/_tocsin/lambda-code/{digest}"
        return status, headers, json.dumps(answer).encode()

    def code(self, digest: str) -> bytes | None:
        """A deployment package by the hexadecimal SHA-256 in its `Code.Location`."""
        return self._codes.get(digest)

    def _update_function_code(self, name: str, data: dict[str, Any]) -> Any:
        """UpdateFunctionCode; `Publish` publishes like PublishVersion, with the version's own ARN."""
        answer = self._update_code(name, {key: value for key, value in data.items() if key != "Publish"})
        return self._published(name, answer) if data.get("Publish") else answer

    def _create_function(self, data: dict[str, Any]) -> Any:
        answer = self._create({key: value for key, value in data.items() if key != "Publish"})
        return self._published(data.get("FunctionName", ""), answer) if data.get("Publish") else answer

    def _published(self, name: str, answer: Any) -> Any:
        if answer[0] >= 400:
            return answer
        _, headers, body = self._lambda._publish_version(name, {})
        return answer[0], headers, body

    def _update_alias(self, name: str, alias: str, data: dict[str, Any]) -> Any:
        answer = self._move_alias(name, alias, data)
        if answer[0] < 400:
            self._warm_up(name, alias)
        return answer

    def _put_provisioned(self, name: str, qualifier: str, data: dict[str, Any]) -> Any:
        answer = self._provision(name, qualifier, data)
        if answer[0] < 400:
            self._warm_up(name, qualifier)
        return answer

    def _get_provisioned(self, name: str, qualifier: str | None) -> Any:
        """GetProvisionedConcurrencyConfig; without a qualifier it is ListProvisionedConcurrencyConfigs."""
        function = self._lambda._functions.get(name)
        if qualifier or function is None:
            return self._provisioned(name, qualifier)
        arn = function["config"]["FunctionArn"]
        configs = function.get("provisioned_concurrency", {})
        listed = [{**config, "FunctionArn": f"{arn}:{alias}"} for alias, config in configs.items()]
        body = json.dumps({"ProvisionedConcurrencyConfigs": listed}).encode()
        return 200, {"Content-Type": "application/json"}, body

    def _delete_provisioned(self, name: str, qualifier: str) -> Any:
        self._environments.unprovision((*self.current_scope(), name), qualifier)
        return self._unprovision(name, qualifier)

    def _warm_up(self, name: str, qualifier: str) -> None:
        """Start the provisioned environments of an alias or version; it is READY when they are."""
        function = self._lambda._functions.get(name) or {}
        provisioned = function.get("provisioned_concurrency", {}).get(qualifier)
        record, config = self._lambda._get_func_record_for_qualifier(name, qualifier)
        if not provisioned or not record or not record.get("code_zip"):
            return
        version = self._function_version(config, record["code_zip"])
        count = int(provisioned["RequestedProvisionedConcurrentExecutions"])
        provisioned["Status"] = "IN_PROGRESS"

        def warm() -> None:
            self._environments.provision(version, qualifier, count)
            provisioned["Status"] = "READY"

        threading.Thread(target=warm, daemon=True, name="tocsin-provision").start()

    # ------------------------------------------------------------------------------------------ event sources

    def _poll_event_sources(self) -> None:
        """The event source pollers, often enough that a scaled visibility timeout is seen when it ends."""
        service, wake = self._lambda, self._modules["core.concurrency"].esm_wake
        while True:
            wake.clear()
            worked = False
            for poll in (service._poll_sqs, service._poll_kinesis, service._poll_dynamodb_streams):
                try:
                    worked = bool(poll()) or worked
                except Exception:  # one source that cannot be polled must not stop the others
                    _logger.exception("event source poller")
            if not worked:
                time.sleep(_POLL_S / 4)
                wake.wait(_POLL_S)

    def _esm_limit(self, esm: Any, func: Any, config: Any, queue: Any = None) -> int:
        """Pollers do not know about reserved concurrency: they invoke, are throttled, and the message waits."""
        limit: int = self._esm_concurrency(esm, func, config, queue)
        if limit > 0:
            return limit
        return int((esm.get("ScalingConfig") or {}).get("MaximumConcurrency") or 1)

    def _run_sqs_batch(
        self, esm: Any, func: Any, event: Any, batch: list[dict[str, Any]], queue_url: str, name: str
    ) -> None:
        """Run one batch; a function's running time counts unscaled against the visibility timeout.

        Otherwise a function that works for a second would outlive a scaled visibility timeout of a minute, and its
        messages would be delivered twice, which does not happen on AWS.
        """
        started = time.time()
        queue = self._sqs._queues.get(queue_url)
        visibility_s = float(queue["attributes"].get("VisibilityTimeout", "30")) if queue else 30.0
        for message in batch:
            message["visible_at"] = started + visibility_s
        self._run_batch(esm, func, event, batch, queue_url, name)
        elapsed_s = time.time() - started
        for message in batch:
            message["visible_at"] = time.time() + self._clock.wall(max(0.0, visibility_s - elapsed_s))

    # ------------------------------------------------------------------------------------------ SQS

    def _adapt_sqs(self) -> None:
        sqs = self._sqs
        # Handlers run on the event loop, event source pollers in threads. ministack replaces the list of messages
        # from both, which loses a message that arrives meanwhile; here all removals are in place and under one lock.
        sqs._queues_lock = threading.RLock()
        sqs._DEDUP_WINDOW_S = self._clock.wall(300)
        self._send = self._replace(sqs, "_act_send_message", self._send_message)
        self._receive = self._replace(sqs, "_act_receive_message", self._receive_message)
        self._collect = self._replace(sqs, "_collect_msgs", self._collect_messages)
        self._visibility = self._replace(sqs, "_act_change_visibility", self._change_visibility)
        self._delay = self._replace(sqs, "queue_delay", self._queue_delay)
        sqs._act_delete_message = self._delete_message
        sqs._act_delete_message_batch = self._delete_message_batch
        sqs._delete_messages_for_esm = self._delete_messages
        sqs._dlq_sweep = self._sweep
        sqs._expire_retained = self._expire
        for action, function in {
            "SendMessage": self._send_message,
            "ReceiveMessage": self._receive_message,
            "DeleteMessage": self._delete_message,
            "DeleteMessageBatch": self._delete_message_batch,
            "ChangeMessageVisibility": self._change_visibility,
            "StartMessageMoveTask": self._start_move,
            "ListMessageMoveTasks": self._list_moves,
            "CancelMessageMoveTask": self._cancel_move,
            "ListDeadLetterSourceQueues": self._list_sources,
        }.items():
            sqs._HANDLERS[action] = function

    def _count_messages(self, queue: dict[str, Any], metric: str, count: int = 1) -> None:
        key = MetricKey("AWS/SQS", metric, (("QueueName", queue["name"]),))
        self._store.put(_scope_of_arn(queue["attributes"]["QueueArn"]), key, float(count), "Count")

    def _send_message(self, data: dict[str, Any], url: str) -> Any:
        answer = self._send(data, url)
        queue = self._sqs._get_q(data.get("QueueUrl", url))
        for message in reversed(queue["messages"]):
            if message["id"] == answer["MessageId"]:
                message["visible_at"] = message["sent_at"] + self._clock.wall(
                    message["visible_at"] - message["sent_at"]
                )
                break
        self._count_messages(queue, "NumberOfMessagesSent")
        return answer

    async def _receive_message(self, data: dict[str, Any], url: str) -> Any:
        """ReceiveMessage; a long poll is divided by the time scale like everything else a queue waits for."""
        queue = self._sqs._get_q(data.get("QueueUrl", url))
        wait = data.get("WaitTimeSeconds")
        if wait is None:
            wait = queue["attributes"].get("ReceiveMessageWaitTimeSeconds", "0")
        deadline = time.monotonic() + self._clock.wall(float(wait))
        at_once = {**data, "WaitTimeSeconds": 0}
        answer = await self._receive(at_once, url)
        while not answer and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_S)
            answer = await self._receive(at_once, url)
        return answer

    def _collect_messages(self, queue: dict[str, Any], count: int, visibility_s: float) -> Any:
        with self._sqs._queues_lock:
            found = self._collect(queue, count, self._clock.wall(visibility_s))
        if found:
            self._count_messages(queue, "NumberOfMessagesReceived", len(found))
        return found

    def _change_visibility(self, data: dict[str, Any], url: str) -> Any:
        answer = self._visibility(data, url)
        queue = self._sqs._get_q(data.get("QueueUrl", url))
        timeout_s = float(data.get("VisibilityTimeout", 30))
        for message in queue["messages"]:
            if message["receipt_handle"] == data.get("ReceiptHandle"):
                message["visible_at"] = time.time() + self._clock.wall(timeout_s)
        return answer

    def _queue_delay(self, queue: dict[str, Any]) -> float:
        return self._clock.wall(float(self._delay(queue)))

    def _remove(self, queue: dict[str, Any], doomed: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Take messages out of a queue in place; senders append without a lock."""
        with self._sqs._queues_lock:
            messages = queue["messages"]
            taken = [(index, message) for index, message in enumerate(messages) if doomed(message)]
            for index, _ in reversed(taken):
                del messages[index]
        return [message for _, message in taken]

    def _delete_message(self, data: dict[str, Any], url: str) -> Any:
        queue = self._sqs._get_q(data.get("QueueUrl", url), "sqs:DeleteMessage")
        handle = data.get("ReceiptHandle", "")
        if not handle:
            raise self._sqs._Err("MissingParameter", "The request must contain the parameter ReceiptHandle.")
        if not self._remove(queue, lambda message: message.get("receipt_handle") == handle):
            raise self._sqs._Err("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
        self._count_messages(queue, "NumberOfMessagesDeleted")
        return {}

    def _delete_message_batch(self, data: dict[str, Any], url: str) -> Any:
        successful: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        for entry in data.get("Entries", []):
            one = {"QueueUrl": data.get("QueueUrl", url), "ReceiptHandle": entry.get("ReceiptHandle", "")}
            try:
                self._delete_message(one, url)
                successful.append({"Id": entry.get("Id", "")})
            except self._sqs._Err as error:
                failed.append(
                    {"Id": entry.get("Id", ""), "Code": error.code, "Message": error.message, "SenderFault": True}
                )
        return {"Successful": successful, "Failed": failed}

    def _delete_messages(self, queue_url: str, handles: set[str]) -> None:
        queue = self._sqs._get_q(queue_url)
        removed = self._remove(queue, lambda message: message.get("receipt_handle") in handles)
        if removed:
            self._count_messages(queue, "NumberOfMessagesDeleted", len(removed))

    def _expire(self, queue: dict[str, Any]) -> None:
        retention_s = float(queue["attributes"].get("MessageRetentionPeriod", "345600"))
        oldest = time.time() - self._clock.wall(retention_s)
        self._remove(queue, lambda message: message.get("enqueued_at", message.get("sent_at", oldest + 1)) <= oldest)

    def _sweep(self, queue: dict[str, Any]) -> None:
        """Move messages that were received too often to the dead-letter queue."""
        policy = _redrive_policy(queue)
        dead_letters = self._sqs._queue_by_arn(policy.get("deadLetterTargetArn", ""))
        if dead_letters is None:
            return
        now, limit = time.time(), int(policy.get("maxReceiveCount", 0))
        for message in self._remove(
            queue,
            lambda message: message.get("receive_count", 0) >= limit > 0 and message.get("visible_at", 0) <= now,
        ):
            system = {
                "DeadLetterQueueSourceArn": queue["attributes"]["QueueArn"],
                **(message.get("sys") or {}),
            }
            dead_letters["messages"].append(
                {**message, "receipt_handle": None, "visible_at": now, "sys": system}
                | ({"enqueued_at": now} if dead_letters.get("is_fifo") else {})
            )
            self._modules["core.concurrency"].esm_wake.set()

    def publish_queues(self, wall: float) -> None:
        """Publish the gauges of all queues for the system minute around `wall`; to be called once a system minute."""
        now = time.time()
        for _, queue in list(self._sqs._queues._data.items()):
            scope = _scope_of_arn(queue["attributes"]["QueueArn"])
            messages = list(queue["messages"])
            visible = [message for message in messages if message.get("visible_at", 0) <= now]
            delayed = sum(
                message.get("visible_at", 0) > now and not message.get("receive_count") for message in messages
            )
            # AWS leaves out messages received three times or more, so that a poison message does not hide the rest.
            ages = [now - message.get("sent_at", now) for message in messages if message.get("receive_count", 0) < 3]
            for metric, value, unit in (
                ("ApproximateNumberOfMessagesVisible", float(len(visible)), "Count"),
                ("ApproximateNumberOfMessagesNotVisible", float(len(messages) - len(visible) - delayed), "Count"),
                ("ApproximateNumberOfMessagesDelayed", float(delayed), "Count"),
                ("ApproximateAgeOfOldestMessage", self._clock.production(max(ages, default=0.0)), "Seconds"),
            ):
                key = MetricKey("AWS/SQS", metric, (("QueueName", queue["name"]),))
                self._store.put(scope, key, value, unit, wall=wall)

    def _list_sources(self, data: dict[str, Any], url: str) -> dict[str, Any]:
        arn = self._sqs._get_q(data.get("QueueUrl", url))["attributes"]["QueueArn"]
        policies = {found: _redrive_policy(queue) for found, queue in self._sqs._queues.items()}
        return {"queueUrls": [found for found, policy in policies.items() if policy.get("deadLetterTargetArn") == arn]}

    def _start_move(self, data: dict[str, Any], _url: str) -> Any:
        source_arn, destination_arn = data.get("SourceArn", ""), data.get("DestinationArn")
        source = self._queue(source_arn, "source")
        if destination_arn:
            self._queue(destination_arn, "destination")
        feeders = (_redrive_policy(queue) for queue in self._sqs._queues.values())
        if not any(policy.get("deadLetterTargetArn") == source_arn for policy in feeders):
            raise self._sqs._Err("InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
        tasks = self._moves.setdefault(source_arn, [])
        if any(task.status == "RUNNING" for task in tasks):
            raise self._sqs._Err(
                "UnsupportedOperation", "There is already a task running. Only one active task is allowed."
            )
        handle = base64.b64encode(json.dumps({"taskId": str(uuid.uuid4()), "sourceArn": source_arn}).encode())
        task = MoveTask(
            handle.decode(),
            source_arn,
            destination_arn,
            data.get("MaxNumberOfMessagesPerSecond"),
            len(source["messages"]),
        )
        tasks.insert(0, task)
        del tasks[_KEPT_MOVES:]
        self.in_background(self._move(task, source))
        return {"TaskHandle": task.handle}

    async def _move(self, task: MoveTask, source: dict[str, Any]) -> None:
        pause_s = self._clock.wall(_MOVE_BATCH / task.rate) if task.rate else 0.001
        while task.status == "RUNNING":
            now = time.time()
            waiting = [message for message in source["messages"] if message.get("visible_at", 0) <= now]
            if not waiting:
                task.status = "COMPLETED"
                return
            for message in waiting[:_MOVE_BATCH]:
                if task.status == "RUNNING":
                    self._move_message(task, source, message)
            await asyncio.sleep(pause_s)

    def _move_message(self, task: MoveTask, source: dict[str, Any], message: dict[str, Any]) -> None:
        system = dict(message.get("sys") or {})
        arn = task.destination_arn or system.pop("DeadLetterQueueSourceArn", "")
        destination = self._sqs._queue_by_arn(arn) if arn else None
        if destination is None:
            task.status = "FAILED"
            task.failure = "AWS.SimpleQueueService.NonExistentQueue" if arn else "CouldNotDetermineMessageSource"
            return
        if not self._remove(source, lambda candidate: candidate is message):
            return
        now = time.time()
        system.pop("DeadLetterQueueSourceArn", None)
        destination["messages"].append(
            {
                **message,
                "id": str(uuid.uuid4()),
                "receipt_handle": None,
                "receive_count": 0,
                "first_receive_at": None,
                "sent_at": now,
                "visible_at": now,
                "sys": {**system, "SentTimestamp": str(int(now * 1000))},
            }
        )
        task.moved += 1
        self._modules["core.concurrency"].esm_wake.set()

    def _list_moves(self, data: dict[str, Any], _url: str) -> Any:
        self._queue(data.get("SourceArn", ""), "source")
        tasks = self._moves.get(data["SourceArn"], [])
        return {"Results": [task.describe() for task in tasks[: int(data.get("MaxResults") or 1)]]}

    def _cancel_move(self, data: dict[str, Any], _url: str) -> Any:
        for task in (task for tasks in self._moves.values() for task in tasks):
            if task.handle == data.get("TaskHandle") and task.status == "RUNNING":
                task.status = "CANCELLED"
                return {"ApproximateNumberOfMessagesMoved": task.moved}
        raise self._sqs._Err("ResourceNotFoundException", "Task does not exist.", 404)

    def _queue(self, arn: str, role: str) -> dict[str, Any]:
        queue: dict[str, Any] | None = self._sqs._queue_by_arn(arn)
        if queue is None:
            raise self._sqs._Err(
                "ResourceNotFoundException", f"The resource that you specified for the {role} doesn't exist.", 404
            )
        return queue

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine beside the request that asked for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # ------------------------------------------------------------------------------------------ EventBridge

    def _adapt_iam(self) -> None:
        """Asks policies about the actions and resources that AWS asks about, where ministack simplifies them."""
        actions = self._modules["core.iam_actions"]
        actions._BOTOCORE_SERVICE_MAP["lambda"] = ["lambda"]
        their_action, their_resource = actions.extract_iam_action, actions.extract_resource_arn

        def action(service: str, method: str, path: str, headers: Any, body: bytes, query: Any) -> str | None:
            if service != "lambda":
                found: str | None = their_action(service, method, path, headers, body, query)
                return found
            operation = actions._match_rest_action("lambda", method, path, query)
            if operation == "GetProvisionedConcurrencyConfig" and "List" in query:
                operation = "ListProvisionedConcurrencyConfigs"
            return f"lambda:{'InvokeFunction' if operation == 'Invoke' else operation}" if operation else None

        # Parameters named as theirs: another adapter of the same function checks them too.
        def resource(
            service: str,
            method: str,
            path: str,
            headers: Any,
            body: bytes,
            query_params: Any,
            region: str,
            account_id: str,
        ) -> str:
            if service == "ecs":
                named = ecs_resource((account_id, region), json.loads(body or b"{}"))
            else:
                named = self._named_resource(service, body, query_params)
            if not named and service == "rds":
                named = self._named_snapshot(body, query_params, region, account_id)
            return named or str(their_resource(service, method, path, headers, body, query_params, region, account_id))

        actions.extract_iam_action, actions.extract_resource_arn = action, resource

    def denied(self, access_key_id: str, scope: Scope, action: str) -> str | None:
        """Why IAM forbids an action of a service that ministack does not have; None when it is allowed.

        Asked about no resource in particular: a policy that names one must name all of the service's.
        """
        if not self._app.AUTH:
            return None
        service, operation = action.split(":")
        reading = operation.startswith(("Describe", "Get", "List"))
        kind = "scalable-target"
        if service == "fis":
            of_template = operation in ("CreateExperimentTemplate", "DeleteExperimentTemplate", "StartExperiment")
            kind = "experiment-template" if of_template else "experiment"
        resource = "*" if reading else f"arn:aws:{service}:{scope[1]}:{scope[0]}:{kind}/*"
        with self.scope(scope):
            found = self._modules["core.iam_evaluator"].enforce(access_key_id, action, service, scope[1], resource)
        return None if found is None else f"User is not authorized to perform: {action} on resource: {resource}"

    def _named_resource(self, service: str, body: bytes, query: Any) -> str | None:
        """ARN of what a request names in a way that ministack answers with `*`."""
        parameter = self._modules["core.iam_actions"]._param
        field = {"dynamodb": "ResourceArn", "iam": "PolicySourceArn", "sqs": "SourceArn"}.get(service)
        if field is not None:
            return parameter(body, query, field) or None
        proxy = self._rds._db_proxies.get(parameter(body, query, "DBProxyName")) if service == "rds" else None
        if proxy is None:
            return None
        group = "TargetGroup" in parameter(body, query, "Action")
        return str(proxy["TargetGroup"]["TargetGroupArn"] if group else proxy["DBProxyArn"])

    def _named_snapshot(self, body: bytes, query: Any, region: str, account_id: str) -> str | None:
        """ARN of the snapshot that a request names alone: with an instance, ministack answers with that one's."""
        parameter = self._modules["core.iam_actions"]._param
        snapshot, instance = (
            parameter(body, query, "DBSnapshotIdentifier"),
            parameter(body, query, "DBInstanceIdentifier"),
        )
        return f"arn:aws:rds:{region}:{account_id}:snapshot:{snapshot}" if snapshot and not instance else None

    def _adapt_eventbridge(self) -> None:
        events = self._modules["services.eventbridge"]
        events._SCHEDULER_TICK_INTERVAL = max(0.05, self._clock.wall(1))
        rate_seconds = events._parse_rate_seconds

        def scaled(expression: str) -> float | None:
            seconds = rate_seconds(expression)
            return None if seconds is None else self._clock.wall(seconds)

        events._parse_rate_seconds = scaled

    # ------------------------------------------------------------------------------------------ CloudWatch metrics

    def _adapt_cloudwatch_metrics(self) -> None:
        cloudwatch = self._cloudwatch
        cloudwatch._evict_old_metrics = lambda: None
        cloudwatch._evaluate_alarm = lambda _alarm: None
        cloudwatch._evaluate_all_alarms = lambda: None
        cloudwatch._store_datum = self._store_datum
        cloudwatch.record_metric = self._record_metric
        # Histories are read by the millisecond, ministack writes whole seconds.
        cloudwatch._ts_iso = _iso

    def _store_datum(
        self,
        namespace: str,
        name: str,
        dimensions: dict[str, str],
        wall: float,
        unit: str,
        value: float | None,
        values: list[float] | None,
        counts: list[float] | None,
        statistics: dict[str, float] | None,
    ) -> None:
        scope, key = self.current_scope(), metric_key(namespace, name, dimensions)
        if values is not None:
            for one, count in zip(values, counts or [1.0] * len(values), strict=False):
                self._store.put(scope, key, float(one), unit, count=float(count), wall=wall)
        elif statistics is not None:
            whole = tuple(float(statistics.get(part, 0)) for part in ("SampleCount", "Sum", "Minimum", "Maximum"))
            self._store.put_set(scope, key, (whole[0], whole[1], whole[2], whole[3]), unit, wall=wall)
        else:
            self._store.put(scope, key, float(value or 0), unit, wall=wall)

    def _record_metric(
        self,
        namespace: str,
        metric_name: str,
        value: float,
        unit: str = "None",
        dimensions: dict[str, str] | None = None,
    ) -> None:
        self._store.put(self.current_scope(), metric_key(namespace, metric_name, dimensions or {}), value, unit)

    def answer_metrics(self, queries: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]) -> None:
        """Let functions of (request) answer GetMetricStatistics, GetMetricData and ListMetrics."""
        for name in queries:
            self._replace(self._cloudwatch, name, self._json_only(queries[name]))

    def _json_only(self, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[..., Any]:
        def handler(_params: Any, request: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
            if not is_json:
                return self._cloudwatch._error(
                    "InvalidAction", "The sandbox answers metric queries in the JSON protocol only.", 400
                )
            try:
                return self._cloudwatch._json_ok(answer(request))
            except (ValueError, TocsinError) as error:
                return self._cloudwatch._error("ValidationError", str(error), 400, use_json=True)

        return handler

    # ------------------------------------------------------------------------------------------ alarms

    def adapt_alarms(
        self,
        transition: Callable[[Scope, dict[str, Any], str, str, dict[str, Any] | None], None],
        evaluate_parents: Callable[[Scope], None],
    ) -> None:
        """Send every change of an alarm's state through `transition(scope, alarm, new state, reason, reason data)`,
        and have composite alarms evaluated by `evaluate_parents`."""
        cloudwatch = self._cloudwatch
        put_alarm = cloudwatch._put_metric_alarm

        def put_metric_alarm(params: Any, request: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
            answer = put_alarm(params, request, is_cbor, is_json)
            alarm = cloudwatch._alarms.get(request.get("AlarmName", ""))
            if answer[0] < 400 and alarm is not None:
                _complete_alarm(alarm, request)
            return answer

        def set_alarm_state(_params: Any, request: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
            name = request.get("AlarmName", "")
            alarm = cloudwatch._alarms.get(name) or cloudwatch._composite_alarms.get(name)
            if alarm is None:
                return cloudwatch._error("ResourceNotFound", f"Alarm {name} not found", 404, use_json=True)
            data = request.get("StateReasonData")
            transition(
                self.current_scope(),
                alarm,
                request["StateValue"],
                request.get("StateReason", ""),
                json.loads(data) if data else None,
            )
            return cloudwatch._json_ok({})

        def transition_composite(
            alarm: dict[str, Any], new_state: str, reason: str, triggers: Any, seen: Any = frozenset()
        ) -> None:
            del triggers, seen
            transition(self.current_scope(), alarm, new_state, reason, None)

        cloudwatch._put_metric_alarm = put_metric_alarm
        cloudwatch._set_alarm_state = set_alarm_state
        cloudwatch._transition_composite = transition_composite
        cloudwatch._evaluate_parent_alarms = lambda *_: evaluate_parents(self.current_scope())
        self._replace(cloudwatch, "_record_history", self._record_creation)

    def _record_creation(self, alarm_name: str, old: str, new: str, reason: str, *_: Any) -> None:
        """What ministack itself still records: that an alarm was created."""
        del old, new, reason
        data = {"version": "1.0", "type": "Create"}
        self.record_history(alarm_name, "ConfigurationUpdate", f'Alarm "{alarm_name}" created', data)

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
        """Append one item to the alarm history of the present account and region."""
        entries = self._cloudwatch._history_entries()
        entries.append(
            {
                "AlarmName": alarm_name,
                "AlarmType": alarm_type,
                "Timestamp": time.time() if wall is None else wall,
                "HistoryItemType": kind,
                "HistorySummary": summary,
                "HistoryData": json.dumps(data),
            }
        )
        del entries[:-_KEPT_LOG_EVENTS]

    def alarm_scopes(self) -> set[Scope]:
        """Accounts and regions that have alarms."""
        stores = (self._cloudwatch._alarms, self._cloudwatch._composite_alarms)
        return {(key[0], key[1]) for store in stores for key in list(store._data)}

    def metric_alarms(self) -> list[dict[str, Any]]:
        """The live records of the metric alarms of the present account and region."""
        return list(self._cloudwatch._alarms.values())

    def composite_alarms(self) -> list[dict[str, Any]]:
        """The live records of the composite alarms of the present account and region."""
        return list(self._cloudwatch._composite_alarms.values())

    def notify(self, topic_arn: str, message: str, subject: str) -> bool:
        """Publish to an SNS topic; False when there is no such topic."""
        if self._sns._topic_by_arn_any_scope(topic_arn) is None:
            return False
        self._sns._fanout(topic_arn, str(uuid.uuid4()), message, subject)
        return True

    def parse_time(self, value: Any) -> float | None:
        """Epoch seconds of a timestamp in a request."""
        epoch: float | None = self._cloudwatch._parse_ts(value)
        return epoch


def _changed(module: Any, module_name: str, name: str, parameters: str) -> str | None:
    if not hasattr(module, name):
        return f"{module_name}.{name} is gone"
    value = getattr(module, name)
    if not parameters or not callable(value):
        return None
    found = ", ".join(inspect.signature(value).parameters)
    return None if found == parameters else f"{module_name}.{name} takes ({found}) instead of ({parameters})"


def _expect(behaviour: str, holds: bool) -> None:
    if not holds:
        raise SandboxError(
            f"expected of ministack {VERSION} that {behaviour}, found otherwise: reinstall that version, "
            "or adapt sandbox/ministack_adapter.py"
        )


def _api_error(status: int, message: str) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps({"message": message}),
    }


def _redrive_policy(queue: Mapping[str, Any]) -> dict[str, Any]:
    """The redrive policy of a queue; empty when it has none, or one that cannot be read."""
    try:
        policy = json.loads(queue["attributes"].get("RedrivePolicy") or "null")
    except ValueError:
        return {}
    return policy if isinstance(policy, dict) else {}


def _scope_of_arn(arn: str) -> Scope:
    parts = arn.split(":")
    return parts[4], parts[3]


def _iso(epoch: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(epoch))
    return f"{whole}.{int(epoch * 1000) % 1000:03d}Z"


_OPTIONAL_ALARM_FIELDS = (
    "Statistic",
    "ExtendedStatistic",
    "Period",
    "Unit",
    "Metrics",
    "EvaluateLowSampleCountPercentile",
    "ThresholdMetricId",
    "MetricName",
    "Namespace",
    "TreatMissingData",
    "AlarmDescription",
)


def _complete_alarm(alarm: dict[str, Any], request: Mapping[str, Any]) -> None:
    """Put into the record what ministack drops, and take out what it makes up."""
    for name in _OPTIONAL_ALARM_FIELDS:
        if request.get(name) is None:
            alarm.pop(name, None)
        else:
            alarm[name] = copy.deepcopy(request[name])
    now = time.time()
    alarm["AlarmConfigurationUpdatedTimestamp"] = now
    if alarm["StateReason"].startswith("Unchecked"):
        alarm["StateUpdatedTimestamp"] = alarm["StateTransitionedTimestamp"] = now
