"""Functions of AWS Lambda: what the faults of their configuration and of their releases have in common."""

from __future__ import annotations

import time
from typing import Any

from tocsin.aws.iam import Arns
from tocsin.aws.pages import listed
from tocsin.aws.target import Aws, aws_errors
from tocsin.errors import Incomplete, TargetError

_UPDATE_WITHIN_S = 300.0
"""Production seconds for an update of a function; minutes only for functions in a VPC."""


def wait_updated(aws: Aws, function: str) -> None:
    """Until LastUpdateStatus is Successful; the next update would be refused before."""
    client = aws.client("lambda")
    with aws_errors(f"waiting for the update of {function}"):
        delay = max(0.1, 2.0 / aws.target.scale)
        attempts = max(50, round(_UPDATE_WITHIN_S / aws.target.scale / delay))
        client.get_waiter("function_updated").wait(
            FunctionName=function, WaiterConfig={"Delay": delay, "MaxAttempts": attempts}
        )


def versions(aws: Aws, function: str) -> list[dict[str, Any]]:
    """The published versions of a function, without $LATEST."""
    with aws_errors(f"listing the versions of {function}"):
        found = listed(aws.client("lambda"), "list_versions_by_function", "Versions", FunctionName=function)
        return [version for version in found if version["Version"] != "$LATEST"]


def own_version(aws: Aws, function: str) -> str | None:
    """Number of the version that this ledger entry published, told by its description."""
    own = (v["Version"] for v in versions(aws, function) if v["Description"] == _mark(aws))
    return next(own, None)


def publish_own(aws: Aws, function: str) -> str:
    """Publish $LATEST under the entry's name, and wait until a list shows it: the undo must find it there."""
    publish = aws.client("lambda").publish_version
    aws.ask(f"publishing a version of {function}", publish, FunctionName=function, Description=_mark(aws))
    deadline = time.monotonic() + max(2.0, _UPDATE_WITHIN_S / aws.target.scale)
    while (version := own_version(aws, function)) is None:
        if time.monotonic() > deadline:
            raise TargetError(
                f"expected the version just published of {function} to be listed, found it is not; nothing is broken"
            )
        time.sleep(0.2)  # lists are eventually consistent; usually the first look is enough
    return version


def delete_own(aws: Aws, function: str) -> None:
    """Delete the version that this entry published; with a qualifier, DeleteFunction deletes nothing else."""
    version = own_version(aws, function)
    if version is not None:
        doing, delete = f"deleting our version {version} of {function}", aws.client("lambda").delete_function
        aws.ask(doing, delete, FunctionName=function, Qualifier=version)


def keep_own(aws: Aws, function: str) -> str:
    """Publish $LATEST as `publish_own`, and note that what was before is there, and nowhere else.

    Raises:
        TargetError: it was not published, or cannot be noted; nothing is broken.
    """
    version = publish_own(aws, function)
    if not aws.note(_note(aws), version):
        raise TargetError(f"expected a ledger that takes the version {version} of {function}, found that it does not")
    return version


def kept_version(aws: Aws, function: str) -> str | None:
    """Number of the version that `keep_own` published; None where it did not.

    Raises:
        Incomplete: it did, and no list shows it.
    """
    version = own_version(aws, function)
    if version is None and (noted := aws.noted(_note(aws))) is not None:
        raise Incomplete(
            f"expected version {noted} of {function}, which holds what was before, found that it is not listed: "
            f"somebody may have deleted it. Put {function} right by hand, publish it with the description "
            f"'{_mark(aws)}' (lambda:PublishVersion), then call `tocsin recover`"
        )
    return version


def forget_kept(aws: Aws, function: str) -> None:
    """Delete what `keep_own` published, after the undo was verified: whoever comes next must not miss it."""
    if not aws.note(_note(aws), None):
        raise TargetError(f"expected a ledger that can be written, found none: our version of {function} is kept")
    delete_own(aws, function)


def _note(aws: Aws) -> str:
    return f"version of entry {aws.entry}"


def _mark(aws: Aws) -> str:
    return f"tocsin {aws.entry}"


def function_scope(function: str, arns: Arns) -> tuple[str, ...]:
    """A function with its versions and aliases: which of them IAM is asked about depends on the call.

    https://docs.aws.amazon.com/lambda/latest/dg/lambda-api-permissions-ref.html
    """
    return arns("lambda", f"function:{function}"), arns("lambda", f"function:{function}:*")
