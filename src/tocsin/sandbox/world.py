"""What every service of a sandbox has in common: its clocks, its metrics, ministack, and the other services."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import TypeVar, cast

from tocsin.errors import SandboxError
from tocsin.sandbox.clock import Clock
from tocsin.sandbox.http import App
from tocsin.sandbox.keys import Keys
from tocsin.sandbox.metrics import MetricStore, SystemTime
from tocsin.sandbox.ministack import Ministack
from tocsin.sandbox.parts.programs import Parts
from tocsin.sandbox.service import Service

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """One sandbox, as its services see it."""

    clock: Clock
    time: SystemTime
    store: MetricStore
    ministack: Ministack
    loop: asyncio.AbstractEventLoop
    endpoint_url: str
    """where the AWS API answers"""
    directory: Path
    """of everything that the sandbox writes"""
    account: str
    """of a request whose access key is not an account id"""
    region: str
    keys: Keys
    """with which the account's root signs, and doors are opened"""
    parts: Parts
    serve: Callable[[socket, App], None]
    """Serve an application on a socket of `http.listen` until the sandbox ends; from the event loop."""
    services: Mapping[type[Service], Service]
    """all of them, in the order of `SERVICES`"""

    def service(self, kind: type[T]) -> T:
        """Another service, by its class. One that comes earlier in the order is adapted already.

        Raises:
            SandboxError: this sandbox has no such service.
        """
        found = self.services.get(cast("type[Service]", kind))
        if found is None:
            known = ", ".join(sorted(one.__name__ for one in self.services))
            raise SandboxError(
                f"expected the service {kind.__name__} in this sandbox, found {known}: add its line to "
                "sandbox/services/catalogue.py"
            )
        return cast("T", found)
