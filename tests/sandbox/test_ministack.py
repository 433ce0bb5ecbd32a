"""The check of ministack's internals: it says which one changed and whose file relied on it, before anything breaks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tocsin.sandbox.ministack import where
from tocsin.sandbox.services.catalogue import SERVICES

# ministack's modules are planted with a bug here: each check has a process of its own.
CHECK = """
import importlib
import sys
import tocsin.sandbox.ministack as ministack
from tocsin.sandbox.services.catalogue import SERVICES

def module(name):
    return importlib.import_module(f"ministack.{{name}}")

{bug}
try:
    ministack.check_internals(SERVICES)
except ministack.SandboxError as error:
    print(error)
"""


def complaint(bug: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CHECK.format(bug=bug)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_pinned_version_is_what_the_services_expect() -> None:
    assert complaint("") == ""


@pytest.mark.parametrize(
    ("bug", "named"),
    [
        (
            "module('services.cloudwatch')._dispatch_alarm_actions = lambda alarm: None",
            "services.cloudwatch._dispatch_alarm_actions takes (alarm) instead of (alarm, old_state, new_state",
        ),
        ("ministack.VERSION = '0.0.1'", "expected ministack 0.0.1, found"),
        ("del module('app')._MAIN_LOOP", "app._MAIN_LOOP is gone (adapt sandbox/ministack.py)"),
    ],
)
def test_a_change_is_named(bug: str, named: str) -> None:
    assert named in complaint(bug)


def test_of_every_service_a_change_names_the_file_that_relied_on_it() -> None:
    """In one process: it takes away the last internal of each service, and puts it back."""
    said = complaint(
        """
for kind in SERVICES:
    for name, internals in list(kind.RELIED_ON.items())[-1:]:
        internal = list(internals)[-1]
        kept = vars(module(name)).pop(internal)
        try:
            ministack.check_internals(SERVICES)
        except ministack.SandboxError as error:
            print(kind.__name__, internal, error)
        setattr(module(name), internal, kept)
"""
    )
    told = {line.split()[0]: line for line in said.splitlines()}
    relying = [kind for kind in SERVICES if kind.RELIED_ON]
    assert told.keys() == {kind.__name__ for kind in relying}
    for kind in relying:
        assert where(kind).startswith("sandbox/services/")
        assert f"(adapt {where(kind)})" in told[kind.__name__]
