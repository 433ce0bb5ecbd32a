# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""AWS Lambda: invocations run in `Environments`, are counted and logged; versions, aliases and provisioned concurrency.

ministack keeps the functions and answers the API. Functions of Python runtimes run here, of the others in ministack.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from tocsin.alarms.cloudwatch import MetricKey
from tocsin.sandbox.http import App, Message, Receive, Send, send_answer
from tocsin.sandbox.service import Asked, ReliedOn
from tocsin.sandbox.services.awslambda.environments import MAX_ENVIRONMENTS, Environments, FunctionVersion, Outcome
from tocsin.sandbox.services.awslambda.figures import UPDATE_S
from tocsin.sandbox.services.iam.roles import Allowances, Roles
from tocsin.sandbox.services.logs import Logs
from tocsin.sandbox.world import World

_CHANGES = frozenset({"UpdateFunctionCode", "UpdateFunctionConfiguration", "PublishVersion"})
"""What fails while a function is being made or updated.
https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
"""
_INVOKES = frozenset({"Invoke", "InvokeWithResponseStream"})
_CODE_PATH = "/_tocsin/lambda-code/"
_KEPT_VERSIONS = 200

time_in_functions: contextvars.ContextVar[list[float] | None] = contextvars.ContextVar(
    "time_in_functions", default=None
)
"""Set by whoever wants to know how many milliseconds the functions took that its request invoked."""


class Lambda:
    """The functions of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        "core.iam_actions": {
            "_match_rest_action": "service, method, path, query_params",
            "_BOTOCORE_SERVICE_MAP": "",
            "_param": "body, query_params, fields",
        },
        "core.lambda_runtime": {"execution_credentials": "config"},
        "services.lambda_svc": {
            "_functions": "",
            "_resolve_request_scoped_name_and_qualifier": "name_or_arn",
            "handle_request": "method, path, headers, body, query_params",
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
        },
    }
    signed_for = "lambda"

    def adapt(self, world: World) -> None:
        """Run, count and log every invocation here."""
        self._ministack = world.ministack
        self._store = world.store
        self._clock = world.clock
        self._endpoint_url = world.endpoint_url
        self._logs = world.service(Logs)
        self._environments = Environments(world.directory / "lambda", world.directory)
        self._allowances = Allowances(world.ministack)
        self._codes: dict[str, bytes] = {}
        self._versions: dict[tuple[Any, ...], FunctionVersion] = {}
        self._actions = world.ministack.module("core.iam_actions")
        self._actions._BOTOCORE_SERVICE_MAP["lambda"] = ["lambda"]
        self._lambda = service = world.ministack.module("services.lambda_svc")
        self._roles = Roles(world.ministack)
        # ministack's own follow from the names of function and role: whoever knows these could sign as the function.
        for module in (service, world.ministack.module("core.lambda_runtime")):
            world.ministack.replace(module, "execution_credentials", self._credentials)
        service._LAMBDA_STATE_TRANSITION_DELAY = world.clock.wall(UPDATE_S)
        service._emit_lambda_metrics = lambda *_, **__: None
        replace = world.ministack.replace
        self._dispatch = replace(service, "_execute_function_dispatch", self._counted_dispatch)
        self._acquire_slot = replace(service, "_acquire_execution_slot", self._counted_slot)
        self._warm = replace(service, "_execute_function_warm", self._execute)
        self._emit_logs = replace(service, "_emit_lambda_logs", self._emit_foreign_logs)
        self._reserved = replace(service, "_reserved_concurrency", self._reserved_concurrency)
        self._invalidate = replace(service, "invalidate_worker", self._forget_environments)
        self._handle = replace(service, "handle_request", self._answer)
        self._describe = replace(service, "_get_function", self._get_function)
        self._update_code = replace(service, "_update_code", self._update_function_code)
        self._create = replace(service, "_create_function", self._create_function)
        self._move_alias = replace(service, "_update_alias", self._update_alias)
        self._provision = replace(service, "_put_provisioned_concurrency", self._put_provisioned)
        self._provisioned = replace(service, "_get_provisioned_concurrency", self._get_provisioned)
        self._unprovision = replace(service, "_delete_provisioned_concurrency", self._delete_provisioned)
        # It repeats what a failed function wrote, which is in the function's own log already.
        logging.getLogger("lambda").setLevel(logging.ERROR)

    async def try_out(self) -> None:
        """The process that execution environments are forked from is there."""
        await asyncio.to_thread(self._environments.wait_until_ready)

    async def publish(self, wall: float) -> None:
        """Lambda has no gauges; environments that were idle for long are ended."""
        del wall
        self._environments.reap()

    async def close(self) -> None:
        """End every execution environment."""
        await asyncio.to_thread(self._environments.close)

    def pages(self) -> Mapping[str, App]:
        """Where `Code.Location` points."""
        return {_CODE_PATH: self._serve_code}

    async def _serve_code(self, scope: Message, receive: Receive, send: Send) -> None:
        """A deployment package by the hexadecimal SHA-256 in its `Code.Location`."""
        del receive
        code = self._codes.get(scope["path"].removeprefix(_CODE_PATH))
        if code is None:
            await send_answer(send, 404, {"content-type": "text/plain"}, b"no such deployment package")
        else:
            await send_answer(send, 200, {"content-type": "application/zip"}, code)

    def iam_action(self, asked: Asked) -> str | None:
        """The operation's name, but for those that invoke."""
        operation = self._actions._match_rest_action("lambda", asked.method, asked.path, asked.query)
        if operation == "GetProvisionedConcurrencyConfig" and "List" in asked.query:
            operation = "ListProvisionedConcurrencyConfigs"
        return f"lambda:{'InvokeFunction' if operation in _INVOKES else operation}" if operation else None

    def iam_resource(self, asked: Asked) -> str | None:
        """The function that is to be made: it is not in the path yet."""
        if asked.method != "POST" or not asked.path.endswith("/functions"):
            return None
        account, region = asked.scope
        name = self._actions._param(asked.body, asked.query, "FunctionName")
        return f"arn:aws:lambda:{region}:{account}:function:{name}" if name else None

    # ------------------------------------------------------------------------------------------ invocations

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
        integration = time_in_functions.get()
        if integration is not None:
            integration.append(elapsed_ms)
        name = config.get("FunctionName", "")
        if isinstance(result, dict) and result.get("throttle"):
            self._count(name, "Throttles", 1.0, "Count")
            return result
        failed = isinstance(result, dict) and bool(result.get("error"))
        duration = result.get("duration_ms", elapsed_ms) if isinstance(result, dict) else elapsed_ms
        # AWS gives these values the time at which the invocation began. Here it takes its milliseconds of wall time, so
        # that it began `scale` times as long ago as its duration says: before every window that an alarm looks at.
        began_wall = time.time() - self._clock.wall(duration / 1000)
        for metric, value, unit in (
            ("Invocations", 1.0, "Count"),
            ("Errors", float(failed), "Count"),
            ("Throttles", 0.0, "Count"),
            ("Duration", duration, "Milliseconds"),
        ):
            self._count(name, metric, value, unit, began_wall)
        return result

    def _counted_slot(self, func: dict[str, Any], config: dict[str, Any]) -> Any:
        slot, limit = self._acquire_slot(func, config)
        name = config.get("FunctionName", "")
        if slot is None:
            self._count(name, "Throttles", 1.0, "Count")
        else:
            self._count(name, "ConcurrentExecutions", float(self._lambda._inflight.get(slot, 1)), "Count")
        return slot, limit

    def _count(self, name: str, metric: str, value: float, unit: str, wall: float | None = None) -> None:
        key = MetricKey("AWS/Lambda", metric, (("FunctionName", name),))
        self._store.put(self._ministack.current_scope(), key, value, unit, wall=wall)

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

    def _credentials(self, config: dict[str, Any]) -> dict[str, str]:
        """The keys of a function's session in its role."""
        account = self._lambda._account_region_from_function_config(config)[0]
        role = config.get("Role", "").rsplit("/", 1)[-1]
        session = self._roles.session(f"arn:aws:iam::{account}:role/{role}", config.get("FunctionName", ""))
        return dict(session.environment())

    def _function_version(self, config: dict[str, Any], code_zip: bytes) -> FunctionVersion:
        account, region = self._lambda._account_region_from_function_config(config)
        name, version = config["FunctionName"], config.get("Version", "$LATEST")
        group = (config.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{name}"
        credentials = self._credentials(config)
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
        key = dict(version.environment)["AWS_ACCESS_KEY_ID"]
        stream = f"log-group:{version.log_group}:log-stream:{outcome.log_stream}"
        resource = f"arn:aws:logs:{version.region}:{version.account}:{stream}"
        if self._allowances.refusal(key, (version.account, version.region), "logs:PutLogEvents", resource) is not None:
            return  # Lambda writes in the function's role, and what it may not write is lost
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
        self._logs.append(version.log_group, outcome.log_stream, lines)

    def _emit_foreign_logs(self, func: dict[str, Any], *args: Any, **options: Any) -> None:
        """Python functions have written their log already; the other runtimes still run in ministack."""
        if not str((func.get("config") or func).get("Runtime", "")).startswith("python"):
            self._emit_logs(func, *args, **options)

    def _forget_environments(
        self, name: str, qualifier: str | None = None, account: str | None = None, region: str | None = None
    ) -> None:
        here = self._ministack.current_scope()
        self._environments.forget((account or here[0], region or here[1], name), qualifier)
        self._invalidate(name, qualifier, account, region)

    # ------------------------------------------------------------------------------------------ code and versions

    # The names of the parameters are those of ministack.
    async def _answer(self, method: str, path: str, headers: Any, body: bytes, query_params: Mapping[str, Any]) -> Any:
        """Answer the API, where one change of a function waits for the other; CloudFormation does its own waiting."""
        operation = self._actions._match_rest_action("lambda", method, path, query_params)
        busy = self._busy(path.split("/functions/", 1)[1].split("/")[0]) if operation in _CHANGES else None
        if busy is None:
            return await self._handle(method, path, headers, body, query_params)
        said = {"Type": "User", "Message": busy, "message": busy, "__type": "ResourceConflictException"}
        answered = {"Content-Type": "application/json", "x-amzn-errortype": "ResourceConflictException"}
        return 409, answered, json.dumps(said).encode()

    def _busy(self, name: str) -> str | None:
        """Why a function cannot be changed now; None when it can, or when there is none of that name."""
        found, _ = self._lambda._resolve_request_scoped_name_and_qualifier(name)
        config = (self._lambda._functions.get(found) or {}).get("config", {})
        if config.get("LastUpdateStatus") != "InProgress":
            return None
        if config.get("StateReasonCode") == "Creating":
            why = "The function is currently in the following state: Pending"
        else:
            why = f"An update is in progress for resource: {config['FunctionArn']}"
        return f"The operation cannot be performed at this time. {why}"

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
        answer["Code"]["Location"] = f"{self._endpoint_url}{_CODE_PATH}{digest}"
        return status, headers, json.dumps(answer).encode()

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

    # ------------------------------------------------------------------------------------------ provisioned concurrency

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
        self._environments.unprovision((*self._ministack.current_scope(), name), qualifier)
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
