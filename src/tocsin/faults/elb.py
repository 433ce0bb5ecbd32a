"""Faults of Elastic Load Balancing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, JsonValue, model_validator

from tocsin.aws.answers import first_of, taken_by
from tocsin.aws.iam import ANY, Arns
from tocsin.aws.target import Aws, aws_errors
from tocsin.errors import TargetError
from tocsin.faults.base import Fault, State
from tocsin.faults.ecs import NAME, described_tasks, is_running, tasks_of
from tocsin.model.base import Model


class TakenTarget(Model):
    """A target that is taken out of its group."""

    id: str = Field(description="instance id, address or function, as it is registered")
    port: int | None = Field(description="None for a function")
    task: str = Field(default="", description="ARN of the ECS task that it is, where a service was named")

    others: dict[str, JsonValue] | None = Field(
        default=None,
        description="what else it was registered with, as the API shows and takes it: `AvailabilityZone`, "
        "`QuicServerId`; None in an entry of an older version",
    )

    @property
    def address(self) -> dict[str, Any]:
        """What tells it from the others of its group."""
        return {"Id": self.id} if self.port is None else {"Id": self.id, "Port": self.port}

    @property
    def request(self) -> dict[str, Any]:
        """All that it was registered with."""
        return {**self.address, **(self.others or {})}


class _Described(NamedTuple):
    """A target as its group shows it."""

    state: str
    reason: str
    others: dict[str, JsonValue]


_DRAINING = "draining"
_LONGEST_DRAINING_S = 3600.0
"""The longest deregistration delay; where nothing is said it is five minutes.
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html
"""
_POLL_WALL_S = 0.1
_NOT_REGISTERED = frozenset(
    {"Elb.RegistrationInProgress", "Target.DeregistrationInProgress", "Target.NotRegistered", _DRAINING}
)
"""Reasons and states of a target that is not registered, or not yet, or not for long. In all others it is, also where
it is unhealthy: whether it should be healthy is for the drill to say.
https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
"""


class TargetsState(State):
    """Which targets are taken out, and how many of them are registered; those whose task has ended count no more."""

    targets: tuple[TakenTarget, ...]
    registered: Literal["all", "some", "none"]


class ElbTargetDeregistered(Fault[TargetsState]):
    """Deregister healthy targets: they run on, and the load balancer no longer sends them requests.

    The undo registers the same targets. Where ECS registered them, name `cluster` and `service`: a task may have been
    replaced meanwhile, and then its address is nobody's, or somebody else's. Each target is remembered with its task,
    and one whose task has ended is not registered again: ECS has registered its replacement. For the same reason no
    schedule ends this fault: its one call could not ask. Without a service, what was registered is registered again.
    An IP address cannot be registered again before its deregistration delay is over: the undo waits for that.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-register-targets.html
    """

    kind: ClassVar[str] = "elb_target_deregistered"
    state: ClassVar[type[State]] = TargetsState
    summary: ClassVar[str] = "deregister healthy targets of a target group"
    aws_service: ClassVar[str] = "elasticloadbalancing"
    permissions: ClassVar[tuple[str, ...]] = (
        "elasticloadbalancing:DescribeTargetGroups",
        "elasticloadbalancing:DescribeTargetHealth",
        "elasticloadbalancing:DeregisterTargets",
        "elasticloadbalancing:RegisterTargets",
        "ecs:ListTasks",
        "ecs:DescribeTasks",
    )
    effect_within_s: ClassVar[float] = 60.0

    target_group: str = Field(pattern=r"^[A-Za-z0-9-]{1,32}$", description="name of the target group")
    count: int = Field(default=1, ge=1, description="so many of its healthy targets")
    cluster: str | None = Field(default=None, pattern=NAME, description="cluster of the ECS service behind the group")
    service: str | None = Field(default=None, pattern=NAME, description="ECS service whose tasks the targets are")

    @model_validator(mode="after")
    def _both_or_none(self) -> ElbTargetDeregistered:
        if (self.cluster is None) != (self.service is None):
            raise ValueError(
                f"expected `cluster` and `service`, or neither, found: cluster {self.cluster}, service {self.service}"
            )
        return self

    @property
    def resource(self) -> str:
        return f"target group {self.target_group}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (self._arn(aws),)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        match action:
            case "elasticloadbalancing:DeregisterTargets" | "elasticloadbalancing:RegisterTargets":
                return (arns("elasticloadbalancing", f"targetgroup/{self.target_group}/*"),)
            case "ecs:DescribeTasks":
                return (arns("ecs", f"task/{self.cluster or '*'}/*"),)
        return ANY

    def observe(self, aws: Aws, prior: TargetsState | None) -> TargetsState:
        states = self._states(aws)
        if prior is None:
            return TargetsState(targets=self._choose(aws, states), registered="all")
        living = self._living(aws, prior)
        here = [target for target in living if _is_registered(target, states.get((target.id, target.port)))]
        # Where no task is left that could be registered, nothing is missing.
        registered: Literal["all", "some", "none"] = "all" if here == living else "some" if here else "none"
        return prior.model_copy(update={"registered": registered})

    def broken(self, prior: TargetsState) -> TargetsState:
        return prior.model_copy(update={"registered": "none"})

    def inject(self, aws: Aws, prior: TargetsState) -> None:
        targets = [target.address for target in prior.targets]
        doing, arn = f"deregistering targets of the {self.resource}", self._arn(aws)
        aws.ask(doing, aws.client("elbv2").deregister_targets, TargetGroupArn=arn, Targets=targets)

    def undo(self, aws: Aws, prior: TargetsState) -> None:
        self._await_drained(aws, prior)
        targets = [target.request for target in self._living(aws, prior)]
        if targets:
            doing, arn = f"registering targets of the {self.resource} again", self._arn(aws)
            aws.ask(doing, aws.client("elbv2").register_targets, TargetGroupArn=arn, Targets=targets)

    def _await_drained(self, aws: Aws, prior: TargetsState) -> None:
        """Until every address among the targets has drained: before, it cannot be registered again; an instance can.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-register-targets.html

        Raises:
            TargetError: one drains for longer than a load balancer lets it.
        """
        deadline = time.monotonic() + _LONGEST_DRAINING_S / aws.target.scale
        while addresses := list(_draining(prior.targets, self._states(aws))):
            if time.monotonic() > deadline:
                raise TargetError(
                    f"expected {', '.join(addresses)} to have left the {self.resource}, so that they can be registered "
                    "again, found them draining"
                )
            # An undo is not cut short.
            time.sleep(max(_POLL_WALL_S, 5.0 / aws.target.scale))

    def _arn(self, aws: Aws) -> str:
        with aws_errors(f"looking for the {self.resource}"):
            answer = aws.client("elbv2").describe_target_groups(Names=[self.target_group])
        return str(first_of(answer, "TargetGroups")["TargetGroupArn"])

    def _states(self, aws: Aws) -> dict[tuple[str, int | None], _Described]:
        """Every target of the group, by id and port."""
        more = taken_by(aws.client("elbv2"), "RegisterTargets", "Targets") - {"Id", "Port"}
        with aws_errors(f"reading the targets of the {self.resource}"):
            answer = aws.client("elbv2").describe_target_health(TargetGroupArn=self._arn(aws))
            return {
                (one["Target"]["Id"], _port(one["Target"])): _Described(
                    state=one["TargetHealth"]["State"],
                    reason=one["TargetHealth"].get("Reason", ""),
                    others={name: one["Target"][name] for name in more & one["Target"].keys()},
                )
                for one in answer["TargetHealthDescriptions"]
            }

    def _choose(self, aws: Aws, states: dict[tuple[str, int | None], _Described]) -> tuple[TakenTarget, ...]:
        healthy = sorted(address for address, one in states.items() if one.state == "healthy")
        if len(healthy) < self.count:
            found = ", ".join(f"{host}:{port} {one.state}" for (host, port), one in sorted(states.items())) or "none"
            raise TargetError(f"expected {self.count} healthy targets in the {self.resource}, found: {found}")
        tasks = self._tasks(aws)
        return tuple(
            TakenTarget(id=host, port=port, task=self._task_at(host, port, tasks), others=states[host, port].others)
            for host, port in healthy[: self.count]
        )

    def _tasks(self, aws: Aws) -> Sequence[dict[str, Any]]:
        if self.cluster is None or self.service is None:
            return ()
        return tasks_of(aws, self.cluster, self.service, "RUNNING")

    def _task_at(self, host: str, port: int | None, tasks: Sequence[dict[str, Any]]) -> str:
        """ARN of the task with that address."""
        if self.service is None:
            return ""
        for task in tasks:
            if any(_listens(container, host, port) for container in task["containers"]):
                return str(task["taskArn"])
        raise TargetError(
            f"expected every target of the {self.resource} to be a task of ECS service {self.cluster}/{self.service}, "
            f"found {host}:{port}, which is none. Leave `cluster` and `service` out for targets that ECS did not "
            "register."
        )

    def _living(self, aws: Aws, prior: TargetsState) -> list[TakenTarget]:
        """Targets that can serve: those whose task goes on running, and those of no task."""
        arns = [target.task for target in prior.targets if target.task]
        running: set[str] = set()
        if self.cluster is not None:
            running = {task["taskArn"] for task in described_tasks(aws, self.cluster, arns) if is_running(task)}
        return [target for target in prior.targets if not target.task or target.task in running]


def _draining(targets: Iterable[TakenTarget], states: Mapping[tuple[str, int | None], _Described]) -> Iterator[str]:
    """Those of the targets that are IP addresses, and draining."""
    for target in targets:
        found = states.get((target.id, target.port))
        if found is not None and found.state == _DRAINING and _is_address(target.id):
            yield target.id


def _is_address(target: str) -> bool:
    with suppress(ValueError):  # an instance, a function, a load balancer
        return bool(ip_address(target))
    return False


def _port(target: Mapping[str, Any]) -> int | None:
    """Port of a target; only a function has none."""
    return None if ":lambda:" in target["Id"] else int(target["Port"])


def _is_registered(target: TakenTarget, found: _Described | None) -> bool:
    """Whether it is in its group, with all that it had before."""
    if found is None or not _NOT_REGISTERED.isdisjoint({found.state, found.reason}):
        return False
    return target.others in (None, found.others)


def _listens(container: dict[str, Any], host: str, port: int | None) -> bool:
    """Whether a container has an address: of its task's own network interface, or of a port of its host."""
    interfaces = [one.get("privateIpv4Address") for one in container.get("networkInterfaces", ())]
    bindings = [(one.get("bindIP"), one.get("hostPort")) for one in container.get("networkBindings", ())]
    return host in interfaces or (host, port) in bindings
