"""Signatures as botocore makes them are taken, whatever they are for; the same with anything changed are not."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import importlib
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
from botocore.auth import HmacV1QueryAuth, S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tocsin.sandbox.keys import Keys
from tocsin.sandbox.signatures import Refusal, Request, Signatures

ACCOUNT = "123456789012"
HOST = "127.0.0.1:4566"
NO_TIME = dt.timedelta()


@dataclass
class Bench:
    """The keys of a sandbox, and what checks signatures there."""

    keys: Keys
    signatures: Signatures

    @property
    def root(self) -> Credentials:
        return Credentials(self.keys.account, self.keys.secret_access_key)

    def refusal(self, request: Request) -> Refusal | None:
        return self.signatures.refusal(request)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    keys = Keys.new(ACCOUNT)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.account)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_access_key)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    return Bench(keys, Signatures(lambda name: importlib.import_module(f"ministack.{name}"), keys))


@pytest.fixture
def session() -> Iterator[Credentials]:
    """Keys of a role, as STS gives them."""
    from ministack.services import sts

    key, secret, token = f"ASIA{uuid.uuid4().hex[:16].upper()}", uuid.uuid4().hex, uuid.uuid4().hex
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/reader/test"
    sts.register_session(key, {"Arn": arn, "UserId": "reader", "SecretAccessKey": secret, "SessionToken": token})
    yield Credentials(key, secret, token)
    sts._sessions.pop(key, None)


def signed(
    credentials: Credentials,
    method: str = "POST",
    url: str = "/",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    service: str = "sqs",
    signer: type[SigV4Auth] | None = None,
) -> Request:
    """A request as botocore signs and sends it."""
    request = AWSRequest(method, f"http://{HOST}{url}", {"Host": HOST, **(headers or {})}, body)
    kind = signer or (S3SigV4Auth if service == "s3" else SigV4Auth)
    kind(credentials, service, "us-east-1").add_auth(request)
    return arrived(method, request.url, dict(request.headers), body)


def arrived(method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Request:
    """A request as the server hands it on."""
    parts = urlsplit(url)
    scope = {
        "method": method,
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in {"host": HOST, **headers}.items()],
    }
    scope["headers"] = [one for one in scope["headers"] if one[0] != b"Host"]
    return Request.of(scope, body)


REQUESTS: dict[str, dict[str, Any]] = {
    "an empty GET": {"method": "GET"},
    "a JSON protocol": {
        "body": b'{"QueueName": "a"}',
        "headers": {"X-Amz-Target": "AmazonSQS.CreateQueue", "Content-Type": "application/x-amz-json-1.0"},
    },
    "a form": {"body": b"Action=ListUsers&Version=2010-05-08", "service": "iam"},
    "a query in another order": {"method": "GET", "url": "/?b=2&a=1&B=3&a=0&ab=&a-b=1"},
    "a query with names alone": {"method": "GET", "url": "/bucket?policy&list-type=2", "service": "s3"},
    "a query with everything": {"method": "GET", "url": "/?x=" + quote("a b+c/d=e&f~g*h%20é☃", safe="")},
    "an encoded path": {"method": "GET", "url": "/" + quote("functions/arn:aws:lambda:a:b") + "/versions"},
    "a path with spaces": {"method": "GET", "url": "/a%20b/c%2Fd", "service": "lambda"},
    "a path with dots": {"method": "GET", "url": "/a/./b/../c//d/", "service": "lambda"},
    "a key of S3 with everything": {
        "method": "PUT",
        "url": "/b/" + quote("k //é+~*'(x)"),
        "service": "s3",
        "body": b"x",
    },
    "a key of S3 with dots": {"method": "GET", "url": "/b/a/../c", "service": "s3"},
    "headers with spaces": {"headers": {"X-Amz-Meta-A": "  a   b  ", "X-Amz-Meta-B": "é"}, "service": "s3"},
    "an unsigned payload": {
        "method": "PUT",
        "url": "/b/k",
        "service": "s3",
        "body": b"anything",
        "headers": {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"},
        "signer": SigV4Auth,  # that of S3 would sign the payload here
    },
    "no bytes that are text": {"method": "PUT", "url": "/b/k", "service": "s3", "body": bytes(range(256))},
}


@pytest.mark.parametrize("name", REQUESTS)
def test_what_botocore_signs_is_taken(bench: Bench, session: Credentials, name: str) -> None:
    for credentials in (bench.root, session):
        assert bench.refusal(signed(credentials, **REQUESTS[name])) is None


@pytest.mark.parametrize("name", REQUESTS)
def test_what_botocore_signs_with_other_keys_is_not(bench: Bench, session: Credentials, name: str) -> None:
    wrong = Credentials(ACCOUNT, "sandbox"), Credentials(session.access_key, "wrong", session.token)
    for credentials in wrong:
        found = bench.refusal(signed(credentials, **REQUESTS[name]))
        assert found is not None
        assert found.code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    "key", ["test", "000000000000", "210987654321", "AKIATOCSINSTRANGER00", "ASIA0000000000000000"]
)
def test_a_key_that_nobody_gave_out_is_not(bench: Bench, key: str) -> None:
    for secret in ("test", bench.keys.secret_access_key):
        found = bench.refusal(signed(Credentials(key, secret)))
        assert found is not None
        assert found.code == "UnrecognizedClientException"


def test_keys_of_a_role_need_their_token(bench: Bench, session: Credentials) -> None:
    for token in (None, "another"):
        found = bench.refusal(signed(Credentials(session.access_key, session.secret_key, token)))
        assert found is not None
        assert found.code in ("UnrecognizedClientException", "InvalidToken")
    assert bench.refusal(signed(Credentials(bench.keys.account, bench.keys.secret_access_key, "any"))) is not None


CHANGES: dict[str, Any] = {
    "the body": lambda one: replace(one, body=one.body + b" "),
    "the method": lambda one: replace(one, method="PUT"),
    "the path": lambda one: replace(one, path="/other", raw_path="/other"),
    "the query": lambda one: replace(one, query={**one.query, "x": ["1"]}),
    "the operation": lambda one: replace(one, headers={**one.headers, "x-amz-target": "AmazonSQS.DeleteQueue"}),
    "the host": lambda one: replace(one, headers={**one.headers, "host": "127.0.0.1:4567"}),
    "the time": lambda one: replace(one, headers={**one.headers, "x-amz-date": now(dt.timedelta(seconds=1))}),
    "another key before": lambda one: with_authorization(
        one, "Credential=", f"Credential={ACCOUNT}/1/r/s/t, Credential="
    ),
    "a second header": lambda one: with_authorization(one, "AWS4", f"AWS4-HMAC-SHA256 Credential={ACCOUNT}/1,AWS4"),
    "another algorithm": lambda one: with_authorization(one, "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
    "no signature": lambda one: with_authorization(one, ", Signature", ", Nothing"),
    "another key in the query": lambda one: replace(one, query={"X-Amz-Credential": [f"{ACCOUNT}/1/r/s/aws4_request"]}),
    "no authorization": lambda one: replace(
        one, headers={name: value for name, value in one.headers.items() if name != "authorization"}
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_signed_request_that_was_changed_is_not(bench: Bench, session: Credentials, change: str) -> None:
    request = signed(session, **REQUESTS["a JSON protocol"])
    assert bench.refusal(request) is None
    assert bench.refusal(CHANGES[change](request)) is not None


def with_authorization(request: Request, old: str, new: str) -> Request:
    value = request.headers["authorization"]
    assert old in value
    return replace(request, headers={**request.headers, "authorization": value.replace(old, new)})


def test_what_decides_who_answers_must_be_signed(bench: Bench) -> None:
    request = signed(bench.root, url="/")
    added = replace(request, headers={**request.headers, "x-amz-target": "DynamoDB_20120810.DeleteTable"})
    assert bench.refusal(request) is None
    assert bench.refusal(added) is not None


def now(later: dt.timedelta = NO_TIME) -> str:
    return (dt.datetime.now(dt.UTC) + later).strftime("%Y%m%dT%H%M%SZ")


def signed_at(credentials: Credentials, later: dt.timedelta, service: str) -> Request:
    """A request that was signed at another time."""
    request = AWSRequest("GET", f"http://{HOST}/", {"Host": HOST, "X-Amz-Date": now(later)}, b"")
    request.context["timestamp"] = now(later)
    auth = SigV4Auth(credentials, service, "us-east-1")
    if service == "s3":
        request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(b"").hexdigest()
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    names = auth.signed_headers(auth.headers_to_sign(request))
    request.headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={auth.scope(request)}, SignedHeaders={names}, Signature={signature}"
    )
    return arrived("GET", request.url, dict(request.headers))


@pytest.mark.parametrize("service", ["sqs", "s3", "lambda", "comprehend"])
def test_a_request_is_good_for_minutes(bench: Bench, service: str) -> None:
    minute = dt.timedelta(minutes=1)
    for later in (NO_TIME, -3 * minute, 3 * minute):
        assert bench.refusal(signed_at(bench.root, later, service)) is None
    for later in (-16 * minute, 16 * minute, -dt.timedelta(days=1), -dt.timedelta(days=4000)):
        found = bench.refusal(signed_at(bench.root, later, service))
        assert found is not None
        assert found.code == "RequestTimeTooSkewed"


# ------------------------------------------------------------------------------------------ presigned URLs


def presigned(credentials: Credentials, service: str = "s3", url: str = "/bucket/a%20key", lasts_s: int = 60) -> str:
    request = AWSRequest("GET", f"http://{HOST}{url}", {"Host": HOST}, b"")
    kind = S3SigV4QueryAuth if service == "s3" else SigV4QueryAuth
    kind(credentials, service, "us-east-1", expires=lasts_s).add_auth(request)
    return str(request.url)


@pytest.mark.parametrize("service", ["s3", "sts"])
def test_a_presigned_url_is_taken_and_none_that_was_changed(bench: Bench, session: Credentials, service: str) -> None:
    for credentials in (bench.root, session):
        url = presigned(credentials, service, "/?Action=GetCallerIdentity" if service == "sts" else "/bucket/a%20key")
        assert bench.refusal(arrived("GET", url, {})) is None
        for changed in (
            url.replace("Signature=", "Signature=0"),
            url.replace("X-Amz-Expires=60", "X-Amz-Expires=61"),
            url + "&x-amz-credential=" + quote(f"{ACCOUNT}/20200101/r/s/aws4_request", safe=""),
            url + "&versionId=1",
            re.sub(r"X-Amz-Credential=[^%]+", f"X-Amz-Credential={ACCOUNT[::-1]}", url),
            re.sub(r"&X-Amz-Signature=\w+", "", url),
        ):
            assert bench.refusal(arrived("GET", changed, {})) is not None, changed
        assert bench.refusal(arrived("DELETE", url, {})) is not None


def test_a_presigned_url_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    url = presigned(bench.root, lasts_s=0)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)
    expired = bench.signatures._sigv4.presigned_request_is_expired
    monkeypatch.setattr(
        bench.signatures._sigv4, "presigned_request_is_expired", lambda signed, lasts: expired(signed, lasts, now=later)
    )
    found = bench.refusal(arrived("GET", url, {}))
    assert found is not None
    assert found.message == "Request has expired"
    assert bench.refusal(arrived("GET", presigned(bench.root, lasts_s=8 * 24 * 3600), {})) is not None


def test_a_url_of_s3_does_nothing_elsewhere(bench: Bench) -> None:
    url = presigned(bench.root, url="/")
    headers = {"x-amz-target": "DynamoDB_20120810.ListTables"}
    assert bench.refusal(arrived("GET", url, {})) is None
    assert bench.refusal(arrived("GET", url, headers)) is not None


@pytest.mark.parametrize(
    "name", ["x-amz-copy-source", "x-amz-acl", "x-amz-tagging", "x-amz-bypass-governance-retention"]
)
def test_what_s3_shall_do_must_be_signed(bench: Bench, name: str) -> None:
    added = {name: "bucket/other"}
    request = AWSRequest("PUT", f"http://{HOST}/bucket/key", {"Host": HOST}, b"")
    S3SigV4QueryAuth(bench.root, "s3", "us-east-1", expires=60).add_auth(request)
    assert bench.refusal(arrived("PUT", request.url, {})) is None
    assert bench.refusal(arrived("PUT", request.url, {"x-amz-user-agent": "any"})) is None
    assert bench.refusal(arrived("PUT", request.url, added)) is not None
    assert bench.refusal(signed(bench.root, "PUT", "/bucket/key", headers=added, service="s3")) is None
    unsigned = signed(bench.root, "PUT", "/bucket/key", service="s3")
    assert bench.refusal(replace(unsigned, headers={**unsigned.headers, **added})) is not None


def test_a_url_of_the_old_kind_is_taken_by_s3_alone(bench: Bench, session: Credentials) -> None:
    for credentials in (bench.root, session):
        request = AWSRequest("GET", f"http://{HOST}/bucket/key", {"Host": HOST}, b"", auth_path="/bucket/key")
        HmacV1QueryAuth(credentials, expires=60).add_auth(request)
        assert bench.refusal(arrived("GET", request.url, {})) is None
        changed = request.url.replace("Signature=", "Signature=A")
        for url, method in ((changed, "GET"), (request.url, "PUT"), (request.url.replace("/key", "/other"), "GET")):
            assert bench.refusal(arrived(method, url, {})) is not None
        elsewhere = arrived("GET", request.url, {"x-amz-target": "DynamoDB_20120810.ListTables"})
        assert bench.refusal(elsewhere) is not None


@pytest.mark.parametrize(("lasts_s", "ends"), [(60, False), (-1, True), (-86_400, True)])
def test_a_url_of_the_old_kind_ends(bench: Bench, lasts_s: int, ends: bool) -> None:
    request = AWSRequest("GET", f"http://{HOST}/bucket/key", {"Host": HOST}, b"", auth_path="/bucket/key")
    HmacV1QueryAuth(bench.root, expires=lasts_s).add_auth(request)
    found = bench.refusal(arrived("GET", request.url, {}))
    assert (found is not None and (found.code, found.message) == ("AccessDenied", "Request has expired")) is ends
    assert ends or found is None


@pytest.mark.parametrize("until", ["", "soon", "-1", "1e12", "9" * 5000, "\u0661"])
def test_an_end_that_is_no_time_ends_it_now(bench: Bench, until: str) -> None:
    request = AWSRequest("GET", f"http://{HOST}/bucket/key", {"Host": HOST}, b"", auth_path="/bucket/key")
    HmacV1QueryAuth(bench.root, expires=60).add_auth(request)
    changed = re.sub(r"Expires=\d+", f"Expires={quote(until)}", request.url)
    found = bench.refusal(arrived("GET", changed, {}))
    assert found is not None
    assert found.code == "AccessDenied"


# ------------------------------------------------------------------------------------------ bodies in signed chunks


def chunked(credentials: Credentials, chunks: list[bytes]) -> Request:
    """A body as older SDKs send it to S3: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html"""
    headers = {"X-Amz-Content-SHA256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "Content-Encoding": "aws-chunked"}
    request = signed(credentials, "PUT", "/bucket/key", b"", headers, "s3", SigV4Auth)
    time, value = request.headers["x-amz-date"], request.headers["authorization"]
    key, scope = f"AWS4{credentials.secret_key}".encode(), f"{time[:8]}/us-east-1/s3/aws4_request"
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    before, body = value.rsplit("=", 1)[1], b""
    for chunk in (*chunks, b""):
        lines = ("AWS4-HMAC-SHA256-PAYLOAD", time, scope, before, sha256(b""), sha256(chunk))
        before = hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).hexdigest()
        body += f"{len(chunk):x};chunk-signature={before}\r\n".encode() + chunk + b"\r\n"
    return replace(request, body=body)


def sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def test_a_body_in_signed_chunks_is_taken_and_none_that_was_changed(bench: Bench) -> None:
    request = chunked(bench.root, [b"a" * 70_000, b"end"])
    assert bench.refusal(request) is None
    for body in (request.body.replace(b"end", b"END"), request.body[: request.body.index(b"\r\n3;") + 2], b""):
        assert bench.refusal(replace(request, body=body)) is not None


# ------------------------------------------------------------------------------------------ without a signature

SIGN_IN = {"x-amz-target": "AWSCognitoIdentityProviderService.InitiateAuth"}
CREATE = {"x-amz-target": "AWSCognitoIdentityProviderService.AdminCreateUser"}


@pytest.mark.parametrize(
    ("method", "url", "headers", "body", "served"),
    [
        ("POST", "/", SIGN_IN, b"{}", True),
        ("POST", "/", {}, b"Action=AssumeRoleWithWebIdentity&Version=2011-06-15", True),
        ("POST", "/", CREATE, b"{}", False),
        ("POST", "/bucket", SIGN_IN, b"{}", False),
        ("POST", "/", {"x-amz-target": f"{SIGN_IN['x-amz-target']},{CREATE['x-amz-target']}"}, b"{}", False),
        ("POST", "/?Action=AssumeRoleWithWebIdentity", {}, b"Action=GetSessionToken", False),
        ("POST", "/", {}, b"Action=AssumeRoleWithWebIdentity&Action=GetSessionToken", False),
        ("POST", "/", {}, b"Action=CreateUser&UserName=eve&Version=2010-05-08", False),
        ("GET", "/", {}, b"", False),
        ("GET", "/bucket/key", {}, b"", False),
        ("OPTIONS", "/", {}, b"", False),
        ("POST", "/", {"authorization": "Bearer anything"}, b"", False),
        ("POST", "/?Action=AssumeRoleWithWebIdentity", {"content-encoding": "gzip"}, b"", False),
    ],
)
def test_without_a_signature_only_what_aws_serves_so(
    bench: Bench, method: str, url: str, headers: dict[str, str], body: bytes, served: bool
) -> None:
    typed = {} if headers else {"content-type": "application/x-www-form-urlencoded"}
    assert (bench.refusal(arrived(method, url, {**typed, **headers}, body)) is None) is served


def test_a_query_is_read_as_it_was_sent() -> None:
    request = arrived("GET", f"http://{HOST}/?a=1&A=2&b=", {})
    assert request.query == parse_qs("a=1&A=2&b=", keep_blank_values=True)
    assert request.said("b") == request.said("a") == ""
    assert request.names("B", "c")
    assert not request.names("c")
