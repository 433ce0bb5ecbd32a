# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""The file that touches ministack's internals of ECS and Elastic Load Balancing; see `ministack_adapter`.

ministack keeps clusters, task definitions, load balancers, target groups and listeners. Services and tasks are those
of `EcsPlant`, targets and their health those of `AlbPlant`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from xml.sax.saxutils import escape

from tocsin.sandbox.alb import AlbPlant, FixedResponse, LoadBalancer, TargetGroup, is_loopback
from tocsin.sandbox.autoscaling import AutoScaling
from tocsin.sandbox.ecs_api import EcsApi, Json, Request
from tocsin.sandbox.ecs_plant import Address, ContainerDefinition, EcsPlant, TaskDefinition
from tocsin.sandbox.loop import InLoop
from tocsin.sandbox.metrics import MetricStore, Scope
from tocsin.sandbox.ministack_adapter import Ministack, check_internals
from tocsin.sandbox.server import TASK_PATH, ApiError
from tocsin.sandbox.tasks import CannotStart, Images, LineSink

RELIED_ON: Mapping[str, Mapping[str, str]] = {
    "core.responses": {"AccountRegionScopedDict": ""},
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
    "services.cloudformation.provisioners": {
        "_RESOURCE_HANDLERS": "",
        "_ecs_service_create": "logical_id, props, stack_name",
        "_elbv2_load_balancer_create": "logical_id, props, stack_name",
    },
    "services.alb": {
        "_ACTION_MAP": "",
        "_lbs": "",
        "_lb_attrs": "",
        "_tgs": "",
        "_tg_attrs": "",
        "_listeners": "",
        "_register_targets": "params",
        "_deregister_targets": "params",
        "_describe_target_health": "params",
        "_parse_targets_param": "params, prefix",
        "_p": "params, key, default",
        "_xml": "status, action, inner",
        "_empty": "action",
        "_error": "code, message, status",
    },
}
"""Module -> name -> its parameters, as in `ministack_adapter`."""

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


class Containers:
    """ECS, Elastic Load Balancing and Application Auto Scaling of one sandbox."""

    def __init__(self, ministack: Ministack, store: MetricStore, endpoint_url: str) -> None:
        self._ministack = ministack
        self._endpoint_url = endpoint_url
        self._in_loop = InLoop()
        modules = check_internals(RELIED_ON)
        self._ecs = modules["services.ecs"]
        self._elb = modules["services.alb"]
        self.images = Images()
        self._balancers = AlbPlant(store, self)
        self.tasks = EcsPlant(store, self, self._balancers, self.images)
        self._api = EcsApi(self.tasks, self, self, store.system_time)
        self.autoscaling = AutoScaling(store, self._api)
        self._adapt_ecs()
        self._adapt_elb(modules["core.responses"].AccountRegionScopedDict)
        self._adapt_cloudformation(modules["services.cloudformation.provisioners"])

    # ------------------------------------------------------------------------------------------ for the daemon

    def start(self) -> None:
        """Begin to look after services."""
        self.tasks.start()

    async def publish(self, wall: float) -> None:
        """Publish the gauges of the system minute that `wall` is in, and scale on what is known by now."""
        self.tasks.publish(wall)
        self._balancers.publish(wall)
        self.autoscaling.tick(wall)

    def addresses(self, cluster: str, service: str) -> list[str]:
        """Where the running tasks of a service listen."""
        return self.tasks.addresses(cluster, service)

    def ports(self) -> Mapping[str, int]:
        """What listens -> its port."""
        return {f"load balancer {name}": port for name, port in self._balancers.ports().items()}

    def pids(self) -> Mapping[int, str]:
        """Process id -> what it is."""
        return self.tasks.pids()

    async def close(self) -> None:
        """Stop every process and close every port."""
        await self.tasks.close()
        await self._balancers.close()

    # ------------------------------------------------------------------------------------------ ECS

    def _adapt_ecs(self) -> None:
        for operation, act in self._api.operations().items():
            handler = self._handler(act)
            self._ecs._ACTION_MAP[operation] = handler
            # CloudFormation calls the functions by their names.
            setattr(self._ecs, _HANDLERS[operation], handler)
        self._ecs._recount_cluster = self._recount

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
            cluster.update(self._api.counts(self._ministack.current_scope(), name))

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

    def tags(self, scope: Scope, arn: str) -> Sequence[Json]:
        """Tags of a resource."""
        with self._ministack.scope(scope):
            return list(self._ecs._tags.get(arn, ()))

    def secrets(self, scope: Scope, container: ContainerDefinition) -> Mapping[str, str]:
        """Values from Secrets Manager and Parameter Store."""
        wanted = [{"name": name, "valueFrom": source} for name, source in container.secrets.items()]
        try:
            with self._ministack.scope(scope):
                values: Mapping[str, str] = self._ecs._resolve_container_secrets({"secrets": wanted})
                return values
        except self._ecs._SecretResolutionError as error:
            raise CannotStart(
                f"ResourceInitializationError: unable to pull secrets or registry auth: {error}"
            ) from error

    def environment(self, scope: Scope, task_id: str) -> Mapping[str, str]:
        """Variables of every container: how to reach this AWS, and what it says of the task."""
        account, region = scope
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "TZ": ":UTC",
            "AWS_ENDPOINT_URL": self._endpoint_url,
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_ACCESS_KEY_ID": account,
            "AWS_SECRET_ACCESS_KEY": "sandbox",
            "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
            "ECS_CONTAINER_METADATA_URI_V4": f"{self._endpoint_url}{TASK_PATH}{task_id}",
        }

    def log(self, scope: Scope, container: ContainerDefinition, task_id: str) -> LineSink:
        """The stream `prefix/container/task` of the container's log group; lines without one are dropped."""
        group = container.log_group
        if group is None:
            return lambda _: None
        prefix = f"{container.log_prefix}/" if container.log_prefix else ""
        stream = f"{prefix}{container.name}/{task_id}"
        if not container.create_log_group and not self._ministack.has_log_group(scope, group):
            raise CannotStart(
                "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: "
                "failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not "
                "exist."
            )

        def write(line: str) -> None:
            self._ministack.write_log(scope, group, stream, [(int(time.time() * 1000), line)])

        return write

    # ------------------------------------------------------------------------------------------ load balancers

    def _adapt_elb(self, store: Any) -> None:
        plant = self._balancers

        class LoadBalancers(store):  # type: ignore[misc]
            """The load balancers, each with a DNS name under which a client can really reach it."""

            __slots__ = ()

            def __setitem__(self, arn: str, record: dict[str, Any]) -> None:
                if arn not in self:
                    record["DNSName"] = plant.open(arn)
                super().__setitem__(arn, record)

            def pop(self, arn: str, *default: Any) -> Any:
                plant.shut(arn)
                return super().pop(arn, *default)

        self._elb._lbs = LoadBalancers()
        for operation, name, handler in (
            ("RegisterTargets", "_register_targets", self._register_targets),
            ("DeregisterTargets", "_deregister_targets", self._deregister_targets),
            ("DescribeTargetHealth", "_describe_target_health", self._describe_target_health),
        ):
            self._elb._ACTION_MAP[operation] = handler
            setattr(self._elb, name, handler)

    def _adapt_cloudformation(self, provisioners: Any) -> None:
        create_service, create_balancer = provisioners._ecs_service_create, provisioners._elbv2_load_balancer_create

        def service(logical_id: str, props: Mapping[str, Any], stack_name: str) -> Any:
            """The grace period is not among what ministack passes on."""
            arn, attributes = create_service(logical_id, props, stack_name)
            if "HealthCheckGracePeriodSeconds" in props:
                grace = {"healthCheckGracePeriodSeconds": props["HealthCheckGracePeriodSeconds"]}
                cluster, name = arn.split("/")[-2:]
                self._ecs._update_service({"cluster": cluster, "service": name, **grace})
            return arn, attributes

        def balancer(logical_id: str, props: Mapping[str, Any], stack_name: str) -> Any:
            """`DNSName` as it is."""
            arn, attributes = create_balancer(logical_id, props, stack_name)
            return arn, {**attributes, "DNSName": self._elb._lbs[arn]["DNSName"]}

        handlers = provisioners._RESOURCE_HANDLERS
        handlers["AWS::ECS::Service"]["create"] = service
        handlers["AWS::ElasticLoadBalancingV2::LoadBalancer"]["create"] = balancer

    def _addresses(self, params: Any) -> list[Address]:
        group = self._elb._tgs[self._elb._p(params, "TargetGroupArn")]
        named = self._elb._parse_targets_param(params)
        return [Address(one["Id"], int(one.get("Port", group["Port"]))) for one in named]

    def _group_error(self, params: Any) -> Any:
        arn = self._elb._p(params, "TargetGroupArn")
        known = arn in self._elb._tgs
        return None if known else self._elb._error("TargetGroupNotFound", f"Target group '{arn}' not found.")

    def _register_targets(self, params: Any) -> Any:
        if (error := self._group_error(params)) is not None:
            return error
        addresses = self._addresses(params)
        for address in addresses:
            if not is_loopback(address.host):
                return self._elb._error(
                    "InvalidTarget", f"The IP address '{address.host}' is not valid: a sandbox has targets on 127.0.0.1"
                )
        arn = self._elb._p(params, "TargetGroupArn")
        for address in addresses:
            self._in_loop(partial(self._balancers.register, arn, address))
        return self._elb._empty("RegisterTargets")

    def _deregister_targets(self, params: Any) -> Any:
        if (error := self._group_error(params)) is not None:
            return error
        arn, addresses = self._elb._p(params, "TargetGroupArn"), self._addresses(params)
        for address in addresses:
            self._in_loop(partial(self._balancers.deregister, arn, address))
        return self._elb._empty("DeregisterTargets")

    def _describe_target_health(self, params: Any) -> Any:
        if (error := self._group_error(params)) is not None:
            return error
        arn = self._elb._p(params, "TargetGroupArn")
        addresses = self._addresses(params) or self._balancers.targets(arn)
        described = "".join(_target_health(address, *self._balancers.describe(arn, address)) for address in addresses)
        inner = f"<TargetHealthDescriptions>{described}</TargetHealthDescriptions>"
        return self._elb._xml(200, "DescribeTargetHealth", inner)

    def balanced(self, target_group_arn: str) -> bool:
        """Whether a load balancer forwards to a target group."""
        group = self.target_group(target_group_arn)
        return group is not None and bool(group.load_balancers)

    def load_balancer(self, arn: str) -> LoadBalancer | None:
        """A load balancer as it is defined now."""
        scope = _scope(arn)
        with self._ministack.scope(scope):
            if arn not in self._elb._lbs:
                return None
            attributes = _attributes(self._elb._lb_attrs.get(arn))
            listeners = [one for one in self._elb._listeners.values() if one["LoadBalancerArn"] == arn]
        actions = [action for listener in listeners for action in listener["DefaultActions"]]
        idle_s = float(attributes.get("idle_timeout.timeout_seconds", 60))
        served = [served for action in actions if (served := _action(action)) is not None]
        return LoadBalancer(arn, scope, idle_s, served[0] if served else None)

    def target_group(self, arn: str) -> TargetGroup | None:
        """A target group as it is defined now."""
        scope = _scope(arn)
        with self._ministack.scope(scope):
            record = self._elb._tgs.get(arn)
            if record is None:
                return None
            attributes = _attributes(self._elb._tg_attrs.get(arn))
            users = {
                listener["LoadBalancerArn"]
                for listener in self._elb._listeners.values()
                if listener["LoadBalancerArn"] in self._elb._lbs
                and any(action.get("TargetGroupArn") == arn for action in listener["DefaultActions"])
            }
        return TargetGroup(
            arn=arn,
            scope=scope,
            path=record.get("HealthCheckPath") or "/",
            interval_s=float(record.get("HealthCheckIntervalSeconds", 30)),
            timeout_s=float(record.get("HealthCheckTimeoutSeconds", 5)),
            healthy_threshold=int(record.get("HealthyThresholdCount", 5)),
            unhealthy_threshold=int(record.get("UnhealthyThresholdCount", 2)),
            matcher=(record.get("Matcher") or {}).get("HttpCode") or "200",
            deregistration_delay_s=float(attributes.get("deregistration_delay.timeout_seconds", 300)),
            checked=bool(record.get("HealthCheckEnabled", True)),
            load_balancers=tuple(sorted(users)),
        )


def _scope(arn: str) -> Scope:
    """Account and region of an ARN; a wrong one belongs to nobody."""
    parts = arn.split(":")
    return (parts[4], parts[3]) if len(parts) > 5 else ("", "")


def _attributes(pairs: Any) -> Mapping[str, str]:
    return {pair["Key"]: pair["Value"] for pair in pairs or ()}


def _action(action: Mapping[str, Any]) -> str | FixedResponse | None:
    if action.get("TargetGroupArn"):
        return str(action["TargetGroupArn"])
    fixed = action.get("FixedResponseConfig")
    if fixed is None:
        return None
    return FixedResponse(int(fixed["StatusCode"]), fixed.get("ContentType", "text/plain"), fixed.get("MessageBody", ""))


def _target_health(address: Address, state: str, reason: str, description: str) -> str:
    why = f"<Reason>{reason}</Reason><Description>{escape(description)}</Description>" if reason else ""
    return (
        f"<member><Target><Id>{escape(address.host)}</Id><Port>{address.port}</Port></Target>"
        f"<HealthCheckPort>{address.port}</HealthCheckPort>"
        f"<TargetHealth><State>{state}</State>{why}</TargetHealth></member>"
    )


def _task_definition(record: Mapping[str, Any]) -> TaskDefinition:
    containers = tuple(_container(one) for one in record["containerDefinitions"])
    return TaskDefinition(
        arn=record["taskDefinitionArn"],
        family=record["family"],
        cpu_units=_cpu_units(record.get("cpu")) or sum(one.cpu for one in containers),
        memory_mib=_memory_mib(record.get("memory")) or sum(one.memory for one in containers),
        containers=containers,
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
