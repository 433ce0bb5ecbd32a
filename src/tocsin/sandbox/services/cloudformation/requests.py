"""Requests of a stack to the AWS API of its own sandbox, and the words in which a refused one fails a resource.

Templates may write numbers and booleans as text; requests have them as the API's model says.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tocsin.sandbox.keys import Keys

HANDLER_CODES: Mapping[str, str] = {
    "NotFound": "NotFound",
    "NoSuch": "NotFound",
    "NonExistent": "NotFound",
    "AlreadyExists": "AlreadyExists",
    "AccessDenied": "AccessDenied",
    "Conflict": "ResourceConflict",
    "Throttl": "Throttling",
    "TooManyRequests": "Throttling",
    "LimitExceeded": "ServiceLimitExceeded",
    "Validation": "InvalidRequest",
    "Invalid": "InvalidRequest",
}
"""Part of an error code of a service -> `HandlerErrorCode`.
https://docs.aws.amazon.com/cloudformation-cli/latest/userguide/resource-type-test-contract-errors.html
"""


class ResourceFailed(Exception):
    """Why a resource of a stack could not be made, changed or removed, as the events of the stack tell it."""

    def __init__(self, message: str, code: str = "GeneralServiceException") -> None:
        self.message = message
        self.code = code
        super().__init__(
            f'Resource handler returned message: "{message}" (RequestToken: {uuid.uuid4()}, HandlerErrorCode: {code})'
        )


class InvalidProperties(ResourceFailed):
    """A property that the type has not, or whose value is none for it."""

    def __init__(self, logical_id: str, problem: str) -> None:
        super().__init__(problem, "InvalidRequest")
        self.args = (f"Properties validation failed for resource {logical_id} with message: [{problem}]",)


class Requests:
    """Clients of one sandbox that sign as the root of its account."""

    def __init__(self, endpoint_url: str, keys: Keys) -> None:
        self._endpoint_url = endpoint_url
        self._session = boto3.Session(
            aws_access_key_id=keys.account, aws_secret_access_key=keys.secret_access_key, region_name="us-east-1"
        )
        self._clients: dict[tuple[str, str], Any] = {}
        # A session makes one client at a time: its loader is not safe for threads.
        self._making = threading.Lock()

    def call(self, region: str, service: str, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a request; what the template wrote as text has the type of the API's model.

        Raises:
            ResourceFailed: it was refused, or the model has no such member.
        """
        client = self._client(region, service)
        shape = client.meta.service_model.operation_model(operation).input_shape
        try:
            answer: Mapping[str, Any] = client._make_api_call(operation, typed(request, shape))  # noqa: SLF001 - by name
        except ClientError as error:
            raise _failed(client.meta.service_model.service_id, error) from error
        except (BotoCoreError, ValueError, TypeError) as error:
            raise ResourceFailed(str(error), "InvalidRequest") from error
        return answer

    def _client(self, region: str, service: str) -> Any:
        with self._making:
            if (region, service) not in self._clients:
                config = Config(connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 1})
                self._clients[region, service] = self._session.client(
                    service, region_name=region, endpoint_url=self._endpoint_url, config=config
                )
            return self._clients[region, service]


def _failed(service_id: str, error: ClientError) -> ResourceFailed:
    """The error as resource handlers word it."""
    told, answered = error.response["Error"], error.response.get("ResponseMetadata", {})
    status, request_id = answered.get("HTTPStatusCode"), answered.get("RequestId")
    words = f"{told.get('Message', '')} (Service: {service_id}, Status Code: {status}, Request ID: {request_id})"
    return ResourceFailed(words, handler_code(str(told.get("Code", ""))))


def handler_code(code: str) -> str:
    """`HandlerErrorCode` for the error code of a service."""
    return next((known for part, known in HANDLER_CODES.items() if part in code), "GeneralServiceException")


def typed(value: Any, shape: Any) -> Any:
    """A value of a template with the types of the API's model.

    Raises:
        ValueError: the model has no such member, or the text is none of its type.
    """
    kind = getattr(shape, "type_name", None)
    if kind == "structure" and isinstance(value, Mapping):
        return {name: typed(one, _member(shape, name)) for name, one in value.items()}
    if kind == "list" and isinstance(value, list | tuple):
        return [typed(one, shape.member) for one in value]
    if kind == "map" and isinstance(value, Mapping):
        return {str(name): typed(one, shape.value) for name, one in value.items()}
    return _scalar(value, kind)


def _member(shape: Any, name: str) -> Any:
    if name not in shape.members:
        raise ValueError(f"#: extraneous key [{name}] is not permitted")
    return shape.members[name]


def _scalar(value: Any, kind: str | None) -> Any:
    if kind in ("integer", "long") and isinstance(value, str):
        return int(value)
    if kind in ("float", "double") and isinstance(value, str):
        return float(value)
    if kind == "boolean" and isinstance(value, str):
        return flag(value)
    if kind == "string" and not isinstance(value, str):
        return as_text(value)
    return value


def as_text(value: Any) -> str:
    """A property as text: objects and booleans as JSON writes them."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def flag(value: Any) -> bool:
    """A boolean of a template.

    Raises:
        ValueError: it is none.
    """
    if str(value).lower() not in ("true", "false"):
        raise ValueError(f"{value!r} is not a boolean: write true or false")
    return str(value).lower() == "true"
