"""The leave-attendance replica in a sandbox: deployed and used through the AWS APIs and over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.secret_scan import watched
from tests.waiting import eventually

from tocsin.sandbox import control
from tocsin.sandbox.account import Account

# One sandbox for all of them, and not one for each worker.
pytestmark = pytest.mark.xdist_group("deployed")

REPOSITORY = Path(__file__).parents[2]
SYSTEM = "leave-attendance"
SCALE = 60
ENDPOINTS = (
    "healthz", "leaveBalance", "leaveRequestsList", "leaveRequestsCreate", "leaveRequestsUpdate",
    "attendanceList", "clockIn", "clockOut", "msgraphSync", "leaveSummary",
)  # fmt: skip


class Deployed:
    """The deployed system as its users and operators see it."""

    def __init__(self, account: Account) -> None:
        self.account = account
        (api,) = account.client("apigatewayv2").get_apis()["Items"]
        self.name = api["Name"]
        self.http = httpx.Client(base_url=api["ApiEndpoint"], timeout=60)

    @cached_property
    def _client(self) -> tuple[Any, str]:
        cognito = self.account.client("cognito-idp")
        (pool,) = cognito.list_user_pools(MaxResults=10)["UserPools"]
        (client,) = cognito.list_user_pool_clients(UserPoolId=pool["Id"])["UserPoolClients"]
        return cognito, client["ClientId"]

    def secret(self, name: str) -> Any:
        vault = self.account.client("secretsmanager")
        return json.loads(vault.get_secret_value(SecretId=f"itcenter/dev/synthetic/{name}")["SecretString"])

    def log_in(self, secret: str, username: str | None = None) -> dict[str, str]:
        user = self.secret(secret)
        cognito, client = self._client
        answer = cognito.initiate_auth(
            AuthFlow="USER_PASSWORD_AUTH",
            ClientId=client,
            AuthParameters={"USERNAME": username or user["username"], "PASSWORD": user["password"]},
        )
        return {"Authorization": f"Bearer {answer['AuthenticationResult']['AccessToken']}"}

    def events(self, function: str, event: str) -> list[dict[str, Any]]:
        logs = self.account.client("logs")
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=f"/aws/lambda/leave-attendance-dev-{function}"
        )
        messages = [entry["message"].strip() for page in pages for entry in page["events"]]
        lines = [json.loads(message) for message in messages if message.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def throttle(self, percent: int, timeout_s: int) -> None:
        self.account.client("rds").modify_db_proxy_target_group(
            DBProxyName="itcenter-dev-proxy",
            TargetGroupName="default",
            ConnectionPoolConfig={
                "MaxConnectionsPercent": percent,
                "MaxIdleConnectionsPercent": min(percent, 50),
                "ConnectionBorrowTimeout": timeout_s,
            },
        )

    def depth(self, queue: str) -> int:
        sqs = self.account.client("sqs")
        url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        return int(attributes["Attributes"]["ApproximateNumberOfMessages"])


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    root = tmp_path_factory.mktemp("project")
    (root / "replicas").symlink_to(REPOSITORY / "replicas")
    try:
        state = control.up(SYSTEM, root, SCALE)
        deployed = Deployed(state.account)
        with watched(root):
            yield deployed
        deployed.http.close()
    finally:
        control.down(root)


@pytest.fixture(scope="module")
def admin(deployed: Deployed) -> dict[str, str]:
    return deployed.log_in("admin")


@pytest.fixture(scope="module")
def employee(deployed: Deployed) -> dict[str, str]:
    return deployed.log_in("employee")


def test_names_versions_and_aliases(deployed: Deployed) -> None:
    functions = deployed.account.client("lambda")
    assert deployed.name == "leave-attendance-dev"
    for name in (*ENDPOINTS, "calendarSyncWorker"):
        function = f"leave-attendance-dev-{name}"
        latest = functions.get_function_configuration(FunctionName=function)
        published = functions.get_function_configuration(FunctionName=function, Qualifier="1")
        assert latest["CodeSha256"] == published["CodeSha256"]
        assert latest["Environment"] == published["Environment"]
    for name in ("clockIn", "clockOut"):
        alias = {"FunctionName": f"leave-attendance-dev-{name}", "Qualifier": "provisioned"}
        assert functions.get_provisioned_concurrency_config(**alias)["Status"] == "READY"
    sqs = deployed.account.client("sqs")
    url = sqs.get_queue_url(QueueName="itcenter-dev-calendar-sync")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert attributes["VisibilityTimeout"] == "60"
    assert json.loads(attributes["RedrivePolicy"])["maxReceiveCount"] == 3
    assert len(deployed.secret("load")["users"]) == 20


def test_post_deploy_validation(deployed: Deployed, admin: dict[str, str], employee: dict[str, str]) -> None:
    http = deployed.http
    assert http.get("/healthz").json()["status"] == "ok"
    assert http.get("/api/v1/leave/balance").status_code == 401
    assert http.get("/api/v1/leave/balance", headers=employee).status_code == 200
    assert http.get("/api/v1/reports/leave-summary", headers=employee).status_code == 403
    assert http.get("/api/v1/reports/leave-summary", headers=admin).status_code == 200

    leave = {"type": "ANNUAL", "startDate": "2031-03-03", "endDate": "2031-03-04"}
    created = http.post("/api/v1/leave/requests", json=leave, headers=employee)
    assert (created.status_code, created.json()["status"]) == (201, "PENDING")
    overlap = http.post("/api/v1/leave/requests", json=leave, headers=employee)
    assert (overlap.status_code, overlap.json()["error"]["code"]) == (409, "LEAVE_OVERLAP")
    path = f"/api/v1/leave/requests/{created.json()['id']}"
    approved = http.patch(path, json={"action": "APPROVE"}, headers=admin)
    assert approved.json()["status"] == "APPROVED"
    balances = http.get("/api/v1/leave/balance", params={"year": 2031}, headers=employee).json()["balances"]
    assert {"type": "ANNUAL", "entitled": 20, "used": 2, "remaining": 18} in balances
    listed = http.get("/api/v1/leave/requests", params={"status": "APPROVED", "from": "2031-01-01"}, headers=employee)
    assert [item["id"] for item in listed.json()["items"]] == [created.json()["id"]]

    headers = {**employee, "Idempotency-Key": "validation"}
    opened = http.post("/api/v1/attendance/clock-in", json={}, headers=headers)
    again = http.post("/api/v1/attendance/clock-in", json={}, headers=headers)
    assert (opened.status_code, opened.json()) == (201, again.json())
    closed = http.post("/api/v1/attendance/clock-out", headers=employee)
    assert (closed.status_code, closed.json()["status"]) == (200, "CLOSED")
    assert http.get("/api/v1/attendance", headers=employee).json()["total"] == 1


def test_a_sync_arrives_in_the_calendar_once(deployed: Deployed, admin: dict[str, str]) -> None:
    accepted = deployed.http.post("/api/v1/integrations/msgraph/sync", json={}, headers=admin)
    assert accepted.status_code == 202
    sync_id = accepted.json()["syncId"]

    def done() -> list[str]:
        return [event["syncId"] for event in deployed.events("calendarSyncWorker", "calendar.sync.done")]

    assert eventually(lambda: sync_id in done())
    assert done().count(sync_id) == 1
    queued = deployed.events("msgraphSync", "calendar.sync.queued")
    assert [event["syncId"] for event in queued] == [sync_id]
    assert eventually(lambda: bool(deployed.events("msgraphSync", "request")))
    (request,) = deployed.events("msgraphSync", "request")
    assert request["status"] == 202
    assert request["userId"]
    assert request["requestId"]
    assert request["functionName"] == "leave-attendance-dev-msgraphSync"


def test_poison_ends_in_the_dead_letter_queue(deployed: Deployed) -> None:
    sqs = deployed.account.client("sqs")
    url = sqs.get_queue_url(QueueName="itcenter-dev-calendar-sync")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="poison")
    assert eventually(lambda: deployed.depth("itcenter-dev-calendar-sync-dlq") == 1)
    assert len(deployed.events("calendarSyncWorker", "calendar.sync.failed")) == 3
    dead = sqs.get_queue_url(QueueName="itcenter-dev-calendar-sync-dlq")["QueueUrl"]
    sqs.purge_queue(QueueUrl=dead)


def test_alarm_notifications_reach_the_pager(deployed: Deployed) -> None:
    sns = deployed.account.client("sns")
    (topic,) = sns.list_topics()["Topics"]
    sns.publish(TopicArn=topic["TopicArn"], Message="ALARM")
    assert eventually(lambda: deployed.depth("itcenter-dev-oncall") == 1)


def test_a_throttled_proxy_is_a_documented_503(deployed: Deployed, employee: dict[str, str]) -> None:
    deployed.throttle(1, timeout_s=1)
    try:
        answers = [
            deployed.http.get("/api/v1/leave/balance", headers=employee),
            deployed.http.post("/api/v1/attendance/clock-out", headers=employee),
        ]
        degraded = deployed.http.get("/healthz")
    finally:
        deployed.throttle(100, timeout_s=120)
    for answer in answers:
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "DEPENDENCY_UNAVAILABLE"
        assert answer.headers["retry-after"] == "5"
    assert (degraded.status_code, degraded.json()["status"]) == (503, "degraded")
    assert deployed.http.get("/healthz").status_code == 200


def test_the_load_users_can_all_work_at_once(deployed: Deployed) -> None:
    def day(username: str) -> list[int]:
        headers = deployed.log_in("load", username)
        return [
            deployed.http.post("/api/v1/attendance/clock-in", headers=headers).status_code,
            deployed.http.get("/api/v1/attendance", headers=headers).status_code,
            deployed.http.post("/api/v1/attendance/clock-out", headers=headers).status_code,
        ]

    with ThreadPoolExecutor(5) as threads:
        assert list(threads.map(day, deployed.secret("load")["users"])) == [[201, 200, 200]] * 20
