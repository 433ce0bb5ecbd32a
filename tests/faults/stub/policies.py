"""Policies of a role, a bucket and a table; and what else the faults ask for by the way."""

from __future__ import annotations

import itertools
import json
from copy import deepcopy
from urllib.parse import quote

from tests.faults.stub.clock import Clock
from tests.faults.stub.errors import Asked, StubError

ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


class Iam:
    """One role with one policy of its own and one that is attached."""

    def __init__(self, clock: Clock) -> None:
        self.inline = {"own": json.dumps(ALLOW)}
        self.attached: list[Asked] = [{"PolicyName": "all", "PolicyArn": "arn:aws:iam::aws:policy/all"}]

    def get_role(self, asked: Asked) -> Asked:
        if asked["RoleName"] != "till":
            raise StubError("NoSuchEntity")
        trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}}]}
        arn = "arn:aws:iam::123456789012:role/shop/till"
        return {"Role": {"Arn": arn, "RoleName": "till", "AssumeRolePolicyDocument": quote(json.dumps(trust))}}

    def list_role_policies(self, asked: Asked) -> Asked:
        return {"PolicyNames": list(self.inline)}

    def list_attached_role_policies(self, asked: Asked) -> Asked:
        return {"AttachedPolicies": deepcopy(self.attached)}

    def get_policy(self, asked: Asked) -> Asked:
        return {"Policy": {"DefaultVersionId": "v1"}}

    def get_policy_version(self, asked: Asked) -> Asked:
        return {"PolicyVersion": {"Document": quote(json.dumps(ALLOW))}}

    def put_role_policy(self, asked: Asked) -> None:
        self.inline[asked["PolicyName"]] = asked["PolicyDocument"]

    def get_role_policy(self, asked: Asked) -> Asked:
        if asked["PolicyName"] not in self.inline:
            raise StubError("NoSuchEntity")
        return {"PolicyDocument": quote(self.inline[asked["PolicyName"]])}

    def delete_role_policy(self, asked: Asked) -> None:
        if self.inline.pop(asked["PolicyName"], None) is None:
            raise StubError("NoSuchEntity")


class S3:
    """One bucket; `policy` is None where it has none. What is read is `old_for_s` seconds older."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._written: list[tuple[float, str | None]] = []
        self.old_for_s = 0.0

    @property
    def policy(self) -> str | None:
        """The newest."""
        return self._written[-1][1] if self._written else None

    def get_bucket_policy(self, asked: Asked) -> Asked:
        seen = [policy for at, policy in self._written if at + self.old_for_s <= self._clock.now]
        policy = seen[-1] if seen else None
        if policy is None:
            raise StubError("NoSuchBucketPolicy")
        return {"Policy": policy}

    def put_bucket_policy(self, asked: Asked) -> None:
        self._written.append((self._clock.now, asked["Policy"]))

    def delete_bucket_policy(self, asked: Asked) -> None:
        self._written.append((self._clock.now, None))


class DynamoDb:
    """One table; each write of its policy makes another revision."""

    def __init__(self, clock: Clock) -> None:
        self.policy: str | None = None
        self._revisions = itertools.count(1)
        self._revision = "NO_POLICY"

    def get_resource_policy(self, asked: Asked) -> Asked:
        if self.policy is None:
            raise StubError("PolicyNotFoundException")
        return {"Policy": self.policy, "RevisionId": self._revision}

    def put_resource_policy(self, asked: Asked) -> Asked:
        self._write(asked, asked["Policy"])
        return {}

    def delete_resource_policy(self, asked: Asked) -> Asked:
        self._write(asked, None)
        return {}

    def _write(self, asked: Asked, policy: str | None) -> None:
        if asked["ExpectedRevisionId"] != self._revision:
            raise StubError("PolicyNotFoundException")
        self.policy = policy
        self._revision = "NO_POLICY" if policy is None else str(next(self._revisions))


class Elb:
    """One target group with two healthy targets; with a `delay` they drain for so long, and cannot come back before."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.delay = 0.0
        self._drained_at: dict[tuple[str, int], float] = {}
        self.targets: dict[tuple[str, int], Asked] = {}
        self.health: dict[tuple[str, int], Asked] = {}
        """Of those that are not healthy."""
        self._add({"Id": "10.0.0.1", "Port": 80, "AvailabilityZone": "all", "QuicServerId": "0x0123456789abcdef"})
        self._add({"Id": "10.0.0.2", "Port": 80})

    def _add(self, target: Asked) -> None:
        self.targets[target["Id"], target["Port"]] = dict(target)

    def describe_target_groups(self, asked: Asked) -> Asked:
        arn = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/till/1"
        return {"TargetGroups": [{"TargetGroupArn": arn}]}

    def describe_target_health(self, asked: Asked) -> Asked:
        healthy = {"State": "healthy"}
        shown = [
            {"Target": dict(one), "TargetHealth": dict(self.health.get(address, healthy))}
            for address, one in self.targets.items()
        ]
        draining = [
            {"Target": {"Id": host, "Port": port}, "TargetHealth": {"State": "draining"}}
            for host, port in self._drained_at
            if self._drains((host, port))
        ]
        return {"TargetHealthDescriptions": [*shown, *draining]}

    def _drains(self, address: tuple[str, int]) -> bool:
        return self._clock.now < self._drained_at.get(address, 0.0)

    def deregister_targets(self, asked: Asked) -> Asked:
        for one in asked["Targets"]:
            self.targets.pop((one["Id"], one["Port"]), None)
            if self.delay:
                self._drained_at[one["Id"], one["Port"]] = self._clock.until(self.delay)
        return {}

    def register_targets(self, asked: Asked) -> Asked:
        for one in asked["Targets"]:
            if self._drains((one["Id"], one["Port"])) and not one["Id"].startswith("i-"):
                raise StubError("InvalidTarget", f"{one['Id']} is draining")
            self._drained_at.pop((one["Id"], one["Port"]), None)
            self._add(one)
        return {}


class Scheduler:
    """One-shot schedules, which nobody makes fire."""

    def __init__(self, clock: Clock) -> None:
        self.schedules: dict[str, Asked] = {}

    def create_schedule(self, asked: Asked) -> Asked:
        if asked["Name"] in self.schedules:
            raise StubError("ConflictException")
        self.schedules[asked["Name"]] = deepcopy(asked)
        return {"ScheduleArn": "arn:aws:scheduler:eu-west-1:123456789012:schedule/default/one"}

    def delete_schedule(self, asked: Asked) -> Asked:
        if self.schedules.pop(asked["Name"], None) is None:
            raise StubError("ResourceNotFoundException")
        return {}


class Secrets:
    """The way into the database."""

    def __init__(self, clock: Clock) -> None:
        self.described: Asked = {"Name": "orders"}
        self.secret = {
            "host": "127.0.0.1",
            "port": 5432,
            "dbname": "app",
            "username": "owner",
            "password": "not-checked",
        }

    def describe_secret(self, asked: Asked) -> Asked:
        return dict(self.described)

    def get_secret_value(self, asked: Asked) -> Asked:
        return {"SecretString": json.dumps(self.secret)}


class CloudTrail:
    """It tells of nothing."""

    def __init__(self, clock: Clock) -> None:
        self.events: list[Asked] = []

    def lookup_events(self, asked: Asked) -> Asked:
        return {"Events": deepcopy(self.events)}
