"""Proxies of the environment: the way to AWS may need one, the way to this machine never does.

Every client that obeys `HTTP_PROXY`, `HTTPS_PROXY` or `ALL_PROXY` obeys `NO_PROXY`, too: boto3, requests (and with it
Locust and Schemathesis), httpx, urllib, curl. So it is said there, once, for this process and all that it starts.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, MutableMapping
from urllib.parse import urlsplit

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy")
_LOOPBACK = ("localhost", ".localhost", "127.0.0.1", "::1")
_EVERYTHING = "*"


def spare_loopback(environment: MutableMapping[str, str] = os.environ) -> None:
    """From now on no client of this process, or of one that it starts, asks a proxy for a loopback address.

    Nothing is changed where the environment names no proxy: on macOS a `NO_PROXY` alone would hide the system's.
    """
    if not any(environment.get(name) for proxy in _PROXIES for name in (proxy, proxy.upper())):
        return
    spared = _spared(environment)
    # Some clients look for the one name only, and some for the other.
    for name in ("no_proxy", "NO_PROXY"):
        environment[name] = spared


def _spared(environment: Mapping[str, str]) -> str:
    """What both names spare, and loopback: who wrote two lists meant both, and each client reads only one of them.

    A lone `*` spares everything. Among other names it does so for some clients only, and stays what it was.
    """
    lists = [environment.get(name, "").split(",") for name in ("no_proxy", "NO_PROXY")]
    names = [[name.strip() for name in found if name.strip()] for found in lists]
    if [_EVERYTHING] in names:
        return _EVERYTHING
    return ",".join(dict.fromkeys([*names[0], *names[1], *_LOOPBACK]))


def is_loopback(url: str) -> bool:
    """Whether a URL is answered by this machine, as far as its host tells.

    httpx prepares for every proxy of the environment, also for those that it will not ask, and raises where one is of
    a kind that it does not know (SOCKS): a client that only talks to this machine is made without them.
    """
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
