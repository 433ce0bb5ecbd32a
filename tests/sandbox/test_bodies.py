"""How much each door of a sandbox that runs takes, and that what it refuses keeps it from nothing else."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import socket
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from tests.sandbox.test_service import ACCOUNT, REGION, ROOT, SCALE, started

from tocsin.model.doors import TOKEN_HEADER
from tocsin.sandbox.account import Account
from tocsin.sandbox.gate import API_BODY, UNSIGNED_BODY
from tocsin.sandbox.http import DOOR_BODY, DRAINED, MIB
from tocsin.sandbox.keys import Keys
from tocsin.sandbox.services.elb.plant import HELD_BODY
from tocsin.sandbox.services.s3 import S3

BUFFERS = 32 * 1024 * 1024
"""Bytes that both ends of a connection hold of what nobody has read."""
HUGE = 200_000_000
WITHIN_S = 60
CHUNK = b"\0" * (1024 * 1024)
SIGN_IN = {
    "X-Amz-Target": "AWSCognitoIdentityProviderService.InitiateAuth",
    "Content-Type": "application/x-amz-json-1.1",
}
LIST = {"X-Amz-Target": "secretsmanager.ListSecrets", "Content-Type": "application/x-amz-json-1.1"}


@dataclass(frozen=True)
class Answer:
    """What came back, and how much had been sent of the body by then."""

    status: int
    body: bytes
    sent: int


@dataclass(frozen=True)
class Door:
    """A sandbox, asked with requests exactly as they are given."""

    account: Account

    @property
    def port(self) -> int:
        return int(self.account.endpoint_url.rsplit(":", 1)[1])

    def connect(self, method: str, path: str, headers: Mapping[str, str]) -> socket.socket:
        """A connection on which the head of a request was sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=WITHIN_S)
        lines = [f"{name}: {value}" for name, value in {"Host": f"127.0.0.1:{self.port}", **headers}.items()]
        connection.sendall("\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode())
        return connection

    def head(self, method: str, path: str, headers: Mapping[str, str], declared: int) -> Answer:
        """The answer to a request of which only the head is sent."""
        with self.connect(method, path, {**headers, "Content-Length": str(declared)}) as connection:
            return _answer(connection, 0)

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to a whole request."""
        with self.connect(method, path, {**headers, "Content-Length": str(len(body))}) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(body)
            return _answer(connection, len(body))

    def send_without_end(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """The answer to a body in chunks that never ends."""
        sent = 0
        with self.connect(method, path, {**headers, "Transfer-Encoding": "chunked"}) as connection:
            with contextlib.suppress(ConnectionError):
                while sent < HUGE:
                    connection.sendall(f"{len(CHUNK):x}\r\n".encode() + CHUNK + b"\r\n")
                    sent += len(CHUNK)
            return _answer(connection, sent)

    def signed(self, service: str, method: str, path: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Headers of a request that is signed well."""
        host = f"127.0.0.1:{self.port}"
        request = AWSRequest(method, f"http://{host}{path}", {**headers, "Host": host}, body)
        kind = S3SigV4Auth if service == "s3" else SigV4Auth
        kind(Credentials(ACCOUNT, self.account.keys.secret_access_key), service, REGION).add_auth(request)
        return dict(request.headers.items())


def _answer(connection: socket.socket, sent: int) -> Answer:
    """Status and body; what says to go on is passed over."""
    with connection.makefile("rb") as file:
        while True:
            status = int(file.readline().split()[1])
            headers = dict(line.decode().lower().rstrip().split(": ", 1) for line in iter(file.readline, b"\r\n"))
            if status != 100:
                return Answer(status, file.read(int(headers.get("content-length", "0"))), sent)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with started(tmp_path_factory.mktemp("bodies")) as (_, answer):
        account = Account(answer["endpoint_url"], REGION, ACCOUNT, SCALE, Keys(**answer["keys"]))
        account.client("s3").create_bucket(Bucket="things")
        yield Door(account)


def refused(door: Door, service: str, operation: str, **arguments: Any) -> tuple[str, int]:
    """Code and status with which a call of boto3 is refused; empty when it is not."""
    try:
        getattr(door.account.target.client(service, retries=False), operation)(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"]), int(error.response["ResponseMetadata"]["HTTPStatusCode"])
    return "", 200


# --- without a signature -------------------------------------------------------------------------------------

UNSIGNED = {
    "to nobody": {},
    "of JSON": LIST,
    "of a query": {"Content-Type": "application/x-www-form-urlencoded"},
    "in somebody's name": {
        **LIST,
        "Authorization": f"AWS4-HMAC-SHA256 Credential=AKIASTRANGER/20261130/{REGION}/secretsmanager/aws4_request, "
        f"SignedHeaders=host, Signature={'0' * 64}",
        "X-Amz-Date": "20261130T000000Z",
    },
}


@pytest.mark.parametrize("headers", UNSIGNED.values(), ids=UNSIGNED)
def test_a_large_body_without_a_signature_is_refused_before_any_of_it_is_sent(
    door: Door, headers: Mapping[str, str]
) -> None:
    answer = door.head("POST", "/", headers, HUGE)
    assert answer.status in (400, 403)


@pytest.mark.parametrize("headers", UNSIGNED.values(), ids=UNSIGNED)
def test_a_body_without_end_is_read_no_further_than_the_bound(door: Door, headers: Mapping[str, str]) -> None:
    answer = door.send_without_end("POST", "/", headers)
    assert answer.status in (400, 403)
    # What was read; and what the buffers of both ends hold.
    assert answer.sent < UNSIGNED_BODY + DRAINED + BUFFERS < HUGE


def test_a_wrong_signature_with_a_key_that_there_is_holds_no_more_than_a_good_one(door: Door) -> None:
    headers = door.signed("secretsmanager", "POST", "/", LIST, b"{}")
    answer = door.send_without_end("POST", "/", headers)
    assert (answer.status, b"RequestEntityTooLargeException" in answer.body) == (413, True)
    assert answer.sent < API_BODY + DRAINED + BUFFERS < HUGE


def test_others_are_served_while_somebody_sends_and_does_not_come_to_an_end(door: Door) -> None:
    with contextlib.ExitStack() as open_ones:
        for headers in UNSIGNED.values():
            one = open_ones.enter_context(door.connect("POST", "/", {**headers, "Content-Length": str(HUGE)}))
            with contextlib.suppress(ConnectionError):
                one.sendall(CHUNK)
        door.account.client("sqs").create_queue(QueueName="meanwhile")
        assert refused(door, "sqs", "list_queues") == ("", 200)


def test_what_is_served_without_a_signature_may_be_so_long(door: Door) -> None:
    def body(length: int) -> bytes:
        start = b'{"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": "none", "AuthParameters": {"USERNAME": "'
        return start + b"x" * (length - len(start) - 3) + b'"}}'

    taken = door.send("POST", "/", SIGN_IN, body(UNSIGNED_BODY))
    assert taken.status == 400
    assert b"ResourceNotFoundException" in taken.body, "Cognito has read it, and knows no such client"
    for answer in (
        door.send("POST", "/", SIGN_IN, body(UNSIGNED_BODY + 1)),
        door.head("POST", "/", SIGN_IN, UNSIGNED_BODY + 1),
    ):
        assert (answer.status, b"RequestEntityTooLargeException" in answer.body) == (413, True)


# --- signed --------------------------------------------------------------------------------------------------


def test_the_largest_request_of_the_api_and_one_byte_more(door: Door) -> None:
    start, path = b'{"Description": "', "/2015-03-31/functions"

    def create(length: int) -> Answer:
        body = start + b"x" * (length - len(start) - 2) + b'"}'
        return door.send("POST", path, door.signed("lambda", "POST", path, {}, body), body)

    taken = create(API_BODY)
    assert (taken.status, b"FunctionName" in taken.body or b"InvalidParameter" in taken.body) == (400, True)
    answer = create(API_BODY + 1)
    assert answer.status == 413
    assert json.loads(answer.body)["__type"] == "RequestEntityTooLargeException"
    assert f"smaller than {API_BODY} bytes" in json.loads(answer.body)["message"]


def test_boto3_is_told_that_a_package_is_too_large_and_uploads_one_that_is_not(door: Door) -> None:
    role = door.account.client("iam").create_role(
        RoleName="large",
        AssumeRolePolicyDocument=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": {
                    "Effect": "Allow",
                    "Principal": {"Service": "lambda.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                },
            }
        ),
    )["Role"]["Arn"]

    def package(size: int) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("app.py", "def handler(event, context):\n    return 1\n")
            archive.writestr("data", b"\0" * size)
        return packed.getvalue()

    asked = {"FunctionName": "large", "Runtime": "python3.11", "Role": role, "Handler": "app.handler"}
    too_large = package(60_000_000)
    assert len(base64.b64encode(too_large)) > API_BODY
    assert refused(door, "lambda", "create_function", **asked, Code={"ZipFile": too_large}) == (
        "RequestEntityTooLargeException",
        413,
    )
    assert refused(door, "lambda", "create_function", **asked, Code={"ZipFile": package(20_000_000)}) == ("", 200)


def test_a_signature_over_another_body_is_refused(door: Door) -> None:
    headers = door.signed("secretsmanager", "POST", "/", LIST, b"{}")
    assert door.send("POST", "/", headers, b"{ }").status in (400, 403)
    assert door.send("POST", "/", headers, b"{}").status == 200


# --- S3 ------------------------------------------------------------------------------------------------------


def test_an_object_is_as_long_as_one_put_may_be(door: Door) -> None:
    object_ = b"\0" * (API_BODY + 1)
    assert refused(door, "s3", "put_object", Bucket="things", Key="large", Body=object_) == ("", 200)
    found = door.account.client("s3").head_object(Bucket="things", Key="large")
    assert found["ContentLength"] == len(object_)


def unsigned_payload(door: Door, key: str = "one") -> dict[str, str]:
    return door.signed("s3", "PUT", f"/things/{key}", {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}, b"")


def test_one_byte_more_than_five_gibibytes_is_too_large_and_none_of_it_is_read(door: Door) -> None:
    answer = door.head("PUT", "/things/one", unsigned_payload(door), S3.largest_body + 1)
    assert (answer.status, b"<Code>EntityTooLarge</Code>" in answer.body) == (400, True)


def test_an_object_says_its_length(door: Door) -> None:
    answer = door.send_without_end("PUT", "/things/one", unsigned_payload(door))
    assert (answer.status, b"<Code>MissingContentLength</Code>" in answer.body) == (411, True)


def test_five_gibibytes_are_read_of_nobody_who_has_not_signed_well(door: Door) -> None:
    well = unsigned_payload(door)
    wrong = {**well, "Authorization": well["Authorization"][:-64] + "0" * 64}
    other = unsigned_payload(door, "another")
    for headers in (wrong, other):
        answer = door.head("PUT", "/things/one", headers, S3.largest_body)
        assert (answer.status, b"<Code>SignatureDoesNotMatch</Code>" in answer.body) == (403, True)
    expected = door.connect("PUT", "/things/one", {**well, "Content-Length": str(S3.largest_body)})
    with expected as connection:
        connection.sendall(CHUNK)
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):  # it is being read
            connection.recv(1)


def test_a_presigned_url_takes_a_body_and_a_changed_one_none(door: Door) -> None:
    url = door.account.client("s3").generate_presigned_url("put_object", {"Bucket": "things", "Key": "by-url"})
    path = "/" + url.split("/", 3)[3]
    assert door.send("PUT", path, {}, CHUNK * 2).status == 200
    answer = door.head("PUT", path.replace("by-url", "by-hand"), {}, HUGE)
    assert answer.status == 403


# --- doors of the sandbox itself -----------------------------------------------------------------------------


def test_a_door_takes_ten_mebibytes_with_the_token_and_none_without(door: Door) -> None:
    token = {TOKEN_HEADER: door.account.keys.token}

    def body(length: int) -> bytes:
        return b'{"ignored": "' + b"x" * (length - 15) + b'"}'

    assert door.send("POST", "/_tocsin/status", token, body(DOOR_BODY)).status == 200
    for path in ("/_tocsin/status", "/_ministack/config"):
        assert door.send("POST", path, token, body(DOOR_BODY + 1)).status == 413
        assert door.head("POST", path, token, DOOR_BODY + 1).status == 413
        assert door.head("POST", path, {}, HUGE).status == 403


def test_whoever_answers_cloudformation_says_little(door: Door) -> None:
    assert door.head("PUT", "/_ministack/cfn-response/none", {}, UNSIGNED_BODY + 1).status == 413
    assert door.send("PUT", "/_ministack/cfn-response/none", {}, b"{}").status != 413


def test_the_page_says_what_each_door_takes() -> None:
    page = (ROOT / "docs" / "SANDBOX.md").read_text(encoding="utf-8")
    said = page.split("**How long a request may be**", 1)[1].split("**S3**", 1)[0]
    rows = [line.split("|")[1].strip() for line in said.splitlines() if line.startswith("| ")][1:]
    assert rows == [f"{one:,}" for one in (UNSIGNED_BODY, API_BODY, S3.largest_body, DOOR_BODY, DOOR_BODY)] + ["any"]
    assert f"first {HELD_BODY:,} bytes" in said
    assert f"read for {DRAINED // MIB} MiB" in said
