"""Third parties that systems talk to: Starlette applications on loopback, each behind the same fault door (`door.py`).

A stub is a module here with `def make(options) -> ThirdParty`, and a line in `STUBS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tocsin.errors import SandboxError, near_match

if TYPE_CHECKING:
    from starlette.applications import Starlette

STUBS: Mapping[str, str] = {
    "microsoft-graph": "microsoft_graph",
    "openai": "openai",
    "openweathermap": "openweathermap",
    "pagerduty": "pagerduty",
    "slack": "slack",
}
"""Kind of a stub -> its module here."""


@dataclass(frozen=True)
class ThirdParty:
    """What a stub is made of: the application, and how this third party words an error of its own."""

    app: Starlette
    error: Callable[[int], object]
    """Status code -> the document of an error that is not the caller's fault."""
    received: Callable[[], Sequence[Mapping[str, object]]] = tuple
    """What it was told, of those who are told of alarms (`told.py`)."""


class Stub(Protocol):
    """A running stub."""

    @property
    def base_url(self) -> str:
        """Where it listens, without a slash at the end."""

    def received(self) -> Sequence[Mapping[str, object]]:
        """What it was told, oldest first, with the `stub` that it is; nothing where it is nobody who is told."""

    async def close(self) -> None:
        """Stop listening; safe to call twice."""


async def start(kind: str, options: Mapping[str, str], token: str) -> Stub:
    """Start the stub of `kind` in the current event loop; its door opens to whoever has the token.

    Raises:
        SandboxError: there is no such kind, or it cannot use these options.
    """
    if kind not in STUBS:
        raise SandboxError(f"expected a stub that exists, found '{kind}'. {near_match(kind, STUBS)}")
    from tocsin.sandbox.stubs.server import serve

    third_party: ThirdParty = importlib.import_module(f"{__name__}.{STUBS[kind]}").make(options)
    return serve(kind, third_party, token)
