"""Application Auto Scaling of ECS services: target tracking on what the plant publishes.

The rule is that of [ECS service auto scaling](https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-autoscaling-targettracking.html):
out when three minutes in a row are above the target, in when fifteen in a row are below nine tenths of it, never on
missing data, never in during a deployment. AWS keeps two CloudWatch alarms for that; here there are none to be seen.
"""

from __future__ import annotations

import math
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

from tocsin.alarms.cloudwatch import metric_key
from tocsin.sandbox.http import ApiError
from tocsin.sandbox.metrics import MINUTE_S, Scope
from tocsin.sandbox.service import Asked, ReliedOn
from tocsin.sandbox.services.ecs.api import Json, Request
from tocsin.sandbox.services.ecs.ministack import Ecs
from tocsin.sandbox.world import World

OUT_MINUTES = 3
IN_MINUTES = 15
IN_SHARE = 0.9
COOLDOWN_S = 300.0
"""AWS's default for ECS, both ways"""

_NAMESPACE, _DIMENSION = "ecs", "ecs:service:DesiredCount"
_METRICS: Mapping[str, str] = {
    "ECSServiceAverageCPUUtilization": "CPUUtilization",
    "ECSServiceAverageMemoryUtilization": "MemoryUtilization",
}
_ROLE = "aws-service-role/ecs.application-autoscaling.amazonaws.com/AWSServiceRoleForApplicationAutoScaling_ECSService"
_KEPT_ACTIVITIES = 50


@dataclass(frozen=True)
class ScalableTarget:
    """A service that may be scaled."""

    scope: Scope
    resource: str
    """service/<cluster>/<service>"""
    minimum: int
    maximum: int
    in_suspended: bool = False
    out_suspended: bool = False
    scheduled_suspended: bool = False
    created: float = field(default_factory=time.time)

    @property
    def names(self) -> tuple[str, str]:
        """Cluster and service."""
        _, cluster, service = self.resource.split("/")
        return cluster, service


@dataclass(frozen=True)
class Policy:
    """A target tracking policy; cooldowns are production seconds."""

    name: str
    metric: str
    """name in `AWS/ECS`"""
    target: float
    out_cooldown_s: float
    in_cooldown_s: float
    in_disabled: bool
    shown: Json
    """as `DescribeScalingPolicies` shows it"""


@dataclass(frozen=True)
class Situation:
    """What a policy decides on."""

    desired: int
    deploying: bool
    minutes: Sequence[float]
    """averages of the last minutes that have data, oldest first"""
    since_out_s: float
    since_in_s: float
    """production seconds since the last scaling of each kind"""


class Services(Protocol):
    """The services that are scaled."""

    def desired(self, scope: Scope, cluster: str, service: str) -> tuple[int, bool] | None:
        """Desired count, and whether a deployment is in progress; None when there is no such active service."""

    def set_desired(self, scope: Scope, cluster: str, service: str, desired: int) -> None:
        """Change the desired count."""


def decide(target: ScalableTarget, policy: Policy, now: Situation) -> int:
    """The desired count that follows; the present one when nothing does.

    `now.minutes` are consecutive: a minute without data ends the row that went before it.
    """
    wanted = now.desired
    latest = now.minutes[-1] if now.minutes else 0.0
    proportional = math.ceil(now.desired * latest / policy.target)
    if len(now.minutes) >= OUT_MINUTES and all(one > policy.target for one in now.minutes[-OUT_MINUTES:]):
        if not target.out_suspended and now.since_out_s >= policy.out_cooldown_s:
            wanted = max(now.desired, target.minimum, min(target.maximum, proportional))
    elif (
        len(now.minutes) >= IN_MINUTES
        and all(one < IN_SHARE * policy.target for one in now.minutes[-IN_MINUTES:])
        and not (policy.in_disabled or target.in_suspended or now.deploying)
        and now.since_in_s >= policy.in_cooldown_s
    ):
        wanted = min(now.desired, max(target.minimum, proportional, 0))
    return wanted


class AutoScaling:
    """Scalable targets and policies of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {}
    signed_for = "application-autoscaling"
    routes = None

    def adapt(self, world: World) -> None:
        """ministack is not asked: it has no such service."""
        self._store = world.store
        self._time = world.time
        self._services: Services = world.service(Ecs).api
        self._targets: dict[tuple[Scope, str], ScalableTarget] = {}
        self._policies: dict[tuple[Scope, str], dict[str, Policy]] = {}
        self._last: dict[tuple[Scope, str, str], float] = {}
        """(scope, resource, "in" or "out") -> system second"""
        self._activities: deque[tuple[Scope, Json]] = deque(maxlen=_KEPT_ACTIVITIES)

    def iam_resource(self, asked: Asked) -> str:
        """Of no target in particular: a policy that names one must name all."""
        account, region = asked.scope
        reading = asked.operation.startswith("Describe")
        return "*" if reading else f"arn:aws:{self.signed_for}:{region}:{account}:scalable-target/*"

    async def publish(self, wall: float) -> None:
        """Scale on the minutes up to the one that `wall` is in: after ECS has published that minute."""
        end_s = int(self._time.at(wall) // MINUTE_S + 1) * MINUTE_S
        for key, target in list(self._targets.items()):
            found = self._services.desired(target.scope, *target.names)
            policies = self._policies.get(key, {})
            if found is None or not policies:
                continue
            # Of several policies, the one that gives the largest capacity wins.
            wanted = {
                name: decide(target, policy, self._situation(target, policy, found, end_s))
                for name, policy in policies.items()
            }
            name = max(wanted, key=lambda one: wanted[one])
            if wanted[name] != found[0]:
                self._scale(target, name, found[0], wanted[name], end_s)

    def _situation(self, target: ScalableTarget, policy: Policy, found: tuple[int, bool], end_s: int) -> Situation:
        cluster, service = target.names
        key = metric_key("AWS/ECS", policy.metric, {"ClusterName": cluster, "ServiceName": service})
        minutes: list[float] = []
        for start_s in range(end_s - IN_MINUTES * MINUTE_S, end_s, MINUTE_S):
            buckets = self._store.buckets(target.scope, key, start_s, start_s + MINUTE_S)
            minutes = [*minutes, buckets[0].total / buckets[0].sample_count] if buckets else []
        return Situation(
            desired=found[0],
            deploying=found[1],
            minutes=minutes,
            since_out_s=end_s - self._last.get((target.scope, target.resource, "out"), -math.inf),
            since_in_s=end_s - self._last.get((target.scope, target.resource, "in"), -math.inf),
        )

    def _scale(self, target: ScalableTarget, policy: str, before: int, desired: int, now_s: int) -> None:
        self._services.set_desired(target.scope, *target.names, desired)
        self._last[target.scope, target.resource, "out" if desired > before else "in"] = now_s
        activity = {
            "ActivityId": str(uuid.uuid4()),
            "ServiceNamespace": _NAMESPACE,
            "ResourceId": target.resource,
            "ScalableDimension": _DIMENSION,
            "Description": f"Setting desired count to {desired}.",
            "Cause": f"policy {policy}: desired count was {before}",
            "StartTime": time.time(),
            "EndTime": time.time(),
            "StatusCode": "Successful",
            "StatusMessage": f"Successfully set desired count to {desired}. Change successfully fulfilled by ecs.",
        }
        self._activities.appendleft((target.scope, activity))

    # ------------------------------------------------------------------------------------------ the API

    def call(self, scope: Scope, operation: str, request: Request) -> Json:
        """Answer one call. Raises ApiError."""
        operations: Mapping[str, Callable[[Scope, Request], Json]] = {
            "RegisterScalableTarget": self._register,
            "DeregisterScalableTarget": self._deregister,
            "DescribeScalableTargets": self._describe_targets,
            "PutScalingPolicy": self._put_policy,
            "DeleteScalingPolicy": self._delete_policy,
            "DescribeScalingPolicies": self._describe_policies,
            "DescribeScalingActivities": self._describe_activities,
        }
        if operation not in operations:
            raise ApiError("UnsupportedOperation", f"The sandbox has no operation '{operation}' of this service.")
        if request.get("ServiceNamespace") != _NAMESPACE:
            raise ApiError("ValidationException", f"The sandbox scales the service namespace '{_NAMESPACE}' only.")
        return operations[operation](scope, request)

    def _register(self, scope: Scope, request: Request) -> Json:
        key = scope, str(request.get("ResourceId", ""))
        known = self._targets.get(key)
        parts = key[1].split("/")
        if len(parts) != 3 or self._services.desired(scope, parts[1], parts[2]) is None:
            raise ApiError("ValidationException", f"ECS service doesn't exist: {key[1]}")
        minimum = request.get("MinCapacity", known.minimum if known else None)
        maximum = request.get("MaxCapacity", known.maximum if known else None)
        if minimum is None or maximum is None or not 0 <= int(minimum) <= int(maximum):
            raise ApiError(
                "ValidationException", "MinCapacity and MaxCapacity are required, and MaxCapacity is the larger one."
            )
        target = known or ScalableTarget(scope, key[1], int(minimum), int(maximum))
        suspended = request.get("SuspendedState") or {}
        self._targets[key] = replace(
            target,
            minimum=int(minimum),
            maximum=int(maximum),
            in_suspended=bool(suspended.get("DynamicScalingInSuspended", target.in_suspended)),
            out_suspended=bool(suspended.get("DynamicScalingOutSuspended", target.out_suspended)),
            scheduled_suspended=bool(suspended.get("ScheduledScalingSuspended", target.scheduled_suspended)),
        )
        return {"ScalableTargetARN": _target_arn(target)}

    def _deregister(self, scope: Scope, request: Request) -> Json:
        key = self._registered(scope, request)
        del self._targets[key]
        self._policies.pop(key, None)
        return {}

    def _describe_targets(self, scope: Scope, request: Request) -> Json:
        wanted = request.get("ResourceIds")
        return {
            "ScalableTargets": [
                {
                    "ServiceNamespace": _NAMESPACE,
                    "ResourceId": target.resource,
                    "ScalableDimension": _DIMENSION,
                    "MinCapacity": target.minimum,
                    "MaxCapacity": target.maximum,
                    "RoleARN": f"arn:aws:iam::{scope[0]}:role/{_ROLE}",
                    "CreationTime": target.created,
                    "SuspendedState": {
                        "DynamicScalingInSuspended": target.in_suspended,
                        "DynamicScalingOutSuspended": target.out_suspended,
                        "ScheduledScalingSuspended": target.scheduled_suspended,
                    },
                    "ScalableTargetARN": _target_arn(target),
                }
                for (where, resource), target in self._targets.items()
                if where == scope and (not wanted or resource in wanted)
            ]
        }

    def _put_policy(self, scope: Scope, request: Request) -> Json:
        key = self._registered(scope, request)
        tracking = request.get("TargetTrackingScalingPolicyConfiguration") or {}
        metric = str((tracking.get("PredefinedMetricSpecification") or {}).get("PredefinedMetricType"))
        if request.get("PolicyType") != "TargetTrackingScaling" or metric not in _METRICS:
            raise ApiError(
                "ValidationException", f"The sandbox has TargetTrackingScaling on {', '.join(_METRICS)}, and no other."
            )
        name = str(request["PolicyName"])
        known = self._policies.get(key, {}).get(name)
        arn = known.shown["PolicyARN"] if known else _policy_arn(scope, key[1], name)
        shown: Json = {
            "PolicyARN": arn,
            "PolicyName": name,
            "ServiceNamespace": _NAMESPACE,
            "ResourceId": key[1],
            "ScalableDimension": _DIMENSION,
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingScalingPolicyConfiguration": tracking,
            "Alarms": [],
            "CreationTime": known.shown["CreationTime"] if known else time.time(),
        }
        self._policies.setdefault(key, {})[name] = Policy(
            name=name,
            metric=_METRICS[metric],
            target=float(tracking["TargetValue"]),
            out_cooldown_s=float(tracking.get("ScaleOutCooldown", COOLDOWN_S)),
            in_cooldown_s=float(tracking.get("ScaleInCooldown", COOLDOWN_S)),
            in_disabled=bool(tracking.get("DisableScaleIn", False)),
            shown=shown,
        )
        return {"PolicyARN": arn, "Alarms": []}

    def _delete_policy(self, scope: Scope, request: Request) -> Json:
        key = scope, str(request.get("ResourceId", ""))
        if self._policies.get(key, {}).pop(str(request.get("PolicyName")), None) is None:
            raise ApiError("ObjectNotFoundException", f"No scaling policy found for {key[1]}")
        return {}

    def _describe_policies(self, scope: Scope, request: Request) -> Json:
        resource, names = request.get("ResourceId"), request.get("PolicyNames")
        return {
            "ScalingPolicies": [
                policy.shown
                for (where, what), policies in self._policies.items()
                for policy in policies.values()
                if where == scope and resource in (None, what) and (not names or policy.name in names)
            ]
        }

    def _describe_activities(self, scope: Scope, request: Request) -> Json:
        resource = request.get("ResourceId")
        return {
            "ScalingActivities": [
                activity
                for where, activity in self._activities
                if where == scope and resource in (None, activity["ResourceId"])
            ]
        }

    def _registered(self, scope: Scope, request: Request) -> tuple[Scope, str]:
        key = scope, str(request.get("ResourceId", ""))
        if key not in self._targets:
            raise ApiError(
                "ObjectNotFoundException",
                f"No scalable target registered for service namespace: {_NAMESPACE}, resource ID: {key[1]}, scalable "
                f"dimension: {_DIMENSION}",
            )
        return key


def _target_arn(target: ScalableTarget) -> str:
    number = uuid.uuid5(uuid.NAMESPACE_URL, f"{target.scope}{target.resource}").hex
    return f"arn:aws:application-autoscaling:{target.scope[1]}:{target.scope[0]}:scalable-target/{number}"


def _policy_arn(scope: Scope, resource: str, name: str) -> str:
    return (
        f"arn:aws:autoscaling:{scope[1]}:{scope[0]}:scalingPolicy:{uuid.uuid4()}:resource/{_NAMESPACE}/{resource}:"
        f"policyName/{name}"
    )
