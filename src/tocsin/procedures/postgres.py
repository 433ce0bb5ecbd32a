"""Statements of a runbook, run word for word in PostgreSQL."""

from __future__ import annotations

import re

from tocsin.aws import keys
from tocsin.aws.database import database_arns, login_of, secret_arn
from tocsin.aws.declared import Arguments, Declared
from tocsin.aws.iam import Arns, Grant
from tocsin.aws.target import Aws
from tocsin.errors import TargetError
from tocsin.faults.session import Configuration, target_of

_QUERY_WALL_S = 30.0
_INTERVAL = re.compile(r"\binterval\s+'[^']*'", re.IGNORECASE)


def postgres_query(secret: str, sql: str, rows_at_least: int = 0, configuration: Configuration | None = None) -> str:
    """Run a statement in the database that `secret` leads to, as a person with `psql` would, word for word.

    One thing is not: on a target that compresses time every `interval '...'` is divided by its scale, as every other
    duration there is. With fewer than `rows_at_least` rows in the answer the procedure did not do what it is for.

    Raises:
        TargetError: PostgreSQL refused, or answered fewer rows.
    """
    target = target_of(configuration)
    with login_of(target, secret).session(_QUERY_WALL_S) as run:
        rows = run(compressed(sql, target.scale)) or []
    if len(rows) < rows_at_least:
        raise TargetError(
            f"expected {rows_at_least} rows or more from the statement in the database of secret {secret}, found "
            f"{len(rows)}: it had nothing to work on"
        )
    return f"{len(rows)} rows"


def compressed(sql: str, scale: float) -> str:
    """`sql` with its intervals divided by the time scale of a target."""
    return sql if scale == 1 else _INTERVAL.sub(lambda found: f"({found[0]} / {scale:g})", sql)


def _grant(arguments: Arguments, arns: Arns) -> Grant:
    return Grant(
        sid="Procedures",
        actions=("secretsmanager:GetSecretValue",),
        resources=(secret_arn(arguments["secret"], arns),),
    )


def _changed(arguments: Arguments, aws: Aws) -> tuple[str, ...]:
    return database_arns(aws, arguments["secret"])


# Also what begins with SELECT may write: by the functions that it calls.
POSTGRES_QUERY = Declared(postgres_query, grant=_grant, key_grants=keys.of_named_secret, changes=_changed, writes=True)
