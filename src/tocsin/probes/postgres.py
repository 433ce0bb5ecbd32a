"""Probes of a PostgreSQL database."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tocsin.aws import keys
from tocsin.aws.database import TABLE, Login, login_of, secret_arn
from tocsin.aws.declared import Arguments, Declared
from tocsin.aws.iam import Arns, Grant
from tocsin.aws.rds import WRITTEN_BEFORE_TAG, find_instance, tags_of
from tocsin.aws.target import Target
from tocsin.errors import InvalidInput, NotFound, TargetError
from tocsin.faults.session import Configuration, target_of
from tocsin.probes.rows import compare_table, in_words

_COMPARISON_WALL_S = 60.0


def postgres_value(
    secret: str, sql: str, instance: str | None = None, configuration: Configuration | None = None
) -> Any:
    """First value of the first row of a query, in a transaction that may only read.

    In the database that `secret` leads to, or in the one of the same name of another DB instance.

    Raises:
        NotFound: no such secret, or no such instance.
        TargetError: PostgreSQL cannot be reached, refused, or answered no row.
    """
    target = target_of(configuration)
    login = login_of(target, secret)
    with (login if instance is None else _at(login, target, instance)[0]).session() as run:
        run("BEGIN READ ONLY")
        rows = run(sql)
    if not rows:
        raise TargetError(f"expected a row from the query in {login.where}, found none")
    return rows[0][0]


def rows_restored(secret: str, restored: str, tables: Sequence[str], configuration: Configuration | None = None) -> str:
    """Whether a DB instance made by `rds_restore_rehearsal` has the rows that were there before its snapshot.

    Every row of `tables` that was written before the snapshot was asked for, and not touched since, must be in it and
    equal; what was written later is no difference. `secret` leads to the source; its user and database are those of
    the restored instance too. That it can be reached at all is part of the answer. A hash of each row is read.

    Returns:
        `complete: ...` with the number of rows compared and restored, and a checksum, for each table; or
        `incomplete: ...` and why. For a tolerance `{type: regex, pattern: "^complete"}`.

    Raises:
        InvalidInput: not the name of a table.
        NotFound: no such secret, or no such instance.
        TargetError: one of them cannot be reached or lacks a table, or the instance is not of a rehearsal.
    """
    for table in tables:
        if not re.fullmatch(TABLE, table):
            raise InvalidInput(f"expected the name of a table in lower case, found '{table}'")
    target = target_of(configuration)
    source = login_of(target, secret)
    copy, tags = _at(source, target, restored)
    if WRITTEN_BEFORE_TAG not in tags:
        raise TargetError(
            f"expected DB instance {restored} to have the tag {WRITTEN_BEFORE_TAG}, found none: it was not made by "
            "rds_restore_rehearsal, and which rows it should have is not known"
        )
    with source.session(_COMPARISON_WALL_S) as from_source, copy.session(_COMPARISON_WALL_S) as from_copy:
        before = int(tags[WRITTEN_BEFORE_TAG])
        return in_words([compare_table(from_source, from_copy, table, before) for table in tables])


def _at(login: Login, target: Target, instance: str) -> tuple[Login, dict[str, str]]:
    """The way into another DB instance, and its tags."""
    found = find_instance(target, instance)
    if found is None or "Endpoint" not in found:
        status = "none" if found is None else f"it {found['DBInstanceStatus']}"
        raise NotFound(f"expected a DB instance {instance} with an endpoint, found {status}")
    return login.at(instance, found["Endpoint"]["Address"], found["Endpoint"]["Port"]), tags_of(found)


def _grant(arguments: Arguments, arns: Arns) -> Grant:
    """A secret, and the instance that is named beside it."""
    instance = arguments.get("restored") or arguments.get("instance")
    secret = secret_arn(arguments["secret"], arns)
    if instance is None:
        return Grant(sid="Probes", actions=("secretsmanager:GetSecretValue",), resources=(secret,))
    actions = ("rds:DescribeDBInstances", "secretsmanager:GetSecretValue")
    return Grant(sid="Probes", actions=actions, resources=(arns("rds", f"db:{instance}"), secret))


POSTGRES_VALUE = Declared(postgres_value, grant=_grant, key_grants=keys.of_named_secret)
ROWS_RESTORED = Declared(rows_restored, grant=_grant, key_grants=keys.of_named_secret)
