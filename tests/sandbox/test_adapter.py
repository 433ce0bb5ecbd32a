"""The self-test of the adapter: it says which internal of ministack changed, before anything goes wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest

# ministack can be adapted once in a process, and is planted with a bug here: each check has a process of its own.
CHECK = """
import importlib
import tocsin.sandbox.ministack_adapter as adapter
import tocsin.sandbox.ministack_containers as containers
import tocsin.sandbox.ministack_elasticache as elasticache
import tocsin.sandbox.ministack_rds as rds
{bug}
try:
    adapter.check_internals()
    adapter.check_internals(containers.RELIED_ON)
    adapter.check_internals(elasticache.RELIED_ON)
    adapter.check_internals(rds.RELIED_ON)
except adapter.SandboxError as error:
    print(error)
"""


def complaint(bug: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CHECK.format(bug=bug)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_pinned_version_is_what_the_adapter_expects() -> None:
    assert complaint("") == ""


@pytest.mark.parametrize(
    ("bug", "named"),
    [
        ("del importlib.import_module('ministack.services.sqs')._collect_msgs", "services.sqs._collect_msgs is gone"),
        (
            "importlib.import_module('ministack.services.cloudwatch')._dispatch_alarm_actions = lambda alarm: None",
            "services.cloudwatch._dispatch_alarm_actions takes (alarm) instead of",
        ),
        (
            "del importlib.import_module('ministack.services.ecs')._recount_cluster",
            "services.ecs._recount_cluster is gone",
        ),
        (
            "del importlib.import_module('ministack.services.elasticache')._rg_xml",
            "services.elasticache._rg_xml is gone",
        ),
        ("adapter.VERSION = '0.0.1'", "expected ministack 0.0.1, found"),
    ],
)
def test_a_change_is_named(bug: str, named: str) -> None:
    assert named in complaint(bug)
