"""Who is asking: Cognito's tokens, verified by signature, issuer, client and time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

import jwt

from .errors import DependencyUnavailable, unauthorized
from .settings import setting

KEYS_TIMEOUT_S = 3


@dataclass(frozen=True)
class User:
    """A signed-in user; `id` is the Cognito `sub` and the key of `app_users`."""

    id: str
    groups: frozenset[str]

    @property
    def is_admin(self) -> bool:
        """Whether the user may see and decide for others."""
        return "ADMIN" in self.groups


@cache
def _issuer() -> str:
    region, pool = setting("COGNITO_REGION"), setting("COGNITO_USER_POOL_ID")
    return f"https://cognito-idp.{region}.amazonaws.com/{pool}"


@cache
def _keys() -> jwt.PyJWKClient:
    url = os.environ.get("COGNITO_JWKS_URL") or f"{_issuer()}/.well-known/jwks.json"
    return jwt.PyJWKClient(url, lifespan=3600, timeout=KEYS_TIMEOUT_S)


def authenticate(authorization: str | None) -> User:
    """The user of an `Authorization: Bearer` header.

    Raises ApiError 401 for anything but a valid access or ID token, DependencyUnavailable when Cognito's keys
    cannot be fetched.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise unauthorized("A bearer token is required.")
    try:
        key = _keys().get_signing_key_from_jwt(token)
        claims = jwt.decode(
            token,
            key.key,
            algorithms=["RS256"],
            issuer=_issuer(),
            options={"require": ["exp", "iss", "sub", "token_use"], "verify_aud": False},
        )
    except jwt.PyJWKClientConnectionError as cause:
        raise DependencyUnavailable("cognito", "the signing keys cannot be fetched") from cause
    except (jwt.PyJWTError, ValueError) as cause:
        raise unauthorized("The token is not valid.") from cause
    # An access token names its client in client_id, an ID token in aud.
    client_claims = {"access": "client_id", "id": "aud"}
    if claims.get(client_claims.get(claims["token_use"], "")) != setting("COGNITO_CLIENT_ID"):
        raise unauthorized("The token belongs to another client.")
    return User(claims["sub"], frozenset(claims.get("cognito:groups", ())))
