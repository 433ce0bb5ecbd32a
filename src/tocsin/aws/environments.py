"""Environment variables of what runs: of Lambda functions, and of the containers of ECS services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tocsin.aws.target import Aws, aws_errors
from tocsin.errors import NotFound, TargetError


def of_function(aws: Aws, function: str, variable: str) -> str:
    """The value of a variable of `$LATEST`. It may be a secret: keep it in memory.

    Raises:
        NotFound: no such function, or it has no such variable.
        TargetError: the account did not say.
    """
    with aws_errors(f"reading the environment of Lambda {function}"):
        answer = aws.client("lambda").get_function_configuration(FunctionName=function)
    variables = variables_of(function, answer)
    if variable not in variables:
        raise _not_found(f"Lambda {function}", variable, variables)
    return variables[variable]


def variables_of(function: str, configuration: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a function, of its configuration as Lambda answers it. Secrets may be in it.

    Without its key Lambda answers no variables, which is not the same as having none.
    https://docs.aws.amazon.com/lambda/latest/api/API_EnvironmentError.html

    Raises:
        TargetError: Lambda could not decrypt it for us.
    """
    environment = configuration.get("Environment", {})
    if "Error" in environment:
        error = environment["Error"]
        raise TargetError(
            f"expected to read the environment of Lambda {function}, found {error.get('ErrorCode')}: "
            f"{error.get('Message')}. Allow kms:Decrypt with the key of the function"
        )
    variables: dict[str, str] = environment.get("Variables", {})
    return variables


def of_service(aws: Aws, name: str, variable: str) -> str:
    """The value of a variable in the task definition of an ECS service (`cluster/service`): of its first container
    that has it. It may be a secret: keep it in memory.

    Raises:
        NotFound: no such service, or no container of it has the variable.
        TargetError: the account did not say.
    """
    cluster, _, service = name.partition("/")
    ecs = aws.client("ecs")
    with aws_errors(f"reading the environment of ECS service {name}"):
        found = ecs.describe_services(cluster=cluster, services=[service])["services"]
        if not found:
            raise NotFound(f"expected the ECS service {name}, found none of that name")
        task = ecs.describe_task_definition(taskDefinition=found[0]["taskDefinition"])["taskDefinition"]
    variables = dict(_variables(task["containerDefinitions"]))
    if variable not in variables:
        raise _not_found(f"ECS service {name}", variable, variables)
    return variables[variable]


def _variables(containers: list[dict[str, list[dict[str, str]]]]) -> Iterator[tuple[str, str]]:
    """Of the last container first: of a name that several have, the first counts."""
    for container in reversed(containers):
        yield from ((one["name"], one["value"]) for one in container.get("environment", []))


def _not_found(what: str, variable: str, found: dict[str, str]) -> NotFound:
    names = ", ".join(sorted(found)) or "none"
    return NotFound(f"expected {what} to have the environment variable {variable}, found {names}")
