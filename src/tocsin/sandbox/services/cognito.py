"""Amazon Cognito: what a user pool answers to anybody."""

from __future__ import annotations

import re
from typing import ClassVar

from tocsin.sandbox.http import Message
from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.world import World

_PUBLIC = re.compile(r"/([a-z0-9-]+_[A-Za-z0-9]+)/\.well-known/(?:jwks\.json|openid-configuration)")


class Cognito:
    """The user pools of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {"services.cognito": {"_get_pool_unscoped": "pool_id"}}

    def adapt(self, world: World) -> None:
        """Nothing is changed."""
        self._cognito = world.ministack.module("services.cognito")

    def answers_anybody(self, scope: Message) -> bool:
        """The keys that tokens are verified with, and where they are: of a pool that there is, and nothing else.

        https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-tokens-verifying-a-jwt.html
        """
        found = _PUBLIC.fullmatch(scope["path"]) if scope.get("method") == "GET" else None
        return found is not None and self._cognito._get_pool_unscoped(found[1]) is not None  # noqa: SLF001
