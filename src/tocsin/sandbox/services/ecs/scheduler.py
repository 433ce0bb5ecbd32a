"""The ECS service scheduler: what to launch and what to stop next. Pure: no clock, no process, no socket.

`schedule` looks at a service and its tasks at one system second and says what follows. It is the rolling update of
[ECS](https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html) with its
[circuit breaker](https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html) and its
[throttle](https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-throttle-logic.html).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tocsin.sandbox.services.ecs.figures import STEADY_S, THROTTLE_FIRST_S, THROTTLE_MAX_S
from tocsin.sandbox.services.elb.plant import Health

THROTTLE_EVENT_AFTER = 3
BREAKER_SHARE = 0.5
BREAKER_MIN, BREAKER_MAX = 3, 200


class Rollout(StrEnum):
    """`rolloutState` of a deployment."""

    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Deployment:
    """One deployment of a service; times are system seconds."""

    id: str
    task_definition: str
    created: float
    rollout: Rollout = Rollout.IN_PROGRESS
    reason: str = ""
    failed_tasks: int = 0
    """consecutive tasks that failed since the last healthy one"""
    launch_failures: int = 0
    """consecutive tasks that never reached RUNNING"""
    next_launch: float = 0.0


@dataclass(frozen=True)
class Breaker:
    """`deploymentCircuitBreaker`."""

    enable: bool = False
    rollback: bool = False


@dataclass(frozen=True)
class Service:
    """A service as its scheduler sees it; `deployments` begin with the PRIMARY one."""

    name: str
    desired: int
    deployments: tuple[Deployment, ...]
    minimum_healthy_percent: int = 100
    maximum_percent: int = 200
    breaker: Breaker = Breaker()
    grace_s: float = 0.0
    """`healthCheckGracePeriodSeconds`"""
    balanced: bool = False
    """whether a load balancer checks the tasks"""
    last_completed: Deployment | None = None
    """what a rollback goes back to"""
    steady: bool = False
    """whether the last word to the operators was that the steady state is reached"""

    @property
    def primary(self) -> Deployment:
        """The deployment that is wanted now."""
        return self.deployments[0]


@dataclass(frozen=True)
class Task:
    """One living task of a service: not stopped, and not told to stop."""

    id: str
    deployment: str
    created: float
    running_since: float | None = None
    """None until it is RUNNING"""
    health: Health = Health.UNKNOWN


class Failure(StrEnum):
    """How a task ended that nobody told to stop."""

    LAUNCH = "launch"
    """it never was RUNNING"""
    EXIT = "exit"
    """an essential container exited"""
    HEALTH = "health"
    """the load balancer found it unhealthy, and the scheduler stopped it"""


@dataclass(frozen=True)
class Stop:
    """A task to stop, and what `stoppedReason` says."""

    task: str
    reason: str


@dataclass(frozen=True)
class Step:
    """What follows from one look: the service as it is now, and what to do."""

    service: Service
    launch: int = 0
    """tasks of the primary deployment to launch"""
    stop: tuple[Stop, ...] = ()
    events: tuple[str, ...] = ()


def breaker_threshold(desired: int) -> int:
    """Failed tasks that trip the circuit breaker: half the desired count, rounded up, within 3 and 200."""
    return min(BREAKER_MAX, max(BREAKER_MIN, math.ceil(BREAKER_SHARE * desired)))


def throttle_s(launch_failures: int) -> float:
    """Seconds until the next launch after so many failed ones in a row."""
    return min(THROTTLE_MAX_S, THROTTLE_FIRST_S * 2.0 ** min(launch_failures - 1, 10))


def deploy(service: Service, deployment: Deployment) -> Service:
    """Begin a rolling update: the new deployment is PRIMARY, the others are drained as it becomes healthy."""
    return replace(service, deployments=(deployment, *service.deployments), steady=False)


def failed(service: Service, deployment_id: str, how: Failure, now: float) -> Step:
    """Count a task that failed; the circuit breaker looks at it only while its deployment is rolled out."""
    found = next((one for one in service.deployments if one.id == deployment_id), None)
    if found is None:
        return Step(service)
    events: list[str] = []
    if how is Failure.LAUNCH:
        failures = found.launch_failures + 1
        found = replace(found, launch_failures=failures, next_launch=now + throttle_s(failures))
        if failures == THROTTLE_EVENT_AFTER:
            events.append(f"(service {service.name}) is unable to consistently start tasks successfully.")
    rolling = found.id == service.primary.id and found.rollout is Rollout.IN_PROGRESS
    if rolling:
        found = replace(found, failed_tasks=found.failed_tasks + 1)
    service = _with(service, found)
    if rolling and service.breaker.enable and found.failed_tasks >= breaker_threshold(service.desired):
        why = "failed to start" if how is Failure.LAUNCH else "failed"
        service, said = _trip(service, found, why, now)
        events += said
    return Step(service, events=tuple(events))


def _trip(service: Service, deployment: Deployment, why: str, now: float) -> tuple[Service, list[str]]:
    reason = f"ECS deployment circuit breaker: tasks {why}."
    service = _with(service, replace(deployment, rollout=Rollout.FAILED, reason=reason))
    events = [f"(service {service.name}) (deployment {deployment.id}) deployment failed: tasks {why}."]
    back = service.last_completed
    if service.breaker.rollback and back is not None and back.id != deployment.id:
        restored = replace(
            back,
            rollout=Rollout.IN_PROGRESS,
            reason=f"ECS deployment circuit breaker: rolling back to deploymentId {back.id}.",
            failed_tasks=0,
            launch_failures=0,
            next_launch=now,
        )
        others = tuple(one for one in service.deployments if one.id != back.id)
        # A deployment that is rolled back to cannot be rolled back to again until it is completed.
        service = replace(service, deployments=(restored, *others), last_completed=None)
        events.append(f"(service {service.name}) rolling back to deployment {back.id}.")
    return service, events


def schedule(service: Service, tasks: Sequence[Task], now: float) -> Step:
    """What to launch and stop now, and what became of the deployments.

    At most `maximumPercent` of the desired count live at a time, rounded down. Nothing healthy is stopped while that
    would leave fewer than `minimumHealthyPercent` of it healthy, rounded up. An unhealthy task is replaced before it
    is stopped when there is room for both
    ([task replacement](https://aws.amazon.com/blogs/containers/a-deep-dive-into-amazon-ecs-task-health-and-task-replacement/)).
    """
    service = _reset_failures(service, tasks, now)
    primary = service.primary
    current = [task for task in tasks if task.deployment == primary.id]
    old = [task for task in tasks if task.deployment != primary.id]
    sick = [task for task in tasks if is_unhealthy(service, task, now)]
    stopped = primary.rollout is Rollout.FAILED
    good = [task for task in current if task not in sick]
    room = max(0, max(service.desired, service.desired * service.maximum_percent // 100) - len(tasks))
    missing = 0 if stopped else max(0, service.desired - len(good))
    launch = min(missing, room) if now >= primary.next_launch else 0
    crowded = max(0, missing - room)

    stops = [
        Stop(task.id, f"Scaling activity initiated by (deployment {primary.id})")
        for task in _surplus(service, good, now)
    ]
    stops += _stop_sick(service, tasks, [task for task in sick if task in current or stopped], crowded, now)
    if not stopped:
        stops += _drain(service, tasks, old, crowded, now)
    service, events = _settle(service, current, old, now)
    return Step(service, launch, tuple(stops), tuple(events))


def is_healthy(service: Service, task: Task, now: float) -> bool:
    """Whether a task counts as healthy: by the load balancer, or by running for a while where there is none."""
    if service.balanced:
        return task.running_since is not None and task.health is Health.HEALTHY
    return task.running_since is not None and now - task.running_since >= STEADY_S


def is_unhealthy(service: Service, task: Task, now: float) -> bool:
    """Whether a load balancer finds a task unhealthy, and its grace period is over."""
    if task.running_since is None or task.health is not Health.UNHEALTHY:
        return False
    return now - task.running_since >= service.grace_s


def _reset_failures(service: Service, tasks: Iterable[Task], now: float) -> Service:
    """One healthy task ends a row of failed ones."""
    primary = service.primary
    if not primary.failed_tasks and not primary.launch_failures:
        return service
    if any(task.deployment == primary.id and is_healthy(service, task, now) for task in tasks):
        return _with(service, replace(primary, failed_tasks=0, launch_failures=0, next_launch=0.0))
    return service


def _surplus(service: Service, good: Sequence[Task], now: float) -> list[Task]:
    """Tasks beyond the desired count: those that serve nobody yet first, then the youngest."""
    by_use = sorted(good, key=lambda task: (is_healthy(service, task, now), -task.created))
    return by_use[: max(0, len(good) - service.desired)]


def _stop_sick(service: Service, tasks: Sequence[Task], sick: Sequence[Task], crowded: int, now: float) -> list[Stop]:
    """Unhealthy tasks go when enough healthy ones are there without them, or to make room for a replacement."""
    healthy = sum(is_healthy(service, task, now) for task in tasks)
    count = len(sick) if healthy >= service.desired else min(len(sick), crowded)
    return [Stop(task.id, "Task failed ELB health checks") for task in sick[: max(0, count)]]


def _drain(service: Service, tasks: Sequence[Task], old: Sequence[Task], crowded: int, now: float) -> list[Stop]:
    """Tasks of former deployments that are replaced already, or that must make room."""
    healthy_new = sum(is_healthy(service, task, now) for task in tasks if task not in old)
    replaced = len(old) - max(0, service.desired - healthy_new)
    wanted = max(replaced, min(crowded, len(old)))
    idle = [task for task in old if not is_healthy(service, task, now)]
    busy = sorted((task for task in old if task not in idle), key=lambda task: task.created)
    spare = healthy_new + len(busy) - math.ceil(service.desired * service.minimum_healthy_percent / 100)
    chosen = [*idle, *busy[: max(0, spare)]][: max(0, wanted)]
    return [Stop(task.id, f"Scaling activity initiated by (deployment {task.deployment})") for task in chosen]


def _settle(service: Service, current: Sequence[Task], old: Sequence[Task], now: float) -> tuple[Service, list[str]]:
    """Drop deployments that are drained; complete the primary one when all it wants is healthy and nothing else."""
    living = {task.deployment for task in old}
    primary, events = service.primary, []
    healthy = sum(is_healthy(service, task, now) for task in current)
    reached = healthy == len(current) == service.desired and not old and primary.rollout is not Rollout.FAILED
    last = service.last_completed
    if reached and primary.rollout is Rollout.IN_PROGRESS:
        primary = replace(primary, rollout=Rollout.COMPLETED, reason=f"ECS deployment {primary.id} completed.")
        events.append(f"(service {service.name}) (deployment {primary.id}) deployment completed.")
    if primary.rollout is Rollout.COMPLETED:
        last = primary
    if reached and not service.steady:
        events.append(f"(service {service.name}) has reached a steady state.")
    # A deployment that was rolled back is shown with its reason until the rollback is completed.
    kept = tuple(
        one
        for one in service.deployments[1:]
        if one.id in living or (one.rollout is Rollout.FAILED and primary.rollout is Rollout.IN_PROGRESS)
    )
    service = replace(service, deployments=(primary, *kept), last_completed=last, steady=reached)
    return service, events


def _with(service: Service, deployment: Deployment) -> Service:
    deployments = tuple(deployment if one.id == deployment.id else one for one in service.deployments)
    return replace(service, deployments=deployments)
