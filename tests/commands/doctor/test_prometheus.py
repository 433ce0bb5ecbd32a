"""Alerts of a Prometheus: missing, drifted and firing rules are gaps; a server as documented is quiet."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tocsin.aws.target import Target
from tocsin.commands.doctor.readiness import Deployed, alarms_as_documented, alarms_exist, alarms_quiet
from tocsin.commands.doctor.result import Level, Result, ask
from tocsin.model.system import System

DOCUMENTED = {"alert": "Hot", "expr": "cpu > 80", "for": "2m"}
CHECKS = {"exist": alarms_exist, "definitions": alarms_as_documented, "ringing": alarms_quiet}


class Answers:
    """What the server says of its rules."""

    def __init__(self) -> None:
        self.rules: list[dict[str, Any]] = [
            {
                "type": "alerting",
                "name": "Hot",
                "query": "cpu > 80",
                "duration": 120,
                "health": "ok",
                "lastEvaluation": "2026-08-01T10:02:00Z",
                "alerts": [],
            }
        ]


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def deployed(answers: Answers, tmp_path: Path) -> Iterator[Deployed]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"status": "success", "data": {"groups": [{"rules": answers.rules}]}}).encode())

        def log_message(self, *_: Any) -> None:
            """Silent."""

    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "task", "rules": [DOCUMENTED]}]}))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        system = {
            "system": "shop",
            "title": "Shop",
            "endpoint": {"url": url},
            "prometheus": {"url": url, "rules": "rules.yaml"},
            "alarms": {"hot": {"title": "Hot", "prometheus": {"alert": "Hot"}}},
        }
        yield Deployed(tmp_path, Target(name="here", region="us-east-1"), System.model_validate(system))
        server.shutdown()
        thread.join()


def levels(deployed: Deployed) -> dict[str, Result]:
    found = {name: ask(check, deployed) for name, check in CHECKS.items()}
    return {name: result for name, result in found.items() if result.level is not Level.OK}


def test_a_server_as_documented_is_quiet(deployed: Deployed) -> None:
    assert levels(deployed) == {}


def test_a_rule_that_nobody_evaluates(deployed: Deployed, answers: Answers) -> None:
    answers.rules = []
    assert levels(deployed).keys() == {"exist"}


def test_a_rule_that_was_changed(deployed: Deployed, answers: Answers) -> None:
    answers.rules[0]["duration"] = 300
    found = levels(deployed)
    assert found.keys() == {"definitions"}
    assert found["definitions"].found == "hot: for is 300 s, documented 120 s"


def test_an_alert_that_fires(deployed: Deployed, answers: Answers) -> None:
    alert = {"labels": {"alertname": "Hot"}, "state": "firing", "activeAt": "2026-08-01T10:00:00Z"}
    answers.rules[0]["alerts"] = [alert]
    assert levels(deployed).keys() == {"ringing"}


@pytest.mark.parametrize(
    ("health", "told"),
    [
        ({"health": "err", "lastError": "many-to-many matching"}, "hot: many-to-many matching"),
        ({"health": "unknown", "lastEvaluation": "0001-01-01T00:00:00Z"}, "hot: it was not evaluated yet"),
    ],
)
def test_a_rule_that_cannot_be_evaluated(
    deployed: Deployed, answers: Answers, health: dict[str, str], told: str
) -> None:
    answers.rules[0] |= health
    found = levels(deployed)
    assert found.keys() == {"exist"}
    assert found["exist"].found == f"not evaluated: {told}"


def test_a_server_that_does_not_answer(deployed: Deployed) -> None:
    assert deployed.system.prometheus is not None
    gone = deployed.system.prometheus.model_copy(update={"url": "http://127.0.0.1:9"})
    away = Deployed(deployed.root, deployed.target, deployed.system.model_copy(update={"prometheus": gone}))
    assert set(levels(away)) == set(CHECKS)
