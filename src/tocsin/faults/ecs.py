"""Faults of Amazon Elastic Container Service."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Generic, Literal

from pydantic import Field, JsonValue, model_validator

from tocsin.aws.answers import first_of, lacking, taken_by
from tocsin.aws.iam import ANY, Arns
from tocsin.aws.pages import listed
from tocsin.aws.target import Aws, aws_errors
from tocsin.errors import NotFound, TargetError
from tocsin.faults.base import Fault, ScheduledCall, State, StateT, not_as_assumed
from tocsin.model.base import Model

NAME = r"^[A-Za-z0-9_-]{1,255}$"
"""Clusters and services: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html"""
_MOST_DESCRIBED = 100
_MOST_DELETED = 10

Json = dict[str, Any]


class EcsServiceFault(Fault[StateT], ABC, Generic[StateT]):
    """A fault of one ECS service."""

    aws_service: ClassVar[str] = "ecs"
    effect_within_s: ClassVar[float] = 300.0
    """A task needs half a minute to two minutes from its launch until it serves."""

    cluster: str = Field(pattern=NAME, description="name of the cluster")
    service: str = Field(pattern=NAME, description="name of the service")

    @property
    def resource(self) -> str:
        return f"ECS service {self.cluster}/{self.service}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (aws.arn("ecs", self._path),)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        """Of services, tasks, and Auto Scaling: the others cannot be limited, or only to things not yet named.

        https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
        """
        match action.partition(":")[2]:
            case "DescribeServices" | "UpdateService":
                return (arns("ecs", self._path),)
            case "DescribeTasks" | "StopTask":
                return (arns("ecs", f"task/{self.cluster}/*"),)
            case "RegisterScalableTarget":
                return (arns("application-autoscaling", "scalable-target/*"),)
            case "DeleteTaskDefinitions":
                return (arns("ecs", f"task-definition/{_OWN_FAMILY}*"),)
            case "PassRole":
                # The roles are those of the task definition, which only the account knows.
                return (arns.global_("iam", "role/*"),)
        return ANY

    @property
    def _path(self) -> str:
        return f"service/{self.cluster}/{self.service}"

    def _described(self, aws: Aws) -> Json:
        """The service as `DescribeServices` shows it."""
        with aws_errors(f"reading the {self.resource}"):
            answer = aws.client("ecs").describe_services(cluster=self.cluster, services=[self.service])
        found: list[Json] = [one for one in answer["services"] if one["status"] == "ACTIVE"]
        if not found:
            raise NotFound(f"expected the {self.resource} to be ACTIVE, found none of that name that is")
        return found[0]

    def _update(self, aws: Aws, **changes: Any) -> None:
        doing = f"changing the {self.resource}"
        aws.ask(doing, aws.client("ecs").update_service, cluster=self.cluster, service=self.service, **changes)

    def _end_by_update(self, **changes: JsonValue) -> ScheduledCall:
        request = {"Cluster": self.cluster, "Service": self.service, **changes}
        return ScheduledCall(service="ecs", operation="updateService", request=request)


def tasks_of(aws: Aws, cluster: str, service: str, status: Literal["RUNNING", "STOPPED"]) -> list[Json]:
    """Tasks of a service by what ECS wants of them, as `DescribeTasks` shows them, oldest first.

    `STOPPED` are also those that have only been told to stop; ECS shows a task for an hour after its end.
    """
    with aws_errors(f"listing the tasks of ECS service {cluster}/{service}"):
        of = {"cluster": cluster, "serviceName": service, "desiredStatus": status}
        arns = list(listed(aws.client("ecs"), "list_tasks", "taskArns", **of))
    return sorted(described_tasks(aws, cluster, arns), key=lambda task: (task["createdAt"], task["taskArn"]))


def described_tasks(aws: Aws, cluster: str, arns: Iterable[str]) -> Iterator[Json]:
    """Those of the tasks that ECS still shows."""
    for some in _batched(list(arns), _MOST_DESCRIBED):
        with aws_errors(f"reading tasks of ECS cluster {cluster}"):
            yield from aws.client("ecs").describe_tasks(cluster=cluster, tasks=some)["tasks"]


def _batched(arns: list[str], most: int) -> Iterator[list[str]]:
    return (arns[start : start + most] for start in range(0, len(arns), most))


def is_running(task: Json) -> bool:
    """Whether a task runs and is to go on running."""
    return bool(task["lastStatus"] == task["desiredStatus"] == "RUNNING")


# --- tasks that are stopped ---------------------------------------------------------------------------------


class TasksState(State):
    """How many tasks a service lacks because of us: counts, because a replacement is another task."""

    to_stop: int = Field(description="tasks that are stopped, of those that ran before")
    missing: int = Field(description="tasks that the service lacked before, and may lack afterwards")
    not_replaced: int = Field(description="of the tasks that we stopped, those for which no other runs yet")


class EcsStopTasks(EcsServiceFault[TasksState]):
    """Stop running tasks of a service, the oldest first; the scheduler replaces them.

    There is nothing to undo: the undo waits until as many tasks run as the service wants, but for those that it lacked
    before. The stopped ones are known by their reason, `tocsin` and the ledger entry, as long as ECS shows them: about
    an hour. From then on it waits for whatever is missing. Nothing needs to end it either.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopTask.html
    """

    kind: ClassVar[str] = "ecs_stop_tasks"
    state: ClassVar[type[State]] = TasksState
    summary: ClassVar[str] = "stop running tasks of a service (ECS replaces them)"
    permissions: ClassVar[tuple[str, ...]] = (
        "ecs:DescribeServices",
        "ecs:ListTasks",
        "ecs:DescribeTasks",
        "ecs:StopTask",
    )
    begins_within_s: ClassVar[float] = 30.0
    heals: ClassVar[bool] = True

    count: int | None = Field(default=None, ge=1, description="so many tasks; 1 without `percent`")
    percent: int | None = Field(
        default=None, ge=1, le=100, description="so many of the running ones, rounded up; 100 for all"
    )

    @model_validator(mode="after")
    def _one_measure(self) -> EcsStopTasks:
        if self.count is not None and self.percent is not None:
            raise ValueError(f"expected `count` or `percent`, found both: {self.count} and {self.percent}")
        return self

    def observe(self, aws: Aws, prior: TasksState | None) -> TasksState:
        running = len(self._running(aws))
        missing = max(0, int(self._described(aws)["desiredCount"]) - running)
        if prior is None:
            return TasksState(to_stop=self.number(running), missing=missing, not_replaced=0)
        # ECS forgets them, replaced or not: where it shows none, any that is missing may be one of ours.
        ours = len(self._stopped_by_us(aws)) or prior.to_stop
        return prior.model_copy(update={"not_replaced": min(ours, max(0, missing - prior.missing))})

    def vouched(self, aws: Aws, prior: TasksState, since: float) -> str | None:
        """A replacement may run before anybody looked; those that were stopped are shown with their reason."""
        gone = [task for task in self._stopped_by_us(aws) if task["lastStatus"] == "STOPPED"]
        return f"{len(gone)} stopped by us, and replaced already" if len(gone) >= prior.to_stop else None

    def _stopped_by_us(self, aws: Aws) -> list[Json]:
        stopped = tasks_of(aws, self.cluster, self.service, "STOPPED")
        return [task for task in stopped if task.get("stoppedReason") == _reason(aws)]

    def _running(self, aws: Aws) -> list[Json]:
        return [task for task in tasks_of(aws, self.cluster, self.service, "RUNNING") if is_running(task)]

    def number(self, running: int) -> int:
        """How many of so many running tasks are stopped."""
        wanted = self.count or 1
        if self.percent is not None:
            wanted = math.ceil(running * self.percent / 100)
        return min(wanted, running)

    def broken(self, prior: TasksState) -> TasksState:
        return prior.model_copy(update={"not_replaced": prior.to_stop})

    def inject(self, aws: Aws, prior: TasksState) -> None:
        for task in self._running(aws)[: prior.to_stop]:
            doing, arn = f"stopping a task of the {self.resource}", task["taskArn"]
            aws.ask(doing, aws.client("ecs").stop_task, cluster=self.cluster, task=arn, reason=_reason(aws))

    def undo(self, aws: Aws, prior: TasksState) -> None:
        """The scheduler does it."""


def _reason(aws: Aws) -> str:
    return f"tocsin {aws.entry}"


# --- bad release --------------------------------------------------------------------------------------------

_OWN_FAMILY = "tocsin-"
_ROLLING = "ROLLING"
"""The strategy of deployments where nothing is said."""


class DeployedState(State):
    """What a service runs, told without a revision that does not exist yet."""

    task_definition: str = Field(description="ARN of the revision; `bad` when ours is deployed")
    deployment: dict[str, JsonValue] = Field(description="`deploymentConfiguration`, as ECS shows it and takes it back")


class EcsBadRelease(EcsServiceFault[DeployedState]):
    """Deploy a task definition whose tasks cannot run: the release that never becomes healthy.

    The copy of the service's task definition is of a family of its own, named after the ledger entry. So it is found
    after a crash at any moment, and a pipeline that deploys the newest revision of the family never meets it. The undo
    is the documented rollback, an UpdateService to the revision of before. Where the deployment circuit breaker was
    faster, there is nothing left to do, and that is no drift. Our family is deregistered and deleted afterwards: the
    copy holds the variables of the original.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
    """

    kind: ClassVar[str] = "ecs_bad_release"
    state: ClassVar[type[State]] = DeployedState
    summary: ClassVar[str] = "deploy a task definition whose tasks cannot run"
    permissions: ClassVar[tuple[str, ...]] = (
        "ecs:DescribeServices",
        "ecs:DescribeTaskDefinition",
        "ecs:RegisterTaskDefinition",
        "iam:PassRole",
        "ecs:UpdateService",
        "ecs:ListTaskDefinitions",
        "ecs:DeregisterTaskDefinition",
        "ecs:DeleteTaskDefinitions",
    )

    container: str | None = Field(default=None, description="name of the container; the first essential one without")
    how: Literal["command", "image"] = Field(
        default="command", description="`command`: it exits with 1 at once; `image`: it cannot be pulled"
    )
    circuit_breaker: bool | None = Field(
        default=None, description="switch the deployment circuit breaker and its rollback on or off for the release"
    )

    def observe(self, aws: Aws, prior: DeployedState | None) -> DeployedState:
        service = self._described(aws)
        if prior is None:
            self._check_deployed_by_ecs(service)
            self._check_comes_back(aws, service["taskDefinition"])
            if self.circuit_breaker is not None:
                _check_whole(service["deploymentConfiguration"])
        arn = service["taskDefinition"]
        return DeployedState(
            task_definition="bad" if f":task-definition/{_family(aws)}:" in arn else arn,
            deployment=_with_breaker(service.get("deploymentConfiguration", {})),
        )

    def _check_deployed_by_ecs(self, service: Json) -> None:
        """Whether an UpdateService deploys, and rolls back.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentController.html
        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stop-service-deployment.html

        Raises:
            Refused: something else does.
        """
        controller = service.get("deploymentController", {}).get("type", "ECS")
        if controller != "ECS" or "taskDefinition" not in service:
            raise not_as_assumed(
                f"the {self.resource} to be deployed by ECS",
                f"its deployment controller {controller}",
                "UpdateService neither releases nor rolls back there",
            )
        strategy = service.get("deploymentConfiguration", {}).get("strategy", _ROLLING)
        if strategy != _ROLLING:
            raise not_as_assumed(
                f"the {self.resource} to be deployed by rolling updates",
                f"the deployment strategy {strategy}",
                "StopServiceDeployment rolls back there, and not the UpdateService of this fault",
            )

    def _check_comes_back(self, aws: Aws, arn: str) -> None:
        """Whether the revision that runs can be deployed again: a service goes on running one that was deregistered.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deregister-task-definition-v2.html

        Raises:
            Refused: it cannot.
            TargetError: it has no such container.
        """
        found = self._definition(aws, arn)
        if (status := found.get("status", "ACTIVE")) != "ACTIVE":
            raise not_as_assumed(
                f"the task definition {arn.rpartition('/')[2]} of the {self.resource} to be ACTIVE",
                f"it {status}",
                "ECS runs it on, and would not deploy it again. Deploy one that is ACTIVE, then drill again",
            )
        self._spoilt(found["containerDefinitions"])

    def broken(self, prior: DeployedState) -> DeployedState:
        deployment = prior.deployment
        if self.circuit_breaker is not None:
            breaker = deployment["deploymentCircuitBreaker"]
            assert isinstance(breaker, dict)
            switched = {**breaker, "enable": self.circuit_breaker, "rollback": self.circuit_breaker}
            deployment = {**deployment, "deploymentCircuitBreaker": switched}
        return DeployedState(task_definition="bad", deployment=deployment)

    def inject(self, aws: Aws, prior: DeployedState) -> None:
        self._deploy(aws, self._register(aws, prior.task_definition), self.broken(prior).deployment)

    def undo(self, aws: Aws, prior: DeployedState) -> None:
        self._deploy(aws, prior.task_definition, prior.deployment)

    def look_ahead(self, aws: Aws, prior: DeployedState) -> None:
        with aws_errors(f"looking for revisions of {_family(aws)}"):
            _revisions(aws.client("ecs"), _family(aws), "ACTIVE")

    def forget(self, aws: Aws, prior: DeployedState) -> None:
        client = aws.client("ecs")
        with aws_errors(f"deleting our task definitions for the {self.resource}"):
            for arn in _revisions(client, _family(aws), "ACTIVE"):
                client.deregister_task_definition(taskDefinition=arn)
            for some in _batched(_revisions(client, _family(aws), "INACTIVE"), _MOST_DELETED):
                client.delete_task_definitions(taskDefinitions=some)

    def dead_man(self, aws: Aws, prior: DeployedState) -> ScheduledCall:
        # The circuit breaker stays as it is: that hurts nobody.
        return self._end_by_update(TaskDefinition=prior.task_definition)

    def _deploy(self, aws: Aws, arn: str, deployment: dict[str, JsonValue]) -> None:
        # Nothing is said of the configuration unless it is to change: others may own it.
        configured = {} if self.circuit_breaker is None else {"deploymentConfiguration": deployment}
        self._update(aws, taskDefinition=arn, **configured)

    def _definition(self, aws: Aws, arn: str) -> Json:
        with aws_errors(f"reading the task definition of the {self.resource}"):
            found: Json = aws.client("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"]
        return found

    def _register(self, aws: Aws, arn: str) -> str:
        """ARN of the bad revision."""
        client, found = aws.client("ecs"), self._definition(aws, arn)
        taken = taken_by(client, "RegisterTaskDefinition")
        copy = {name: value for name, value in found.items() if name in taken}
        copy |= {"family": _family(aws), "containerDefinitions": self._spoilt(found["containerDefinitions"])}
        doing = f"registering a bad task definition for the {self.resource}"
        return str(aws.ask(doing, client.register_task_definition, **copy)["taskDefinition"]["taskDefinitionArn"])

    def _spoilt(self, containers: list[Json]) -> list[Json]:
        names = [one["name"] for one in containers]
        wanted = self.container or next(one["name"] for one in containers if one.get("essential", True))
        if wanted not in names:
            raise TargetError(
                f"expected a container '{wanted}' in the task definition of the {self.resource}, found: "
                f"{', '.join(names)}. Nothing was deployed."
            )
        return [{**one, **self._harm(one)} if one["name"] == wanted else one for one in containers]

    def _harm(self, container: Json) -> Json:
        if self.how == "command":
            return {"entryPoint": ["sh", "-c"], "command": ["exit 1"]}
        repository, _, name = str(container["image"]).partition("@")[0].rpartition("/")
        return {"image": f"{repository}/{name.partition(':')[0]}:tocsin-not-there".removeprefix("/")}


def _family(aws: Aws) -> str:
    return f"{_OWN_FAMILY}{aws.entry}"


def _check_whole(deployment: Json) -> None:
    """Whether a configuration that will be written back is all there: ECS says these two of every rolling deployment.

    Raises:
        Incomplete: it is not.
    """
    for member in ("maximumPercent", "minimumHealthyPercent"):
        if member not in deployment:
            raise lacking(deployment, member)


def _with_breaker(deployment: Json) -> dict[str, JsonValue]:
    """A configuration that says of the circuit breaker that it is off, where it says nothing."""
    return {"deploymentCircuitBreaker": {"enable": False, "rollback": False}, **deployment}


def _revisions(client: Any, family: str, status: str) -> list[str]:
    """ARNs of the revisions of exactly this family."""
    of = {"familyPrefix": family, "status": status}
    arns = listed(client, "list_task_definitions", "taskDefinitionArns", **of)
    return [str(arn) for arn in arns if f":task-definition/{family}:" in arn]


# --- desired count ------------------------------------------------------------------------------------------


class Suspended(Model):
    """`SuspendedState` of a scalable target."""

    dynamic_in: bool = True
    dynamic_out: bool = True
    scheduled: bool = True


class ScaleState(State):
    """How many tasks a service wants, and whether Application Auto Scaling may change that."""

    desired: int
    suspended: Suspended | None = Field(description="None where the service is no scalable target")


class EcsScale(EcsServiceFault[ScaleState]):
    """Scale a service, also to none, and keep Application Auto Scaling from scaling it back.

    Scaling is suspended first and resumed last: as long as it may act, it would answer to the count that is changed.
    https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-suspend-resume-scaling.html
    """

    kind: ClassVar[str] = "ecs_scale"
    state: ClassVar[type[State]] = ScaleState
    summary: ClassVar[str] = "change the desired count of a service, with auto scaling suspended"
    permissions: ClassVar[tuple[str, ...]] = (
        "ecs:DescribeServices",
        "ecs:UpdateService",
        "application-autoscaling:DescribeScalableTargets",
        "application-autoscaling:RegisterScalableTarget",
    )

    desired: int = Field(ge=0, description="tasks that the service shall have")

    def observe(self, aws: Aws, prior: ScaleState | None) -> ScaleState:
        service = self._described(aws)
        if prior is None and service.get("schedulingStrategy", "REPLICA") != "REPLICA":
            raise not_as_assumed(
                f"the {self.resource} to have a desired count",
                f"the scheduling strategy {service['schedulingStrategy']}",
                "ECS runs one task on each instance, whatever is asked for",
            )
        return ScaleState(desired=service["desiredCount"], suspended=self._suspended(aws))

    def broken(self, prior: ScaleState) -> ScaleState:
        return ScaleState(desired=self.desired, suspended=None if prior.suspended is None else Suspended())

    def inject(self, aws: Aws, prior: ScaleState) -> None:
        self._suspend(aws, self.broken(prior).suspended)
        self._update(aws, desiredCount=self.desired)

    def undo(self, aws: Aws, prior: ScaleState) -> None:
        self._update(aws, desiredCount=prior.desired)
        self._suspend(aws, prior.suspended)

    def dead_man(self, aws: Aws, prior: ScaleState) -> ScheduledCall:
        # Scaling stays suspended: the tasks are there, and `tocsin recover` resumes it.
        return self._end_by_update(DesiredCount=prior.desired)

    def _suspended(self, aws: Aws) -> Suspended | None:
        with aws_errors(f"reading the scalable target of the {self.resource}"):
            answer = aws.client("application-autoscaling").describe_scalable_targets(
                ServiceNamespace="ecs", ResourceIds=[self._path], ScalableDimension="ecs:service:DesiredCount"
            )
        if not answer["ScalableTargets"]:
            return None
        state = first_of(answer, "ScalableTargets").get("SuspendedState", {})
        return Suspended(
            dynamic_in=state.get("DynamicScalingInSuspended", False),
            dynamic_out=state.get("DynamicScalingOutSuspended", False),
            scheduled=state.get("ScheduledScalingSuspended", False),
        )

    def _suspend(self, aws: Aws, suspended: Suspended | None) -> None:
        if suspended is None:
            return
        # Without a capacity, a target that is registered already keeps its own.
        aws.ask(
            f"changing the scalable target of the {self.resource}",
            aws.client("application-autoscaling").register_scalable_target,
            ServiceNamespace="ecs",
            ResourceId=self._path,
            ScalableDimension="ecs:service:DesiredCount",
            SuspendedState={
                "DynamicScalingInSuspended": suspended.dynamic_in,
                "DynamicScalingOutSuspended": suspended.dynamic_out,
                "ScheduledScalingSuspended": suspended.scheduled,
            },
        )
