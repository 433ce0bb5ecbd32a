"""Keys of one's own with which an account encrypts: whoever calls must be allowed to use them.

The keys of AWS (`alias/aws/...`) let everybody in the account through who may call the service.
https://docs.aws.amazon.com/kms/latest/developerguide/services-with-kms.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from tocsin.aws.iam import Grant
from tocsin.aws.pages import listed
from tocsin.aws.rds import find_instance
from tocsin.aws.sqs import queue_attributes, queue_url
from tocsin.aws.target import Aws, Target, aws_errors
from tocsin.errors import TargetError
from tocsin.model.system import ParameterLookup, System

RECEIVING = ("kms:Decrypt",)
SENDING = ("kms:Decrypt", "kms:GenerateDataKey")
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html"""
CONFIGURING = ("kms:CreateGrant", "kms:Decrypt", "kms:Encrypt")
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars-encryption.html"""
PACKAGING = ("kms:Decrypt", "kms:GenerateDataKey")
"""https://docs.aws.amazon.com/lambda/latest/dg/encrypt-zip-package.html"""
RESTORING = ("kms:CreateGrant", "kms:DescribeKey")
"""https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Overview.Encryption.Keys.html"""
_SID = "UseKeys"


def grants(target: Target, system: System) -> Iterator[Grant]:
    """What a system needs of keys: those of the queues that drills read, of the secrets with which synthetic users sign
    in, and of the parameters that name things.
    """
    if system.notifications is not None:
        yield from of_queue(target, system.notifications.queue, RECEIVING)
    if system.messages is not None:
        for tap in system.messages.taps.values():
            yield from of_queue(target, tap.queue, RECEIVING)
    for identity in system.identities.values():
        yield from of_secret(target, identity.secret)
    for lookup in system.lookups.values():
        if isinstance(lookup, ParameterLookup):
            yield from of_parameter(target, lookup.parameter)


def of_queue(target: Target, name: str, actions: tuple[str, ...]) -> Iterator[Grant]:
    """What a queue needs of its key; nothing without one of its own, and where it may not be looked at."""
    with suppress(
        TargetError
    ):  # whoever may not look is told so by docs/PERMISSIONS.md: a dry run needs no more rights
        read = queue_attributes(target, queue_url(target, name), "KmsMasterKeyId")
        yield from _with_key(target, read.get("KmsMasterKeyId"), actions)


def of_function(target: Target, name: str, actions: tuple[str, ...]) -> Iterator[Grant]:
    """What the environment of a function needs of its key, as `of_queue`."""
    with suppress(TargetError), aws_errors(f"reading the key of Lambda {name}"):  # as above
        found = target.client("lambda").get_function_configuration(FunctionName=name)
        yield from _with_key(target, found.get("KMSKeyArn"), actions)


def of_package(target: Target, name: str) -> Iterator[Grant]:
    """What reading the .zip archive of a function, and giving it another, need of its key, as `of_queue`."""
    with suppress(TargetError), aws_errors(f"reading the key of the code of Lambda {name}"):  # as above
        code = target.client("lambda").get_function(FunctionName=name)["Code"]
        yield from _with_key(target, code.get("SourceKMSKeyArn"), PACKAGING)


def of_secret(target: Target, name: str) -> Iterator[Grant]:
    """What reading a secret needs of its key, as `of_queue`."""
    with suppress(TargetError), aws_errors(f"reading the key of secret {name}"):  # as above
        found = target.client("secretsmanager").describe_secret(SecretId=name)
        yield from _with_key(target, found.get("KmsKeyId"), RECEIVING)


def of_named_secret(arguments: Mapping[str, Any], aws: Aws) -> Iterator[Grant]:
    """As `of_secret`, for what is given its secret by an argument of that name."""
    yield from of_secret(aws.target, arguments["secret"])


def of_parameter(target: Target, name: str) -> Iterator[Grant]:
    """What reading a parameter of Parameter Store needs of its key, as `of_queue`: nothing unless it is a SecureString.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/ps-restrict-decryption.html
    """
    with suppress(TargetError), aws_errors(f"reading the key of the parameter {name}"):  # as above
        # Of all that is answered about a parameter only this tells the key.
        wanted = [{"Key": "Name", "Option": "Equals", "Values": [name]}]
        for one in listed(target.client("ssm"), "describe_parameters", "Parameters", ParameterFilters=wanted):
            yield from _with_key(target, one.get("KeyId"), RECEIVING)


def of_instance(target: Target, name: str) -> Iterator[Grant]:
    """What a snapshot of a DB instance, and an instance made of it, need of its key, as `of_queue`."""
    with suppress(TargetError), aws_errors(f"reading the key of DB instance {name}"):  # as above
        found = find_instance(target, name)
        yield from _with_key(target, None if found is None else found.get("KmsKeyId"), RESTORING)


def _with_key(target: Target, key: str | None, actions: tuple[str, ...]) -> Iterator[Grant]:
    if not key or "alias/aws/" in key:
        return
    with aws_errors(f"looking for the key {key}"):
        # IAM limits actions to keys, and never to an alias.
        described = target.client("kms").describe_key(KeyId=key)["KeyMetadata"]
    if described.get("KeyManager", "CUSTOMER") == "CUSTOMER":
        yield Grant(sid=_SID, actions=actions, resources=(described["Arn"],))
