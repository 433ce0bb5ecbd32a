"""Cross-origin requests as an HTTP API of API Gateway answers them.

An API without a configuration adds nothing and answers nothing: `OPTIONS` is a method as others, and the headers of
the integration are the answer's. An API with one answers preflights itself, and what its integration says of CORS is
dropped.
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-cors.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_ANY = "*"
_PREFIX = "access-control-"


@dataclass(frozen=True)
class Cors:
    """The `CorsConfiguration` of an API."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...]
    exposed: tuple[str, ...]
    credentials: bool
    max_age_s: int | None

    @classmethod
    def of(cls, configuration: Mapping[str, Any] | None) -> Cors | None:
        """From the record of an API; None where it has none."""
        if not configuration:
            return None
        age = configuration.get("maxAge")
        return cls(
            origins=tuple(configuration.get("allowOrigins") or ()),
            methods=tuple(configuration.get("allowMethods") or ()),
            headers=tuple(configuration.get("allowHeaders") or ()),
            exposed=tuple(configuration.get("exposeHeaders") or ()),
            credentials=bool(configuration.get("allowCredentials")),
            max_age_s=None if age is None else int(age),
        )

    def preflight(self, request: Mapping[str, str]) -> dict[str, str]:
        """Headers of the answer to a preflight; none of CORS for an origin that is not allowed."""
        allowed = self._allowed(request.get("origin", ""))
        if allowed and self.methods:
            allowed["access-control-allow-methods"] = ",".join(self.methods)
        if allowed and self.headers:
            allowed["access-control-allow-headers"] = ",".join(self.headers)
        if allowed and self.max_age_s is not None:
            allowed["access-control-max-age"] = str(self.max_age_s)
        return allowed

    def on_answer(self, request: Mapping[str, str], answer: Mapping[str, Any]) -> dict[str, Any]:
        """The headers of an integration's answer as the API passes them on."""
        kept = {name: value for name, value in answer.items() if not name.lower().startswith(_PREFIX)}
        allowed = self._allowed(request.get("origin", ""))
        if allowed and self.exposed:
            allowed["access-control-expose-headers"] = ",".join(self.exposed)
        if "vary" in allowed:
            before = next((name for name in kept if name.lower() == "vary"), None)
            if before is not None:
                allowed["vary"] = f"{kept.pop(before)}, {allowed['vary']}"
        return {**kept, **allowed}

    def _allowed(self, origin: str) -> dict[str, str]:
        if not origin or not any(_matches(one, origin) for one in self.origins):
            return {}
        allowed = {"access-control-allow-origin": _ANY if _ANY in self.origins else origin}
        if _ANY not in self.origins:
            # A cache must not give the answer for one origin to another.
            allowed["vary"] = "Origin"
            if self.credentials:
                allowed["access-control-allow-credentials"] = "true"
        return allowed


def is_preflight(method: str, request: Mapping[str, str]) -> bool:
    """Whether a browser asks what it may send."""
    return method == "OPTIONS" and "origin" in request and "access-control-request-method" in request


def _matches(allowed: str, origin: str) -> bool:
    """`*`, `https://*` and `http://*` allow any origin that begins so; others are compared whole."""
    wanted, found = allowed.lower(), origin.lower()
    return found.startswith(wanted[:-1]) if wanted in (_ANY, "https://*", "http://*") else found == wanted
