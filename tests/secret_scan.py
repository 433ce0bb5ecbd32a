"""No secret that a sandbox of the tests planted is in any file that the tests left behind.

A test that starts a sandbox does so `with watched(root)`: the secrets of its account are written down, away from
everything that is scanned, and what would go away with the sandbox (its logs) is kept beside the other files of the
session. When all tests are over, whoever began the session (with xdist: the controller) reads every file below
pytest's base directory and fails the session for each secret found: by its name, never by its value.
"""

from __future__ import annotations

import base64
import html
import json
import multiprocessing
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import repeat
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

import pytest

from tocsin.masking.encoded import Span, spans
from tocsin.sandbox import control
from tocsin.sandbox.account import Account

REGISTRY = "TOCSIN_TESTS_SECRETS"
"""Environment variable: the directory where the secrets of this session are written down; unset outside of pytest."""

TOKEN = re.compile(rb"eyJ(?:hbGciOi|raWQiOi|0eXAiOi)")
"""How a signed JSON web token begins: its header with `alg`, `kid` or `typ` first."""

HOLDS_SECRETS = {
    "credentials": "key of the account, for whoever uses the sandbox",
    "state.json": "keys of the account and of the drill's user, and the token: how commands find the sandbox",
    "rds/*/data/*": "PostgreSQL's own files",
    "elasticache/*": "Valkey's own files",
    "lambda/*": "code packages, unpacked",
    "s3/*": "code packages, and what a system keeps in its buckets",
    "state/*": "ministack's own files",
}
"""Files of a running sandbox that may hold secrets, and why; all the others are kept and scanned."""

_SECRET_NAME = re.compile(r"password|secret|token|credential|api_?key|private_?key|^key$", re.IGNORECASE)
_NO_SECRET = re.compile("arn:|not-a-secret")
"""Where a secret is kept; and what says of itself that it stands in for one, in the sources too."""
_SHORTEST = 8
_LEVELS = 3
"""Of encodings in each other: a session leaves many files, and each level is gone through for each of them."""
_PIECE, _OVERLAP = 1 << 18, 1 << 14
"""Characters that are decoded together: more than a secret has in any encoding."""
_EMPTY = re.compile(rb"\0{64,}")
"""What is free in a page of a database. No text has it inside: one in UTF-32 has three of them in a row."""
_MUCH, _SHARES = 1 << 21, 32
"""Bytes that take longer to look through than further processes take to begin; and in how many shares they are."""


@dataclass(frozen=True)
class Secret:
    """Where it was planted, and what it is."""

    name: str
    value: str

    def forms(self) -> set[bytes]:
        """As it is, in JSON once and twice, in a URL, in HTML and XML, in hex, and in base64 wherever it stands there.

        Written without a look at the forms of `tocsin.masking`: what those do not know is found here. What else was
        encoded is decoded as there (`encoded`).
        """
        once = json.dumps(self.value)[1:-1]
        texts = {self.value, once, json.dumps(once)[1:-1], repr(self.value)[1:-1], self.value.encode().hex()}
        texts.add(self.value.encode().hex().upper())
        texts |= {quote(self.value, safe=safe) for safe in ("", "/")} | {quote_plus(self.value)}
        texts |= {html.escape(self.value, quote=quoted) for quoted in (True, False)} | {escape(self.value)}
        texts |= {encode(self.value.encode()).decode() for encode in (base64.b85encode, base64.a85encode)}
        texts |= {text for inner in (self.value, once) for text in in_base64(inner)}
        return {form.encode() for form in texts}


def in_base64(value: str) -> Iterator[str]:
    """What stands in the base64 of anything that holds the value, however many bytes come before it."""
    for before in ("", "u", "us"):
        whole = base64.b64encode((before + value).encode()).decode().rstrip("=")
        # The letters at both ends may also hold bits of what stands beside the value.
        inner = whole[4 if before else 0 : -1]
        yield from (inner, inner.translate(str.maketrans("+/", "-_")))


@contextmanager
def watched(root: Path) -> Iterator[None]:
    """A running sandbox: what it plants is known from now on, and its logs outlive it."""
    remember(root)
    try:
        yield
    finally:
        remember(root)
        keep_logs(root)


def remember(root: Path) -> None:
    """Write down the secrets of the sandbox; nothing where none runs, or nobody scans."""
    state, registry = control.status(root), os.environ.get(REGISTRY)
    if state is None or registry is None:
        return
    found = set(secrets_of(state.account))
    found.add(Secret("secret access key of the account", state.root.secret_access_key))
    found.add(Secret("token of the sandbox", state.token))
    if state.drill_user is not None:
        found.add(Secret("secret access key of the drill's user", state.drill_user.secret_access_key))
    write_down(found, Path(registry))


def write_down(found: Iterable[Secret], registry: Path) -> None:
    """Add secrets to a directory that only we can read."""
    path = registry / f"{os.getpid()}.jsonl"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as file:
        file.writelines(json.dumps([secret.name, secret.value]) + "\n" for secret in found)


def known(registry: Path) -> set[Secret]:
    """Every secret that was written down."""
    lines = [line for file in registry.glob("*.jsonl") for line in file.read_text().splitlines()]
    return {Secret(*json.loads(line)) for line in lines}


def secrets_of(account: Account) -> Iterator[Secret]:
    """What the AWS API of a sandbox tells about its secrets, to whoever may ask everything."""
    found = (
        *_of_secrets_manager(account), *_of_functions(account), *_of_tasks(account), *_of_user_pools(account),
        *_of_caches(account),
    )  # fmt: skip
    yield from (secret for secret in found if len(secret.value) >= _SHORTEST and not _NO_SECRET.match(secret.value))


def keep_logs(root: Path) -> None:
    """Copy what goes away with the sandbox: the files of its directory, and CloudWatch Logs, which is in memory."""
    if REGISTRY not in os.environ:
        return
    home, state = control.directory(root), control.status(root)
    kept = root / f"kept-{os.urandom(4).hex()}"
    for path in files_below(home):
        name = str(path.relative_to(home))
        if not any(fnmatch(name, pattern) for pattern in HOLDS_SECRETS):
            (kept / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, kept / name)
    if state is not None:
        kept.mkdir(exist_ok=True)
        (kept / "cloudwatch.log").write_text("\n".join(_log_messages(state.account)))


def leaks(secrets: Iterable[Secret], files: Iterable[Path]) -> list[str]:
    """`FILE holds NAME` for each secret or token in one of the files. What stands in many of them is looked at once:
    files that are alike, and pages of databases."""
    places: dict[bytes, set[Path]] = {}
    for path in files:
        for part in _EMPTY.split(path.read_bytes()):
            places.setdefault(part, set()).add(path)
    held = _held_by_each(list(places), list(secrets))
    return sorted({f"{path} holds {name}" for part, names in held for name in names for path in places[part]})


def _held_by_each(parts: list[bytes], secrets: list[Secret]) -> Iterator[tuple[bytes, set[str]]]:
    """Each part, and the names of what it holds. What a whole session left is looked through on every processor."""
    if sum(map(len, parts)) < _MUCH:
        yield from _held_by(parts, secrets)
        return
    # Not forked: whoever began the session has threads. Each gets some of every kind: one kind is dear, another not.
    shares = [parts[first::_SHARES] for first in range(_SHARES)]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as processes:
        for held in processes.map(_held_by, shares, repeat(secrets)):
            yield from held


def _held_by(parts: list[bytes], secrets: list[Secret]) -> list[tuple[bytes, set[str]]]:
    forms = {form: secret.name for secret in secrets for form in secret.forms()}
    return [(part, set(_held(part, forms, secrets))) for part in parts]


def _held(content: bytes, forms: dict[bytes, str], secrets: list[Secret]) -> Iterator[str]:
    yield from (name for form, name in forms.items() if form in content)
    yield from _encoded(content.decode("utf-8", "replace"), secrets)
    if TOKEN.search(content):
        yield "a signed JSON web token"


def _encoded(content: str, secrets: list[Secret]) -> set[str]:
    """Names of those that are there in any encoding, looked for in pieces that overlap."""
    names: set[str] = set()

    def find(text: str) -> list[Span]:
        found = [secret for secret in secrets if secret.value in text]
        names.update(secret.name for secret in found)
        return [(at, at + len(secret.value)) for secret in found for at in [text.index(secret.value)]]

    for at in range(0, len(content) or 1, _PIECE - _OVERLAP):
        spans(content[at : at + _PIECE], find, _LEVELS)
    return names


def files_below(directory: Path) -> Iterator[Path]:
    """Regular files below; what is only linked to belongs to somebody else."""
    for parent, _, names in os.walk(directory):
        paths = (Path(parent, name) for name in names)
        yield from (path for path in paths if path.is_file() and not path.is_symlink())


# ------------------------------------------------------------------------------------------------ the account


def _pages(account: Account, service: str, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
    for page in account.client(service).get_paginator(operation).paginate(**arguments):
        yield from page[key]


def _of_secrets_manager(account: Account) -> Iterator[Secret]:
    vault = account.client("secretsmanager")
    for entry in _pages(account, "secretsmanager", "list_secrets", "SecretList"):
        text = vault.get_secret_value(SecretId=entry["ARN"]).get("SecretString", "")
        try:
            fields = json.loads(text)
        except ValueError:
            fields = text
        yield from _named(f"secret {entry['Name']}", fields if isinstance(fields, dict) else {"secret": text})


def _of_functions(account: Account) -> Iterator[Secret]:
    for function in _pages(account, "lambda", "list_functions", "Functions"):
        yield from _named(f"function {function['FunctionName']}", function.get("Environment", {}).get("Variables", {}))


def _of_tasks(account: Account) -> Iterator[Secret]:
    """Only the plain environment: what a task takes from Secrets Manager was found there."""
    ecs = account.client("ecs")
    for arn in _pages(account, "ecs", "list_task_definitions", "taskDefinitionArns"):
        for container in ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]["containerDefinitions"]:
            variables = {one["name"]: one["value"] for one in container.get("environment", ())}
            yield from _named(f"container {container['name']}", variables)


def _of_caches(account: Account) -> Iterator[Secret]:
    """The address of a cache carries the password that the sandbox made for it."""
    for group in _pages(account, "elasticache", "describe_replication_groups", "ReplicationGroups"):
        for node_group in group.get("NodeGroups", ()):
            before, at, _ = node_group.get("PrimaryEndpoint", {}).get("Address", "").rpartition("@")
            if at:
                yield Secret(f"cache {group['ReplicationGroupId']}: password", before.removeprefix(":"))


def _of_user_pools(account: Account) -> Iterator[Secret]:
    cognito = account.client("cognito-idp")
    for pool in _pages(account, "cognito-idp", "list_user_pools", "UserPools", MaxResults=60):
        for one in _pages(account, "cognito-idp", "list_user_pool_clients", "UserPoolClients", UserPoolId=pool["Id"]):
            client = cognito.describe_user_pool_client(UserPoolId=pool["Id"], ClientId=one["ClientId"])
            yield from _named(f"client {one['ClientName']}", client["UserPoolClient"])


def _named(where: str, fields: dict[str, Any]) -> Iterator[Secret]:
    """Those that are called like a secret, however deep."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _named(f"{where}: {name}", value)
        elif isinstance(value, str) and _SECRET_NAME.search(name):
            yield Secret(f"{where}: {name}", value)


def _log_messages(account: Account) -> Iterator[str]:
    for group in _pages(account, "logs", "describe_log_groups", "logGroups"):
        for event in _pages(account, "logs", "filter_log_events", "events", logGroupName=group["logGroupName"]):
            yield event["message"]


# ------------------------------------------------------------------------------------------------ the session


class SecretScan:
    """The part of pytest: begins the register, and scans when everything is over."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._outer = os.environ.get(REGISTRY)
        self._registry = Path(tempfile.mkdtemp(prefix="tocsin-tests-secrets-"))
        self._captured: list[str] = []
        self._leaks: list[str] = []
        # Workers of xdist and commands under test are children: they inherit it.
        os.environ[REGISTRY] = str(self._registry)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """What a test printed, and how it failed: no file of its own."""
        self._captured += [report.capstdout, report.capstderr, report.caplog, report.longreprtext]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Scan; the workers have ended, and every fixture was torn down."""
        secrets = known(self._registry)
        base: Path = self._config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        if secrets:
            (base / "captured.txt").write_text("\n".join(filter(None, self._captured)))
            self._leaks = leaks(secrets, files_below(base))
        if self._leaks:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name every leak."""
        if self._leaks:
            terminalreporter.section("secrets in files of this session", red=True, bold=True)
            for leak in self._leaks:
                terminalreporter.line(leak)

    def pytest_unconfigure(self) -> None:
        """Forget the secrets."""
        shutil.rmtree(self._registry)
        if self._outer is None:
            os.environ.pop(REGISTRY, None)
        else:
            os.environ[REGISTRY] = self._outer


def begin(config: pytest.Config) -> None:
    """Scan this session; in a worker of xdist there is nothing to do, its controller scans."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SecretScan(config), "secret-scan")
