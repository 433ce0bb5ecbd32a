"""The IAM user that drills run as in a sandbox that enforces IAM: it has one policy, and may do nothing else."""

from __future__ import annotations

import contextlib
import json

from botocore.exceptions import ClientError

from tocsin.errors import InvalidInput
from tocsin.model.base import Model
from tocsin.sandbox.account import Account

NAME = "tocsin"
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


def create_drill_user(account: Account, policy: str) -> AccessKey:
    """Make the user with exactly this policy (a JSON document).

    Raises:
        InvalidInput: it is no policy.
    """
    iam = account.client("iam")
    iam.create_user(UserName=NAME)
    allow_drill_user(account, policy)
    key = iam.create_access_key(UserName=NAME)["AccessKey"]
    return AccessKey(access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"])


def allow_drill_user(account: Account, policy: str) -> None:
    """Give the user exactly this policy, instead of the one that it has.

    Raises:
        InvalidInput: it is no policy.
    """
    iam = account.client("iam")
    arn = f"arn:aws:iam::{account.account_id}:policy/{NAME}"
    with contextlib.suppress(iam.exceptions.NoSuchEntityException):
        iam.detach_user_policy(UserName=NAME, PolicyArn=arn)
        iam.delete_policy(PolicyArn=arn)
    try:
        iam.create_policy(PolicyName=NAME, PolicyDocument=policy)
    except ClientError as error:
        reason = error.response.get("Error", {}).get("Message", str(error))
        raise InvalidInput(f"expected an IAM policy, found none that IAM takes: {reason} {_NEXT}") from error
    iam.attach_user_policy(UserName=NAME, PolicyArn=arn)
