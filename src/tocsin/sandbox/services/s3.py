# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Amazon S3: ministack's buckets, as large as S3 takes objects, and open to the pages that a bucket names.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from tocsin.sandbox.http import Message
from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.signatures import Refusal, Request
from tocsin.sandbox.world import World

_LARGEST_OBJECT = 5 * 1024**3
"""of one PUT: https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html"""
_METHODS = frozenset({"GET", "PUT", "HEAD", "POST", "DELETE"})
_MOST_RULES = 100
"""https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketCors.html"""


class S3:
    """The buckets of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        "app": {"_s3_cors_target": "host, path, path_style"},
        "services.s3": {
            "fromstring": "",
            "_cors_rules": "bucket_name",
            "_error": "code, message, status, resource, extra, headers",
            "_put_bucket_cors": "name, body",
            "cors_preflight": "bucket_name, key, headers",
            "cors_response_headers": "bucket_name, method, headers",
        },
    }
    signed_for = "s3"
    largest_body = _LARGEST_OBJECT
    # https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList
    too_large = Refusal("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", status=400)
    undeclared = Refusal("MissingContentLength", "You must provide the Content-Length HTTP header.", status=411)

    def adapt(self, world: World) -> None:
        """Refuse what S3 refuses of a CORS configuration, which would otherwise let in nobody, or everybody."""
        self._app = world.ministack.module("app")
        self._s3 = world.ministack.module("services.s3")
        self._put_cors = world.ministack.replace(self._s3, "_put_bucket_cors", self._put_bucket_cors)

    def preflight(self, scope: Message) -> tuple[int, Mapping[str, str], bytes] | None:
        """What the bucket answers a browser that asks whether a page may; None where no bucket is asked."""
        request = Request.of(scope, b"")
        bucket = self._bucket(request)
        if request.method != "OPTIONS" or "origin" not in request.headers or bucket is None:
            return None
        found: tuple[int, Mapping[str, str], bytes] = self._s3.cors_preflight(*bucket, dict(request.headers))
        return found

    def cors_headers(self, scope: Message) -> Mapping[str, str] | None:
        """What is added to the answer to a page: nothing where no rule names it; None where the bucket has no rules."""
        request = Request.of(scope, b"")
        bucket = self._bucket(request)
        if bucket is None or self._s3._cors_rules(bucket[0]) is None:
            return None
        found: Mapping[str, str] = self._s3.cors_response_headers(bucket[0], request.method, dict(request.headers))
        return found

    def _bucket(self, request: Request) -> tuple[str, str] | None:
        """The existing bucket that a URL names, and the key in it."""
        found: tuple[str, str] | None = self._app._s3_cors_target(request.headers.get("host", ""), request.path)
        return found

    def _put_bucket_cors(self, name: str, body: bytes) -> Any:
        try:
            problem = next(_problems(self._s3.fromstring(body)), None)
        except Exception:  # whatever the parser calls it
            problem = _MALFORMED
        return self._put_cors(name, body) if problem is None else self._s3._error(*problem, 400, f"/{name}")


_MALFORMED = (
    "MalformedXML",
    "The XML you provided was not well-formed or did not validate against our published schema",
)


def _problems(configuration: Any) -> Iterator[tuple[str, str]]:
    """Code and message of S3 for what it refuses of a `CORSConfiguration`."""
    rules = [child for child in configuration if _name(child) == "CORSRule"]
    if _name(configuration) != "CORSConfiguration" or not rules:
        yield _MALFORMED
    if len(rules) > _MOST_RULES:
        yield "InvalidRequest", f"The number of CORS rules should not exceed allowed limit of {_MOST_RULES} rules."
    for rule in rules:
        said = [(_name(child), (child.text or "").strip()) for child in rule]
        if not {"AllowedOrigin", "AllowedMethod"} <= {name for name, _ in said}:
            yield _MALFORMED
        for name, value in said:
            yield from _problems_of(name, value)


def _problems_of(name: str, value: str) -> Iterator[tuple[str, str]]:
    if name == "AllowedMethod" and value not in _METHODS:
        yield "InvalidRequest", f"Found unsupported HTTP method in CORS config. Unsupported method is {value}"
    if name in ("AllowedOrigin", "AllowedHeader") and value.count("*") > 1:
        yield "InvalidRequest", f'{name} "{value}" can not have more than one wildcard.'
    if name == "ExposeHeader" and "*" in value:
        support = "We currently do not support wildcard for ExposeHeader."
        yield "InvalidRequest", f'ExposeHeader "{value}" contains wildcard. {support}'
    if name == "MaxAgeSeconds" and not value.isdecimal():
        yield _MALFORMED


def _name(element: Any) -> str:
    """Of an element, without its namespace."""
    return str(element.tag).rsplit("}", 1)[-1]
