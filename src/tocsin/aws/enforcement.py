"""Whether a target obeys policies at all."""

from __future__ import annotations

from dataclasses import replace

from botocore.exceptions import ClientError

from tocsin.aws.iam import CallLog
from tocsin.aws.target import Target, aws_errors

_STRANGER = "AKIATOCSINSTRANGER00"


def answers_strangers(target: Target) -> bool:
    """Whether it answers an access key that nobody has ever made: then it asks no policy either. AWS does not.

    Raises:
        TargetError: it cannot be asked.
    """
    if target.endpoint_url is None:
        return False
    stranger = replace(
        target,
        access_key_id=_STRANGER,
        secret_access_key="unknown",  # noqa: S106 - nobody's
        profile=None,
        role_arn=None,
        calls=CallLog(),
    )
    with aws_errors("asking as a stranger"):
        try:
            stranger.client("sts").get_caller_identity()
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
                raise
            return False
    return True
