"""Universal targets: EventBridge Scheduler calls an operation of the AWS API, here of the sandbox's own.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tocsin.sandbox.services.events.deadletters import DeliveryError, ErrorCode

_FINAL = ("AccessDenied", "Unauthorized", "NotFound", "NonExistent", "Validation", "InvalidParameter", "Missing")
"""Parts of the error codes that another attempt does not change."""


def call(endpoint_url: str, region: str, credentials: Mapping[str, str], target: tuple[str, str], text: str) -> None:
    """Call `target` (service, operation) with the request in `text`; blocks.

    `credentials` are those parameters of `boto3.client`.

    Raises:
        DeliveryError: it was refused, or there is no such operation.
    """
    # Loaded by the first schedule with a universal target: a sandbox without one starts faster.
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    service, operation = target
    try:
        client = boto3.client(
            service,
            endpoint_url=endpoint_url,
            region_name=region,
            config=Config(connect_timeout=5, read_timeout=20, retries={"max_attempts": 0}),
            **credentials,
        )
        name = _named(operation, client.meta.service_model.operation_names)
        shape = client.meta.service_model.operation_model(name).input_shape
        client._make_api_call(name, request(json.loads(text or "{}"), shape))  # noqa: SLF001 - by name, as the ARN does
    except ClientError as error:
        code = str(error.response["Error"]["Code"])
        raise DeliveryError(code, str(error), retriable=not any(part in code for part in _FINAL)) from None
    except ValueError as error:
        raise DeliveryError(ErrorCode.INVALID_JSON, f"the input of {service}:{operation} is no JSON: {error}") from None
    except BotoCoreError as error:
        raise DeliveryError(ErrorCode.INVALID_PARAMETER, f"{service}:{operation}: {error}") from None


def request(value: Any, shape: Any) -> Any:
    """A request with its members named as boto3 names them.

    AWS names them as the SDK for Java does: its `DbProxyName` is boto3's `DBProxyName`.
    """
    kind = getattr(shape, "type_name", None)
    if kind == "structure" and isinstance(value, Mapping):
        names = {_known(key, shape.members): one for key, one in value.items()}
        return {key: request(one, shape.members.get(key)) for key, one in names.items()}
    if kind == "list" and isinstance(value, list):
        return [request(one, shape.member) for one in value]
    if kind == "map" and isinstance(value, Mapping):
        return {key: request(one, shape.value) for key, one in value.items()}
    return value


def _known(name: str, members: Mapping[str, Any]) -> str:
    return next((member for member in members if member.lower() == name.lower()), name)


def _named(operation: str, names: Any) -> str:
    found = next((name for name in names if name.lower() == operation.lower()), None)
    if found is None:
        raise DeliveryError(ErrorCode.INVALID_PARAMETER, f"there is no operation {operation}")
    return str(found)
