"""Redis: who is signed in. Without it nobody can be told from anybody else."""

from __future__ import annotations

import secrets

from valkey import Valkey
from valkey.backoff import NoBackoff
from valkey.exceptions import ValkeyError
from valkey.retry import Retry

from clocked.errors import ApiError, Unavailable
from clocked.settings import Settings

_TIMEOUT_S = 1.0


class Tokens:
    """Opaque bearer tokens; each lives in Redis for as long as it is good."""

    def __init__(self, settings: Settings) -> None:
        self.life_s = settings.token_life_s
        self._redis = Valkey(
            host=settings.redis_host,
            port=settings.redis_port,
            decode_responses=True,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
        )

    def issue(self, user_id: str) -> str:
        """A new token. Raises Unavailable."""
        token = secrets.token_urlsafe(24)
        try:
            self._redis.set(f"token:{token}", user_id, ex=self.life_s)
        except ValkeyError as error:
            raise Unavailable("cache") from error
        return token

    def user(self, authorization: str | None) -> str:
        """Whose token an Authorization header holds. Raises ApiError 401 or Unavailable."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.isascii() or not token:
            raise ApiError(401, "unauthorized")
        try:
            user_id = self._redis.get(f"token:{token}")
        except ValkeyError as error:
            raise Unavailable("cache") from error
        if user_id is None:
            raise ApiError(401, "unauthorized")
        return str(user_id)
