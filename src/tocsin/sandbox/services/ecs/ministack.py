# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Amazon ECS: services and tasks by `EcsPlant`, clusters and task definitions by ministack."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tocsin.sandbox.http import ApiError, App, Message, Receive, Send, send_answer
from tocsin.sandbox.loop import InLoop
from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.service import Asked, Door, ReliedOn
from tocsin.sandbox.services.ecs.api import EcsApi, Json, Request
from tocsin.sandbox.services.ecs.iam import TaskRoles, named_resource
from tocsin.sandbox.services.ecs.plant import ContainerDefinition, EcsPlant, Task, TaskDefinition
from tocsin.sandbox.services.ecs.tasks import CannotStart, Images, LineSink
from tocsin.sandbox.services.elb.ministack import Elb
from tocsin.sandbox.services.logs import Logs
from tocsin.sandbox.world import World

_TASK_PATH = "/_tocsin/ecs/v4/"
"""Below it is the task metadata endpoint of each task. On AWS its address is one that only the task reaches."""
_HANDLERS = {
    "CreateService": "_create_service",
    "UpdateService": "_update_service",
    "DeleteService": "_delete_service",
    "DescribeServices": "_describe_services",
    "ListServices": "_list_services",
    "RunTask": "_run_task",
    "StopTask": "_stop_task",
    "DescribeTasks": "_describe_tasks",
    "ListTasks": "_list_tasks",
}
_STOP_TIMEOUT_S = 30


class Ecs:
    """The services and tasks of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        "services.cloudformation.provisioners": {
            "_RESOURCE_HANDLERS": "",
            "_ecs_service_create": "logical_id, props, stack_name",
        },
        "services.ecs": {
            "_ACTION_MAP": "",
            "_clusters": "",
            "_task_defs": "",
            "_tags": "",
            "_resolve_cluster_name": "ref",
            "_resolve_td_key": "ref",
            "_recount_cluster": "cluster_name",
            "_resolve_container_secrets": "cdef",
            "_SecretResolutionError": "",
            "_create_service": "data",
            "_update_service": "data",
            "_delete_service": "data",
            "_describe_services": "data",
            "_list_services": "data",
            "_run_task": "data",
            "_stop_task": "data",
            "_describe_tasks": "data",
            "_list_tasks": "data",
        },
        "services.tagging": {"_collect_ecs": ""},
    }
    signed_for = finds = "ecs"

    def adapt(self, world: World) -> None:
        """Let the plant answer for services and tasks."""
        self._ministack = world.ministack
        self._endpoint_url = world.endpoint_url
        self._in_loop = InLoop()
        self._logs = world.service(Logs)
        self._balancers = world.service(Elb)
        self._images = Images()
        self._starts = TaskRoles(world.ministack)
        self.plant = EcsPlant(world.store, self, self._balancers.plant, self._images)
        self.api = EcsApi(self.plant, self, self, world.time)
        self._collect_tags = world.ministack.module("services.tagging")._collect_ecs
        self._ecs = world.ministack.module("services.ecs")
        for operation, act in self.api.operations().items():
            handler = self._handler(act)
            self._ecs._ACTION_MAP[operation] = handler
            # CloudFormation calls the functions by their names.
            setattr(self._ecs, _HANDLERS[operation], handler)
        self._ecs._recount_cluster = self._recount
        provisioners = world.ministack.module("services.cloudformation.provisioners")
        self._provision = provisioners._ecs_service_create
        provisioners._RESOURCE_HANDLERS["AWS::ECS::Service"]["create"] = self._create_from_template

    # ------------------------------------------------------------------------------------------ powers

    def start(self) -> None:
        """Begin to look after services."""
        self.plant.start()

    async def publish(self, wall: float) -> None:
        """Publish the gauges of services."""
        self.plant.publish(wall)

    def pids(self) -> Mapping[int, str]:
        """Of each container."""
        return self.plant.pids()

    async def close(self) -> None:
        """Stop every process."""
        await self.plant.close()

    def addresses(self, target: str) -> Sequence[str]:
        """`cluster/service` stands for the tasks that the service has at this moment."""
        cluster, _, service = target.partition("/")
        return self.plant.addresses(cluster, service)

    def iam_resource(self, asked: Asked) -> str | None:
        """The service, task or task definition that a request names."""
        return named_resource(asked.scope, json.loads(asked.body or b"{}"))

    def tags(self) -> Iterable[tuple[str, Sequence[Mapping[str, str]]]]:
        """ARN and tags of clusters, services, tasks and task definitions."""
        found: Iterable[tuple[str, Sequence[Mapping[str, str]]]] = self._collect_tags()
        return found

    def doors(self) -> Mapping[str, Door]:
        """`image`: what a container image is made of."""
        return {"image": self._register_image}

    async def _register_image(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self._images.register(request["image"], Path(request["directory"]))
        return {}

    def pages(self) -> Mapping[str, App]:
        """The task metadata endpoint."""
        return {_TASK_PATH: self._serve_metadata}

    async def _serve_metadata(self, scope: Message, receive: Receive, send: Send) -> None:
        del receive
        task, _, wanted = scope["path"].removeprefix(_TASK_PATH).partition("/")
        stats = self.plant.stats(task) if wanted == "task/stats" else None
        headers = {"content-type": "application/json"}
        if stats is None:
            await send_answer(send, 404, headers, json.dumps(f"the sandbox has no {wanted} of a task {task}").encode())
        else:
            await send_answer(send, 200, headers, json.dumps(stats).encode())

    # ------------------------------------------------------------------------------------------ ministack

    def _handler(self, act: Callable[[Scope, Request], Json]) -> Callable[[Request], Any]:
        def handle(data: Request) -> Any:
            scope = self._ministack.current_scope()
            try:
                answer, status = self._in_loop(lambda: act(scope, data)), 200
            except ApiError as error:
                answer, status = {"__type": error.code, "message": str(error)}, 400
            return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(answer).encode()

        return handle

    def _recount(self, name: str) -> None:
        cluster = self._ecs._clusters.get(name)
        if cluster is not None:
            cluster.update(self.api.counts(self._ministack.current_scope(), name))

    def _create_from_template(self, logical_id: str, props: Mapping[str, Any], stack_name: str) -> Any:
        """The grace period is not among what ministack passes on."""
        arn, attributes = self._provision(logical_id, props, stack_name)
        if "HealthCheckGracePeriodSeconds" in props:
            grace = {"healthCheckGracePeriodSeconds": props["HealthCheckGracePeriodSeconds"]}
            cluster, name = arn.split("/")[-2:]
            self._ecs._update_service({"cluster": cluster, "service": name, **grace})
        return arn, attributes

    # ------------------------------------------------------------------------------------------ for the plant

    def cluster(self, scope: Scope, reference: str) -> str:
        """Name of a cluster by its name or ARN; "" when there is none."""
        with self._ministack.scope(scope):
            name = self._ecs._resolve_cluster_name(reference)
            return str(name) if name in self._ecs._clusters else ""

    def task_definition_arn(self, scope: Scope, reference: str) -> str:
        """ARN of an ACTIVE revision; "" when there is none."""
        with self._ministack.scope(scope):
            known = self._ecs._task_defs
            exact = known.get(self._ecs._resolve_td_key(reference) or "")
            # A family alone is its latest ACTIVE revision, not its latest.
            candidates = [exact] if ":" in reference else [one for one in known.values() if one["family"] == reference]
            active = [one for one in candidates if one and one["status"] == "ACTIVE"]
            return str(max(active, key=lambda one: int(one["revision"]))["taskDefinitionArn"]) if active else ""

    def task_definition(self, scope: Scope, arn: str) -> TaskDefinition:
        """A revision, also one that was deregistered since: a service goes on with it."""
        with self._ministack.scope(scope):
            return _task_definition(self._ecs._task_defs[self._ecs._resolve_td_key(arn)])

    def tag(self, scope: Scope, arn: str, tags: Sequence[Json]) -> None:
        """Give a new resource its tags, so that it can be tagged from now on."""
        with self._ministack.scope(scope):
            self._ecs._tags[arn] = list(tags)

    def tags_of(self, scope: Scope, arn: str) -> Sequence[Json]:
        """Tags of a resource."""
        with self._ministack.scope(scope):
            return list(self._ecs._tags.get(arn, ()))

    def secrets(self, task: Task, container: ContainerDefinition) -> Mapping[str, str]:
        """Values from Secrets Manager and Parameter Store, read in the task's execution role."""
        wanted = [{"name": name, "valueFrom": source} for name, source in container.secrets.items()]
        for source in container.secrets.values():
            self._starts.check_secret(task, source)
        try:
            with self._ministack.scope(task.scope):
                values: Mapping[str, str] = self._ecs._resolve_container_secrets({"secrets": wanted})
                return values
        except self._ecs._SecretResolutionError as error:
            raise CannotStart(
                f"ResourceInitializationError: unable to pull secrets or registry auth: {error}"
            ) from error

    def environment(self, task: Task) -> Mapping[str, str]:
        """Variables of every container: how to reach this AWS, as whom, and what it says of the task."""
        region = task.scope[1]
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "TZ": ":UTC",
            "AWS_ENDPOINT_URL": self._endpoint_url,
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            **self._starts.credentials(task),
            "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
            "ECS_CONTAINER_METADATA_URI_V4": f"{self._endpoint_url}{_TASK_PATH}{task.id}",
        }

    def log(self, task: Task, container: ContainerDefinition) -> LineSink:
        """The stream `prefix/container/task` of the container's log group; lines without one are dropped."""
        scope = task.scope
        group = container.log_group
        if group is None:
            return lambda _: None
        prefix = f"{container.log_prefix}/" if container.log_prefix else ""
        stream = f"{prefix}{container.name}/{task.id}"
        self._starts.check_log(task, group, stream)
        if not container.create_log_group and not self._logs.has_group(scope, group):
            raise CannotStart(
                "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: "
                "failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not "
                "exist."
            )

        def write(line: str) -> None:
            self._logs.write(scope, group, stream, [(int(time.time() * 1000), line)])

        return write

    def balanced(self, target_group_arn: str) -> bool:
        """Whether a load balancer forwards to a target group."""
        return self._balancers.balanced(target_group_arn)


def _task_definition(record: Mapping[str, Any]) -> TaskDefinition:
    containers = tuple(_container(one) for one in record["containerDefinitions"])
    return TaskDefinition(
        arn=record["taskDefinitionArn"],
        family=record["family"],
        cpu_units=_cpu_units(record.get("cpu")) or sum(one.cpu for one in containers),
        memory_mib=_memory_mib(record.get("memory")) or sum(one.memory for one in containers),
        containers=containers,
        task_role=record.get("taskRoleArn") or "",
        execution_role=record.get("executionRoleArn") or "",
    )


def _container(record: Mapping[str, Any]) -> ContainerDefinition:
    log = record.get("logConfiguration") or {}
    options = (log.get("options") or {}) if log.get("logDriver") == "awslogs" else {}
    return ContainerDefinition(
        name=record["name"],
        image=record["image"],
        command=(*(record.get("entryPoint") or ()), *(record.get("command") or ())),
        environment={pair["name"]: str(pair["value"]) for pair in record.get("environment") or ()},
        secrets={pair["name"]: pair["valueFrom"] for pair in record.get("secrets") or ()},
        ports=tuple(int(one["containerPort"]) for one in record.get("portMappings") or ()),
        essential=bool(record.get("essential", True)),
        stop_timeout_s=float(record.get("stopTimeout") or _STOP_TIMEOUT_S),
        cpu=int(record.get("cpu") or 0),
        memory=int(record.get("memory") or record.get("memoryReservation") or 0),
        log_group=options.get("awslogs-group"),
        log_prefix=options.get("awslogs-stream-prefix"),
        create_log_group=str(options.get("awslogs-create-group", "")).lower() == "true",
    )


def _cpu_units(value: object) -> int:
    """ "256" or ".25 vCPU" in units of a 1024th vCPU; 0 when nothing is said."""
    text = str(value or "").strip().lower()
    if text.endswith("vcpu"):
        return int(float(text.removesuffix("vcpu")) * 1024)
    return int(text) if text.isdigit() else 0


def _memory_mib(value: object) -> int:
    """ "512" or "0.5 GB" in MiB; 0 when nothing is said."""
    text = str(value or "").strip().lower()
    if text.endswith("gb"):
        return int(float(text.removesuffix("gb")) * 1024)
    return int(text) if text.isdigit() else 0
