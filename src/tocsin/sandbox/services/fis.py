"""AWS Fault Injection Service, as far as the sandbox has it: one action, `aws:ecs:task-cpu-stress`.

It burns processor time in the tasks of ECS for real, until its duration in system time is over, it is stopped, or the
task ends. https://docs.aws.amazon.com/fis/latest/userguide/ecs-task-actions.html
"""

from __future__ import annotations

import asyncio
import copy
import math
import random
import re
import time
import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

from tocsin.errors import SandboxError
from tocsin.sandbox.http import ApiError
from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.service import Asked, ReliedOn, Routes
from tocsin.sandbox.services.ecs.ministack import Ecs
from tocsin.sandbox.services.ecs.plant import Task
from tocsin.sandbox.services.ecs.tasks import CPU_UNITS_PER_VCPU
from tocsin.sandbox.world import World

CPU_STRESS = "aws:ecs:task-cpu-stress"
ROUTES: Routes = (
    ("POST", "/experimentTemplates", "CreateExperimentTemplate"),
    ("GET", "/experimentTemplates", "ListExperimentTemplates"),
    ("GET", "/experimentTemplates/(?P<id>[^/]+)", "GetExperimentTemplate"),
    ("DELETE", "/experimentTemplates/(?P<id>[^/]+)", "DeleteExperimentTemplate"),
    ("POST", "/experiments", "StartExperiment"),
    ("GET", "/experiments", "ListExperiments"),
    ("GET", "/experiments/(?P<id>[^/]+)", "GetExperiment"),
    ("DELETE", "/experiments/(?P<id>[^/]+)", "StopExperiment"),
)

_DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?")
_SELECTION = re.compile(r"ALL|(COUNT|PERCENT)\((\d+)\)")
_KEPT = 200

Json = dict[str, Any]
Request = Mapping[str, Any]


class Fis:
    """The experiment templates and experiments of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {}
    signed_for = "fis"
    routes = ROUTES

    def adapt(self, world: World) -> None:
        """ministack is not asked: it has no such service."""
        self._tasks = world.service(Ecs).plant
        self._clock = world.clock
        self._templates: dict[tuple[Scope, str], Json] = {}
        self._experiments: dict[tuple[Scope, str], Json] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    def iam_resource(self, asked: Asked) -> str:
        """Of no template or experiment in particular: a policy that names one must name all."""
        if asked.method == "GET":
            return "*"
        of_template = asked.method == "POST" or asked.path.startswith("/experimentTemplates")
        return _arn(asked.scope, "experiment-template/*" if of_template else "experiment/*")

    async def close(self) -> None:
        """Stop every experiment."""
        running = list(self._running.values())
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    # ------------------------------------------------------------------------------------------ operations

    def call(self, scope: Scope, operation: str, request: Request) -> Json:
        """Answer an operation. Raises ApiError."""
        act = {
            "CreateExperimentTemplate": self._create,
            "ListExperimentTemplates": self._list_templates,
            "GetExperimentTemplate": self._get_template,
            "DeleteExperimentTemplate": self._delete,
            "StartExperiment": self._start,
            "ListExperiments": self._list,
            "GetExperiment": self._get,
            "StopExperiment": self._stop,
        }[operation]
        return copy.deepcopy(act(scope, request))

    def _create(self, scope: Scope, request: Request) -> Json:
        """https://docs.aws.amazon.com/fis/latest/APIReference/API_CreateExperimentTemplate.html"""
        _check(request)
        template_id, now = f"EXT{uuid.uuid4().hex[:15]}", time.time()
        given = {name: value for name, value in request.items() if name != "clientToken"}
        self._templates[scope, template_id] = {
            "tags": {},
            **given,
            "id": template_id,
            "arn": _arn(scope, f"experiment-template/{template_id}"),
            "creationTime": now,
            "lastUpdateTime": now,
        }
        return {"experimentTemplate": self._templates[scope, template_id]}

    def _list_templates(self, scope: Scope, _request: Request) -> Json:
        return {"experimentTemplates": [one for (where, _), one in self._templates.items() if where == scope]}

    def _get_template(self, scope: Scope, request: Request) -> Json:
        return {"experimentTemplate": _found(self._templates, scope, request["id"], "Experiment template")}

    def _delete(self, scope: Scope, request: Request) -> Json:
        template = _found(self._templates, scope, request["id"], "Experiment template")
        return {"experimentTemplate": self._templates.pop((scope, template["id"]))}

    def _start(self, scope: Scope, request: Request) -> Json:
        """https://docs.aws.amazon.com/fis/latest/APIReference/API_StartExperiment.html"""
        template = _found(self._templates, scope, request.get("experimentTemplateId", ""), "Experiment template")
        experiment_id, now = f"EXP{uuid.uuid4().hex[:15]}", time.time()
        experiment: Json = {
            **{name: copy.deepcopy(template.get(name)) for name in ("roleArn", "targets", "actions", "stopConditions")},
            "id": experiment_id,
            "arn": _arn(scope, f"experiment/{experiment_id}"),
            "experimentTemplateId": template["id"],
            "state": {"status": "initiating", "reason": "Experiment is initiating."},
            "creationTime": now,
            "startTime": now,
            "tags": dict(request.get("tags") or {}),
        }
        self._experiments[scope, experiment_id] = experiment
        for old in list(self._experiments)[:-_KEPT]:
            if old[1] not in self._running:
                del self._experiments[old]
        self._running[experiment_id] = asyncio.create_task(self._run(scope, experiment))
        return {"experiment": experiment}

    def _list(self, scope: Scope, request: Request) -> Json:
        wanted = request.get("experimentTemplateId")
        found = [one for (where, _), one in self._experiments.items() if where == scope]
        return {"experiments": [one for one in found if wanted in (None, one["experimentTemplateId"])]}

    def _get(self, scope: Scope, request: Request) -> Json:
        return {"experiment": _found(self._experiments, scope, request["id"], "Experiment")}

    def _stop(self, scope: Scope, request: Request) -> Json:
        """https://docs.aws.amazon.com/fis/latest/APIReference/API_StopExperiment.html"""
        experiment = _found(self._experiments, scope, request["id"], "Experiment")
        running = self._running.get(experiment["id"])
        if running is None:
            raise ApiError("ValidationException", f"Experiment {experiment['id']} is {experiment['state']['status']}.")
        running.cancel()
        experiment["state"] = {"status": "stopping", "reason": "Experiment is stopping."}
        return {"experiment": experiment}

    # ------------------------------------------------------------------------------------------ what it does

    async def _run(self, scope: Scope, experiment: Json) -> None:
        try:
            chosen = [
                (self._select(scope, experiment["targets"][action["targets"]["Tasks"]]), action["parameters"])
                for action in experiment["actions"].values()
            ]
            await asyncio.gather(*(self._stress(tasks, parameters, experiment) for tasks, parameters in chosen))
        except asyncio.CancelledError:
            _end(experiment, "stopped", "Experiment stopped.")
        except SandboxError as error:
            _end(experiment, "failed", str(error))
        else:
            _end(experiment, "completed", "Experiment completed.")
        finally:
            self._running.pop(experiment["id"], None)

    async def _stress(self, tasks: list[Task], parameters: Mapping[str, str], experiment: Json) -> None:
        containers = [task.containers[0] for task in tasks]
        try:
            for task in tasks:
                vcpus = (task.definition.cpu_units or CPU_UNITS_PER_VCPU) / CPU_UNITS_PER_VCPU
                workers = int(parameters.get("workers", 0)) or math.ceil(vcpus)
                await task.containers[0].burn(vcpus * float(parameters.get("percent", 100)) / 100, workers)
            experiment["state"] = {"status": "running", "reason": "Experiment is running."}
            await asyncio.sleep(self._clock.wall(_seconds(parameters["duration"])))
        finally:
            for container in containers:
                container.relieve()

    def _select(self, scope: Scope, target: Mapping[str, Any]) -> list[Task]:
        """The tasks that a target resolves to. Raises SandboxError when there is none, as FIS does by default."""
        arns, named = target.get("resourceArns") or (), target.get("parameters") or {}
        cluster, service = named.get("cluster", "").rsplit("/", 1)[-1], named.get("service")
        found = [
            task
            for task in self._tasks.tasks.values()
            if task.scope == scope
            and task.last_status == "RUNNING"
            and (task.arn in arns or (task.cluster == cluster and service in (None, task.group.partition(":")[2])))
        ]
        mode = _SELECTION.fullmatch(target["selectionMode"])
        if mode is not None and mode[1] is not None:
            number = int(mode[2])
            count = number if mode[1] == "COUNT" else math.floor(len(found) * number / 100)
            found = random.sample(found, min(count, len(found)))
        if not found:
            raise SandboxError("Target resolution returned empty set")
        return found


def _check(request: Request) -> None:
    """Refuse what a sandbox would only remember. Raises ApiError."""
    targets = request.get("targets") or {}
    if any(condition.get("source") != "none" for condition in request["stopConditions"]):
        raise _invalid("A sandbox watches no alarms for an experiment: the source of a stop condition must be none.")
    for name, action in request["actions"].items():
        if action.get("actionId") != CPU_STRESS:
            raise _invalid(f"The sandbox has no action {action.get('actionId')} ({name}), only {CPU_STRESS}.")
        if not _seconds(action.get("parameters", {}).get("duration", "")):
            raise _invalid(f"Action {name} needs a duration such as PT12M.")
        if (action.get("targets") or {}).get("Tasks") not in targets:
            raise _invalid(f"Action {name} needs a target of Tasks.")
    for name, target in targets.items():
        if target.get("resourceType") != "aws:ecs:task" or target.get("filters") or target.get("resourceTags"):
            raise _invalid(f"Target {name} must be aws:ecs:task by resourceArns, or by cluster and service.")
        if _SELECTION.fullmatch(target.get("selectionMode", "")) is None:
            raise _invalid(f"Target {name} needs a selectionMode ALL, COUNT(n) or PERCENT(n).")


def _invalid(message: str) -> ApiError:
    return ApiError("ValidationException", message)


def _found(records: Mapping[tuple[Scope, str], Json], scope: Scope, name: str, kind: str) -> Json:
    try:
        return records[scope, name]
    except KeyError:
        raise ApiError("ResourceNotFoundException", f"{kind} {name} not found.") from None


def _end(experiment: Json, status: str, reason: str) -> None:
    experiment.update(state={"status": status, "reason": reason}, endTime=time.time())


def _seconds(duration: str) -> float:
    """Seconds of an ISO 8601 duration of hours, minutes and seconds; 0 for anything else."""
    found = _DURATION.fullmatch(duration)
    parts = found.groups() if found is not None else ()
    return float(sum(int(part or 0) * unit for part, unit in zip(parts, (3600, 60, 1), strict=False)))


def _arn(scope: Scope, resource: str) -> str:
    return f"arn:aws:fis:{scope[1]}:{scope[0]}:{resource}"
