"""The ECS API for services and tasks: JSON in, JSON out, on the services and tasks of an `EcsPlant`.

Clusters and task definitions are ministack's; `Catalogue` is how they are asked for.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from tocsin.sandbox.http import ApiError
from tocsin.sandbox.metrics import Scope, SystemTime
from tocsin.sandbox.services.ecs import scheduler
from tocsin.sandbox.services.ecs.plant import AccountOfTasks, EcsPlant, ServiceRecord, TargetRef, Task
from tocsin.sandbox.services.ecs.scheduler import Breaker, Deployment, Rollout

Json = dict[str, Any]
Request = Mapping[str, Any]

_SHOWN_AGAIN: Mapping[str, Any] = {
    "networkConfiguration": {},
    "platformVersion": "",
    "capacityProviderStrategy": None,
    "serviceRegistries": [],
    "schedulingStrategy": "REPLICA",
    "deploymentController": {"type": "ECS"},
    "enableExecuteCommand": False,
    "enableECSManagedTags": False,
    "propagateTags": "NONE",
    "placementConstraints": [],
    "placementStrategy": [],
}
"""Fields of a service that do nothing here, and their defaults."""
_FARGATE = ("FARGATE", "FARGATE_SPOT")
_MOST_TASKS = 10


class Catalogue(Protocol):
    """Clusters, task definitions and target groups of an account."""

    def cluster(self, scope: Scope, reference: str) -> str:
        """Name of a cluster by its name or ARN; "" when there is none."""

    def task_definition_arn(self, scope: Scope, reference: str) -> str:
        """ARN of an ACTIVE revision by its ARN, `family:revision` or `family`; "" when there is none."""

    def tag(self, scope: Scope, arn: str, tags: Sequence[Json]) -> None:
        """Give a new resource its tags, so that it can be tagged from now on."""

    def tags_of(self, scope: Scope, arn: str) -> Sequence[Json]:
        """Tags of a resource."""

    def balanced(self, target_group_arn: str) -> bool:
        """Whether a load balancer forwards to a target group."""


class EcsApi:
    """Nine operations of ECS."""

    def __init__(self, plant: EcsPlant, account: AccountOfTasks, catalogue: Catalogue, system_time: SystemTime) -> None:
        self._plant = plant
        self._account = account
        self._catalogue = catalogue
        self._time = system_time

    def operations(self) -> Mapping[str, Callable[[Scope, Request], Json]]:
        """Operation name -> its function; each raises ApiError."""
        return {
            "CreateService": self.create_service,
            "UpdateService": self.update_service,
            "DeleteService": self.delete_service,
            "DescribeServices": self.describe_services,
            "ListServices": self.list_services,
            "RunTask": self.run_task,
            "StopTask": self.stop_task,
            "DescribeTasks": self.describe_tasks,
            "ListTasks": self.list_tasks,
        }

    # ------------------------------------------------------------------------------------------ services

    def create_service(self, scope: Scope, request: Request) -> Json:
        """CreateService."""
        cluster = self._cluster(scope, request)
        name = request.get("serviceName") or ""
        if not name:
            raise ApiError("InvalidParameterException", "Service name must be specified.")
        known = self._plant.services.get((scope, cluster, name))
        if known is not None and known.status == "ACTIVE":
            raise ApiError("InvalidParameterException", "Creation of service was not idempotent.")
        definition = self._task_definition(scope, request.get("taskDefinition", ""))
        targets = self._targets(request)
        record = ServiceRecord(
            scope=scope,
            cluster=cluster,
            state=self._configured(
                scheduler.Service(name=name, desired=int(request.get("desiredCount", 1)), deployments=()),
                request,
                targets,
            ),
            launch_type=_launch_type(request),
            targets=targets,
            settings={name: request.get(name, default) for name, default in _SHOWN_AGAIN.items()},
        )
        self._plant.create(record, definition)
        self._catalogue.tag(scope, record.arn, request.get("tags") or [])
        return {"service": self._service(record)}

    def update_service(self, scope: Scope, request: Request) -> Json:
        """UpdateService: a new task definition, new targets or `forceNewDeployment` begin a deployment."""
        record = self._record(scope, request)
        if record.status != "ACTIVE":
            raise ApiError("ServiceNotActiveException", "Service was not ACTIVE.")
        present = record.state.primary.task_definition
        wanted = request.get("taskDefinition")
        definition = self._task_definition(scope, wanted) if wanted else present
        targets = self._targets(request) if "loadBalancers" in request else record.targets
        state = record.state
        if request.get("desiredCount") is not None:
            state = replace(state, desired=int(request["desiredCount"]))
        redeploy = definition != present or targets != record.targets or bool(request.get("forceNewDeployment"))
        record.targets = targets
        record.settings = {name: request.get(name, value) for name, value in record.settings.items()}
        self._plant.change(record, self._configured(state, request, targets))
        if redeploy:
            self._plant.deploy(record, definition)
        return {"service": self._service(record)}

    def delete_service(self, scope: Scope, request: Request) -> Json:
        """DeleteService."""
        record = self._record(scope, request)
        if record.state.desired > 0 and not request.get("force"):
            raise ApiError("InvalidParameterException", "The service cannot be stopped while it is scaled above 0.")
        self._plant.delete(record)
        return {"service": self._service(record)}

    def describe_services(self, scope: Scope, request: Request) -> Json:
        """DescribeServices."""
        cluster = self._cluster(scope, request)
        found, failures = [], []
        for reference in request.get("services", ()):
            record = self._plant.services.get((scope, cluster, reference.rsplit("/", 1)[-1]))
            if record is None:
                failures.append({"arn": self._arn(scope, "service", cluster, reference), "reason": "MISSING"})
            else:
                shown = "TAGS" in (request.get("include") or ())
                tags = {"tags": self._catalogue.tags_of(scope, record.arn)} if shown else {}
                found.append({**self._service(record), **tags})
        return {"services": found, "failures": failures}

    def list_services(self, scope: Scope, request: Request) -> Json:
        """ListServices."""
        cluster = self._cluster(scope, request)
        arns = [
            record.arn
            for (where, home, _), record in self._plant.services.items()
            if where == scope
            and home == cluster
            and record.status != "INACTIVE"
            and request.get("launchType") in (None, record.launch_type)
        ]
        return _page("serviceArns", arns, request, 10)

    def desired(self, scope: Scope, cluster: str, service: str) -> tuple[int, bool] | None:
        """Desired count, and whether a deployment is in progress; None when there is no such active service."""
        record = self._plant.services.get((scope, cluster, service))
        if record is None or record.status != "ACTIVE":
            return None
        return record.state.desired, record.state.primary.rollout is Rollout.IN_PROGRESS

    def set_desired(self, scope: Scope, cluster: str, service: str, desired: int) -> None:
        """What Application Auto Scaling does to a service. Raises ApiError when it is not there."""
        self.update_service(scope, {"cluster": cluster, "service": service, "desiredCount": desired})

    def _configured(
        self, state: scheduler.Service, request: Request, targets: Sequence[TargetRef]
    ) -> scheduler.Service:
        given = request.get("deploymentConfiguration") or {}
        breaker = given.get("deploymentCircuitBreaker")
        grace_s = request.get("healthCheckGracePeriodSeconds")
        return replace(
            state,
            minimum_healthy_percent=int(given.get("minimumHealthyPercent", state.minimum_healthy_percent)),
            maximum_percent=int(given.get("maximumPercent", state.maximum_percent)),
            breaker=state.breaker
            if breaker is None
            else Breaker(_flag(breaker.get("enable")), _flag(breaker.get("rollback"))),
            grace_s=state.grace_s if grace_s is None else float(grace_s),
            balanced=bool(targets),
        )

    def _targets(self, request: Request) -> tuple[TargetRef, ...]:
        targets = tuple(
            TargetRef(one.get("targetGroupArn", ""), one.get("containerName", ""), int(one.get("containerPort", 0)))
            for one in request.get("loadBalancers") or ()
        )
        for target in targets:
            if not self._catalogue.balanced(target.group_arn):
                raise ApiError(
                    "InvalidParameterException",
                    f"The target group with targetGroupArn {target.group_arn} does not have an associated load "
                    "balancer.",
                )
        return targets

    # ------------------------------------------------------------------------------------------ tasks

    def run_task(self, scope: Scope, request: Request) -> Json:
        """RunTask."""
        cluster = self._cluster(scope, request)
        arn = self._task_definition(scope, request.get("taskDefinition", ""))
        count = int(request.get("count", 1))
        if not 1 <= count <= _MOST_TASKS:
            raise ApiError("InvalidParameterException", f"count must be between 1 and {_MOST_TASKS}.")
        definition = self._account.task_definition(scope, arn)
        overrides = (request.get("overrides") or {}).get("containerOverrides") or ()
        tasks = [
            Task(
                id=uuid.uuid4().hex,
                scope=scope,
                cluster=cluster,
                definition=definition,
                launch_type=_launch_type(request),
                group=request.get("group") or f"family:{definition.family}",
                started_by=request.get("startedBy", ""),
                environment={
                    one["name"]: {pair["name"]: pair["value"] for pair in one.get("environment") or ()}
                    for one in overrides
                },
                commands={one["name"]: tuple(one["command"]) for one in overrides if one.get("command")},
            )
            for _ in range(count)
        ]
        for task in tasks:
            self._plant.run_task(task)
        return {"tasks": [self._task(task) for task in tasks], "failures": []}

    def stop_task(self, scope: Scope, request: Request) -> Json:
        """StopTask."""
        task = self._find_task(scope, self._cluster(scope, request), request.get("task", ""))
        if task is None:
            raise ApiError("InvalidParameterException", "The referenced task was not found.")
        self._plant.stop_task(task, "UserInitiated", request.get("reason") or "Task stopped by user")
        return {"task": self._task(task)}

    def describe_tasks(self, scope: Scope, request: Request) -> Json:
        """DescribeTasks."""
        cluster = self._cluster(scope, request)
        found, failures = [], []
        for reference in request.get("tasks", ()):
            task = self._find_task(scope, cluster, reference)
            if task is None:
                failures.append({"arn": self._arn(scope, "task", cluster, reference), "reason": "MISSING"})
            else:
                found.append(self._task(task))
        return {"tasks": found, "failures": failures}

    def list_tasks(self, scope: Scope, request: Request) -> Json:
        """ListTasks."""
        cluster = self._cluster(scope, request)
        service = (request.get("serviceName") or "").rsplit("/", 1)[-1]
        if service and (scope, cluster, service) not in self._plant.services:
            raise ApiError("ServiceNotFoundException", "Service not found.")
        wanted = {
            "desired_status": request.get("desiredStatus", "RUNNING"),
            "group": f"service:{service}" if service else None,
            "started_by": request.get("startedBy"),
            "launch_type": request.get("launchType"),
        }
        arns = [
            task.arn
            for task in self._plant.tasks.values()
            if (task.scope, task.cluster) == (scope, cluster)
            and all(value is None or getattr(task, name) == value for name, value in wanted.items())
            and request.get("family") in (None, task.definition.family)
        ]
        return _page("taskArns", arns, request, 100)

    def counts(self, scope: Scope, cluster: str) -> Mapping[str, int]:
        """`runningTasksCount`, `pendingTasksCount` and `activeServicesCount` of a cluster."""
        tasks = [task for task in self._plant.tasks.values() if (task.scope, task.cluster) == (scope, cluster)]
        services = [record for key, record in self._plant.services.items() if key[:2] == (scope, cluster)]
        return {
            "runningTasksCount": sum(task.last_status == "RUNNING" for task in tasks),
            "pendingTasksCount": sum(task.pending for task in tasks),
            "activeServicesCount": sum(record.status == "ACTIVE" for record in services),
        }

    # ------------------------------------------------------------------------------------------ looking up

    def _cluster(self, scope: Scope, request: Request) -> str:
        name = self._catalogue.cluster(scope, request.get("cluster") or "default")
        if not name:
            raise ApiError("ClusterNotFoundException", "Cluster not found.")
        return name

    def _task_definition(self, scope: Scope, reference: str) -> str:
        arn = self._catalogue.task_definition_arn(scope, reference)
        if not arn:
            raise ApiError("ClientException", f"TaskDefinition not found or inactive: {reference}")
        return arn

    def _record(self, scope: Scope, request: Request) -> ServiceRecord:
        name = (request.get("service") or "").rsplit("/", 1)[-1]
        record = self._plant.services.get((scope, self._cluster(scope, request), name))
        if record is None:
            raise ApiError("ServiceNotFoundException", "Service not found.")
        return record

    def _find_task(self, scope: Scope, cluster: str, reference: str) -> Task | None:
        task = self._plant.tasks.get(reference.rsplit("/", 1)[-1])
        return task if task is not None and (task.scope, task.cluster) == (scope, cluster) else None

    @staticmethod
    def _arn(scope: Scope, kind: str, cluster: str, reference: str) -> str:
        if reference.startswith("arn:"):
            return reference
        return f"arn:aws:ecs:{scope[1]}:{scope[0]}:{kind}/{cluster}/{reference}"

    # ------------------------------------------------------------------------------------------ answers

    def _service(self, record: ServiceRecord) -> Json:
        state, tasks = record.state, self._plant.tasks_of(record)
        return {
            **{name: value for name, value in record.settings.items() if value is not None},
            "serviceArn": record.arn,
            "serviceName": record.name,
            "clusterArn": _cluster_arn(record.scope, record.cluster),
            "status": record.status,
            "taskDefinition": state.primary.task_definition,
            "desiredCount": state.desired,
            "runningCount": sum(_runs(task) for task in tasks),
            "pendingCount": sum(task.pending for task in tasks),
            "launchType": record.launch_type,
            "loadBalancers": [
                {"targetGroupArn": one.group_arn, "containerName": one.container, "containerPort": one.port}
                for one in record.targets
            ],
            "healthCheckGracePeriodSeconds": int(state.grace_s),
            "deploymentConfiguration": {
                "deploymentCircuitBreaker": {"enable": state.breaker.enable, "rollback": state.breaker.rollback},
                "maximumPercent": state.maximum_percent,
                "minimumHealthyPercent": state.minimum_healthy_percent,
            },
            "deployments": [self._deployment(record, one, tasks) for one in state.deployments],
            "events": [
                {"id": event_id, "createdAt": at, "message": message} for event_id, at, message in record.events
            ],
            "createdAt": record.created_at,
            "createdBy": f"arn:aws:iam::{record.scope[0]}:root",
        }

    def _deployment(self, record: ServiceRecord, deployment: Deployment, tasks: Sequence[Task]) -> Json:
        own = [task for task in tasks if task.deployment == deployment.id]
        wanted = [task for task in own if task.desired_status == "RUNNING"]
        primary = deployment.id == record.state.primary.id
        created = self._time.wall(deployment.created)
        return {
            "id": deployment.id,
            "status": "PRIMARY" if primary else "ACTIVE" if own else "INACTIVE",
            "taskDefinition": deployment.task_definition,
            "desiredCount": record.state.desired if primary else len(wanted),
            "runningCount": sum(_runs(task) for task in own),
            "pendingCount": sum(task.pending for task in own),
            "failedTasks": deployment.failed_tasks,
            "launchType": record.launch_type,
            "createdAt": created,
            "updatedAt": record.updated_at.get(deployment.id, created),
            "rolloutState": deployment.rollout.value,
            "rolloutStateReason": deployment.reason
            or (
                "" if deployment.rollout is not Rollout.IN_PROGRESS else f"ECS deployment {deployment.id} in progress."
            ),
        }

    def _task(self, task: Task) -> Json:
        optional = {"stopCode": task.stop_code, "stoppedReason": task.stop_reason}
        return {
            "taskArn": task.arn,
            "clusterArn": _cluster_arn(task.scope, task.cluster),
            "taskDefinitionArn": task.definition.arn,
            "group": task.group,
            "startedBy": task.started_by,
            "launchType": task.launch_type,
            "lastStatus": task.last_status,
            "desiredStatus": task.desired_status,
            "healthStatus": "UNKNOWN",
            "connectivity": "CONNECTED",
            "cpu": str(task.definition.cpu_units),
            "memory": str(task.definition.memory_mib),
            "version": task.version,
            "availabilityZone": f"{task.scope[1]}a",
            "attachments": [],
            "containers": self._containers(task),
            **task.at,
            **{name: value for name, value in optional.items() if value},
        }

    @staticmethod
    def _containers(task: Task) -> list[Json]:
        running = {container.spec.name: container for container in task.containers}
        shown = []
        for definition in task.definition.containers:
            container = running.get(definition.name)
            ended = container is not None and container.exit_code is not None
            one: Json = {
                "containerArn": f"{task.arn.replace(':task/', ':container/')}/{definition.name}",
                "taskArn": task.arn,
                "name": definition.name,
                "image": definition.image,
                "lastStatus": "STOPPED" if ended or task.last_status == "STOPPED" else _container_status(task),
                "healthStatus": "UNKNOWN",
                "cpu": str(definition.cpu),
                "memory": str(definition.memory),
                "networkInterfaces": [],
                "networkBindings": [],
            }
            if container is not None:
                one["networkBindings"] = [
                    {"bindIP": "127.0.0.1", "containerPort": port, "hostPort": host_port, "protocol": "tcp"}
                    for port, host_port in container.host_ports.items()
                ]
                if container.pid is not None:
                    one["runtimeId"] = f"{task.id}-{container.pid}"
                if ended:
                    one["exitCode"] = container.exit_code
            shown.append(one)
        return shown


def _runs(task: Task) -> bool:
    return task.last_status == "RUNNING"


def _container_status(task: Task) -> str:
    return "PENDING" if task.running_since is None else "RUNNING"


def _cluster_arn(scope: Scope, cluster: str) -> str:
    return f"arn:aws:ecs:{scope[1]}:{scope[0]}:cluster/{cluster}"


def _launch_type(request: Request) -> str:
    """A capacity provider strategy is looked at only for whether it is Fargate's."""
    if request.get("launchType"):
        return str(request["launchType"])
    providers = [one.get("capacityProvider") for one in request.get("capacityProviderStrategy") or ()]
    return "FARGATE" if any(provider in _FARGATE for provider in providers) else "EC2"


def _flag(value: object) -> bool:
    """A flag of a request; CloudFormation templates may have it as text."""
    return str(value).lower() == "true"


def _page(name: str, items: Sequence[str], request: Request, most: int) -> Json:
    start = int(request.get("nextToken") or 0)
    end = start + int(request.get("maxResults") or most)
    answer: Json = {name: list(items[start:end])}
    return answer if end >= len(items) else {**answer, "nextToken": str(end)}
