# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Amazon API Gateway: HTTP APIs, each on a port of its own, with the answers and the metrics of the real one."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar
from urllib.parse import parse_qs

from tocsin.alarms.cloudwatch import metric_key
from tocsin.sandbox.hosts import for_own_names
from tocsin.sandbox.http import (
    MIB,
    App,
    BodyTooLargeError,
    Message,
    Receive,
    Send,
    content_length,
    listen,
    read_body,
    send_answer,
    serve_lifespan,
)
from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.ministack import Ministack
from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.services.awslambda.ministack import time_in_functions
from tocsin.sandbox.services.cors import Cors, is_preflight
from tocsin.sandbox.world import World

_PAGES = "/_aws/execute-api/"
_PATH = re.compile(r"/_aws/execute-api/([^/]+)(/.*)?")

_LARGEST_BODY = 10 * MIB
"""https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html, "Payload size" """
_TOO_LARGE = b'{"message":"Request Entity Too Large"}'
_ROUTED_OPTIONS = "OPTIONS, by its route"
"""What ministack is told instead of OPTIONS, which it answers before it looks for a route."""

_logger = logging.getLogger("tocsin.sandbox")


class ApiGateway:
    """The HTTP APIs of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        "app": {"_resolve_stage_and_path": "api_id, tentative_stage, execute_path"},
        "core.responses": {"AccountRegionScopedDict": ""},
        "services.apigateway": {
            "_apis": "",
            "handle_execute": "api_id, stage, path, method, headers, body, query_params, raw_query_string",
            "find_api_scope": "api_id",
            "_match_route": "api_id, method, path",
            "_cors_response_headers": "cors_cfg, origin",
            "_invoke_lambda_proxy": "integration, api_id, stage, path, method, headers, body, query_params, route_key, "
            "path_params, authorizer_claims, authorizer_scopes, authorizer_lambda_context, authorizer_iam, "
            "owner_account_id, owner_region, raw_query_string",
            "_invoke_http_proxy": "integration, path, method, headers, body, query_params",
            "_authorize_request_v2": "api_id, stage, route, method, path, resource_path, headers, query_params, "
            "path_params, stage_vars, owner_account_id, owner_region, raw_query_string",
        },
        "services.lambda_svc": {"lambda_execute_result_to_api_proxy_response": "exec_result"},
    }

    def adapt(self, world: World) -> None:
        """Open a port for each HTTP API, and answer for Lambda as the real one does."""
        self._world = world
        self._store = world.store
        self._ports: dict[str, int] = {}
        self._app = world.ministack.module("app")
        self._apigateway = world.ministack.module("services.apigateway")
        store: Any = world.ministack.module("core.responses").AccountRegionScopedDict
        open_api = self._open

        class Apis(store):  # type: ignore[misc]
            """The APIs, each with an endpoint under which a client can really call it."""

            __slots__ = ()

            def __setitem__(self, api_id: str, api: dict[str, Any]) -> None:
                if api.get("protocolType") == "HTTP" and api_id not in self:
                    api["apiEndpoint"] = open_api(api_id)
                super().__setitem__(api_id, api)

        self._apigateway._apis = Apis()
        self._adapt_cors(world.ministack)
        self._proxy_response = world.ministack.replace(
            world.ministack.module("services.lambda_svc"),
            "lambda_execute_result_to_api_proxy_response",
            self._api_response,
        )

    def _adapt_cors(self, ministack: Ministack) -> None:
        """Let `OPTIONS` reach its route, and leave the headers to `Cors`."""
        for name in ("_match_route", "_invoke_lambda_proxy", "_invoke_http_proxy", "_authorize_request_v2"):
            ministack.replace(self._apigateway, name, partial(_by_real_method, getattr(self._apigateway, name)))

        def headers(original: Any, cors_cfg: Any, origin: str) -> Any:
            return original(cors_cfg, origin) if time_in_functions.get() is None else {}

        name = "_cors_response_headers"
        ministack.replace(self._apigateway, name, partial(headers, getattr(self._apigateway, name)))

    def ports(self) -> Mapping[str, int]:
        """Of each HTTP API."""
        return {f"HTTP API {api_id}": port for api_id, port in self._ports.items()}

    def pages(self) -> Mapping[str, App]:
        """Where ministack's own URLs of the APIs point."""
        return {_PAGES: self._by_path}

    def answers_anybody(self, scope: Message) -> bool:
        """Whoever calls an API: it looks at its callers itself."""
        return str(scope["path"]).startswith(_PAGES)

    def _open(self, api_id: str) -> str:
        """A port of its own for each HTTP API: its URL has no path, as on AWS."""
        listener = listen()
        port = self._ports[api_id] = listener.getsockname()[1]

        async def app(scope: Message, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await serve_lifespan(receive, send)
            elif scope["type"] == "http":
                await self._serve(api_id, scope["path"], scope, receive, send)

        self._world.loop.call_soon_threadsafe(self._world.serve, listener, for_own_names(app, port))
        return f"http://127.0.0.1:{port}"

    async def _by_path(self, scope: Message, receive: Receive, send: Send) -> None:
        api = _PATH.fullmatch(scope["path"])
        if api is None:
            await send_answer(send, 404, {"content-type": "application/json"}, b'{"message":"Not Found"}')
        else:
            await self._serve(api[1], api[2] or "/", scope, receive, send)

    async def _serve(self, api_id: str, path: str, scope: Message, receive: Receive, send: Send) -> None:
        raw_query = scope.get("query_string", b"").decode("latin-1")
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            headers[key] = f"{headers[key]},{text}" if key in headers else text
        query = parse_qs(raw_query, keep_blank_values=True)
        body: bytes | None
        try:
            body = await read_body(receive, _LARGEST_BODY, content_length(scope))
        except BodyTooLargeError:
            body = None
        status, answer, body = await self._call(api_id, scope["method"], path, headers, body, query, raw_query)
        await send_answer(send, status, answer, b"" if scope["method"] == "HEAD" else body)

    async def _call(
        self,
        api_id: str,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes | None,
        query: dict[str, list[str]],
        raw_query: str,
    ) -> tuple[int, dict[str, Any], bytes]:
        """Serve one request to an HTTP API, and publish its metrics; without a body it was too large."""
        scope = self._apigateway.find_api_scope(api_id)
        if scope is None:
            return 404, {"Content-Type": "application/json"}, b'{"message":"Not Found"}'
        started = time.perf_counter()
        integration: list[float] = []
        token = time_in_functions.set(integration)
        try:
            first, _, rest = path.lstrip("/").partition("/")
            stage, execute_path = self._app._resolve_stage_and_path(api_id, first, "/" + rest)
            cors = self._cors(scope, api_id)
            if cors is not None and is_preflight(method, headers):
                status, answer, content = 204, cors.preflight(headers), b""
            elif body is None:
                status, answer, content = 413, {"content-type": "application/json"}, _TOO_LARGE
                answer = answer if cors is None else cors.on_answer(headers, answer)
            else:
                routed = _ROUTED_OPTIONS if method == "OPTIONS" else method
                status, answer, content = await self._apigateway.handle_execute(
                    api_id, stage, execute_path, routed, headers, body, query, raw_query_string=raw_query
                )
                answer = answer if cors is None else cors.on_answer(headers, answer)
        except Exception:  # API Gateway answers its callers whatever stumbles behind it
            _logger.exception("HTTP API %s: %s %s", api_id, method, path)
            stage, status, answer, content = "$default", 500, {}, b'{"message":"Internal Server Error"}'
        finally:
            time_in_functions.reset(token)
        answer.setdefault("apigw-requestid", base64.b64encode(os.urandom(11)).decode())
        latency_ms = (time.perf_counter() - started) * 1000
        self._publish(scope, api_id, stage, status, latency_ms, sum(integration))
        return status, answer, content

    def _cors(self, scope: Scope, api_id: str) -> Cors | None:
        with self._world.ministack.scope(scope):
            return Cors.of((self._apigateway._apis.get(api_id) or {}).get("corsConfiguration"))

    def _api_response(self, result: dict[str, Any]) -> Any:
        """What an HTTP API answers when Lambda could not: 503 for a throttle or a timeout, else 500."""
        if time_in_functions.get() is None:
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

    def _publish(
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


def _by_real_method(function: Any, *arguments: Any, **named: Any) -> Any:
    return function(*("OPTIONS" if one is _ROUTED_OPTIONS else one for one in arguments), **named)


def _api_error(status: int, message: str) -> dict[str, Any]:
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps({"message": message}),
    }
