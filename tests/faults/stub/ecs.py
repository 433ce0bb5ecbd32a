"""One ECS service with two tasks, its task definitions, its scalable target, and experiments of FIS on it."""

from __future__ import annotations

import itertools
from copy import deepcopy
from datetime import UTC, datetime

from tests.faults.stub.clock import Clock
from tests.faults.stub.data import Thing
from tests.faults.stub.errors import Asked, StubError

_ARN = "arn:aws:ecs:eu-west-1:123456789012"
_STARTS_WITHIN_S = 60.0


class Ecs:
    """`service` and `definitions` as ECS describes them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._numbers = itertools.count(1)
        self.definitions: dict[str, Asked] = {}
        container = {"name": "till", "image": "till:1", "essential": True}
        first = self._register("till", [container])
        self.service: Asked = {
            "serviceName": "till",
            "status": "ACTIVE",
            "taskDefinition": first,
            "desiredCount": 2,
            "schedulingStrategy": "REPLICA",
            "deploymentController": {"type": "ECS"},
            "deploymentConfiguration": {
                "maximumPercent": 200,
                "minimumHealthyPercent": 50,
                "deploymentCircuitBreaker": {"enable": False, "rollback": False},
            },
        }
        self.replaces = True
        """Whether there is room for another task where one was stopped."""
        self.tasks: list[Asked] = []
        for _ in range(2):
            self._start(at=clock.now - 3600)

    def _register(self, family: str, containers: list[Asked]) -> str:
        arn = f"{_ARN}:task-definition/{family}:{next(self._numbers)}"
        self.definitions[arn] = {
            "taskDefinitionArn": arn,
            "family": family,
            "containerDefinitions": deepcopy(containers),
            "status": "ACTIVE",
        }
        return arn

    def _start(self, at: float) -> None:
        self.tasks.append(
            {
                "taskArn": f"{_ARN}:task/shop/{next(self._numbers)}",
                "createdAt": datetime.fromtimestamp(at, UTC),
                "desiredStatus": "RUNNING",
                "containers": [],
                "runs_from": at + _STARTS_WITHIN_S / self._clock.scale,
            }
        )

    def _shown(self, task: Asked) -> Asked:
        shown = {name: value for name, value in task.items() if name != "runs_from"}
        running = "RUNNING" if self._clock.now >= task["runs_from"] else "PENDING"
        return {"lastStatus": running if task["desiredStatus"] == "RUNNING" else "STOPPED", **shown}

    def describe_services(self, asked: Asked) -> Asked:
        return {"services": [deepcopy(self.service)] if asked["services"] == ["till"] else []}

    def update_service(self, asked: Asked) -> Asked:
        names = ("taskDefinition", "desiredCount", "deploymentConfiguration")
        self.service |= {name: deepcopy(asked[name]) for name in names if name in asked}
        return {}

    def list_tasks(self, asked: Asked) -> Asked:
        return {"taskArns": [one["taskArn"] for one in self.tasks if one["desiredStatus"] == asked["desiredStatus"]]}

    def describe_tasks(self, asked: Asked) -> Asked:
        return {"tasks": [self._shown(one) for one in self.tasks if one["taskArn"] in asked["tasks"]]}

    def stop_task(self, asked: Asked) -> Asked:
        for task in self.tasks:
            if task["taskArn"] == asked["task"]:
                task |= {"desiredStatus": "STOPPED", "stoppedReason": asked["reason"]}
                if self.replaces:
                    self._start(at=self._clock.now)
        return {}

    def describe_task_definition(self, asked: Asked) -> Asked:
        return {"taskDefinition": deepcopy(self.definitions[asked["taskDefinition"]])}

    def register_task_definition(self, asked: Asked) -> Asked:
        arn = self._register(asked["family"], asked["containerDefinitions"])
        return {"taskDefinition": deepcopy(self.definitions[arn])}

    def list_task_definitions(self, asked: Asked) -> Asked:
        found = [one for one in self.definitions.values() if one["family"].startswith(asked["familyPrefix"])]
        return {"taskDefinitionArns": [one["taskDefinitionArn"] for one in found if one["status"] == asked["status"]]}

    def deregister_task_definition(self, asked: Asked) -> Asked:
        self.definitions[asked["taskDefinition"]]["status"] = "INACTIVE"
        return {}

    def delete_task_definitions(self, asked: Asked) -> Asked:
        for arn in asked["taskDefinitions"]:
            del self.definitions[arn]
        return {}


class Scaling:
    """One scalable target: the service."""

    def __init__(self, clock: Clock) -> None:
        names = ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended")
        self.suspended = dict.fromkeys(names, False)

    def describe_scalable_targets(self, asked: Asked) -> Asked:
        return {"ScalableTargets": [{"ResourceId": "service/shop/till", "SuspendedState": dict(self.suspended)}]}

    def register_scalable_target(self, asked: Asked) -> Asked:
        self.suspended = dict(asked["SuspendedState"])
        return {}


class Fis:
    """Experiments, which take their time to start and to stop, and the templates that they were started from."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.templates: dict[str, Asked] = {}
        self.experiments: dict[str, Thing] = {}

    def create_experiment_template(self, asked: Asked) -> Asked:
        self.templates.setdefault(asked["clientToken"], {"id": f"t-{asked['clientToken']}", "tags": asked["tags"]})
        return {"experimentTemplate": dict(self.templates[asked["clientToken"]])}

    def start_experiment(self, asked: Asked) -> Asked:
        if asked["clientToken"] not in self.experiments:
            self.experiments[asked["clientToken"]] = made = Thing(self._clock, "pending")
            made.tags = [asked["tags"]]
            made.goes("initiating", "running")
        return {}

    def list_experiments(self, asked: Asked) -> Asked:
        shown = [
            {"id": token, "tags": dict(one.tags[0]), "state": {"status": one.status}}
            for token, one in self.experiments.items()
        ]
        return {"experiments": shown}

    def stop_experiment(self, asked: Asked) -> Asked:
        self.experiments[asked["id"]].goes("stopping", "stopped")
        return {}

    def list_experiment_templates(self, asked: Asked) -> Asked:
        return {"experimentTemplates": deepcopy(list(self.templates.values()))}

    def delete_experiment_template(self, asked: Asked) -> Asked:
        if asked["id"].removeprefix("t-") not in self.templates:
            raise StubError("ResourceNotFoundException")
        del self.templates[asked["id"].removeprefix("t-")]
        return {}
