"""The process from which all Python Lambda execution environments are forked.

It imports what handlers import anyway (the AWS SDK, the PostgreSQL driver, token verification) once and then forks:
a cold start costs milliseconds, and the environments share the memory of those modules. It stays single-threaded,
as forking demands.

Protocol. The daemon sends one byte and one end of a socket pair; the fork reads its first line there (what to run)
and answers with lines of JSON: `{"log": line}` as they are printed, then one `{"status": ...}` an invocation.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import logging
import os
import random
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from tocsin.sandbox.parts.supervise import die_with_parent

PRELOADED = ("boto3", "botocore.session", "urllib.request", "pg8000.dbapi", "pg8000.native", "jwt", "ssl", "uuid")
"""Modules of a Lambda runtime, and of the handlers seen here; a missing one is passed over."""

_MODEL_CACHE: dict[str, Any] = {}


def main() -> None:
    """Serve fork requests on the socket whose descriptor is the first argument, until it closes."""
    die_with_parent()
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Nobody waits for the children: the kernel reaps them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _preload()
    control.send(b"r")
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            _run_environment(socket.socket(fileno=descriptors[0]))
        os.close(descriptors[0])


def _preload() -> None:
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with contextlib.suppress(ImportError):
        _share_service_models()
    gc.collect()
    # A collection writes into the head of every object that it visits, and so copies the page on which it lies. Objects
    # that no collection ever touches again stay shared between the forks.
    gc.freeze()
    gc.disable()


def _share_service_models() -> None:
    """Let all environments share the parsed JSON files that botocore needs for every client."""
    from botocore.loaders import JSONFileLoader

    load: Callable[[JSONFileLoader, str], Any] = JSONFileLoader.load_file

    def load_file(self: JSONFileLoader, file_path: str) -> Any:
        if file_path not in _MODEL_CACHE:
            _MODEL_CACHE[file_path] = load(self, file_path)
        return _MODEL_CACHE[file_path]

    JSONFileLoader.load_file = load_file
    import boto3

    session = boto3.session.Session(
        region_name="us-east-1",
        aws_access_key_id="preload",
        aws_secret_access_key="preload",  # noqa: S106 - no request is ever signed with it
    )
    for service in ("secretsmanager", "sqs"):
        session.client(service, endpoint_url="http://127.0.0.1:1")


def _run_environment(channel: socket.socket) -> None:
    """The whole life of one execution environment; never returns."""
    status = 1
    try:
        # The wish to die with the parent is not inherited by a fork.
        die_with_parent()
        # Handlers may run programs and wait for them; with SIGCHLD ignored there would be nobody to wait for.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        gc.enable()
        # The generator's state was forked too: all environments would make the same "random" identifiers.
        random.seed()
        lines = channel.makefile("r", encoding="utf-8")
        Environment(lines, channel).serve()
        status = 0
    except (BrokenPipeError, ConnectionResetError):
        status = 0
    finally:
        # Not sys.exit: what the zygote's modules registered for its end would run at the end of every fork.
        os._exit(status)


class _LogStream(io.TextIOBase):
    """`sys.stdout` and `sys.stderr` of a handler: whole lines go to the daemon as they are written."""

    def __init__(self, send: Callable[[Mapping[str, Any]], None]) -> None:
        self._send = send
        self._partial = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._partial = (self._partial + text).split("\n")
        for line in lines:
            self._send({"log": line})
        return len(text)

    def finish(self) -> None:
        """Send what was written without a line end."""
        if self._partial:
            self._send({"log": self._partial})
            self._partial = ""


class _RequestIdFilter(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self.request_id = ""

    def filter(self, record: logging.LogRecord) -> bool:
        record.aws_request_id = self.request_id
        return True


class LambdaContext:
    """The `context` object of the Python runtime."""

    def __init__(self, init: Mapping[str, Any], invocation: Mapping[str, Any]) -> None:
        self.function_name: str = init["function_name"]
        self.function_version: str = init["version"]
        self.memory_limit_in_mb: str = str(init["memory"])
        self.log_group_name: str = init["log_group"]
        self.log_stream_name: str = init["log_stream"]
        self.invoked_function_arn: str = invocation["arn"]
        self.aws_request_id: str = invocation["request_id"]
        self.identity = None
        self.client_context = None
        self._deadline = time.monotonic() + float(init["timeout"])

    def get_remaining_time_in_millis(self) -> int:
        """Wall milliseconds until the function times out."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))


class Environment:
    """Imports a handler once and runs it as often as it is told to."""

    def __init__(self, lines: TextIO, channel: socket.socket) -> None:
        self._lines = lines
        self._channel = channel
        self._output = _LogStream(self._send)
        self._request_id = _RequestIdFilter()

    def serve(self) -> None:
        """Initialise, then one invocation a line until the daemon closes the channel."""
        first = self._lines.readline()
        if not first:
            return
        init = json.loads(first)
        handler = self._initialise(init)
        if handler is None:
            return
        self._send({"status": "ready", "pid": os.getpid()})
        for line in self._lines:
            self._invoke(handler, init, json.loads(line))

    def _initialise(self, init: Mapping[str, Any]) -> Callable[[Any, LambdaContext], Any] | None:
        # Emptied in place, so that libraries in C see the function's environment too, and nothing of the daemon's.
        os.environ.clear()
        os.environ.update(init["env"])
        os.chdir(init["code"])
        sys.path.insert(0, init["code"])
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123
        sys.stdout = sys.stderr = self._output
        self._configure_logging()
        module, _, function = init["handler"].rpartition(".")
        try:
            handler: Callable[[Any, LambdaContext], Any] = getattr(
                importlib.import_module(module.replace("/", ".")), function
            )
        except BaseException as error:
            kind = "Runtime.ImportModuleError" if isinstance(error, ImportError) else type(error).__name__
            self._fail("init-error", error, kind)
            return None
        return handler

    def _configure_logging(self) -> None:
        """The root logger of the Python runtime: one handler, level WARNING until the function changes it."""
        handler = logging.StreamHandler(self._output)
        handler.addFilter(self._request_id)
        formatter = logging.Formatter(
            "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s", "%Y-%m-%dT%H:%M:%S"
        )
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
        logging.getLogger().handlers = [handler]

    def _invoke(
        self,
        handler: Callable[[Any, LambdaContext], Any],
        init: Mapping[str, Any],
        invocation: Mapping[str, Any],
    ) -> None:
        self._request_id.request_id = invocation["request_id"]
        if invocation.get("trace_id"):
            os.environ["_X_AMZN_TRACE_ID"] = invocation["trace_id"]
        started = time.perf_counter()
        try:
            result = handler(invocation["event"], LambdaContext(init, invocation))
            answer = json.dumps({"status": "ok", "result": result, "ms": _milliseconds(started)})
        except BaseException as error:
            self._fail("error", error, type(error).__name__, started)
            if isinstance(error, SystemExit | KeyboardInterrupt):
                raise
            return
        self._output.finish()
        self._channel.sendall(answer.encode() + b"\n")

    def _fail(self, status: str, error: BaseException, kind: str, started: float | None = None) -> None:
        stack = traceback.format_tb(error.__traceback__)
        self._output.finish()
        for line in f"[ERROR] {kind}: {error}\nTraceback (most recent call last):\n{''.join(stack)}".splitlines():
            self._send({"log": line})
        self._send(
            {
                "status": status,
                "errorMessage": str(error),
                "errorType": kind,
                "stackTrace": stack,
                "ms": 0.0 if started is None else _milliseconds(started),
            }
        )

    def _send(self, message: Mapping[str, Any]) -> None:
        self._channel.sendall(json.dumps(message).encode() + b"\n")


def _milliseconds(started: float) -> float:
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()
