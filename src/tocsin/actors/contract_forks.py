"""The parent of contract runs: imports Schemathesis once, and forks a `contract_child` for each run.

Run as `python -m tocsin.actors.contract_forks DESCRIPTOR`, by `Forks`.
"""

from __future__ import annotations

import importlib
import socket
import sys
from contextlib import suppress

import schemathesis

from tocsin.actors import contract_child
from tocsin.actors.forking import serve

PRELOADED = (
    "anyio.from_thread",
    "pyrate_limiter",
    "rich.progress",
    "schemathesis.cli.commands.run.executor",
    "schemathesis.cli.commands.run.handlers.output",
    "schemathesis.core.error_feedback.pipeline",
    "schemathesis.engine.core",
    "schemathesis.engine.run.unit",
    "schemathesis.generation.hypothesis.builder",
    "yaml",
)
"""What Schemathesis imports only when it runs; a missing one is passed over."""
_EMPTY = {"openapi": "3.0.2", "info": {"title": "empty", "version": "1"}, "paths": {}}


def main() -> None:
    """Serve on the socket whose descriptor is the first argument, until it closes."""
    control = socket.socket(fileno=int(sys.argv[1]))
    _preload()
    serve(control, contract_child.main)


def _preload() -> None:
    for name in PRELOADED:
        with suppress(ImportError):
            importlib.import_module(name)
    schemathesis.openapi.from_dict(_EMPTY)
    contract_child.make_tables()


if __name__ == "__main__":
    main()
