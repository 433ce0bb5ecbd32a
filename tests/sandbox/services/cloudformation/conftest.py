"""The bench of the tests of Lambda, and stacks on it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.sandbox.aws.shop import eventually
from tests.sandbox.services.awslambda.conftest import Bench, bench

__all__ = ["Stack", "bench", "function", "stack"]

_numbers = count()


@dataclass(frozen=True)
class Stack:
    """A stack of one test, as who deploys sees it."""

    bench: Bench
    name: str

    @property
    def client(self) -> Any:
        return self.bench.client("cloudformation")

    def create(self, resources: Mapping[str, Any], **more: Any) -> str:
        """Returns the status in which it ends."""
        self.client.create_stack(StackName=self.name, **asked(resources, more))
        return self.ended()

    def update(self, resources: Mapping[str, Any], **more: Any) -> str:
        self.client.update_stack(StackName=self.name, **asked(resources, more))
        return self.ended()

    def delete(self) -> None:
        identity = self.described()["StackId"]
        self.client.delete_stack(StackName=self.name)
        assert self.ended(identity) == "DELETE_COMPLETE", self.reasons()

    def described(self, name: str | None = None) -> dict[str, Any]:
        (found,) = self.client.describe_stacks(StackName=name or self.name)["Stacks"]
        return dict(found)

    def ended(self, name: str | None = None) -> str:
        eventually(lambda: not self.described(name)["StackStatus"].endswith("_IN_PROGRESS"))
        return str(self.described(name)["StackStatus"])

    def outputs(self) -> dict[str, str]:
        return {one["OutputKey"]: one["OutputValue"] for one in self.described().get("Outputs", [])}

    def events(self) -> list[dict[str, Any]]:
        """Oldest first."""
        pages = self.client.get_paginator("describe_stack_events").paginate(StackName=self.name)
        return [event for page in pages for event in page["StackEvents"]][::-1]

    def story(self, logical_id: str | None = None, *, since: int = 0) -> list[str]:
        """Statuses of a resource, or of the stack."""
        return [
            event["ResourceStatus"]
            for event in self.events()[since:]
            if event["LogicalResourceId"] == (logical_id or self.name)
        ]

    def reasons(self) -> str:
        return "\n".join(str(event.get("ResourceStatusReason", "")) for event in self.events())

    def physical(self) -> dict[str, str]:
        """Logical id -> physical id."""
        listed = self.client.describe_stack_resources(StackName=self.name)["StackResources"]
        return {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in listed}


def asked(resources: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """A request with a template; `outputs` and whatever else stands in templates by its small name."""
    sections = {"outputs": "Outputs", "parameters": "Parameters", "conditions": "Conditions", "mappings": "Mappings"}
    template = {"Resources": resources, **{sections[name]: more[name] for name in more if name in sections}}
    options = {name: value for name, value in more.items() if name not in sections}
    return {"TemplateBody": json.dumps(template), "Capabilities": ["CAPABILITY_NAMED_IAM"], **options}


def function(bench: Bench, says: str, **properties: Any) -> dict[str, Any]:
    """A function of a template that answers what it says."""
    code = f"def handler(event, context):\n    return {says!r}\n"
    asked = {"Runtime": "python3.11", "Role": bench.role, "Handler": "index.handler", "Code": {"ZipFile": code}}
    return {"Type": "AWS::Lambda::Function", "Properties": asked | properties}


@pytest.fixture
def stack(bench: Bench) -> Iterator[Stack]:
    """A stack that is deleted afterwards, with what is in it."""
    made = Stack(bench, f"stack-{next(_numbers)}")
    yield made
    try:
        made.described()
    except ClientError:
        return
    made.delete()
