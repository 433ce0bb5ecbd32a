"""A loopback server that answers as a few services of AWS do, and remembers what it was asked, in order."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from tocsin.aws.target import Target
from tocsin.model.rules import GuardRules

ACCOUNT = "123456789012"
Answer = Callable[[dict[str, Any]], Any]


class Failure(Exception):
    """An error that AWS answers: status, code."""


@dataclass
class Aws:
    """Answers by operation; one that is not scripted is an error that is not tried again."""

    url: str = ""
    account: str = ACCOUNT
    asked: list[str] = field(default_factory=list)
    parameters: dict[str, list[str]] = field(default_factory=dict)
    secure: set[str] = field(default_factory=set)
    """Names of those parameters that are SecureStrings."""
    answers: dict[str, Answer] = field(default_factory=dict)
    one_at_a_time: threading.RLock = field(default_factory=threading.RLock)

    def target(self, **rules: Any) -> Target:
        return Target(
            name="staging",
            region="eu-west-1",
            account=ACCOUNT,
            endpoint_url=self.url,
            access_key_id="x",
            secret_access_key="x",
            rules=GuardRules.model_validate(rules),
        )

    def answer(self, operation: str, request: dict[str, Any]) -> Any:
        with self.one_at_a_time:
            self.asked.append(f"{operation} {request['Name']}" if "Name" in request else operation)
            if operation not in self.answers:
                raise Failure(400, "AccessDeniedException")
            return self.answers[operation](request)

    def put(self, request: dict[str, Any]) -> Any:
        if request["Name"] in self.parameters and not request.get("Overwrite"):
            raise Failure(400, "ParameterAlreadyExists")
        if request["Name"] in self.secure and request["Type"] != "SecureString":
            raise Failure(400, "HierarchyTypeMismatchException")
        versions = self.parameters.setdefault(request["Name"], [])
        versions.append(request["Value"])
        return {"Version": len(versions)}

    def get(self, request: dict[str, Any]) -> Any:
        name, _, version = request["Name"].partition(":")
        versions = self.parameters.get(name)
        if versions is None:
            raise Failure(400, "ParameterNotFound")
        number = int(version or len(versions))
        kind = "SecureString" if name in self.secure else "String"
        value = versions[number - 1] if kind == "String" or request.get("WithDecryption") else "AQICAHgcipher"
        return {"Parameter": {"Name": name, "Type": kind, "Value": value, "Version": number}}

    def delete(self, request: dict[str, Any]) -> Any:
        if self.parameters.pop(request["Name"], None) is None:
            raise Failure(400, "ParameterNotFound")
        return {}


def handler_of(aws: Aws) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            operation = (self.headers.get("X-Amz-Target") or "").rpartition(".")[2]
            if not operation:
                operation = parse_qs(body).get("Action", ["unknown"])[0]
            request = json.loads(body) if body.startswith("{") else {}
            try:
                answer = aws.answer(operation, request)
            except Failure as failure:
                status, code = failure.args
                self._send(status, json.dumps({"__type": code, "message": "scripted"}))
            else:
                self._send(200, answer if isinstance(answer, str) else json.dumps(answer))

        def do_GET(self) -> None:
            aws.asked.append(f"GET {self.path}")
            self._send(403, json.dumps({"message": "scripted"}))

        def _send(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            """Quiet."""

    return Handler


@pytest.fixture
def aws() -> Iterator[Aws]:
    aws = Aws()
    aws.answers = {
        "GetCallerIdentity": lambda _: (
            "<GetCallerIdentityResponse><GetCallerIdentityResult>"
            f"<Account>{aws.account}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
        ),
        "PutParameter": aws.put,
        "GetParameter": aws.get,
        "DeleteParameter": aws.delete,
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(aws)) as server:
        aws.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield aws
        server.shutdown()
