"""A whole drill, with its load, canaries, contract and functions, beside a proxy that nothing of it may ask."""

from __future__ import annotations

import os
import subprocess

import pytest
from tests.planted.test_ends import Drill, ended
from tests.planted.test_ends import drill as drill
from tests.project.proxy import running_proxy

from tocsin.model.events import CanaryRan
from tocsin.project.histories import read_history

pytestmark = [pytest.mark.planted, pytest.mark.timeout(900)]


def test_a_drill_beside_a_proxy_asks_it_for_nothing(drill: Drill) -> None:
    with running_proxy() as proxy:
        process = drill.begin(env={**os.environ, **proxy.environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout is not None
        with ended(process):
            told = process.stdout.read()
        process.stdout.close()
    assert proxy.asked == [], told
    drill.is_whole(process)
    events = read_history(drill.out / "end" / "history.jsonl")
    assert any(isinstance(event, CanaryRan) and event.ok for event in events)
