"""Who is signed in: signed tokens that nothing stores."""

from __future__ import annotations

import time
from dataclasses import dataclass

import jwt

from .errors import ApiError
from .settings import setting

LIFE_S = 3600
_ALGORITHM = "HS256"


@dataclass(frozen=True)
class User:
    """Whose token it is."""

    id: str
    role: str


def issue(user: User) -> str:
    """A new token."""
    claims = {"sub": user.id, "role": user.role, "exp": time.time() + LIFE_S}
    return jwt.encode(claims, setting("TOKEN_SECRET"), _ALGORITHM)


def user_of(authorization: str | None) -> User:
    """Whose token an Authorization header holds. Raises ApiError 401."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        raise ApiError(401, "unauthorized")
    try:
        claims = jwt.decode(token, setting("TOKEN_SECRET"), [_ALGORITHM])
    except jwt.InvalidTokenError:
        raise ApiError(401, "unauthorized") from None
    return User(str(claims["sub"]), str(claims["role"]))
