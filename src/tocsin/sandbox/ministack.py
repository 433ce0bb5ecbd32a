"""ministack, which answers the AWS API, as one sandbox runs it: started, checked, and open to be changed.

It knows no AWS service. What a service relies on of ministack's internals stands with the service, and what is relied
on here stands below; all of it is checked by name and parameters before anything is changed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib
import importlib.metadata
import inspect
import os
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, ClassVar

from tocsin.errors import SandboxError
from tocsin.sandbox import signatures
from tocsin.sandbox.keys import Keys
from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.service import ReliedOn, Service

VERSION = "1.5.33"

_WORKERS = 64
"""Threads for requests: ministack answers some services in them."""


def configure(directory: Path, port: int, keys: Keys, region: str) -> None:
    """Set what ministack reads from its environment when it is imported: policies are enforced, always."""
    os.environ.update(
        {
            "MINISTACK_HOST": "127.0.0.1",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "EDGE_PORT": str(port),
            "MINISTACK_ACCOUNT_ID": keys.account,
            "MINISTACK_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "STATE_DIR": str(directory / "state"),
            "S3_DATA_DIR": str(directory / "objects"),
            "TMPDIR": str(directory),
            "LOG_LEVEL": "WARNING",
            "LAMBDA_EXECUTOR": "local",
            "PERSIST_STATE": "0",
            "S3_PERSIST": "0",
            "AUTH": "true",
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
        }
    )
    # Signatures are checked: these are the keys of the account's root, never the developer's own.
    os.environ.update({"AWS_ACCESS_KEY_ID": keys.account, "AWS_SECRET_ACCESS_KEY": keys.secret_access_key})
    os.environ.pop("AWS_SESSION_TOKEN", None)


def where(kind: type) -> str:
    """The file of a class as messages name it, such as `sandbox/services/sqs.py`."""
    path, package = Path(inspect.getfile(kind)), Path(__file__).parents[1]
    return path.relative_to(package).as_posix() if path.is_relative_to(package) else str(path)


def check_internals(kinds: Iterable[type[Service]]) -> None:
    """Check that every internal that is relied on is there and takes the parameters it is called with.

    Raises:
        SandboxError: another version of ministack, or all that changed and the files that relied on it.
    """
    found = importlib.metadata.version("ministack")
    if found != VERSION:
        raise SandboxError(
            f"expected ministack {VERSION}, found {found}: install exactly that version (`pip install "
            f"ministack=={VERSION}`), or adapt sandbox/ministack.py and sandbox/services/ to the new one"
        )
    own: dict[type, ReliedOn] = {Ministack: Ministack.RELIED_ON, signatures.Signatures: signatures.RELIED_ON}
    relied_on = own | {kind: kind.RELIED_ON for kind in kinds}
    changed = {where(kind): changes for kind, names in relied_on.items() if (changes := list(_changes(names)))}
    if changed:
        told = "; ".join(f"{', '.join(changes)} (adapt {file})" for file, changes in changed.items())
        raise SandboxError(
            f"expected the internals of ministack {VERSION}, found changes: {told}. "
            "Reinstall that version, or adapt what is named"
        )


def _changes(relied_on: ReliedOn) -> Iterable[str]:
    for module, names in relied_on.items():
        found = _module(module)
        for name, parameters in names.items():
            if (problem := _changed(found, module, name, parameters)) is not None:
                yield problem


def _changed(module: Any, module_name: str, name: str, parameters: str) -> str | None:
    if not hasattr(module, name):
        return f"{module_name}.{name} is gone"
    value = getattr(module, name)
    if not parameters or not callable(value):
        return None
    found = ", ".join(inspect.signature(value).parameters)
    return None if found == parameters else f"{module_name}.{name} takes ({found}) instead of ({parameters})"


def expect(service: Service, behaviour: str, holds: bool) -> None:
    """For the self-test of a service. Raises SandboxError when a behaviour of ministack does not hold."""
    if not holds:
        raise SandboxError(
            f"expected of ministack {VERSION} that {behaviour}, found otherwise: reinstall that version, "
            f"or adapt {where(type(service))}"
        )


def _module(name: str) -> Any:
    return importlib.import_module(f"ministack.{name}")


class Ministack:
    """ministack of one sandbox. Only one can exist in a process: its state is that of its modules."""

    RELIED_ON: ClassVar[ReliedOn] = {
        "app": {
            "app": "scope, receive, send",
            "_MAIN_LOOP": "",
            "SERVICE_REGISTRY": "",
            "SERVICE_NAME_ALIASES": "",
        },
        "core.iam_evaluator": {
            "enforce": "access_key_id, iam_action, service, region, resource_arn, service_context",
        },
        "core.iam_actions": {"identity_denial_message": "action, principal_arn, resource, explicit_deny"},
        "core.responses": {"request_scope": "account_id, region", "get_account_id": "", "get_region": ""},
    }

    def __init__(self) -> None:
        self._app = _module("app")
        self._responses = _module("core.responses")
        self._background: set[asyncio.Task[None]] = set()

    @property
    def asgi(self) -> Any:
        """The ASGI application that answers the AWS API."""
        return self._app.app

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """What ministack's own start-up does, without the parts a sandbox has no use for."""
        self._app._MAIN_LOOP = loop  # noqa: SLF001
        loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(_WORKERS, "ministack-worker"))

    def services(self) -> frozenset[str]:
        """Names that a request may be signed for."""
        return frozenset(self._app.SERVICE_REGISTRY) | frozenset(self._app.SERVICE_NAME_ALIASES)

    def module(self, name: str) -> Any:
        """A module of ministack, such as `services.sqs`. What is used of it belongs into `RELIED_ON`."""
        return _module(name)

    def replace(self, module: Any, name: str, replacement: Any) -> Any:
        """Put another function in the place of one; returns the original.

        Patches of one name nest: who replaces later is called first and gets what the earlier one put there.
        """
        original = getattr(module, name)
        setattr(module, name, replacement)
        return original

    def scope(self, scope: Scope) -> contextlib.AbstractContextManager[None]:
        """Act for an account and region."""
        context: contextlib.AbstractContextManager[None] = self._responses.request_scope(*scope)
        return context

    def current_scope(self) -> Scope:
        """The account and region of the present request."""
        return self._responses.get_account_id(), self._responses.get_region()

    def refusal(self, access_key_id: str, scope: Scope, action: str, resource: str) -> str | None:
        """Why IAM forbids an action on a resource; None when it is allowed."""
        with self.scope(scope):
            found = _module("core.iam_evaluator").enforce(
                access_key_id, action, action.split(":")[0], scope[1], resource
            )
            if found is None:
                return None
            if not hasattr(found, "decision"):
                return str(found.message)
            explicit = found.decision == "Deny"
            told: str = _module("core.iam_actions").identity_denial_message(
                action, found.principal_arn, resource, explicit
            )
        return told

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine beside the request that asked for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
