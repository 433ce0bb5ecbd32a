"""Who calls, and when: the principal whose policies decide, and the clock of AWS."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

from tocsin.aws.target import Target, aws_errors

_DATE_CHARACTERS = len("Sun, 06 Nov 1994 08:49:37 GMT")


def caller_of(target: Target) -> str:
    """ARN of whose credentials they are: of a user, of the root, or of a session in a role.

    Raises:
        TargetError: STS did not say.
    """
    with aws_errors("asking who we are"):
        return str(target.client("sts").get_caller_identity()["Arn"])


def principal_of(target: Target, caller: str) -> str:
    """The user or role whose policies decide. A session tells the name of its role, and not its path, without which IAM
    does not know it: every role of IAM Identity Center has one.

    https://docs.aws.amazon.com/singlesignon/latest/userguide/referencingpermissionsets.html

    Raises:
        TargetError: IAM did not say.
    """
    session = re.fullmatch(r"arn:[^:]+:sts::\d+:assumed-role/([^/]+)/.+", caller)
    if session is None:
        return caller
    with aws_errors(f"asking IAM for the path of the role {session[1]}"):
        return str(target.client("iam").get_role(RoleName=session[1])["Role"]["Arn"])


def clock_skew_s(target: Target) -> float | None:
    """Our clock minus that of AWS, in wall seconds, by the Date header of an answer; None where it has none.

    Raises:
        TargetError: STS did not answer.
    """
    with aws_errors("asking for the time"):
        asked = time.time()
        answer = target.client("sts").get_caller_identity()
    header = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return None if header is None else asked - told_at(header)


def told_at(header: str) -> float:
    """Epoch seconds of a Date header. Where two servers on the way wrote one each, that of the first.

    It is of 29 characters, and always GMT: https://www.rfc-editor.org/rfc/rfc9110#name-date-time-formats
    """
    return parsedate_to_datetime(header[:_DATE_CHARACTERS]).timestamp()
