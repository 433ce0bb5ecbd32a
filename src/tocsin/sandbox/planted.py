"""What is secret in a sandbox that runs: a drill knows it before it begins, whoever put it there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from tocsin.sandbox.account import Account

_UNANSWERED = (ClientError, BotoCoreError, ResponseParserError)


def learn_secrets(account: Account) -> None:
    """Have the secrets of an account told to `masking`: of each answer it takes what is one (`aws.secret_answers`)."""
    for ask in (_secrets_manager, _parameters, _functions, _tasks, _user_pools):
        ask(account)


def _asked(call: Callable[..., Any], **arguments: Any) -> Any:
    """An answer; an empty one where there is none, as of a secret without a value: then there is nothing to know."""
    try:
        return call(**arguments)
    except _UNANSWERED:
        return {}


def _listed(account: Account, service: str, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
    pages = account.client(service).get_paginator(operation).paginate(**arguments)
    try:
        for page in pages:
            yield from page.get(key, ())
    except _UNANSWERED:
        return  # a service that does not answer tells a drill nothing either


def _secrets_manager(account: Account) -> None:
    get = account.client("secretsmanager").get_secret_value
    for entry in _listed(account, "secretsmanager", "list_secrets", "SecretList"):
        _asked(get, SecretId=entry["ARN"])


def _parameters(account: Account) -> None:
    get = account.client("ssm").get_parameter
    for entry in _listed(account, "ssm", "describe_parameters", "Parameters"):
        if entry.get("Type") == "SecureString":
            _asked(get, Name=entry["Name"], WithDecryption=True)


def _functions(account: Account) -> None:
    list(_listed(account, "lambda", "list_functions", "Functions"))


def _tasks(account: Account) -> None:
    describe = account.client("ecs").describe_task_definition
    for arn in _listed(account, "ecs", "list_task_definitions", "taskDefinitionArns"):
        _asked(describe, taskDefinition=arn)


def _user_pools(account: Account) -> None:
    describe = account.client("cognito-idp").describe_user_pool_client
    for pool in _listed(account, "cognito-idp", "list_user_pools", "UserPools", MaxResults=60):
        clients = _listed(account, "cognito-idp", "list_user_pool_clients", "UserPoolClients", UserPoolId=pool["Id"])
        for client in clients:
            _asked(describe, UserPoolId=pool["Id"], ClientId=client["ClientId"])
