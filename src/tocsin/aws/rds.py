"""DB instances of Amazon RDS, and the tags by which a rehearsal knows its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tocsin.aws.answers import first_of
from tocsin.aws.target import Target, aws_errors
from tocsin.errors import NotFound

ENTRY_TAG = "tocsin-entry"
"""Tag of what a rehearsal made: its ledger entry. Nothing else is ever deleted."""
WRITTEN_BEFORE_TAG = "tocsin-written-before"
"""Tag of the new instance: a transaction id (xid8); whatever was written by an earlier one must be there."""


def find_instance(target: Target, identifier: str) -> Mapping[str, Any] | None:
    """A DB instance as RDS describes it; None where there is none.

    Raises:
        TargetError: the account did not say.
    """
    try:
        with aws_errors(f"reading DB instance {identifier}"):
            answer = target.client("rds").describe_db_instances(DBInstanceIdentifier=identifier)
    except NotFound:
        return None
    found: Mapping[str, Any] = first_of(answer, "DBInstances")
    return found


def tags_of(described: Mapping[str, Any]) -> dict[str, str]:
    """Tags of a resource as RDS describes it."""
    return {tag["Key"]: tag["Value"] for tag in described["TagList"]}
