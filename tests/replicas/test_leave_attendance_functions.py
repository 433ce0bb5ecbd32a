"""The functions of the leave-attendance replica, called as Lambda calls them, on a real database."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import jwt
import pg8000.native
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tocsin.sandbox import stubs
from tocsin.sandbox.clock import Clock
from tocsin.sandbox.services.rds.plant import DbInstance, DbProxy, Master, ProxyPool, RdsPlant

REPLICA = Path(__file__).parents[2] / "replicas" / "leave-attendance"
POOL, CLIENT, REGION = "ap-southeast-2_test", "client-1", "ap-southeast-2"
MASTER = Master("itcenter", "not-a-secret")
INSTANCE = DbInstance("itcenter-dev-db", "db.t3.micro", "itcenter_auth", MASTER)
ADMIN, EMPLOYEE, COLLEAGUE = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
STRANGER = str(uuid.UUID(int=99))
GRAPH = {"tenant": "t", "client_id": "c", "client_secret": "not-a-secret"}


class NoMetrics:
    def put(self, *_: object) -> None:
        pass


class Aws(ThreadingHTTPServer):
    """Secrets Manager's GetSecretValue, SQS's SendMessage and Cognito's keys, on loopback."""

    def __init__(self, keys: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), _AwsHandler)
        self.keys = keys
        self.secret: dict[str, str] = {}
        self.messages: list[str] = []
        self.queue_down = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _AwsHandler(BaseHTTPRequestHandler):
    server: Aws

    def do_GET(self) -> None:
        self._send(200, self.server.keys)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["X-Amz-Target"] == "secretsmanager.GetSecretValue":
            self._send(200, {"SecretString": json.dumps(self.server.secret)})
        elif self.server.queue_down:
            self._send(503, {"__type": "ServiceUnavailable"})
        else:
            self.server.messages.append(body["MessageBody"])
            self._send(200, {"MessageId": str(uuid.uuid4())})

    def _send(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Answer:
    status: int
    document: Any
    headers: dict[str, str]


@dataclass
class Context:
    function_name: str = "leave-attendance-dev-test"
    function_version: str = "1"
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))


class System:
    """Everything that the functions need, and a way to call them."""

    def __init__(self, directory: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.plant = RdsPlant(
            directory,
            Clock(60),
            NoMetrics(),
            read_secret=lambda _: {"username": MASTER.name, "password": MASTER.password},
        )
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        self.aws = Aws({"keys": [{**public, "kid": "k", "alg": "RS256", "use": "sig"}]})
        threading.Thread(target=self.aws.serve_forever).start()
        self.graph = self.run(stubs.start("microsoft-graph", GRAPH, "not-a-secret"))

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def throttle(self, percent: int, timeout_s: int = 1) -> tuple[str, int]:
        proxy = DbProxy(
            "itcenter-dev-proxy", ProxyPool(percent, 50, timeout_s), ("itcenter-dev-db",), ("itcenter/dev/db",)
        )
        endpoints = self.run(self.plant.reconcile([INSTANCE], [proxy]))
        self.database = endpoints.instances["itcenter-dev-db"]
        return endpoints.proxies["itcenter-dev-proxy"]

    def query(self, sql: str, **arguments: object) -> Any:
        host, port = self.database
        with pg8000.native.Connection(
            "itcenter", host=host, port=port, database="itcenter_auth", password=MASTER.password
        ) as connection:
            return connection.run(sql, **arguments)

    def token(self, user: str, *groups: str, **changed: Any) -> str:
        claims = {
            "sub": user,
            "iss": f"https://cognito-idp.{REGION}.amazonaws.com/{POOL}",
            "token_use": "access",
            "client_id": CLIENT,
            "cognito:groups": list(groups),
            "exp": int(time.time()) + 600,
        }
        return jwt.encode(claims | changed, self.key, algorithm="RS256", headers={"kid": "k"})

    def close(self) -> None:
        self.run(self.graph.close())
        self.run(self.plant.close())
        self.aws.shutdown()
        self.aws.server_close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    environment = dict(os.environ)
    system = System(tmp_path_factory.mktemp("replica") / "plant")
    try:
        host, port = system.throttle(100)
        system.aws.secret = {
            "host": host,
            "port": str(port),
            "username": "itcenter",
            "password": MASTER.password,
            "dbname": "itcenter_auth",
        }
        os.environ.update(
            AWS_ENDPOINT_URL=system.aws.url,
            AWS_DEFAULT_REGION=REGION,
            AWS_ACCESS_KEY_ID="test",
            AWS_SECRET_ACCESS_KEY="test",
            DB_SECRET_ARN="itcenter/dev/db",
            DB_PROXY_ENDPOINT=host,
            COGNITO_REGION=REGION,
            COGNITO_USER_POOL_ID=POOL,
            COGNITO_CLIENT_ID=CLIENT,
            COGNITO_JWKS_URL=f"{system.aws.url}/jwks.json",
            CALENDAR_SYNC_ENABLED="true",
            CALENDAR_SYNC_QUEUE_URL=f"{system.aws.url}/queue",
            GRAPH_AUTHORITY=system.graph.base_url,
            GRAPH_BASE_URL=system.graph.base_url,
            GRAPH_TENANT="t",
            GRAPH_CLIENT_ID="c",
            GRAPH_CLIENT_SECRET="not-a-secret",
            GRAPH_SCOPE="https://graph.microsoft.com/.default",
        )
        for _ in range(2):
            system.query((REPLICA / "schema.sql").read_text())
        for user in (ADMIN, EMPLOYEE, COLLEAGUE):
            system.query("INSERT INTO app_users (id, email, full_name) VALUES (:id, :mail, 'n')", id=user, mail=user)
        yield system
    finally:
        os.environ.clear()
        os.environ.update(environment)
        system.close()


@pytest.fixture(scope="module")
def modules(system: System) -> Iterator[Callable[[str], ModuleType]]:
    functions = str(REPLICA / "functions")
    sys.path.insert(0, functions)
    yield lambda name: importlib.import_module(f"leave_attendance.{name}")
    database = importlib.import_module("leave_attendance.database")
    database._disconnect()
    sys.path.remove(functions)
    for name in [name for name in sys.modules if name.partition(".")[0] == "leave_attendance"]:
        del sys.modules[name]


class Api:
    """One caller of the functions."""

    def __init__(self, system: System, modules: Callable[[str], ModuleType], token: str | None) -> None:
        self._modules = modules
        self._token = token
        self.system = system

    def __call__(
        self,
        function: str,
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
        path: dict[str, str] | None = None,
        **query: str,
    ) -> Answer:
        module, handler = function.split(".")
        event: dict[str, Any] = {
            "version": "2.0",
            "headers": dict(headers or {}),
            "requestContext": {"http": {"method": "?", "path": function}},
            "isBase64Encoded": False,
        }
        if self._token is not None:
            event["headers"]["authorization"] = f"Bearer {self._token}"
        if query:
            event["queryStringParameters"] = {name.rstrip("_"): value for name, value in query.items()}
        if path:
            event["pathParameters"] = path
        if body is not None:
            event["body"] = body if isinstance(body, str) else json.dumps(body)
        answer = getattr(self._modules(module), handler)(event, Context())
        return Answer(answer["statusCode"], json.loads(answer["body"]), answer["headers"])


@pytest.fixture
def anonymous(system: System, modules: Callable[[str], ModuleType]) -> Api:
    return Api(system, modules, None)


@pytest.fixture
def employee(system: System, modules: Callable[[str], ModuleType]) -> Api:
    system.query("TRUNCATE attendance_logs, leave_requests, leave_balances")
    system.aws.messages.clear()
    return Api(system, modules, system.token(EMPLOYEE, "EMPLOYEE"))


@pytest.fixture
def admin(system: System, modules: Callable[[str], ModuleType], employee: Api) -> Api:
    return Api(system, modules, system.token(ADMIN, "ADMIN"))


def code(answer: Answer) -> tuple[int, str]:
    assert answer.document["error"]["requestId"]
    return answer.status, answer.document["error"]["code"]


WEEK = {"type": "ANNUAL", "startDate": "2030-06-03", "endDate": "2030-06-07"}


def test_health(anonymous: Api) -> None:
    answer = anonymous("health.healthz")
    assert (answer.status, answer.document["status"], answer.document["db"]) == (200, "ok", "ok")


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": 1},
        {"iss": "https://elsewhere"},
        {"client_id": "other"},
        {"token_use": "refresh"},
        {"token_use": "id"},
    ],
)
def test_tokens_of_others_are_refused(system: System, modules: Any, changed: dict[str, Any]) -> None:
    caller = Api(system, modules, system.token(EMPLOYEE, "EMPLOYEE", **changed))
    assert code(caller("leave.balance")) == (401, "UNAUTHORIZED")


def test_forged_and_missing_tokens_are_refused(system: System, modules: Any, anonymous: Api) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    claims = jwt.decode(system.token(ADMIN, "ADMIN"), options={"verify_signature": False})
    forged = jwt.encode(claims, key, algorithm="RS256", headers={"kid": "k"})
    for token in (forged, jwt.encode(claims, None, algorithm="none"), "x.y.z", ""):
        assert code(Api(system, modules, token)("leave.balance")) == (401, "UNAUTHORIZED")
    refused = anonymous("leave.balance")
    assert code(refused) == (401, "UNAUTHORIZED")
    assert refused.headers["www-authenticate"] == "Bearer"


def test_an_id_token_is_as_good(system: System, modules: Any) -> None:
    token = system.token(EMPLOYEE, "EMPLOYEE", token_use="id", aud=CLIENT, client_id="")
    assert Api(system, modules, token)("leave.balance").status == 200


def test_roles(employee: Api, admin: Api) -> None:
    assert code(employee("reports.leave_summary")) == (403, "FORBIDDEN")
    assert code(employee("calendar_sync.request_sync", {})) == (403, "FORBIDDEN")
    assert code(employee("leave.balance", user_id=COLLEAGUE)) == (403, "FORBIDDEN")
    assert employee("leave.balance", user_id=EMPLOYEE).status == 200
    assert admin("leave.balance", user_id=COLLEAGUE).document["userId"] == COLLEAGUE
    assert code(admin("leave.balance", user_id=STRANGER)) == (404, "NOT_FOUND")


def test_a_user_who_is_no_employee(system: System, modules: Any) -> None:
    stranger = Api(system, modules, system.token(STRANGER))
    assert code(stranger("leave.create_request", WEEK)) == (403, "FORBIDDEN")
    assert code(stranger("attendance.clock_in")) == (403, "FORBIDDEN")
    assert code(stranger("leave.balance")) == (404, "NOT_FOUND")


def remaining(api: Api, kind: str = "ANNUAL", **query: str) -> int:
    balances = api("leave.balance", year="2030", **query).document["balances"]
    return {balance["type"]: balance["remaining"] for balance in balances}[kind]


def test_approval_takes_days_and_cancelling_returns_them(employee: Api, admin: Api) -> None:
    created = employee("leave.create_request", WEEK)
    assert (created.status, created.document["status"], created.document["days"]) == (201, "PENDING", 5)
    path = {"id": created.document["id"]}
    assert remaining(employee) == 20
    assert code(employee("leave.update_request", {"action": "APPROVE"}, path=path)) == (403, "FORBIDDEN")
    approved = admin("leave.update_request", {"action": "APPROVE"}, path=path)
    assert (approved.status, approved.document["status"]) == (200, "APPROVED")
    assert remaining(employee) == 15
    assert code(admin("leave.update_request", {"action": "APPROVE"}, path=path)) == (409, "INVALID_STATE")
    assert employee("leave.update_request", {"action": "CANCEL"}, path=path).status == 200
    assert remaining(employee) == 20
    assert code(employee("leave.update_request", {"action": "CANCEL"}, path=path)) == (409, "INVALID_STATE")


def test_only_the_owner_cancels(system: System, modules: Any, employee: Api, admin: Api) -> None:
    path = {"id": employee("leave.create_request", WEEK).document["id"]}
    colleague = Api(system, modules, system.token(COLLEAGUE, "EMPLOYEE"))
    assert code(colleague("leave.update_request", {"action": "CANCEL"}, path=path)) == (403, "FORBIDDEN")
    assert admin("leave.update_request", {"action": "REJECT"}, path=path).document["status"] == "REJECTED"
    assert code(admin("leave.update_request", {"action": "REJECT"}, path={"id": STRANGER})) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("start", "end", "status"),
    [
        ("2030-06-07", "2030-06-10", 409),
        ("2030-05-31", "2030-06-03", 409),
        ("2030-06-04", "2030-06-05", 409),
        ("2030-06-10", "2030-06-10", 201),
    ],
)
def test_overlap(employee: Api, start: str, end: str, status: int) -> None:
    employee("leave.create_request", WEEK)
    answer = employee("leave.create_request", {"type": "SICK", "startDate": start, "endDate": end})
    assert answer.status == status
    if status == 409:
        assert code(answer) == (409, "LEAVE_OVERLAP")


def test_overlap_is_no_race(system: System, employee: Api) -> None:
    """Two requests at once, from two environments: the lock lets one see the other."""
    environment = {**os.environ, "PYTHONPATH": str(REPLICA / "functions")}
    program = (
        "import json, sys\n"
        "from types import SimpleNamespace\n"
        "from leave_attendance import leave\n"
        "event = json.load(sys.stdin)\n"
        "context = SimpleNamespace(aws_request_id='r', function_name='f', function_version='1')\n"
        "print(leave.create_request(event, context)['statusCode'])\n"
    )
    event = {
        "headers": {"authorization": f"Bearer {system.token(EMPLOYEE)}"},
        "body": json.dumps(WEEK),
    }

    async def one() -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate(json.dumps(event).encode())
        return output.decode().split()[-1]

    async def many() -> list[str]:
        return await asyncio.gather(*(one() for _ in range(4)))

    assert sorted(asyncio.run(many())) == ["201", "409", "409", "409"]


def test_cancelled_leave_does_not_overlap(employee: Api) -> None:
    path = {"id": employee("leave.create_request", WEEK).document["id"]}
    employee("leave.update_request", {"action": "CANCEL"}, path=path)
    assert employee("leave.create_request", WEEK).status == 201


def test_insufficient_balance(employee: Api) -> None:
    long = {"type": "ANNUAL", "startDate": "2030-03-01", "endDate": "2030-05-01"}
    assert code(employee("leave.create_request", long)) == (422, "INSUFFICIENT_BALANCE")


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        {},
        WEEK | {"type": "NONE"},
        WEEK | {"type": 1},
        WEEK | {"startDate": "2030-06-31"},
        WEEK | {"startDate": "20300603"},
        WEEK | {"endDate": "2030-06-01"},
        WEEK | {"endDate": "2031-01-01"},
        {"type": "ANNUAL", "startDate": "2030-06-08", "endDate": "2030-06-09"},
        WEEK | {"reason": "x" * 501},
        WEEK | {"reason": "a\0b"},
        WEEK | {"reason": "\ud800"},
    ],
)
def test_invalid_requests(employee: Api, body: object) -> None:
    assert code(employee("leave.create_request", body)) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    "query",
    [
        {"page": "0"},
        {"page": "x"},
        {"pageSize": "101"},
        {"status": "OPEN"},
        {"from_": "yesterday"},
        {"user_id": "me"},
        {"page": "9" * 30},
        {"page": "²"},
    ],
)
def test_invalid_queries(employee: Api, query: dict[str, str]) -> None:
    assert code(employee("leave.list_requests", **query)) == (400, "VALIDATION_ERROR")


def test_listing_pages_and_filters(system: System, modules: Any, employee: Api, admin: Api) -> None:
    for day in ("03", "04", "05"):
        employee("leave.create_request", WEEK | {"startDate": f"2030-06-{day}", "endDate": f"2030-06-{day}"})
    colleague = Api(system, modules, system.token(COLLEAGUE, "EMPLOYEE"))
    colleague("leave.create_request", WEEK)
    first = employee("leave.list_requests", page="1", pageSize="2").document
    second = employee("leave.list_requests", page="2", pageSize="2").document
    assert (first["total"], len(first["items"]), len(second["items"])) == (3, 2, 1)
    assert [item["startDate"] for item in first["items"]] == ["2030-06-05", "2030-06-04"]
    assert {item["userId"] for item in first["items"]} == {EMPLOYEE}
    assert admin("leave.list_requests").document["total"] == 4
    assert admin("leave.list_requests", user_id=COLLEAGUE).document["total"] == 1
    assert employee("leave.list_requests", from_="2030-06-04", to="2030-06-04").document["total"] == 1
    assert employee("leave.list_requests", status="APPROVED").document["total"] == 0


def test_clock_in_and_out(employee: Api) -> None:
    opened = employee("attendance.clock_in", {"lat": -33.9, "lng": 151.2})
    assert (opened.status, opened.document["status"]) == (201, "OPEN")
    assert code(employee("attendance.clock_in")) == (409, "ALREADY_CLOCKED_IN")
    employee.system.query("UPDATE attendance_logs SET clock_in_at = clock_in_at - interval '61 minutes'")
    closed = employee("attendance.clock_out")
    assert (closed.status, closed.document["status"]) == (200, "CLOSED")
    assert closed.document["durationMinutes"] == 61
    assert closed.document["id"] == opened.document["id"]
    assert code(employee("attendance.clock_out")) == (409, "NO_OPEN_LOG")
    logs = employee("attendance.list_logs").document
    assert (logs["total"], logs["items"][0]["status"]) == (1, "CLOSED")


def test_the_same_key_gets_the_same_answer(employee: Api) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = employee("attendance.clock_in", headers=headers)
    employee("attendance.clock_out")
    again = employee("attendance.clock_in", headers=headers)
    assert (first.status, first.document) == (again.status, again.document)
    assert employee("attendance.list_logs").document["total"] == 1


@pytest.mark.parametrize("body", [{"lat": 91, "lng": 0}, {"lat": True, "lng": 0}, {"lat": 1}, {"lng": "x"}])
def test_invalid_positions(employee: Api, body: object) -> None:
    assert code(employee("attendance.clock_in", body)) == (400, "VALIDATION_ERROR")


def test_summary(employee: Api, admin: Api) -> None:
    employee("leave.create_request", WEEK)
    summary = admin("reports.leave_summary", from_="2030-01-01", to="2030-12-31").document
    assert summary["items"] == [{"type": "ANNUAL", "status": "PENDING", "requests": 1, "days": 5, "employees": 1}]
    assert admin("reports.leave_summary", from_="2031-01-01").document["items"] == []
    assert code(admin("reports.leave_summary", from_="2031-01-01", to="2030-01-01")) == (400, "VALIDATION_ERROR")


def events(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def deliver(modules: Any, body: str) -> None:
    record = {"messageId": "m", "body": body, "attributes": {"ApproximateReceiveCount": "1"}}
    modules("calendar_sync").worker({"Records": [record]}, Context())


def test_a_sync_is_queued_once_and_done_once(
    employee: Api, admin: Api, modules: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    accepted = admin("calendar_sync.request_sync", {"userId": EMPLOYEE})
    assert accepted.status == 202
    path = {"id": employee("leave.create_request", WEEK).document["id"]}
    admin("leave.update_request", {"action": "APPROVE"}, path=path)
    messages = list(admin.system.aws.messages)
    assert len(messages) == 2
    for body in (*messages, messages[0]):
        deliver(modules, body)
    seen = [(event["event"], event.get("syncId")) for event in events(capsys)]
    queued = [sync for event, sync in seen if event == "calendar.sync.queued"]
    done = [sync for event, sync in seen if event == "calendar.sync.done"]
    assert queued[0] == accepted.document["syncId"]
    assert queued == done
    assert len(set(done)) == 2
    assert ("calendar.sync.repeated", queued[0]) in seen


def test_an_unknown_employee_is_not_synchronised(admin: Api) -> None:
    assert code(admin("calendar_sync.request_sync", {"userId": STRANGER})) == (404, "NOT_FOUND")
    assert code(admin("calendar_sync.request_sync", {"userId": 1})) == (400, "VALIDATION_ERROR")
    assert admin.system.aws.messages == []


@pytest.mark.parametrize("body", ["poison", "{}", '{"syncId": "x"}', "[]"])
def test_poison_goes_back_to_the_queue(modules: Any, system: System, body: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        deliver(modules, body)


def test_a_broken_secret_fails_the_worker_without_showing_it(
    admin: Api, modules: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    admin("calendar_sync.request_sync", {})
    (body,) = admin.system.aws.messages
    worker = modules("calendar_sync")
    monkeypatch.setattr(worker, "_token", ("", 0.0))
    monkeypatch.setenv("GRAPH_CLIENT_SECRET", "wrong-secret")
    with pytest.raises(worker.GraphError, match="401"):
        deliver(modules, body)
    output = capsys.readouterr().out
    assert "7000215" in output
    assert "wrong-secret" not in output
    monkeypatch.setenv("GRAPH_CLIENT_SECRET", "not-a-secret")
    deliver(modules, body)
    assert [event["event"] for event in events(capsys)] == ["calendar.sync.done"]


def test_an_approval_without_its_sync_is_none(employee: Api, admin: Api) -> None:
    path = {"id": employee("leave.create_request", WEEK).document["id"]}
    admin.system.aws.queue_down = True
    try:
        answer = admin("leave.update_request", {"action": "APPROVE"}, path=path)
    finally:
        admin.system.aws.queue_down = False
    assert code(answer) == (503, "DEPENDENCY_UNAVAILABLE")
    assert employee("leave.list_requests").document["items"][0]["status"] == "PENDING"
    assert remaining(employee) == 20


def test_a_throttled_proxy_is_a_documented_503_and_heals(employee: Api, anonymous: Api) -> None:
    assert employee("leave.balance").status == 200
    employee.system.throttle(1)
    try:
        started = time.monotonic()
        answer = employee("leave.balance")
        assert code(answer) == (503, "DEPENDENCY_UNAVAILABLE")
        assert answer.headers["retry-after"] == "5"
        assert time.monotonic() - started < 30  # as long as API Gateway waits
        degraded = anonymous("health.healthz")
        assert (degraded.status, degraded.document["status"]) == (503, "degraded")
        employee.system.throttle(1, timeout_s=120)
        assert code(employee("attendance.clock_in")) == (503, "DEPENDENCY_UNAVAILABLE")
    finally:
        employee.system.throttle(100)
    assert employee("attendance.clock_in").status == 201


def test_each_request_is_one_line_of_json(employee: Api, capsys: pytest.CaptureFixture[str]) -> None:
    employee("leave.balance")
    (line,) = events(capsys)
    assert line["event"] == "request"
    assert line["userId"] == EMPLOYEE
    assert line["functionName"] == "leave-attendance-dev-test"
    assert line["requestId"]
    assert line["status"] == 200


def test_a_missing_setting_is_named_in_the_log(
    employee: Api, modules: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    modules("database")._disconnect()
    modules("database")._credentials.cache_clear()
    monkeypatch.delenv("DB_SECRET_ARN")
    assert code(employee("leave.balance")) == (500, "INTERNAL_ERROR")
    assert "DB_SECRET_ARN not set" in capsys.readouterr().out


def test_many_callers_in_one_environment_leave_no_open_transaction(employee: Api, system: System) -> None:
    for _ in range(3):
        employee("leave.create_request", WEEK)
    with ThreadPoolExecutor(1) as threads:
        busy = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        assert threads.submit(system.query, busy).result(10) == [[0]]
