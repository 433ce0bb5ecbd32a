"""Whether a request to the AWS API proves who sends it: Signature Version 4 with a key that this sandbox gave out.

Checked before anything is done, for every service and every key. ministack computes signatures and knows the keys of
IAM and STS; it answers what is not signed, and what is signed for a root, without looking at any signature.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import contextvars
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote

from tocsin.sandbox.http import Message
from tocsin.sandbox.keys import Keys

RELIED_ON: Mapping[str, Mapping[str, str]] = {
    "app": {
        "_credential_failure": "service, iam_action, request_id, denied, headers",
        "_extract_s3_vhost_bucket": "host",
        "_routing_params": "method, path, headers, body, query_params",
        "detect_service": "method, path, headers, query_params",
    },
    "core.iam_actions": {"unsigned_operations": "service"},
    "core.iam_evaluator": {
        "AuthError": "code, message, details",
        "CredentialResolutionError": "code, message",
        "SignedRequest": "access_key_id, method, raw_path, query_params, headers, body, presigned, handshake, "
        "unverifiable, sigv2, auth_path, s3_scoped",
        "_UNSIGNED_LINK_ACTIONS": "",
        "_sigv2_check": "request, account_id",
        "find_iam_access_key_account": "access_key_id",
        "is_root_access_key": "access_key_id",
        "resolve_credential": "access_key_id, account_id, session_token",
    },
    "core.responses": {"_account_from_sts_session": "access_key_id"},
    "core.sigv4": {
        "HeaderSignature": "access_key_id, date_stamp, region, service, signed_headers, signature, amz_date, "
        "region_set",
        "SIGNATURE_MISMATCH": "",
        "calculate_signature": "secret, date_stamp, region, service, string_to_sign",
        "header_signing_documents": "signature, method, raw_path, query_params, headers, body, presigned",
        "header_signature_failure": "signature, secret, method, raw_path, query_params, headers, body, presigned, "
        "explain",
        "presigned_request_is_expired": "amz_date, expires, now",
        "request_time_failure": "signature, now",
    },
}

_CREDENTIAL = r"([A-Za-z0-9]{1,128})/(\d{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request"
_AUTHORIZATION = re.compile(
    rf"AWS4-HMAC-SHA256\s+Credential={_CREDENTIAL},\s*SignedHeaders=([^\s,=]+),\s*Signature=([0-9a-f]{{64}})", re.ASCII
)
"""Only as every SDK writes it: whoever reads the key out of it later must find the one that was checked."""
_SCOPE = re.compile(_CREDENTIAL, re.ASCII)
_EPOCH = re.compile(r"[0-9]{1,15}", re.ASCII)
"""When a URL of Signature Version 2 ends, in seconds; how long it may last nobody says."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_S3 = "s3"
"""The service whose URLs sign neither body nor all headers: they are good for nothing else."""
_SAYS_NOTHING = frozenset({"x-amz-content-sha256", "x-amz-user-agent"})
_IN_QUERY = ("X-Amz-Credential", "X-Amz-Signature", "X-Amz-Algorithm", "AWSAccessKeyId")
_LONGEST_S = 7 * 24 * 3600
"""that a presigned URL is good for"""

Modules = Callable[[str], Any]
"""A module of ministack by its name, such as `core.sigv4`."""


@dataclass(frozen=True)
class Refusal:
    """Why a request is not taken, with the error code of AWS."""

    code: str
    message: str
    status: int | None = None
    """None: the one with which a service answers that a request proves nothing"""


@dataclass(frozen=True)
class Request:
    """A request as it arrived."""

    method: str
    path: str
    raw_path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    """in lower case; those that were sent more than once are joined by commas"""
    body: bytes

    @classmethod
    def of(cls, scope: Message, body: bytes) -> Request:
        """From the scope of ASGI."""
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1").lower(), _text(value)
            headers[key] = f"{headers[key]},{text}" if key in headers else text
        query = parse_qs(scope.get("query_string", b"").decode("utf-8", "replace"), keep_blank_values=True)
        raw_path = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1")
        return cls(scope["method"], scope["path"], raw_path, query, headers, body)

    def said(self, name: str) -> str:
        """The one value of a parameter of the query; empty where there is none, or more than one."""
        values = [one for key, found in self.query.items() if key.lower() == name.lower() for one in found]
        return values[0] if len(values) == 1 and name in self.query else ""

    @property
    def is_signed(self) -> bool:
        """Whether it says to be."""
        return "authorization" in self.headers or self.names(*_IN_QUERY)

    @property
    def says_its_body(self) -> bool:
        """Whether its signature is one over what it says of its body, as S3 wants it: it can be checked before that.

        https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
        """
        of_s3 = (self.said("X-Amz-Credential").split("/") + [""] * 4)[3] == _S3
        return "x-amz-content-sha256" in self.headers or of_s3 or self.names("AWSAccessKeyId")

    def names(self, *names: str) -> bool:
        """Whether the query has one of these parameters, however it is written."""
        wanted = {name.lower() for name in names}
        return any(key.lower() in wanted for key in self.query)


class Signatures:
    """Checks requests to one sandbox."""

    def __init__(self, modules: Modules, keys: Keys) -> None:
        self._keys = keys
        self._app = modules("app")
        self._actions = modules("core.iam_actions")
        self._evaluator = modules("core.iam_evaluator")
        self._responses = modules("core.responses")
        self._sigv4 = modules("core.sigv4")

    def refusal(self, request: Request) -> Refusal | None:
        """Why a request is not answered; None when it is signed as it must be, or AWS asks for no signature."""
        # ministack remembers in the context what it checked: what is found here must not count for it.
        return contextvars.Context().run(self._refusal, request, head=False)

    def refusal_of_head(self, request: Request) -> Refusal | None:
        """Why a request will not be answered whatever its body is, which was not read yet; None when it may be."""
        return contextvars.Context().run(self._refusal, request, head=True)

    def answer(self, request: Request, refusal: Refusal) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body in which the service that was asked for says it."""
        denied = self._evaluator.AuthError(refusal.code, refusal.message)
        found: tuple[int, Mapping[str, str], bytes] = self._app._credential_failure(  # noqa: SLF001
            self._service(request), "", "", denied, dict(request.headers)
        )
        status, headers, said = found
        return refusal.status or status, headers, said

    def service(self, request: Request) -> str:
        """Which service will answer, as far as that is not only in the body."""
        return self._service(request)

    def _service(self, request: Request) -> str:
        """Which service will answer."""
        method, path, headers = request.method, request.path, dict(request.headers)
        said = self._app._routing_params(method, path, headers, request.body, dict(request.query))  # noqa: SLF001
        return str(self._app.detect_service(method, path, headers, said))

    def _refusal(self, request: Request, *, head: bool) -> Refusal | None:
        in_query = request.names(*_IN_QUERY)
        if "authorization" in request.headers:
            if in_query:
                return Refusal("IncompleteSignature", "Only one auth mechanism allowed")
            return self._in_header(request, head=head)
        if request.names("AWSAccessKeyId"):
            return self._in_old_query(request)
        if in_query:
            return self._in_query(request, head=head)
        if head or self._is_served_unsigned(request):
            return None
        return Refusal("MissingAuthenticationToken", "Request is missing Authentication Token")

    def _in_header(self, request: Request, *, head: bool) -> Refusal | None:
        found = _AUTHORIZATION.fullmatch(request.headers["authorization"])
        if found is None:
            return Refusal("IncompleteSignature", "The Authorization header is none of AWS4-HMAC-SHA256.")
        key, day, region, service, signed, signature = found.groups()
        time = request.headers.get("x-amz-date", "")
        if not time:
            return Refusal("IncompleteSignature", "Authorization header requires existence of a 'X-Amz-Date' header.")
        token = request.headers.get("x-amz-security-token", "")
        signature = self._sigv4.HeaderSignature(key, day, region, service, signed, signature, time)
        if skewed := self._sigv4.request_time_failure(signature):
            return Refusal(*skewed)
        return self._checked(request, signature, token, presigned=False, head=head)

    def _in_query(self, request: Request, *, head: bool) -> Refusal | None:
        """A presigned URL."""
        scope = _SCOPE.fullmatch(request.said("X-Amz-Credential"))
        said = [request.said(f"X-Amz-{name}") for name in ("SignedHeaders", "Signature", "Date")]
        lasts = request.said("X-Amz-Expires")
        if (
            scope is None
            or request.said("X-Amz-Algorithm") != "AWS4-HMAC-SHA256"
            or not all((*said, lasts.isdecimal()))
        ):
            return Refusal("IncompleteSignature", "The query-string parameters are none of AWS4-HMAC-SHA256.")
        signature = self._sigv4.HeaderSignature(*scope.groups(), *said)
        try:
            late = int(lasts) > _LONGEST_S or self._sigv4.presigned_request_is_expired(said[2], lasts)
            early = not late and not self._sigv4.presigned_request_is_expired(said[2], 15 * 60 * -1)
        except ValueError:
            return Refusal("IncompleteSignature", "X-Amz-Date is no date.")
        if late or early:
            return Refusal("AccessDenied", "Request has expired" if late else "Request is not yet valid")
        return self._checked(request, signature, request.said("X-Amz-Security-Token"), presigned=True, head=head)

    def _in_old_query(self, request: Request) -> Refusal | None:
        """A presigned URL of Signature Version 2, which boto3 still makes for S3."""
        key, signature, until = (request.said(name) for name in ("AWSAccessKeyId", "Signature", "Expires"))
        if not key or not signature or not _EPOCH.fullmatch(until) or self._service(request) != _S3:
            return Refusal("AccessDenied", "Query-string authentication requires Signature, Expires and AWSAccessKeyId")
        if int(until) < time.time():
            return Refusal("AccessDenied", "Request has expired")
        secret = self._secret(key, request.said("x-amz-security-token"))
        if isinstance(secret, Refusal):
            return secret
        bucket = self._app._extract_s3_vhost_bucket(request.headers.get("host", ""))  # noqa: SLF001
        path = f"/{bucket}{request.raw_path}" if bucket else request.raw_path
        asked = self._evaluator.SignedRequest(
            key,
            request.method,
            request.raw_path,
            dict(request.query),
            dict(request.headers),
            sigv2=True,
            auth_path=path,
        )
        found = self._evaluator._sigv2_check(asked, self._account(key))  # noqa: SLF001
        return Refusal(found.code, found.message) if isinstance(found, self._evaluator.AuthError) else None

    def _checked(self, request: Request, signature: Any, token: str, *, presigned: bool, head: bool) -> Refusal | None:
        # What decides who answers, and what is done.
        for name in ("host", *({"x-amz-target"} & request.headers.keys())):
            if name not in signature.signed_headers.split(";"):
                return Refusal("SignatureDoesNotMatch", f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")
        if signature.service == _S3 and _decides(request.headers) - set(signature.signed_headers.split(";")):
            return Refusal("AccessDenied", "There were headers present in the request which were not signed")
        if presigned and signature.service == _S3 and self._service(request) != _S3:
            return Refusal("SignatureDoesNotMatch", "Credential should be scoped to correct service.")
        secret = self._secret(signature.access_key_id, token)
        if isinstance(secret, Refusal):
            return secret
        if head:
            return self._seed_refusal(request, signature, secret, presigned=presigned)
        failure = self._sigv4.header_signature_failure(
            signature, secret, request.method, request.raw_path, dict(request.query), dict(request.headers),
            request.body, presigned=presigned,
        )  # fmt: skip
        if failure is not None:
            return Refusal(*failure)
        digest = request.headers.get("x-amz-content-sha256", "")
        if not presigned and _DIGEST.fullmatch(digest) and not _is_digest_of(digest, request.body):
            return Refusal("SignatureDoesNotMatch", "The provided 'x-amz-content-sha256' is not that of the body.")
        return None

    def _seed_refusal(self, request: Request, signature: Any, secret: str, *, presigned: bool) -> Refusal | None:
        """Of a request that says itself what its body is; whether that is true is seen when it is read."""
        if not request.says_its_body:
            return None
        _, signed = self._sigv4.header_signing_documents(
            signature, request.method, request.raw_path, dict(request.query), dict(request.headers), b"",
            presigned=presigned,
        )  # fmt: skip
        where = (signature.date_stamp, signature.region, signature.service)
        if hmac.compare_digest(self._sigv4.calculate_signature(secret, *where, signed), signature.signature):
            return None
        return Refusal("SignatureDoesNotMatch", self._sigv4.SIGNATURE_MISMATCH)

    def _secret(self, key: str, token: str) -> str | Refusal:
        """The secret access key that belongs to an access key id."""
        root_like = self._evaluator.is_root_access_key(key)
        if root_like and key != self._keys.account:
            return Refusal("UnrecognizedClientException", "The security token included in the request is invalid.")
        try:
            found = self._evaluator.resolve_credential(key, self._account(key), token)
        except ValueError:  # two accounts have it
            return Refusal("UnrecognizedClientException", "The security token included in the request is invalid.")
        if isinstance(found, self._evaluator.CredentialResolutionError):
            return Refusal(found.code, found.message)
        return str(found.secret_access_key)

    def _account(self, key: str) -> str:
        found = self._responses._account_from_sts_session(key)  # noqa: SLF001
        return str(found or self._evaluator.find_iam_access_key_account(key) or self._keys.account)

    def _is_served_unsigned(self, request: Request) -> bool:
        """Whether AWS serves an operation to anybody, such as signing in: there is no other way to get a key."""
        target = request.headers.get("x-amz-target", "")
        if target:
            operations = [target.rsplit(".", 1)[-1]]
        else:
            in_body = parse_qs(request.body.decode("utf-8", "replace"), keep_blank_values=True)
            operations = [*request.query.get("Action", ()), *in_body.get("Action", ())]
        # What is looked at here must be what is done: one operation, named once, in a body that everybody reads.
        plain = request.path == "/" and request.method in ("GET", "POST") and "content-encoding" not in request.headers
        if not plain or len(operations) != 1:
            return False
        service = self._service(request)
        links = self._evaluator._UNSIGNED_LINK_ACTIONS  # noqa: SLF001
        return f"{service}:{operations[0]}" in links or operations[0] in self._actions.unsigned_operations(service)


def _decides(headers: Mapping[str, str]) -> set[str]:
    """Names of headers that say what S3 does with an object, such as what is copied into it: a URL for it is no leave.

    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html, `SignedHeaders`
    """
    return {name for name in headers if name.startswith("x-amz-") and name not in _SAYS_NOTHING}


def _is_digest_of(digest: str, body: bytes) -> bool:
    return hmac.compare_digest(digest, hashlib.sha256(body).hexdigest())


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
