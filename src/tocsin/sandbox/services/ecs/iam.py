"""IAM names of requests to ECS, and the two roles of a task."""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.ministack import Ministack
from tocsin.sandbox.services.ecs.api import Request
from tocsin.sandbox.services.ecs.plant import Task
from tocsin.sandbox.services.ecs.tasks import CannotStart
from tocsin.sandbox.services.iam.roles import Roles

_UNABLE_TO_PULL = (
    "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable "
    "to retrieve secret: AccessDeniedException"
)
"""https://docs.aws.amazon.com/AmazonECS/latest/developerguide/resource-initialization-error.html"""

_NAMED: Mapping[str, str] = {
    "service": "service",
    "services": "service",
    "task": "task",
    "tasks": "task",
    "taskDefinitions": "task-definition",
}
"""Field of a request -> the kind of resource that it names."""


def named_resource(scope: Scope, request: Request) -> str | None:
    """ARN of the service, task or task definition that a request names, as policies ask about it; None without one.

    Of several, the first. [Resource types](https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html)
    """
    cluster = str(request.get("cluster") or "default").rsplit("/", 1)[-1]
    for field, kind in _NAMED.items():
        value = request.get(field)
        reference = value[0] if isinstance(value, list) and value else value
        if isinstance(reference, str) and reference:
            place = kind if kind == "task-definition" else f"{kind}/{cluster}"
            return (
                reference if reference.startswith("arn:") else f"arn:aws:ecs:{scope[1]}:{scope[0]}:{place}/{reference}"
            )
    return None


class TaskRoles:
    """What tasks may do, and what ECS may do for them.

    Containers act in the task role and have no credentials without one. ECS reads secrets and opens log streams in the
    execution role. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html
    """

    def __init__(self, ministack: Ministack) -> None:
        self._roles = Roles(ministack)

    def credentials(self, task: Task) -> Mapping[str, str]:
        """Variables of the containers: the keys of the task's own session."""
        if not task.definition.task_role:
            # Otherwise an SDK would look for the metadata service of an EC2 instance, which is not there.
            return {"AWS_EC2_METADATA_DISABLED": "true"}
        return self._roles.session(task.definition.task_role, task.id).environment()

    def check_secret(self, task: Task, source: str) -> None:
        """Whether ECS may read a secret or a parameter for a task. Raises CannotStart."""
        account, region = task.scope[0], task.scope[1]
        if ":secretsmanager:" in source:
            self._check(task, "secretsmanager:GetSecretValue", ":".join(source.split(":")[:7]), _UNABLE_TO_PULL)
        else:
            named = (
                source
                if source.startswith("arn:")
                else f"arn:aws:ssm:{region}:{account}:parameter/{source.lstrip('/')}"
            )
            self._check(task, "ssm:GetParameters", named, _UNABLE_TO_PULL)

    def check_log(self, task: Task, group: str, stream: str) -> None:
        """Whether the log driver may open the stream of a container. Raises CannotStart."""
        account, region = task.scope
        self._check(
            task,
            "logs:CreateLogStream",
            f"arn:aws:logs:{region}:{account}:log-group:{group}:log-stream:{stream}",
            "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: "
            "failed to create Cloudwatch log stream: AccessDeniedException",
        )

    def _check(self, task: Task, action: str, resource: str, failure: str) -> None:
        if not task.definition.execution_role:
            raise CannotStart(
                f"{failure}: the task definition has no execution role, which {action} on {resource} needs"
            )
        session = self._roles.session(task.definition.execution_role, task.id)
        refusal = self._roles.refusal(session, task.scope, action, resource)
        if refusal is not None:
            raise CannotStart(f"{failure}: {refusal}")
