"""The way into a PostgreSQL database: a secret of AWS Secrets Manager, as RDS writes it.

It is JSON with `host`, `port`, `dbname`, `username` and `password`, none of which is written anywhere.
https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import pg8000.native

from tocsin.aws.iam import Arns
from tocsin.aws.secretsmanager import read_secret
from tocsin.aws.target import Aws, Target
from tocsin.errors import TargetError, Unavailable

TABLE = r"^[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?$"
"""Name of a table, with its schema where it is not on the path."""
_ANSWERS_S = 5.0
_COMING_AND_GOING = ("57P01", "57P03", "53300")
"""SQLSTATE of what passes: the server shuts down, starts, or has no connection left.
https://www.postgresql.org/docs/current/errcodes-appendix.html
"""


@dataclass(frozen=True)
class Login:
    """Where a secret leads. `values` are those of the secret: never to be shown."""

    arn: str
    where: str
    instance: str | None
    values: Any

    def at(self, instance: str, host: str, port: int) -> Login:
        """The same user and database in another instance."""
        values = {**self.values, "host": host, "port": port}
        return replace(self, where=f"DB instance {instance} at {host}:{port}", instance=instance, values=values)

    def connect(self, application: str, timeout_s: float = _ANSWERS_S) -> pg8000.native.Connection:
        """A session, in which every answer may take `timeout_s` wall seconds.

        Raises:
            TargetError: it is refused; Unavailable when there may be one later.
        """
        values = self.values
        options: dict[str, Any] = {
            "host": values["host"],
            "port": int(values.get("port") or 5432),
            "database": values.get("dbname") or "postgres",
            "password": values["password"],
            "timeout": timeout_s,
            "application_name": application,
        }
        try:
            return pg8000.native.Connection(values["username"], **options, ssl_context=_tls(values["host"]))
        except pg8000.native.DatabaseError as error:
            raise told(f"connecting to {self.where}", error) from error
        except (pg8000.native.InterfaceError, OSError) as error:
            raise Unavailable(f"connecting to {self.where}: {error}") from error

    @contextmanager
    def session(self, timeout_s: float = _ANSWERS_S) -> Iterator[Any]:
        """A function that runs statements on a session of its own. Raises as `connect` does."""
        connection = self.connect("tocsin", timeout_s)
        try:
            yield connection.run
        except pg8000.native.DatabaseError as error:
            raise told(f"asking {self.where}", error) from error
        except (pg8000.native.InterfaceError, OSError) as error:
            raise Unavailable(f"asking {self.where}: {error}") from error
        finally:
            close(connection)


def login_of(target: Target, secret: str) -> Login:
    """Where a secret leads; `secret` is its name or ARN.

    Raises:
        NotFound: there is no such secret.
        TargetError: it is not what RDS writes.
    """
    found = read_secret(target, secret)
    missing = {"host", "username", "password"} - found.values.keys()
    if missing:
        raise TargetError(
            f"expected secret '{secret}' to be JSON with host, username and password, found no "
            f"{', '.join(sorted(missing))}. Name another secret, or complete this one."
        )
    where = f"the database of secret {found.arn}"
    return Login(found.arn, where, found.values.get("dbInstanceIdentifier"), found.values)


def database_arns(aws: Aws, secret: str) -> tuple[str, ...]:
    """ARN of the DB instance that a secret names; the secret's own where it names none."""
    login = login_of(aws.target, secret)
    return (aws.arn("rds", f"db:{login.instance}") if login.instance else login.arn,)


def secret_arn(secret: str, arns: Arns) -> str:
    """ARN of a secret: Secrets Manager adds six characters to its name."""
    return secret if secret.startswith("arn:") else arns("secretsmanager", f"secret:{secret}-??????")


def told(doing: str, error: pg8000.native.DatabaseError) -> TargetError:
    """What PostgreSQL said, as ours."""
    said = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    kind = Unavailable if said.get("C") in _COMING_AND_GOING else TargetError
    return kind(f"{doing}: PostgreSQL answered {said.get('C', '')}: {said.get('M', error)}")


def close(connection: pg8000.native.Connection) -> None:
    """End a session that may have ended already."""
    with suppress(pg8000.native.InterfaceError, pg8000.native.DatabaseError, OSError):
        connection.close()


def _tls(host: str) -> ssl.SSLContext | Literal[False]:
    """Encrypted, unless it stays on this machine; and not verified, as psql does by default.

    Never left to pg8000, which reads every authority of the machine for each connection: 20 ms.
    """
    return False if host in ("127.0.0.1", "localhost", "::1") else _unverified()


@cache
def _unverified() -> ssl.SSLContext:
    # The authority of RDS is none that a machine knows.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
