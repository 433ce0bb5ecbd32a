"""Who may knock at a port of the sandbox: which Host names are its own, and what comes from a page of a browser.

A page of any site can send requests to loopback. It cannot choose two things: the `Host` that its browser sends, which
is the name in the URL, also where that name was made to resolve to 127.0.0.1 (DNS rebinding); and whether the browser
adds `Origin` and `Sec-Fetch-Site`, which scripts cannot set, change or leave out.

https://fetch.spec.whatwg.org/#forbidden-request-header
https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection, Iterable

from tocsin.model.doors import TOKEN_HEADER

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""how whoever is on this machine writes it in a URL"""

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?", re.IGNORECASE | re.ASCII)
_HTTP_PORT = 80

Headers = Iterable[tuple[bytes, bytes]]
"""names and values as a server of ASGI hands them out"""


def is_own_host(host: str, port: int, also: Collection[str] = ()) -> bool:
    """Whether a `Host` header names a listener on this port of loopback.

    Its names are 127.0.0.1, localhost, [::1], everything below localhost (`bucket.s3.localhost`: browsers and
    resolvers send it nowhere else, RFC 6761), and the names in `also`: lower case, without a port, `.name` for all
    names below it. Names in `also` may come with any port, because whoever sends them chose them on purpose.
    """
    found = _HOST.fullmatch(host.strip())
    if found is None:
        return False
    name = found[1].lower().removesuffix(".")
    if any(name == one or (one.startswith(".") and name.endswith(one)) for one in also):
        return True
    return int(found[2] or _HTTP_PORT) == port and (name in LOOPBACK or name.endswith(".localhost"))


def comes_from_a_page(headers: Headers) -> bool:
    """Whether a browser sent a request for a page: it has an `Origin`, or a `Sec-Fetch-Site` other than `none`.

    `none` is what the user typed. Programs send neither.
    """
    sent = [(name.lower(), value.strip().lower()) for name, value in headers]
    return any(name == b"origin" or (name == b"sec-fetch-site" and value != b"none") for name, value in sent)


def has_token(headers: Headers, token: str) -> bool:
    """Whether a request has the token of this sandbox, exactly once."""
    sent = [value for name, value in headers if name.lower() == TOKEN_HEADER.encode()]
    return len(sent) == 1 and hmac.compare_digest(sent[0], token.encode())


def wrong_host(headers: Headers, port: int, also: Collection[str] = ()) -> str | None:
    """Why a request is for somebody else; None when its one `Host` is one of `is_own_host`."""
    hosts = [value.decode("latin-1") for name, value in headers if name.lower() == b"host"]
    if len(hosts) == 1 and is_own_host(hosts[0], port, also):
        return None
    found = repr(hosts[0][:100]) if len(hosts) == 1 else f"{len(hosts)} of them"
    return f"expected the Host of this sandbox, such as 127.0.0.1:{port}, found {found}"
