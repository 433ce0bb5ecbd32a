"""Who is signed in: signed tokens, and Redis, which says whether one was revoked. Without it nobody is let in."""

from __future__ import annotations

import time
import uuid

import jwt
from valkey import Valkey
from valkey.backoff import NoBackoff
from valkey.exceptions import ValkeyError
from valkey.retry import Retry

from clocked.errors import ApiError, Unavailable
from clocked.settings import Settings

_TIMEOUT_S = 1.0
_ALGORITHM = "HS256"


class Tokens:
    """Bearer tokens of users."""

    def __init__(self, settings: Settings) -> None:
        self.life_s = settings.token_life_s
        self._secret = settings.token_secret
        # A URL, because the address of a cache may carry a password.
        self._redis = Valkey.from_url(
            f"redis://{settings.redis_host}:{settings.redis_port}",
            decode_responses=True,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
        )

    def issue(self, user_id: str) -> str:
        """A new token."""
        claims = {"sub": user_id, "jti": uuid.uuid4().hex, "exp": time.time() + self.life_s}
        return jwt.encode(claims, self._secret, _ALGORITHM)

    def user(self, authorization: str | None) -> str:
        """Whose token an Authorization header holds. Raises ApiError 401 or Unavailable."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            raise ApiError(401, "unauthorized")
        try:
            claims = jwt.decode(token, self._secret, [_ALGORITHM])
            revoked = self._redis.exists(f"revoked:{claims['jti']}")
        except jwt.InvalidTokenError:
            raise ApiError(401, "unauthorized") from None
        except ValkeyError as error:
            raise Unavailable("cache") from error
        if revoked:
            raise ApiError(401, "unauthorized")
        return str(claims["sub"])
