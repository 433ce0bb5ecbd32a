"""Bad weather between us and an AWS-compatible API: a proxy on loopback that forwards, or answers with errors.

    with Weather(endpoint_url, credentials) as weather:
        weather.falls("ModifyDBProxyTargetGroup", THROTTLED, times=3)
        ...  # a client with endpoint_url=weather.url

A call is told by its action (query and JSON protocols) or by `METHOD /path` (REST protocols); a rule is for every call
whose name contains its text. What is forwarded is signed anew with the credentials given, for the Host that it goes to.
"""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_SCOPE = re.compile(r"Credential=[^/]+/\d{8}/([^/]+)/([^/]+)/aws4_request")
_OF_THE_WAY = ("host", "content-length", "connection", "authorization", "x-amz-date", "x-amz-security-token")


@dataclass(frozen=True)
class Answer:
    """An error as AWS gives it, or the `body` of an answer in its place; without either nothing is answered at all."""

    status: int
    code: str
    body: str = ""


THROTTLED = Answer(400, "ThrottlingException")
FAILED = Answer(500, "InternalFailure")
EXPIRED = Answer(403, "ExpiredTokenException")
DENIED = Answer(400, "AccessDeniedException")
SILENT = Answer(0, "")
LOST = Answer(-1, "")
"""What was asked for is done, and nobody hears of it."""


@dataclass
class _Rule:
    text: str
    answer: Answer
    left: float


class Weather:
    """The proxy, listening on a free port while the context lasts."""

    def __init__(self, endpoint_url: str, credentials: Credentials) -> None:
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._server = _Server(self, endpoint_url, credentials)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.errors: list[str] = []
        """Names of the calls that were not forwarded, in their order."""

    def falls(self, text: str, answer: Answer, times: float = float("inf")) -> None:
        """Answer the next `times` calls whose name contains `text` with an error."""
        with self._lock:
            self._rules.append(_Rule(text, answer, times))

    def clears(self) -> None:
        """Forward everything again."""
        with self._lock:
            self._rules.clear()

    def for_call(self, name: str) -> Answer | None:
        """The error for a call; None when it is to be forwarded."""
        with self._lock:
            for rule in self._rules:
                if rule.text in name and rule.left > 0:
                    rule.left -= 1
                    self.errors.append(name)
                    return rule.answer
        return None

    def keep_silent(self) -> None:
        """Until the end of the context."""
        self._over.wait()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, weather: Weather, endpoint_url: str, credentials: Credentials) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.weather, self.endpoint_url, self.credentials = weather, endpoint_url, credentials


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.server.weather.for_call(self._name(body))
        if answer is None:
            self._forward(body)
        elif answer is SILENT:
            self.server.weather.keep_silent()
            self.close_connection = True
        elif answer is LOST:
            self._forward(body, answered=False)
        else:
            self._fail(answer)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _handle  # noqa: N815 - names of http.server

    def _name(self, body: bytes) -> str:
        if "X-Amz-Target" in self.headers:
            return self.headers["X-Amz-Target"].rsplit(".", 1)[1]
        action = parse_qs(body.decode(errors="replace")).get("Action") if self._is_query else None
        return action[0] if action else f"{self.command} {self.path}"

    @property
    def _is_query(self) -> bool:
        return "x-www-form-urlencoded" in (self.headers.get("Content-Type") or "")

    def _forward(self, body: bytes, *, answered: bool = True) -> None:
        url = self.server.endpoint_url + self.path
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_THE_WAY}
        signed = AWSRequest(self.command, url, headers, body)
        if (scope := _SCOPE.search(self.headers.get("Authorization") or "")) is not None:
            region, service = scope.groups()
            kind = S3SigV4Auth if service == "s3" else SigV4Auth
            kind(self.server.credentials, service, region).add_auth(signed)
        request = urllib.request.Request(url, body or None, dict(signed.headers.items()), method=self.command)
        try:
            with urllib.request.urlopen(request, timeout=30) as found:
                if not answered:
                    self.close_connection = True
                    return
                self._send(found.status, found.headers.get("Content-Type"), found.read())
        except urllib.error.HTTPError as error:
            with error:
                self._send(error.code, error.headers.get("Content-Type"), error.read())

    def _fail(self, answer: Answer) -> None:
        if answer.body:
            self._send(answer.status, "application/json", answer.body.encode())
        elif self._is_query:
            error = f"<Error><Code>{answer.code}</Code><Message>bad weather</Message></Error>"
            self._send(answer.status, "text/xml", f"<ErrorResponse>{error}</ErrorResponse>".encode())
        else:
            told = json.dumps({"__type": answer.code, "message": "bad weather"}).encode()
            self._send(answer.status, "application/json", told, answer.code)

    def _send(self, status: int, kind: str | None, body: bytes, error: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind or "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        if error is not None:
            self.send_header("x-amzn-ErrorType", error)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Tests do not read it."""
