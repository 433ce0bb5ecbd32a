# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""API destinations: an event becomes a real HTTP request, whose answer decides whether it is tried again.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-api-destinations.html
"""

from __future__ import annotations

import asyncio
import urllib.error
from collections.abc import Mapping
from typing import Any

from tocsin.sandbox.ministack import Ministack
from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.services.events.deadletters import DeliveryError, ErrorCode
from tocsin.sandbox.services.events.permissions import Permissions, Sender

RELIED_ON: ReliedOn = {
    "services.eventbridge": {
        "_api_destinations": "",
        "_connections": "",
        "_resolve_http_parameters": "parameters, event",
        "_build_api_destination_request": "dest, conn, target_http_params, payload",
        "_connection_auth_headers": "conn, token_key, force_refresh",
        "_api_destination_send_sync": "request, auth_headers",
    },
}
_TRIED_AGAIN = frozenset({401, 407, 409, 429})
"""Besides 5xx; other answers are final."""
_ANEW = frozenset({401, 407})
"""For a connection with OAuth: with a new token."""


class ApiDestinations:
    """The API destinations of one sandbox."""

    def __init__(self, ministack: Ministack, permissions: Permissions) -> None:
        self._permissions = permissions
        self._events = ministack.module("services.eventbridge")

    async def send(self, sender: Sender, target: Mapping[str, Any], text: str, event: Mapping[str, Any]) -> None:
        """Make the request; AWS waits five seconds for its answer, and so does ministack.

        Raises:
            DeliveryError: no answer, or one that is not 2xx.
        """
        arn = target["Arn"]
        name = arn.split(":api-destination/", 1)[-1].split("/", 1)[0]
        destination = self._events._api_destinations.get(name)
        connection_name = str((destination or {}).get("ConnectionArn") or "").rsplit("/", 1)[-1]
        connection = self._events._connections.get(connection_name)
        if destination is None or connection is None:
            raise DeliveryError(ErrorCode.NO_RESOURCE, f"API destination or its connection does not exist: {arn}")
        self._permissions.check(sender, "events:InvokeApiDestination", arn)
        if connection.get("ConnectionState") != "AUTHORIZED":
            raise DeliveryError(
                ErrorCode.ERROR_FROM_TARGET, f"connection {connection_name} is not authorized", retriable=True
            )
        parameters = self._events._resolve_http_parameters(target.get("HttpParameters") or {}, event)
        request = self._events._build_api_destination_request(destination, connection, parameters, text)
        key = (*sender.scope, connection_name)
        status = await asyncio.to_thread(self._answer, request, dict(connection), key)
        if not 200 <= status < 300:
            raise DeliveryError(
                ErrorCode.THROTTLING if status == 429 else ErrorCode.ERROR_FROM_TARGET,
                f"{request['url']} answered {status}",
                retriable=status in _TRIED_AGAIN or status >= 500,
            )

    def _answer(self, request: Mapping[str, Any], connection: Mapping[str, Any], key: tuple[str, ...]) -> int:
        events = self._events
        try:
            status = int(events._api_destination_send_sync(request, events._connection_auth_headers(connection, key)))
            if status in _ANEW and connection.get("AuthorizationType") == "OAUTH_CLIENT_CREDENTIALS":
                headers = events._connection_auth_headers(connection, key, force_refresh=True)
                status = int(events._api_destination_send_sync(request, headers))
        except TimeoutError as error:
            raise DeliveryError(ErrorCode.TIMEOUT, f"{request['url']} did not answer: {error}") from None
        except (urllib.error.URLError, OSError) as error:
            code = (
                ErrorCode.TIMEOUT
                if isinstance(getattr(error, "reason", None), TimeoutError)
                else ErrorCode.CONNECTION_FAILURE
            )
            raise DeliveryError(code, f"{request['url']} did not answer: {error}") from None
        return status
