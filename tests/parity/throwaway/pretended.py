"""An account in memory with queues, roles and functions, whose answers a test may make worse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tests.stubbed import Answer, Error, Request, Stubbed

from tocsin.aws.target import Target

ACCOUNT = "123456789012"


class Pretended:
    """What is there stands in `queues`, `roles` and `functions`, by name, with its tags."""

    def __init__(self) -> None:
        self.target = Target("none", "eu-west-1", account=ACCOUNT, access_key_id="x", secret_access_key="x")
        self.stub = Stubbed(self.target)
        self.queues: dict[str, Mapping[str, str]] = {"orders": {}}
        self.roles: dict[str, Mapping[str, str]] = {"admin": {}}
        self.functions: dict[str, Mapping[str, str]] = {"shop": {}}
        self.sent: list[str] = []
        self.at_each: Callable[[], None] = lambda: None
        """Called before each call takes effect, and again before it is answered."""
        for service, operations in self._operations().items():
            for operation, answer in operations.items():
                self.stub.answers(service, operation, self._watched(answer))

    def _watched(self, answer: Any) -> Answer:
        def watched(asked: Request) -> Mapping[str, Any]:
            self.at_each()
            try:
                found: Mapping[str, Any] = answer(asked) if callable(answer) else answer
            finally:
                self.at_each()
            return found

        return watched

    @property
    def all(self) -> tuple[list[str], ...]:
        """The names of everything."""
        return sorted(self.queues), sorted(self.roles), sorted(self.functions)

    def _operations(self) -> Mapping[str, Mapping[str, Any]]:
        queue, role, function = ("QueueDoesNotExist", "NoSuchEntity", "ResourceNotFoundException")
        return {
            "sqs": {
                "CreateQueue": lambda asked: self._make(self.queues, asked["QueueName"], asked["tags"], {}),
                "GetQueueUrl": lambda asked: {"QueueUrl": f"https://{self._named(self.queues, asked, queue)}/it"},
                "ListQueueTags": lambda asked: {"Tags": self.queues[_name(asked)]},
                "DeleteQueue": lambda asked: self._drop(self.queues, _name(asked), queue),
                "SendMessage": lambda asked: self.sent.append(asked["MessageBody"]) or {},
                "ReceiveMessage": lambda asked: {"Messages": [{"Body": one} for one in self.sent[:1]]},
            },
            "iam": {
                "CreateRole": self._make_role,
                "ListRoleTags": lambda asked: {"Tags": _pairs(self._tags(self.roles, asked["RoleName"], role))},
                "ListRolePolicies": lambda asked: {"PolicyNames": []},
                "DeleteRole": lambda asked: self._drop(self.roles, asked["RoleName"], role),
            },
            "lambda": {
                "CreateFunction": lambda asked: self._make(self.functions, asked["FunctionName"], asked["Tags"], {}),
                "GetFunction": lambda asked: {"Tags": self._tags(self.functions, asked["FunctionName"], function)},
                "GetFunctionConfiguration": {"State": "Active", "LastUpdateStatus": "Successful"},
                "UpdateFunctionConfiguration": {},
                "DeleteFunction": lambda asked: self._drop(self.functions, asked["FunctionName"], function),
            },
            "ssm": {"GetParameter": _no_parameter},
        }

    def _make_role(self, asked: Request) -> Mapping[str, Any]:
        tags = {tag["Key"]: tag["Value"] for tag in asked["Tags"]}
        made = {"Path": "/", "RoleName": asked["RoleName"], "RoleId": "A" * 16, "CreateDate": datetime.now(UTC)}
        arn = f"arn:aws:iam::{ACCOUNT}:role/{asked['RoleName']}"
        return self._make(self.roles, asked["RoleName"], tags, {"Role": {**made, "Arn": arn}})

    @staticmethod
    def _make(
        there: dict[str, Mapping[str, str]], name: str, tags: Mapping[str, str], answer: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        there[name] = tags
        return answer

    @staticmethod
    def _drop(there: dict[str, Mapping[str, str]], name: str, code: str) -> Mapping[str, Any]:
        if there.pop(name, None) is None:
            raise Error(code)
        return {}

    @staticmethod
    def _tags(there: Mapping[str, Mapping[str, str]], name: str, code: str) -> Mapping[str, str]:
        if name not in there:
            raise Error(code)
        return there[name]

    @staticmethod
    def _named(there: Mapping[str, Mapping[str, str]], asked: Request, code: str) -> str:
        if asked["QueueName"] not in there:
            raise Error(f"AWS.SimpleQueueService.{code}")
        return str(asked["QueueName"])


def _name(asked: Request) -> str:
    return str(asked["QueueUrl"]).split("/")[2]


def _pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _no_parameter(asked: Request) -> Mapping[str, Any]:
    raise Error("ParameterNotFound")
