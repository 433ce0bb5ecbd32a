"""The IAM user that drills run as when they are given a policy: it has that one, and may do nothing else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from tocsin.errors import InvalidInput
from tocsin.model.base import Model
from tocsin.sandbox.account import Account

NAME = "tocsin"
"""Of the user that `sandbox up --policy` makes."""
FOR_A_RUN = "tocsin-run"
"""Of the user that `run --policy` makes and removes again."""
_NEXT = "Make one: `tocsin permissions PATH...`."


class AccessKey(Model):
    """What the user signs with: worth nothing outside a sandbox on loopback."""

    access_key_id: str
    secret_access_key: str


def check_policy(policy: str) -> None:
    """Whether a text can be a policy at all, before anything is started for it.

    Raises:
        InvalidInput: it is no JSON object with statements.
    """
    try:
        document = json.loads(policy)
    except ValueError as error:
        raise InvalidInput(f"expected an IAM policy, found no JSON: {error}. {_NEXT}") from None
    if not isinstance(document, dict) or not document.get("Statement"):
        raise InvalidInput(f"expected an IAM policy, found JSON without a Statement. {_NEXT}")


@contextlib.contextmanager
def user_of_a_run(account: Account, policy: str) -> Iterator[AccessKey]:
    """A user with exactly this policy, as long as this lasts.

    Raises:
        InvalidInput: it is no policy.
    """
    _remove(account, FOR_A_RUN)  # of a run that was killed
    try:
        yield create_drill_user(account, policy, FOR_A_RUN)
    finally:
        _remove(account, FOR_A_RUN)


def create_drill_user(account: Account, policy: str, name: str = NAME) -> AccessKey:
    """Make the user with exactly this policy (a JSON document).

    Raises:
        InvalidInput: it is no policy.
    """
    iam = account.client("iam")
    iam.create_user(UserName=name)
    allow_drill_user(account, policy, name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return AccessKey(access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"])


def allow_drill_user(account: Account, policy: str, name: str = NAME) -> None:
    """Give the user exactly this policy, instead of the one that it has.

    Raises:
        InvalidInput: it is no policy.
    """
    iam = account.client("iam")
    arn = f"arn:aws:iam::{account.account_id}:policy/{name}"
    _remove_policy(iam, name, arn)
    try:
        iam.create_policy(PolicyName=name, PolicyDocument=policy)
    except ClientError as error:
        reason = error.response.get("Error", {}).get("Message", str(error))
        raise InvalidInput(f"expected an IAM policy, found none that IAM takes: {reason} {_NEXT}") from error
    iam.attach_user_policy(UserName=name, PolicyArn=arn)


def _remove(account: Account, name: str) -> None:
    iam = account.client("iam")
    with contextlib.suppress(iam.exceptions.NoSuchEntityException):
        for key in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]:
            iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
        _remove_policy(iam, name, f"arn:aws:iam::{account.account_id}:policy/{name}")
        iam.delete_user(UserName=name)


def _remove_policy(iam: Any, name: str, arn: str) -> None:
    with contextlib.suppress(iam.exceptions.NoSuchEntityException):
        iam.detach_user_policy(UserName=name, PolicyArn=arn)
        iam.delete_policy(PolicyArn=arn)
