"""Lambda execution environments: forked on demand, reused while warm, reaped when idle."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

from tocsin.errors import SandboxError
from tocsin.sandbox.parts.supervise import marked

MAX_ENVIRONMENTS = 40
"""Alive at once, of all functions. An invocation beyond waits for one, so that memory stays bounded."""

_PATIENCE_S = 0.15
"""An invocation waits so long for a busy environment before it takes a new one: less than a cold start on AWS."""
_START_EVERY_S = 0.06
"""Cold starts in a burst follow each other: at once, they would take all processors from the warm environments."""
_MAX_WARMING = 3
_WARMING_S = 0.25
"""So many environments at once may be between their fork and the end of their first invocation, which is where all
the work of a cold start is; one that takes longer than this is waiting for something else, such as a database."""
_NO_ROOM_S = 2.0
"""After so long at `MAX_ENVIRONMENTS` the invocation is throttled, as at the concurrency limit of an account."""

_IDLE_FIRST_S = 45.0
_IDLE_SURPLUS_S = 3.0
_INIT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class FunctionVersion:
    """One version of a function: what an execution environment needs to run it."""

    account: str
    region: str
    name: str
    version: str
    handler: str
    timeout_s: float
    memory_mb: int
    log_group: str
    code_zip: bytes = field(repr=False, hash=False, compare=False)
    environment: tuple[tuple[str, str], ...] = field(repr=False)
    """Complete environment of the process; part of the identity, so that a changed one is never served stale."""
    code_sha256: str

    @property
    def function(self) -> tuple[str, str, str]:
        """Account, region and name: what all versions share."""
        return self.account, self.region, self.name


@dataclass(frozen=True)
class Outcome:
    """What one invocation gave."""

    status: Literal["ok", "error", "timeout", "throttle"]
    result: Any
    """The handler's result, or the error payload of the runtime."""
    log: tuple[tuple[int, str], ...]
    """(epoch milliseconds, line)"""
    log_stream: str
    duration_ms: float
    """Time in the handler; initialisation is not part of it, as on AWS."""
    cold_start: bool


class _EnvironmentDied(Exception):
    pass


class _Environment:
    """The daemon's end of one forked process."""

    def __init__(self, version: FunctionVersion) -> None:
        self.version = version
        self.log_stream = f"{time.strftime('%Y/%m/%d', time.gmtime())}/[{version.version}]{uuid.uuid4().hex}"
        self.last_used = time.monotonic()
        self.busy = True
        self.is_new = True
        self.is_warming = True
        self.reserved = time.monotonic()
        self.log: list[tuple[int, str]] = []
        self._channel, self._theirs = socket.socketpair()
        self._lines: TextIO = self._channel.makefile("r", encoding="utf-8")
        self._pid: int | None = None

    def fork(self, control: socket.socket) -> None:
        """Ask the zygote for the process."""
        self.is_new = False
        with self._theirs:
            socket.send_fds(control, [b"f"], [self._theirs.fileno()])

    def start(self, code: Path) -> dict[str, Any]:
        """Initialise; returns the runtime's answer and fills in the log lines printed meanwhile."""
        self._channel.settimeout(_INIT_TIMEOUT_S)
        environment = {**dict(self.version.environment), "AWS_LAMBDA_LOG_STREAM_NAME": self.log_stream}
        self._send(
            {
                "function_name": self.version.name,
                "version": self.version.version,
                "memory": self.version.memory_mb,
                "timeout": self.version.timeout_s,
                "log_group": self.version.log_group,
                "log_stream": self.log_stream,
                "handler": self.version.handler,
                "code": str(code),
                "env": {"LAMBDA_TASK_ROOT": str(code), **environment},
            }
        )
        answer = self._read()
        self._pid = answer.get("pid")
        return answer

    def invoke(self, event: Any, request_id: str, arn: str, trace_id: str | None) -> dict[str, Any]:
        """Run the handler once; the answer holds `log`. Raises TimeoutError after the function's timeout."""
        self._channel.settimeout(self.version.timeout_s)
        self._send({"event": event, "request_id": request_id, "arn": arn, "trace_id": trace_id})
        return self._read(deadline=time.monotonic() + self.version.timeout_s)

    def close(self) -> None:
        """End the process, whatever it does."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._lines.close()
            self._channel.close()
            self._theirs.close()
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            self._channel.sendall(json.dumps(message).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError) as error:
            raise _EnvironmentDied from error

    def _read(self, deadline: float | None = None) -> dict[str, Any]:
        self.log = []
        while True:
            if deadline is not None:
                self._channel.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                line = self._lines.readline()
            except ConnectionResetError as error:
                raise _EnvironmentDied from error
            if not line:
                raise _EnvironmentDied
            message: dict[str, Any] = json.loads(line)
            if "status" in message:
                return message
            self.log.append((int(time.time() * 1000), message["log"]))


class Environments:
    """All execution environments of one sandbox.

    Each runs one invocation at a time, as on AWS. Thread-safe; `invoke` blocks its thread.
    """

    def __init__(self, directory: Path, sandbox: Path, limit: int = MAX_ENVIRONMENTS) -> None:
        self._code = directory / "code"
        self._code.mkdir(parents=True, exist_ok=True)
        self._limit = limit
        self._all: list[_Environment] = []
        self._provisioned: dict[tuple[str, str, str, str], tuple[FunctionVersion, int]] = {}
        self._changed = threading.Condition()
        self._fork_lock = threading.Lock()
        self._next_start = 0.0
        self._control, theirs = socket.socketpair()
        with theirs:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", "tocsin.sandbox.services.awslambda.zygote", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=marked(sandbox),
            )

    def wait_until_ready(self) -> None:
        """Wait for the zygote's imports. Raises SandboxError when it died."""
        if self._control.recv(1) != b"r":
            raise SandboxError("expected the Lambda runtime process to start, found it dead: see the daemon's log")

    def invoke(
        self,
        version: FunctionVersion,
        event: Any,
        request_id: str,
        arn: str,
        trace_id: str | None = None,
    ) -> Outcome:
        """Run one invocation in a warm environment, or in a new one."""
        environment = self._obtain(version)
        if environment is None:
            return Outcome("throttle", None, (), "", 0.0, False)
        cold = environment.is_new
        try:
            failure = self._start(environment) if cold else None
            if failure is not None:
                return self._outcome(environment, failure, "error", cold)
            init_log = environment.log if cold else []
            answer = environment.invoke(event, request_id, arn, trace_id)
            environment.log = [*init_log, *environment.log]
        except TimeoutError:
            self._discard(environment)
            message = f"Task timed out after {version.timeout_s:.2f} seconds"
            answer = {"errorMessage": f"{_now()} {request_id} {message}", "errorType": "Sandbox.Timedout"}
            environment.log.append((int(time.time() * 1000), f"{_now()} {request_id} {message}"))
            return self._outcome(environment, {**answer, "ms": version.timeout_s * 1000}, "timeout", cold)
        except _EnvironmentDied:
            self._discard(environment)
            answer = {
                "errorMessage": f"RequestId: {request_id} Error: Runtime exited without providing a reason",
                "errorType": "Runtime.ExitError",
            }
            return self._outcome(environment, answer, "error", cold)
        self._release(environment)
        return self._outcome(environment, answer, "ok" if answer["status"] == "ok" else "error", cold)

    def _outcome(
        self,
        environment: _Environment,
        answer: Mapping[str, Any],
        status: Literal["ok", "error", "timeout"],
        cold: bool,
    ) -> Outcome:
        payload = (
            answer.get("result")
            if status == "ok"
            else {key: answer[key] for key in ("errorMessage", "errorType", "stackTrace") if key in answer}
        )
        return Outcome(
            status, payload, tuple(environment.log), environment.log_stream, float(answer.get("ms", 0.0)), cold
        )

    def provision(self, version: FunctionVersion, qualifier: str, count: int) -> None:
        """Keep `count` environments of a version warm, from now on and until `unprovision`."""
        self.unprovision(version.function, qualifier)
        with self._changed:
            self._provisioned[(*version.function, qualifier)] = version, count
            missing = count - sum(1 for one in self._of(version) if not one.busy)
            started = [self._reserve(version) for _ in range(missing)]
        for environment in started:
            if self._start(environment) is None:
                self._release(environment)

    def unprovision(self, function: tuple[str, str, str], qualifier: str) -> None:
        """Stop keeping environments warm for an alias or version."""
        with self._changed:
            self._provisioned.pop((*function, qualifier), None)

    def forget(self, function: tuple[str, str, str], version: str | None = None) -> None:
        """End the environments of a function whose code or configuration changed; those at work finish first."""
        with self._changed:
            stale = [
                one for one in self._all if one.version.function == function and version in (None, one.version.version)
            ]
            self._all = [one for one in self._all if one not in stale]
        for environment in stale:
            if not environment.busy:
                environment.close()

    def reap(self) -> None:
        """End environments that were idle for long. To be called about once a second."""
        now = time.monotonic()
        with self._changed:
            stale = [one for one, keep_s in self._idle() if now - one.last_used > keep_s]
            self._all = [one for one in self._all if one not in stale]
        for environment in stale:
            environment.close()

    def _idle(self) -> Iterator[tuple[_Environment, float]]:
        """Idle environments with the seconds each may stay idle: the first of a function may longer."""
        seen: dict[FunctionVersion, int] = {}
        for one in sorted(self._all, key=lambda one: (not one.busy, -one.last_used)):
            rank = seen[one.version] = seen.get(one.version, 0) + 1
            if one.busy or rank <= self._provisioned_count(one.version):
                continue
            yield one, _IDLE_FIRST_S if rank == 1 else _IDLE_SURPLUS_S

    def _provisioned_count(self, version: FunctionVersion) -> int:
        return sum(count for provisioned, count in self._provisioned.values() if provisioned == version)

    def count(self) -> int:
        """Environments alive."""
        with self._changed:
            return len(self._all)

    def close(self) -> None:
        """End everything, and delete the extracted code."""
        with self._changed:
            everything, self._all = self._all, []
        for environment in everything:
            environment.close()
        self._control.close()
        try:
            self._zygote.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._zygote.kill()
            self._zygote.wait()
        shutil.rmtree(self._code, ignore_errors=True)

    def _of(self, version: FunctionVersion) -> list[_Environment]:
        return [one for one in self._all if one.version == version]

    def _obtain(self, version: FunctionVersion) -> _Environment | None:
        """A free environment, or one that still has to be started; None when there is no room for too long."""
        now = time.monotonic()
        patient_until, deadline = now + _PATIENCE_S, now + min(version.timeout_s, _NO_ROOM_S)
        with self._changed:
            while True:
                mine = self._of(version)
                idle = [one for one in mine if not one.busy]
                if idle:
                    environment = max(idle, key=lambda one: one.last_used)
                    environment.busy = True
                    return environment
                now = time.monotonic()
                start_at = max(self._next_start, self._warmed_up(), patient_until if mine else now)
                if now < start_at:
                    # Its turn comes: that the sandbox starts slower than AWS must not look like a throttle.
                    self._changed.wait(start_at - now)
                elif self._make_room():
                    self._next_start = now + _START_EVERY_S
                    return self._reserve(version)
                elif now >= deadline:
                    return None
                else:
                    self._changed.wait(deadline - now)

    def _warmed_up(self) -> float:
        """When one more environment may start to warm up, as far as is known now."""
        warming = sorted(one.reserved for one in self._all if one.is_warming)
        return 0.0 if len(warming) < _MAX_WARMING else warming[-_MAX_WARMING] + _WARMING_S

    def _reserve(self, version: FunctionVersion) -> _Environment:
        """A new, busy environment that nobody has started yet. To be called with the lock."""
        environment = _Environment(version)
        self._all.append(environment)
        return environment

    def _start(self, environment: _Environment) -> dict[str, Any] | None:
        """Start a reserved environment; returns the runtime's answer if the handler could not be loaded."""
        code = self._extract(environment.version)
        with self._fork_lock:
            environment.fork(self._control)
        try:
            answer = environment.start(code)
        except (TimeoutError, _EnvironmentDied):
            answer = {"status": "init-error", "errorType": "Runtime.ExitError"}
            answer["errorMessage"] = "the execution environment did not start within 10 seconds, or ended"
        if answer["status"] == "ready":
            return None
        self._discard(environment)
        return answer

    def _make_room(self) -> bool:
        """Whether one more environment may be started; ends the one that was idle for longest if it has to."""
        if len(self._all) < self._limit:
            return True
        idle = [one for one, _ in self._idle()]
        if not idle:
            return False
        oldest = min(idle, key=lambda one: one.last_used)
        self._all.remove(oldest)
        oldest.close()
        return True

    def _release(self, environment: _Environment) -> None:
        with self._changed:
            environment.busy = False
            environment.is_warming = False
            environment.last_used = time.monotonic()
            forgotten = environment not in self._all
            self._changed.notify_all()
        if forgotten:
            environment.close()

    def _discard(self, environment: _Environment) -> None:
        with self._changed:
            if environment in self._all:
                self._all.remove(environment)
            self._changed.notify_all()
        environment.close()

    def _extract(self, version: FunctionVersion) -> Path:
        """The unpacked deployment package, shared by all environments that run the same bytes."""
        target = self._code / hashlib.sha256(version.code_zip).hexdigest()
        with self._fork_lock:
            if not target.exists():
                unfinished = target.with_suffix(".unfinished")
                with zipfile.ZipFile(io.BytesIO(version.code_zip)) as archive:
                    archive.extractall(unfinished)
                unfinished.rename(target)
        return target


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
