"""A target that answers some calls wrongly, and passes on all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from botocore.awsrequest import AWSResponse

from tocsin.aws.target import Target

Request = Mapping[str, Any]
Spoils = Callable[[Request], Mapping[str, Any] | None]
"""From the parameters of a call to its answer; None where it is passed on."""


def says(code: str, message: str = "said the stub", status: int = 400) -> Mapping[str, Any]:
    """An error as AWS gives it."""
    return {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}


def spoil(target: Target, **operations: Spoils) -> None:
    """Answer these operations (`DeleteQueue=...`) of every service as a function says, from now on."""

    def keep(params: Request, context: dict[str, Any], **_: Any) -> None:
        context["spoiled"] = dict(params)

    def answer(model: Any, context: Mapping[str, Any], **_: Any) -> tuple[AWSResponse, Mapping[str, Any]] | None:
        if model.name not in operations:
            return None
        said = operations[model.name](context["spoiled"])
        if said is None:
            return None
        status = said.get("ResponseMetadata", {}).get("HTTPStatusCode", 200)
        whole = {**said, "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": 0}}
        return AWSResponse("https://spoiled", status, {}, None), whole

    target.session.events.register("before-parameter-build", keep)
    target.session.events.register_last("before-call", answer)
