"""The seam: a service is a class with a line in the catalogue, and nobody who loops over services knows one of them."""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from tocsin.sandbox.account import Account, open_door
from tocsin.sandbox.keys import Keys
from tocsin.sandbox.parts import supervise
from tocsin.sandbox.services.catalogue import SERVICES

ROOT = Path(__file__).parents[2]
SANDBOX = ROOT / "src" / "tocsin" / "sandbox"
ACCOUNT, REGION, SCALE = "123456789012", "us-east-1", 600.0


@dataclass(frozen=True)
class Aviary:
    """A sandbox with one service more."""

    account: Account
    process: subprocess.Popen[bytes]
    home: Path

    def door(self, name: str, request: dict[str, Any]) -> Any:
        return open_door(self.account.endpoint_url, self.account.keys.token, name, request)


@contextmanager
def started(home: Path, bug: str = "") -> Iterator[tuple[subprocess.Popen[bytes], Any]]:
    """The process of a sandbox with the parrot in it, and what it reports."""
    report, report_end = os.pipe()
    lifeline_end, lifeline = os.pipe()
    command = [sys.executable, "-m", "tests.sandbox.parrot", "--directory", str(home), "--time-scale", str(SCALE)]
    command += ["--account", ACCOUNT, "--region", REGION, "--parts", "embedded"]
    command += ["--report-fd", str(report_end), "--lifeline-fd", str(lifeline_end)]
    environment = {**supervise.marked(home), "PARROT": bug}
    process = subprocess.Popen(command, pass_fds=(report_end, lifeline_end), cwd=ROOT, env=environment)
    os.close(report_end)
    os.close(lifeline_end)
    try:
        with os.fdopen(report) as reader:
            yield process, json.loads(reader.readline())
    finally:
        # It ends by itself when its lifeline breaks.
        os.close(lifeline)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def published(account: Account, namespace: str, name: str, dimensions: dict[str, str]) -> set[float]:
    """The values of a metric, once it has any."""
    cloudwatch = account.client("cloudwatch")
    found: list[Any] = []
    deadline = time.monotonic() + 60
    while not found and time.monotonic() < deadline:
        now = datetime.now(UTC)
        found = cloudwatch.get_metric_statistics(
            Namespace=namespace,
            MetricName=name,
            Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
            StartTime=now - timedelta(seconds=60),
            EndTime=now,
            Period=60,
            Statistics=["Maximum"],
        )["Datapoints"]
    return {point["Maximum"] for point in found}


@pytest.fixture(scope="module")
def aviary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aviary]:
    home = tmp_path_factory.mktemp("aviary")
    with started(home) as (process, answer):
        yield Aviary(Account(answer["endpoint_url"], REGION, ACCOUNT, SCALE, Keys(**answer["keys"])), process, home)


def test_it_answers_for_a_service_that_ministack_has_not(aviary: Aviary) -> None:
    comprehend = aviary.account.client("comprehend")
    assert comprehend.detect_dominant_language(Text="pt")["Languages"] == [{"LanguageCode": "pt", "Score": 1.0}]
    with pytest.raises(ClientError, match="A parrot does not DetectSentiment"):
        comprehend.detect_sentiment(Text="pt", LanguageCode="pt")


def test_its_gauges_are_in_the_metric_store(aviary: Aviary) -> None:
    assert published(aviary.account, "Parrots", "Feathers", {}) == {1.0}


def test_it_ticks_every_ten_system_seconds(aviary: Aviary) -> None:
    ticks: list[int] = []
    deadline = time.monotonic() + 60
    while len(ticks) < 12 and time.monotonic() < deadline:
        ticks = aviary.door("parrot", {})["ticks"]
    assert ticks[:12] == list(range(ticks[0], ticks[0] + 120, 10))


def test_it_settles_before_a_call_is_answered(aviary: Aviary) -> None:
    before = aviary.door("parrot", {})["queues"]
    aviary.account.client("sqs").create_queue(QueueName="perch")
    assert aviary.door("parrot", {})["queues"] == before + 1


def test_its_pages_are_served(aviary: Aviary) -> None:
    with urllib.request.urlopen(f"{aviary.account.endpoint_url}/_parrot/cage") as response:
        assert response.read() == b"/_parrot/cage"


def test_it_tells_when_its_own_timer_was_late(aviary: Aviary) -> None:
    since = time.time() - 1  # its timer may have been due a moment before it stood still
    psutil.Process(aviary.process.pid).suspend()
    time.sleep(1)
    psutil.Process(aviary.process.pid).resume()
    late: list[list[float]] = []
    deadline = time.monotonic() + 60
    # On a busy machine it was late before, and less: that is told, too.
    while all(late_s <= 0.8 for _, late_s in late) and time.monotonic() < deadline:
        late = aviary.door("lag", {"since": since})["late"]
    assert any(late_s > 0.8 for _, late_s in late)
    assert aviary.door("lag", {"since": time.time() + 60})["late"] == []


def test_its_ports_and_processes_are_shown(aviary: Aviary) -> None:
    status = aviary.door("status", {})
    assert status["ports"]["parrot"] in {one.port for one in supervise.listeners([psutil.Process(aviary.process.pid)])}
    assert status["processes"] == {str(aviary.process.pid): "a parrot's"}


def test_its_tags_are_found_in_their_region(aviary: Aviary) -> None:
    tagging = aviary.account.client("resourcegroupstaggingapi")
    found = tagging.get_resources(TagFilters=[{"Key": "colour"}])["ResourceTagMappingList"]
    assert [one["Tags"] for one in found] == [[{"Key": "colour", "Value": "green"}]]


def test_policies_are_asked_about_its_resource(tmp_path: Path) -> None:
    with started(tmp_path) as (_, answer):
        account = Account(answer["endpoint_url"], REGION, ACCOUNT, SCALE, Keys(**answer["keys"]))
        iam = account.client("iam")
        iam.create_user(UserName="keeper")
        key = iam.create_access_key(UserName="keeper")["AccessKey"]
        keeper = replace(account.target, access_key_id=key["AccessKeyId"], secret_access_key=key["SecretAccessKey"])
        with pytest.raises(ClientError, match="document-classifier/parrot-DetectDominantLanguage"):
            keeper.client("comprehend").detect_dominant_language(Text="pt")


def test_a_service_that_stumbles_keeps_no_other_from_its_gauges(tmp_path: Path) -> None:
    with started(tmp_path, "stumble") as (_, answer):
        account = Account(answer["endpoint_url"], REGION, ACCOUNT, SCALE, Keys(**answer["keys"]))
        account.client("sqs").create_queue(QueueName="perch")
        visible = published(account, "AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": "perch"})
    assert visible == {0.0}


def test_it_is_closed_when_the_sandbox_ends(tmp_path: Path) -> None:
    with started(tmp_path) as (process, answer):
        port = open_door(answer["endpoint_url"], answer["keys"]["token"], "status", {})["ports"]["parrot"]
        sockets = [one for one in supervise.listeners([psutil.Process(process.pid)]) if one.port == port]
        assert sockets
    assert (tmp_path / "farewell").read_text() == "the parrot has flown"
    assert supervise.wait_until_closed(sockets, 0) == []


@pytest.mark.parametrize(
    ("bug", "said"),
    [
        ("internal", "services.sqs._parrots is gone (adapt "),
        ("behaviour", "that a parrot speaks, found otherwise: reinstall that version, or adapt "),
    ],
)
def test_what_does_not_hold_is_told_with_its_file_before_the_api_answers(tmp_path: Path, bug: str, said: str) -> None:
    with started(tmp_path, bug) as (_, answer):
        assert said in answer["error"]
        assert "tests/sandbox/parrot.py" in answer["error"]


# ------------------------------------------------------------------------------------------ who knows no service

KNOWS_NO_SERVICE = ("daemon.py", "gateway.py", "world.py", "service.py", "ministack.py", "http.py", "metrics.py")


def named_services(source: str) -> set[str]:
    """Services that a module imports, or names in a string that is no docstring."""
    from ministack import app

    tree = ast.parse(source)
    docstrings = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings)
    names = {node.value for node in constants if isinstance(node.value, str)}
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} | {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    services = {name for name in imported if name.startswith("tocsin.sandbox.services.")}
    return services - {"tocsin.sandbox.services.catalogue"} | names & {*app.SERVICE_REGISTRY, *app.SERVICE_NAME_ALIASES}


@pytest.mark.parametrize("name", KNOWS_NO_SERVICE)
def test_who_loops_over_services_names_none(name: str) -> None:
    assert named_services((SANDBOX / name).read_text(encoding="utf-8")) == set()


def test_a_service_that_is_named_would_be_noticed() -> None:
    planted = (
        'from tocsin.sandbox.services.sqs import Sqs\n\ndef f(service: str) -> bool:\n    return service == "rds"\n'
    )
    assert named_services(planted) == {"tocsin.sandbox.services.sqs", "rds"}


# ------------------------------------------------------------------------------------------ the order of the catalogue


def used_at_once(source: str, name: str) -> set[str]:
    """Classes that the `adapt` of a class asks the world for."""
    owner = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == name)
    adapt = next(node for node in owner.body if isinstance(node, ast.FunctionDef) and node.name == "adapt")
    return {
        call.args[0].id
        for call in ast.walk(adapt)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "service"
        and isinstance(call.args[0], ast.Name)
    }


def test_a_service_comes_after_those_it_uses() -> None:
    known: set[str] = set()
    used: set[str] = set()
    for kind in SERVICES:
        wanted = used_at_once(Path(inspect.getfile(kind)).read_text(encoding="utf-8"), kind.__name__)
        assert wanted <= known, f"expected {wanted - known} before {kind.__name__} in the catalogue"
        known.add(kind.__name__)
        used |= wanted
    assert {"Logs", "Elb", "Ecs"} <= used, "expected to find who uses whom"
