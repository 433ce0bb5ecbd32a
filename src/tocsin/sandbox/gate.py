"""The gate of the AWS API: who may come in at all. What answers, and what it may do, others decide behind it.

In this order: the Host is one of this sandbox; no page of a browser sent it; inner paths have the token; everything
else is signed with a key that this sandbox gave out. A data plane of a service only has the first of these.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tocsin.model.doors import TOKEN_HEADER
from tocsin.sandbox.doors import comes_from_a_page, has_token, wrong_host
from tocsin.sandbox.http import (
    DOOR_BODY,
    MIB,
    BodyTooLargeError,
    Message,
    Receive,
    Send,
    content_length,
    header,
    read_body,
    send_answer,
)
from tocsin.sandbox.keys import Keys
from tocsin.sandbox.service import AnswersAnybody, DeclaresCors, TakesBodies
from tocsin.sandbox.signatures import Refusal, Request, Signatures

UNSIGNED_BODY = MIB
"""Bytes of a body that nobody signed: whoever signs in to a user pool sends a few hundred."""
API_BODY = 70_167_211
"""Bytes of a request to the AWS API: what CreateFunction takes, as its error says, with a package of 50 MB in it.
No other service that is here takes more but S3.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""
_HEALTH = "/health"
_CAPABILITY = re.compile(r"/_ministack/cfn-(?:response|signal)/[0-9A-Za-z-]+", re.ASCII)
"""Paths that end in a random name, which CloudFormation hands to whoever shall answer it: on AWS, presigned URLs.

They are good for PUT. With any other method ministack would look at the headers, and answer as any service of AWS.
"""


@dataclass(frozen=True)
class Gate:
    """What is asked of every request to one sandbox."""

    port: int
    keys: Keys
    signatures: Signatures
    data_planes: Sequence[AnswersAnybody]
    pages: Sequence[str]
    """beginnings of paths that services answer themselves; they end in a name that only its owner knows"""
    with_cors: Sequence[DeclaresCors]
    bodies: Mapping[str, TakesBodies]
    """services that take other bodies than the rest, by the name that a request is signed for"""

    def is_data_plane(self, scope: Message) -> bool:
        """Whether what was deployed answers, and not the account."""
        return any(one.answers_anybody(scope) for one in self.data_planes)

    def is_inner(self, path: str) -> bool:
        """Whether a path is none of the AWS API: it needs the token, or is one of those that are open by themselves."""
        return path.startswith("/_") or path == _HEALTH

    def cors_headers(self, scope: Message) -> Mapping[str, str] | None:
        """What the answer to a page says of CORS; None where no page may ask, whoever signed for it."""
        if self.is_inner(scope["path"]):
            return None
        found = (one.cors_headers(scope) for one in self.with_cors)
        return next((one for one in found if one is not None), None)

    def declared_cors(self, scope: Message) -> Mapping[str, str]:
        """What an answer says of CORS: to a program nothing."""
        return (self.cors_headers(scope) or {}) if comes_from_a_page(scope["headers"]) else {}

    def preflight(self, scope: Message) -> tuple[int, Mapping[str, str], bytes] | None:
        """The answer to a browser that asks what a page may; None where nobody declares it."""
        if self.is_inner(scope["path"]) or wrong_host(scope["headers"], self.port) is not None:
            return None
        found = (one.preflight(scope) for one in self.with_cors)
        return next((one for one in found if one is not None), None)

    def _is_open_by_itself(self, scope: Message) -> bool:
        """Whether who knows an inner path may use it."""
        path: str = scope["path"]
        return path.startswith(tuple(self.pages)) or (
            scope["method"] == "PUT" and _CAPABILITY.fullmatch(path) is not None
        )

    def _needs_token(self, scope: Message) -> bool:
        return self.is_inner(scope["path"]) and not self._is_open_by_itself(scope)

    def closed(self, scope: Message) -> str | None:
        """Why a request does not come in, whoever signed it; None when it may go on."""
        refused = wrong_host(scope["headers"], self.port)
        if refused is None and not self.is_data_plane(scope):
            if comes_from_a_page(scope["headers"]) and self.cors_headers(scope) is None:
                refused = "expected no page of a browser, found Origin or Sec-Fetch-Site"
            elif self._needs_token(scope) and not has_token(scope["headers"], self.keys.token):
                refused = f"expected the token of this sandbox in {TOKEN_HEADER}, found none or another"
        return refused

    def inner_limit(self, scope: Message) -> int:
        """How many bytes an inner path or a data plane takes."""
        return DOOR_BODY if self._needs_token(scope) else UNSIGNED_BODY

    async def admitted(self, scope: Message, receive: Receive, send: Send) -> bytes | None:
        """The body of a request to the AWS API, which proved who sends it; None: it did not, and was answered.

        What is known to be refused is refused before the body is read.
        """
        request = Request.of(scope, b"")
        refusal = self.signatures.refusal_of_head(request) or self._refusal_of_length(request, scope)
        if refusal is None:
            try:
                body = await read_body(receive, self._limit(request), content_length(scope))
            except BodyTooLargeError as error:
                refusal = self._too_large(request, error.limit)
            else:
                request = replace(request, body=body)
                refusal = self.signatures.refusal(request)
        if refusal is None:
            return request.body
        status, headers, said = self.signatures.answer(request, refusal)
        await send_answer(send, status, headers, b"" if scope["method"] == "HEAD" else said)
        return None

    def _taker(self, request: Request) -> TakesBodies | None:
        """The service that says itself which bodies it takes, of those alone who have proved already that they may."""
        proved = request.is_signed and request.says_its_body
        return self.bodies.get(self.signatures.service(request)) if proved else None

    def _limit(self, request: Request) -> int:
        taker = self._taker(request)
        if taker is not None:
            return taker.largest_body
        return API_BODY if request.is_signed else UNSIGNED_BODY

    def _refusal_of_length(self, request: Request, scope: Message) -> Refusal | None:
        """Why a request is not taken that does not say how long it is."""
        chunked = content_length(scope) is None and header(scope, b"transfer-encoding") != ""
        taker = self._taker(request)
        return taker.undeclared if taker is not None and chunked else None

    def _too_large(self, request: Request, limit: int) -> Refusal:
        taker = self._taker(request)
        if taker is not None:
            return taker.too_large
        # Most of what nobody signed is refused whatever is in it, and AWS says that first.
        nobody = None if request.is_signed else self.signatures.refusal(request)
        said = f"Request must be smaller than {limit} bytes"
        return nobody or Refusal("RequestEntityTooLargeException", said, status=413)


async def send_closed(send: Send, why: str) -> None:
    """Answer whoever does not come in."""
    await send_answer(send, 403, {"content-type": "application/json"}, json.dumps({"message": why}).encode())
