"""The ECS plant: services kept at their desired count, tasks that are real processes, and the metrics of both.

Everything here runs in the event loop. Times of the plant are system seconds; the way of a task from PROVISIONING to
RUNNING takes about half a production minute, to which the start of the real process comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from tocsin.alarms.cloudwatch import metric_key
from tocsin.sandbox.metrics import MetricStore, Scope
from tocsin.sandbox.services.ecs import scheduler
from tocsin.sandbox.services.ecs.figures import LAUNCH_S
from tocsin.sandbox.services.ecs.scheduler import Deployment, Failure, Service
from tocsin.sandbox.services.ecs.tasks import (
    CPU_UNITS_PER_VCPU,
    CannotStart,
    Container,
    ContainerSpec,
    Images,
    LineSink,
    process_groups,
)
from tocsin.sandbox.services.elb.plant import Address, Health

NAMESPACE = "AWS/ECS"
LOOK_S = 5.0
"""Production seconds between two looks of the scheduler at its services."""

_SHORTEST_LOOK_S = 0.05
_KEPT_STOPPED = 100
_KEPT_EVENTS = 100
_MIB = 1024 * 1024
_PENDING = ("PROVISIONING", "PENDING", "ACTIVATING")

_logger = logging.getLogger("tocsin.sandbox")


@dataclass(frozen=True)
class ContainerDefinition:
    """One entry of `containerDefinitions`; `stop_timeout_s` is production time."""

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: Mapping[str, str]
    """name -> `valueFrom`"""
    ports: tuple[int, ...]
    essential: bool
    stop_timeout_s: float
    cpu: int
    memory: int
    log_group: str | None
    log_prefix: str | None
    create_log_group: bool


@dataclass(frozen=True)
class TaskDefinition:
    """A revision of a task definition."""

    arn: str
    family: str
    cpu_units: int
    """reserved for the task: 256 is a quarter of a vCPU; 0 when nothing is"""
    memory_mib: int
    containers: tuple[ContainerDefinition, ...]
    task_role: str = ""
    """ARN of the role that its containers act in; empty: they have no credentials"""
    execution_role: str = ""
    """ARN of the role in which it is started: secrets, images, logs"""


@dataclass(frozen=True)
class TargetRef:
    """One entry of a service's `loadBalancers`."""

    group_arn: str
    container: str
    port: int


class AccountOfTasks(Protocol):
    """What the plant asks of the account in which it runs."""

    def task_definition(self, scope: Scope, arn: str) -> TaskDefinition:
        """A registered revision."""

    def secrets(self, task: Task, container: ContainerDefinition) -> Mapping[str, str]:
        """Values of the secrets by the name of their variable. Raises CannotStart."""

    def log(self, task: Task, container: ContainerDefinition) -> LineSink:
        """Where the lines of a container go.

        Raises CannotStart when its log group is not there, or the task may not write to it.
        """

    def environment(self, task: Task) -> Mapping[str, str]:
        """Variables that every container of a task has."""


class TargetGroups(Protocol):
    """What the plant asks of the load balancers."""

    def register(self, group_arn: str, address: Address) -> None:
        """Register a target."""

    def deregister(self, group_arn: str, address: Address) -> None:
        """Begin to drain a target; nothing when it is not registered."""

    async def drained(self, group_arn: str, address: Address) -> None:
        """Wait until a target is drained."""

    def health(self, group_arn: str, address: Address) -> tuple[Health, str]:
        """What health checks say, and why."""


@dataclass(eq=False)
class Task:
    """One task. States and codes are those of `DescribeTasks`; `at` holds wall-clock times by field name."""

    id: str
    scope: Scope
    cluster: str
    definition: TaskDefinition
    launch_type: str
    group: str
    started_by: str
    deployment: str = ""
    """id of the service's deployment; empty for a task of `RunTask`"""
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """overrides of `RunTask` by container name"""
    last_status: str = "PROVISIONING"
    version: int = 1
    stop_code: str = ""
    stop_reason: str = ""
    containers: list[Container] = field(default_factory=list)
    targets: tuple[tuple[str, Address], ...] = ()
    """(target group ARN, address) it is registered with"""
    created: float = 0.0
    running_since: float | None = None
    """system seconds"""
    at: dict[str, float] = field(default_factory=dict)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    measured: tuple[float, float] = field(default_factory=lambda: (time.monotonic(), 0.0))
    """when its utilization was published last, and processor seconds used by then"""

    @property
    def arn(self) -> str:
        """ARN of the task."""
        account, region = self.scope
        return f"arn:aws:ecs:{region}:{account}:task/{self.cluster}/{self.id}"

    @property
    def desired_status(self) -> str:
        """RUNNING until somebody or something ends it."""
        return "STOPPED" if self.stopping.is_set() or self.stop_code else "RUNNING"

    @property
    def pending(self) -> bool:
        """Whether it is on its way to RUNNING."""
        return self.desired_status == "RUNNING" and self.last_status in _PENDING

    def now(self, status: str, *marks: str) -> None:
        """Enter a state, and note the time in the fields named."""
        self.last_status = status
        self.version += 1
        self.at |= {mark: time.time() for mark in marks}


@dataclass(eq=False)
class ServiceRecord:
    """A service: what its scheduler decides on, and what the API shows besides."""

    scope: Scope
    cluster: str
    state: Service
    launch_type: str
    targets: tuple[TargetRef, ...]
    status: str = "ACTIVE"
    created_at: float = field(default_factory=time.time)
    updated_at: dict[str, float] = field(default_factory=dict)
    """deployment id -> wall-clock time of its last change"""
    events: deque[tuple[str, float, str]] = field(default_factory=lambda: deque(maxlen=_KEPT_EVENTS))
    """(id, wall-clock time, message), newest first"""
    settings: Mapping[str, object] = field(default_factory=dict)
    """fields of the request that are only shown again"""

    @property
    def name(self) -> str:
        """Its name."""
        return self.state.name

    @property
    def arn(self) -> str:
        """ARN of the service."""
        account, region = self.scope
        return f"arn:aws:ecs:{region}:{account}:service/{self.cluster}/{self.name}"

    def tell(self, message: str) -> None:
        """Add a service event."""
        self.events.appendleft((str(uuid.uuid4()), time.time(), message))


class EcsPlant:
    """All services and tasks of one sandbox."""

    def __init__(
        self, store: MetricStore, account: AccountOfTasks, target_groups: TargetGroups, images: Images
    ) -> None:
        self._store = store
        self._time = store.system_time
        self._account = account
        self._target_groups = target_groups
        self._images = images
        self.services: dict[tuple[Scope, str, str], ServiceRecord] = {}
        """(scope, cluster, name) -> service; one that was deleted stays, INACTIVE"""
        self.tasks: dict[str, Task] = {}
        """task id -> task, also those that ended not long ago"""
        self._lives: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._scheduler: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------------------------------ for the API

    def start(self) -> None:
        """Begin to look after the services."""
        self._scheduler = asyncio.create_task(self._run())

    def create(self, record: ServiceRecord, task_definition: str) -> None:
        """Begin to keep a service; its first deployment is of `task_definition`."""
        record.state = replace(record.state, deployments=(self._deployment(task_definition),))
        self.services[record.scope, record.cluster, record.name] = record
        self._changed.set()

    def deploy(self, record: ServiceRecord, task_definition: str) -> None:
        """Begin a rolling update to a task definition."""
        record.state = scheduler.deploy(record.state, self._deployment(task_definition))
        self._changed.set()

    def change(self, record: ServiceRecord, state: Service) -> None:
        """Replace what the scheduler decides on."""
        record.state = replace(state, steady=state.steady and state.desired == record.state.desired)
        self._changed.set()

    def delete(self, record: ServiceRecord) -> None:
        """Stop all tasks; the service is INACTIVE when they have ended."""
        record.status = "DRAINING"
        record.state = replace(record.state, desired=0)
        for task in self.tasks_of(record):
            self.stop_task(task, "ServiceSchedulerInitiated", "Service deleted")
        self._changed.set()

    def run_task(self, task: Task) -> None:
        """Launch a task."""
        task.created = self._time.now()
        task.at["createdAt"] = time.time()
        self.tasks[task.id] = task
        life = asyncio.create_task(self._live(task))
        self._lives.add(life)
        life.add_done_callback(self._lives.discard)

    def stop_task(self, task: Task, code: str, reason: str) -> None:
        """Ask a task to end; one that is ending already keeps its first reason."""
        if task.desired_status == "RUNNING":
            task.stop_code, task.stop_reason = code, reason
            task.version += 1
            task.stopping.set()

    def tasks_of(self, record: ServiceRecord) -> list[Task]:
        """Tasks of a service that have not ended."""
        return [
            task
            for task in self.tasks.values()
            if task.deployment
            and (task.scope, task.cluster, task.group) == (record.scope, record.cluster, f"service:{record.name}")
            and task.last_status != "STOPPED"
        ]

    def addresses(self, cluster: str, service: str) -> list[str]:
        """`host:port` of the first mapped port of every running task of a service, as service discovery gives it."""
        return [
            f"127.0.0.1:{port}"
            for task in self.tasks.values()
            if (task.cluster, task.group) == (cluster, f"service:{service}") and task.last_status == "RUNNING"
            for container in task.containers[:1]
            for port in list(container.host_ports.values())[:1]
        ]

    def health(self, task: Task) -> tuple[Health, str]:
        """What the load balancers say of a task together, and why."""
        found = [self._target_groups.health(group, address) for group, address in task.targets]
        for wanted in (Health.UNHEALTHY, Health.UNKNOWN):
            for health, reason in found:
                if health is wanted:
                    return health, reason
        return (Health.HEALTHY, "") if found else (Health.UNKNOWN, "")

    def _deployment(self, task_definition: str) -> Deployment:
        return Deployment(f"ecs-svc/{uuid.uuid4().int % 10**19:019}", task_definition, self._time.now())

    # ------------------------------------------------------------------------------------------ the scheduler

    async def _run(self) -> None:
        while True:
            for record in list(self.services.values()):
                try:
                    self._look(record)
                except Exception:  # one service that cannot be looked after must not end the scheduler of all
                    _logger.exception("service %s", record.name)
            self._forget_stopped()
            busy = any(record.status != "INACTIVE" for record in self.services.values())
            pause_s = max(_SHORTEST_LOOK_S, self._time.clock.wall(LOOK_S)) if busy else None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause_s)
            # Before the next look and not after it: what changes while it looks is looked at once more.
            self._changed.clear()

    def _look(self, record: ServiceRecord) -> None:
        if record.status == "DRAINING" and not self.tasks_of(record):
            record.status = "INACTIVE"
        if record.status != "ACTIVE":
            return
        living = [task for task in self.tasks_of(record) if task.desired_status == "RUNNING"]
        before = record.state
        step = scheduler.schedule(record.state, [self._seen(task) for task in living], self._time.now())
        self._apply(record, step)
        for stop in step.stop:
            self._stop(record, self.tasks[stop.task], stop.reason)
        if step.stop:
            stopped = _names(stop.task for stop in step.stop)
            record.tell(f"(service {record.name}) has stopped {len(step.stop)} running tasks: {stopped}.")
        if step.launch:
            self._launch(record, step.launch)
        for deployment in record.state.deployments:
            if deployment not in before.deployments:
                record.updated_at[deployment.id] = time.time()

    def _seen(self, task: Task) -> scheduler.Task:
        return scheduler.Task(task.id, task.deployment, task.created, task.running_since, self.health(task)[0])

    def _apply(self, record: ServiceRecord, step: scheduler.Step) -> None:
        record.state = step.service
        for message in step.events:
            record.tell(message)

    def _stop(self, record: ServiceRecord, task: Task, reason: str) -> None:
        health, why = self.health(task)
        if (
            health is Health.UNHEALTHY
            and task.targets
            and scheduler.is_unhealthy(record.state, self._seen(task), self._time.now())
        ):
            group, address = task.targets[0]
            reason = f"Task failed ELB health checks in (target-group {group})"
            record.tell(
                f"(service {record.name}) (port {address.port}) is unhealthy in (target-group {group}) due to "
                f"(reason {why})."
            )
            self._count_failure(record, task, Failure.HEALTH)
        self.stop_task(task, "ServiceSchedulerInitiated", reason)

    def _launch(self, record: ServiceRecord, count: int) -> None:
        primary = record.state.primary
        started = [
            Task(
                id=uuid.uuid4().hex,
                scope=record.scope,
                cluster=record.cluster,
                definition=self._account.task_definition(record.scope, primary.task_definition),
                launch_type=record.launch_type,
                group=f"service:{record.name}",
                started_by=primary.id,
                deployment=primary.id,
            )
            for _ in range(count)
        ]
        for task in started:
            self.run_task(task)
        record.tell(f"(service {record.name}) has started {count} tasks: {_names(task.id for task in started)}.")

    def _count_failure(self, record: ServiceRecord, task: Task, how: Failure) -> None:
        self._apply(record, scheduler.failed(record.state, task.deployment, how, self._time.now()))

    def _forget_stopped(self) -> None:
        ended = [task for task in self.tasks.values() if task.last_status == "STOPPED"]
        for task in ended[:-_KEPT_STOPPED]:
            del self.tasks[task.id]

    # ------------------------------------------------------------------------------------------ the life of a task

    async def _live(self, task: Task) -> None:
        record = self._service_of(task)
        try:
            if await self._started(task):
                # Not earlier: a target is checked from its registration on, and nobody would listen yet.
                self._register(task, record)
                await self._until_ended(task)
        except CannotStart as error:
            task.stop_code, task.stop_reason = "TaskFailedToStart", str(error)
        except Exception as error:  # a task that nobody looks after would stay PROVISIONING for ever
            _logger.exception("task %s", task.id)
            task.stop_code, task.stop_reason = "TaskFailedToStart", f"ResourceInitializationError: {error}"
        await self._end(task, record)
        how = {"TaskFailedToStart": Failure.LAUNCH, "EssentialContainerExited": Failure.EXIT}.get(task.stop_code)
        if record is not None and how is not None and record.status == "ACTIVE":
            self._count_failure(record, task, how)
        self._changed.set()

    def _service_of(self, task: Task) -> ServiceRecord | None:
        name = task.group.removeprefix("service:")
        return self.services.get((task.scope, task.cluster, name)) if task.deployment else None

    async def _started(self, task: Task) -> bool:
        """Bring a task to RUNNING; False when it was told to stop on its way."""
        for status, seconds in LAUNCH_S.items():
            task.last_status = status
            if status == "ACTIVATING":
                task.at["pullStartedAt"] = time.time()
            if await self._told_to_stop(task, seconds):
                return False
        task.containers = [self._container(task, definition) for definition in task.definition.containers]
        environment = self._account.environment(task)
        for container, definition in zip(task.containers, task.definition.containers, strict=True):
            directory = self._images.pull(definition.image)
            write = self._account.log(task, definition)
            await container.start(directory, environment, write)
        task.running_since = self._time.now()
        task.now("RUNNING", "pullStoppedAt", "startedAt")
        self._changed.set()
        return True

    async def _told_to_stop(self, task: Task, seconds: float) -> bool:
        try:
            await asyncio.wait_for(task.stopping.wait(), self._time.clock.wall(seconds))
        except TimeoutError:
            return False
        return True

    def _container(self, task: Task, definition: ContainerDefinition) -> Container:
        return Container(
            ContainerSpec(
                name=definition.name,
                command=task.commands.get(definition.name, definition.command),
                environment={
                    **definition.environment,
                    **self._account.secrets(task, definition),
                    **task.environment.get(definition.name, {}),
                },
                ports=definition.ports,
                essential=definition.essential,
                stop_timeout_s=definition.stop_timeout_s,
            )
        )

    def _register(self, task: Task, record: ServiceRecord | None) -> None:
        if record is None:
            return
        found = []
        for target in record.targets:
            for container in task.containers:
                if container.spec.name == target.container and target.port in container.host_ports:
                    found.append((target.group_arn, Address("127.0.0.1", container.host_ports[target.port])))
        task.targets = tuple(found)
        for group, address in task.targets:
            self._target_groups.register(group, address)
            record.tell(f"(service {record.name}) registered 1 targets in (target-group {group})")

    @staticmethod
    async def _until_ended(task: Task) -> None:
        told = asyncio.create_task(task.stopping.wait())
        exits = [asyncio.create_task(container.ended()) for container in task.containers if container.spec.essential]
        await asyncio.wait([told, *exits], return_when=asyncio.FIRST_COMPLETED)
        for waiting in (told, *exits):
            waiting.cancel()
        # Both may have happened by now. Who was told to stop did not fail, however its process ended: a stop must not
        # count as a crash of its deployment.
        if not task.stop_code:
            task.stop_code, task.stop_reason = "EssentialContainerExited", "Essential container in task exited"

    async def _end(self, task: Task, record: ServiceRecord | None) -> None:
        """Targets first, then the processes.

        The scheduler waits until the load balancers have let go of a task, `StopTask` does not
        ([connection draining](https://docs.aws.amazon.com/AmazonECS/latest/bestpracticesguide/load-balancer-connection-draining.html)).
        """
        task.now("DEACTIVATING", "stoppingAt")
        for group, address in task.targets:
            self._target_groups.deregister(group, address)
            if record is not None:
                record.tell(f"(service {record.name}) deregistered 1 targets in (target-group {group})")
        if task.targets and record is not None and task.stop_code == "ServiceSchedulerInitiated":
            record.tell(f"(service {record.name}) has begun draining connections on 1 tasks.")
            await asyncio.gather(*(self._target_groups.drained(group, address) for group, address in task.targets))
        task.now("STOPPING")
        clock = self._time.clock
        await asyncio.gather(*(one.stop(clock.wall(one.spec.stop_timeout_s)) for one in task.containers))
        task.now("DEPROVISIONING", "executionStoppedAt")
        task.now("STOPPED", "stoppedAt")

    # ------------------------------------------------------------------------------------------ for the daemon

    def publish(self, wall: float) -> None:
        """Put the utilization of every running task of a service into the metric store, for the minute of `wall`.

        A sample a task, in percent of what its definition reserves, by `ClusterName` and `ServiceName`; nothing where
        no task runs
        ([metrics](https://docs.aws.amazon.com/AmazonECS/latest/developerguide/available-metrics.html)).
        """
        running = [task for task in self.tasks.values() if task.deployment and task.last_status == "RUNNING"]
        groups = process_groups() if running else {}
        for task in running:
            cpu_percent, memory_percent = self._utilization(task, groups)
            dimensions = {"ClusterName": task.cluster, "ServiceName": task.group.removeprefix("service:")}
            for name, value in (("CPUUtilization", cpu_percent), ("MemoryUtilization", memory_percent)):
                if value is not None:
                    self._store.put(task.scope, metric_key(NAMESPACE, name, dimensions), value, "Percent", wall=wall)

    @staticmethod
    def _utilization(task: Task, groups: Mapping[int, Sequence[int]]) -> tuple[float | None, float | None]:
        usages = [container.usage(groups) for container in task.containers]
        before, task.measured = task.measured, (time.monotonic(), sum(usage.cpu_s for usage in usages))
        elapsed_s, used_s = (now - then for now, then in zip(task.measured, before, strict=True))
        cpu = memory = None
        if task.definition.cpu_units and elapsed_s > 0:
            vcpus = task.definition.cpu_units / CPU_UNITS_PER_VCPU
            cpu = 100.0 * used_s / elapsed_s / vcpus
            # Fargate gives no more than was reserved. A process here may take more, and works on as if it had not.
            cpu = min(100.0, cpu) if task.launch_type == "FARGATE" else cpu
        if task.definition.memory_mib:
            memory = 100.0 * sum(usage.memory_bytes for usage in usages) / (task.definition.memory_mib * _MIB)
        return cpu, memory

    def stats(self, task_id: str) -> Mapping[str, Any] | None:
        """What the task metadata endpoint answers to `/task/stats`: Docker's statistics of each container by its id.

        As far as the sandbox has them: the time, processor time in nanoseconds, memory in bytes. None for a task that
        does not run
        ([version 4](https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate.html)).
        """
        task = self.tasks.get(task_id)
        if task is None or task.last_status != "RUNNING":
            return None
        groups, read = process_groups(), datetime.now(UTC).isoformat()
        usages = {container.spec.name: container.usage(groups) for container in task.containers}
        return {
            f"{task.id}-{name}": {
                "name": name,
                "read": read,
                "cpu_stats": {"cpu_usage": {"total_usage": round(usage.cpu_s * 1e9)}},
                "memory_stats": {"usage": usage.memory_bytes},
            }
            for name, usage in usages.items()
        }

    def pids(self) -> Mapping[int, str]:
        """Process id -> what it is, of all containers that run."""
        return {
            container.pid: f"task {task.id[:8]} {container.spec.name}"
            for task in self.tasks.values()
            for container in task.containers
            if container.pid is not None and container.exit_code is None
        }

    async def close(self) -> None:
        """Stop every process."""
        if self._scheduler is not None:
            self._scheduler.cancel()
        for life in self._lives:
            life.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)
        # The lives were cut off in the middle, wherever that was: processes are ended here, by who has them.
        containers = [container for task in self.tasks.values() for container in task.containers]
        await asyncio.gather(*(container.stop(_CLOSE_GRACE_S) for container in containers), return_exceptions=True)


_CLOSE_GRACE_S = 0.3


def _names(ids: Iterable[str]) -> str:
    return " ".join(f"(task {one})" for one in ids)
