# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Amazon DynamoDB: ministack's, with the policies of its tables."""

from __future__ import annotations

from typing import ClassVar

from tocsin.sandbox.service import Asked, ReliedOn
from tocsin.sandbox.world import World


class DynamoDb:
    """The tables of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        "core.iam_actions": {"_param": "body, query_params, fields"},
        "services.dynamodb": {"_resource_policies": ""},
    }
    signed_for = "dynamodb"

    def adapt(self, world: World) -> None:
        """Nothing is changed."""
        self._parameter = world.ministack.module("core.iam_actions")._param
        self._tables = world.ministack.module("services.dynamodb")

    def iam_resource(self, asked: Asked) -> str | None:
        """The table that a call about tags names by its ARN."""
        return self._parameter(asked.body, asked.query, "ResourceArn") or None

    def policy_of(self, arn: str) -> str | None:
        """Of a table, which holds for its indexes too, or of a stream."""
        found = self._tables._resource_policies.get(arn.split("/index/")[0])
        return None if found is None else str(found["Policy"])
