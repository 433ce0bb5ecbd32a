"""Faults by way of AWS Fault Injection Service."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar

from pydantic import Field, field_validator

from tocsin.aws.iam import Arns
from tocsin.aws.pages import listed
from tocsin.aws.target import Aws, aws_errors
from tocsin.errors import NotFound
from tocsin.faults.base import Fault, State
from tocsin.model.duration import Duration

_NAME = r"^[A-Za-z0-9_-]{1,255}$"
_ROLE = r"^(arn:[^:]+:iam::\d{12}:role/)?[\w+=,.@/-]+$"
_ENTRY = "tocsin:entry"
"""Tag of what a fault made: its ledger entry."""
_RUNNING, _STOPPING = "running", "stopping"
_ENDED = frozenset({"cancelled", "completed", "failed", "stopped"})
"""States of an experiment that does nothing any more; in each of the others it may.
https://docs.aws.amazon.com/fis/latest/APIReference/API_ExperimentState.html
"""
_SHORTEST_S, _LONGEST_S = 60, 12 * 3600


class StressState(State):
    """Whether an experiment of this fault is running, and whether all have ended: one that is stopping does neither."""

    running: bool
    ended: bool = Field(default=True, description="also of none; no entry of an older version says it")


class EcsTaskCpuStress(Fault[StressState]):
    """Burn processor time in the tasks of an ECS service, by an experiment of FIS.

    FIS ends it by itself after `duration`, whoever comes back. On AWS the task definition needs the sidecar of the SSM
    agent, and the role what the page lists.
    https://docs.aws.amazon.com/fis/latest/userguide/ecs-task-actions.html
    """

    kind: ClassVar[str] = "ecs_task_cpu_stress"
    burns_processor: ClassVar[bool] = True
    state: ClassVar[type[State]] = StressState
    summary: ClassVar[str] = "burn processor time in the tasks of a service, through FIS"
    aws_service: ClassVar[str] = "ecs"
    permissions: ClassVar[tuple[str, ...]] = (
        "fis:CreateExperimentTemplate",
        "fis:DeleteExperimentTemplate",
        "fis:ListExperiments",
        "fis:ListExperimentTemplates",
        "fis:StartExperiment",
        "fis:StopExperiment",
        "fis:TagResource",
        "iam:PassRole",
    )
    effect_within_s: ClassVar[float] = 300.0
    begins_within_s: ClassVar[float] = 30.0

    cluster: str = Field(pattern=_NAME, description="name of the cluster")
    service: str = Field(pattern=_NAME, description="name of the service")
    role: str = Field(pattern=_ROLE, description="role of the experiment: its name, with its path; or its ARN")
    percent: int = Field(default=100, ge=1, le=100, description="of each worker's processor")
    workers: int = Field(default=0, ge=0, description="how many; 0 for one a vCPU")
    duration: Duration = Field(default=720.0, description="from one minute to twelve hours")
    selection: str = Field(default="ALL", pattern=r"^(ALL|COUNT\(\d+\)|PERCENT\(\d+\))$", description="which tasks")

    @field_validator("duration")
    @classmethod
    def _as_fis_takes_it(cls, duration: float) -> float:
        if not _SHORTEST_S <= duration <= _LONGEST_S:
            raise ValueError("expected a duration from 1m to 12h: FIS takes no other")
        return duration

    @property
    def resource(self) -> str:
        return f"tasks of service {self.service} in cluster {self.cluster}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (aws.arn("ecs", f"service/{self.cluster}/{self.service}"),)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        template, experiment = arns("fis", "experiment-template/*"), arns("fis", "experiment/*")
        return {
            "fis:CreateExperimentTemplate": (template, arns("fis", "action/aws:ecs:task-cpu-stress")),
            "fis:DeleteExperimentTemplate": (template,),
            "fis:StartExperiment": (template, experiment),
            "fis:StopExperiment": (experiment,),
            "fis:TagResource": (template, experiment),
            "iam:PassRole": (self.role if self.role.startswith("arn:") else arns.global_("iam", f"role/{self.role}"),),
        }.get(action, super().scope(action, arns))

    def observe(self, aws: Aws, prior: StressState | None) -> StressState:
        statuses = {str(one["state"]["status"]) for one in self._experiments(aws)}
        return StressState(running=_RUNNING in statuses, ended=statuses <= _ENDED)

    def broken(self, prior: StressState) -> StressState:
        return StressState(running=True, ended=False)

    def inject(self, aws: Aws, prior: StressState) -> None:
        fis, tags = aws.client("fis"), {_ENTRY: aws.entry}
        stress = {"duration": f"PT{round(self.duration)}S", "percent": str(self.percent), "workers": str(self.workers)}
        target = {
            "resourceType": "aws:ecs:task",
            "parameters": {"cluster": self.cluster, "service": self.service},
            "selectionMode": self.selection,
        }
        action = {"actionId": "aws:ecs:task-cpu-stress", "parameters": stress, "targets": {"Tasks": "tasks"}}
        template = aws.ask(
            f"making the experiment template for {self.resource}",
            fis.create_experiment_template,
            clientToken=aws.entry,
            description=f"tocsin {aws.entry}",
            roleArn=self._role_arn(aws),
            stopConditions=[{"source": "none"}],
            targets={"tasks": target},
            actions={"stress": action},
            tags=tags,
        )["experimentTemplate"]
        aws.ask(
            f"starting the experiment on {self.resource}",
            fis.start_experiment,
            clientToken=aws.entry,
            experimentTemplateId=template["id"],
            tags=tags,
        )

    def undo(self, aws: Aws, prior: StressState) -> None:
        for experiment in self._experiments(aws):
            # It may have ended a moment ago, or be forgotten by now.
            if experiment["state"]["status"] not in {*_ENDED, _STOPPING}:
                with suppress(NotFound), aws_errors(f"stopping experiment {experiment['id']}"):
                    aws.client("fis").stop_experiment(id=experiment["id"])

    def forget(self, aws: Aws, prior: StressState) -> None:
        for template in self._pages(aws, "list_experiment_templates", "experimentTemplates"):
            with suppress(NotFound), aws_errors(f"deleting experiment template {template['id']}"):
                aws.client("fis").delete_experiment_template(id=template["id"])

    def look_ahead(self, aws: Aws, prior: StressState) -> None:
        self._pages(aws, "list_experiment_templates", "experimentTemplates")

    def _role_arn(self, aws: Aws) -> str:
        if self.role.startswith("arn:"):
            return self.role
        return f"arn:{aws.partition}:iam::{aws.target.account}:role/{self.role}"

    def _experiments(self, aws: Aws) -> list[dict[str, Any]]:
        return self._pages(aws, "list_experiments", "experiments")

    def _pages(self, aws: Aws, operation: str, key: str) -> list[dict[str, Any]]:
        """What the ledger entry made, of all that there is."""
        with aws_errors(f"looking for experiments of FIS on {self.resource}"):
            found = listed(aws.client("fis"), operation, key)
            return [one for one in found if one.get("tags", {}).get(_ENTRY) == aws.entry]
