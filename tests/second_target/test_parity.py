"""`tocsin parity` on an emulator that is not Tocsin's: all holds there, and each planted bug is named by its row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.aws_weather import DENIED, FAILED, Weather
from tests.second_target.conftest import group
from tests.second_target.emulators import ACCOUNT, KEYS, REGION, Emulator
from tests.second_target.gaps import without_gaps
from tests.second_target.shop import (
    NOBODY_PACKS,
    ONCALL,
    ORDERS,
    PACKER,
    SYSTEM,
    deploy,
    experiment,
    open_shop,
    tocsin,
    write,
)

from tocsin.aws.iam import actions_of
from tocsin.aws.target import Target
from tocsin.commands.permissions import declared
from tocsin.drill.plan import Planner
from tocsin.parity.kept import read_kept
from tocsin.parity.model import Key, Measured, ParityReport
from tocsin.project.places import parity_path

pytestmark = group("ministack")
READING = ("Get", "List", "Describe", "Filter")
DATABASE = "shop-orders"
KEYS_OF_TARGET = {name.removeprefix("AWS_").lower(): value for name, value in KEYS.items()}


@dataclass
class Bench:
    """The shop's checkout, its account, and the weather between the two."""

    root: Path
    emulator: Emulator
    shop: str
    weather: Weather

    def system(self, **changed: Any) -> None:
        document = {**SYSTEM, "endpoint": {"url": self.shop}, **changed}
        (self.root / "systems/shop.yaml").write_text(json.dumps(document))

    def experiment(self, name: str, text: str) -> None:
        (self.root / f"experiments/{name}.yaml").write_text(text)

    def parity(self, *arguments: str, code: int, **environment: str) -> ParityReport:
        """The report of a look that ends with this code."""
        out = self.root / f"parity-{len(list(self.root.glob('parity-*')))}"
        command = ("parity", "shop", "--target", "staging", "--out", str(out), *arguments)
        done = tocsin(self.root, *command, **environment)
        assert done.returncode == code, done.stdout + done.stderr
        report = ParityReport.model_validate_json((out / "parity.json").read_text())
        for row in report.rows:
            assert row.holds or f"{row.key}: {row.about}" in done.stdout
        return report


@pytest.fixture
def bench(emulators: Callable[[str], Emulator], shop: str, tmp_path: Path) -> Iterator[Bench]:
    emulator = emulators("ministack")
    deploy(emulator)
    with without_gaps(emulator) as weather:
        write(tmp_path, "staging", weather.url, shop, nobody_packs=NOBODY_PACKS)
        yield Bench(tmp_path, emulator, shop, weather)


def wrong(report: ParityReport) -> list[Measured]:
    return [row for row in report.rows if not row.holds]


def only_wrong(report: ParityReport) -> Measured:
    (row,) = wrong(report)
    return row


def test_all_holds_and_nothing_but_reads_is_asked(bench: Bench) -> None:
    must = {"alarm": "dead-orders", "within": "11m", "clears_within": "12m"}
    arguments = {"function": PACKER, "queue": ORDERS}
    bench.experiment("rings", experiment("Rings", "lambda_event_source_disabled", arguments, {"must": [must]}))
    report = bench.parity(code=0)
    asked = {row.about.split(":")[1] for row in report.rows if row.key is Key.ANSWERED}
    assert {"DescribeAlarms", "DescribeAlarmHistory", "GetMetricData", "ListEventSourceMappings"} <= asked
    assert [name for name in asked if not name.startswith(READING)] == []
    assert {row.key for row in report.rows} == {
        Key.ACCOUNT,
        Key.ROLE,
        Key.CLOCK,
        Key.SESSION,
        Key.UNIQUE_NAMES,
        Key.UNDO,
        Key.ANSWERED,
    }
    assert read_kept(bench.root, "staging", ACCOUNT, REGION) == report


def test_a_damaged_report_of_last_time_hides_nothing(bench: Bench) -> None:
    write_into = parity_path(bench.root, "staging")
    write_into.parent.mkdir(parents=True, exist_ok=True)
    write_into.write_text("{half")
    bench.weather.falls("DescribeAlarmHistory", DENIED)
    done = tocsin(bench.root, "parity", "shop", "--target", "staging")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "staging.parity.json is damaged" in done.stdout
    assert "cloudwatch:DescribeAlarmHistory" in done.stdout
    assert read_kept(bench.root, "staging", ACCOUNT, REGION) is not None


def test_no_message_is_taken_from_the_pager(bench: Bench) -> None:
    sqs = bench.emulator.client("sqs")
    queue = sqs.get_queue_url(QueueName=ONCALL)["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="somebody is on call")
    bench.parity(code=0)
    (message,) = sqs.receive_message(QueueUrl=queue, AttributeNames=["ApproximateReceiveCount"])["Messages"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"


def test_a_history_that_may_not_be_read_is_named(bench: Bench) -> None:
    bench.weather.falls("DescribeAlarmHistory", DENIED)
    row = only_wrong(bench.parity(code=1))
    assert (row.key, row.about, row.here, row.holds) == (
        Key.ANSWERED,
        "cloudwatch:DescribeAlarmHistory",
        "refused",
        False,
    )
    assert "AccessDenied" in row.detail


def test_a_read_that_fails_was_not_seen(bench: Bench) -> None:
    bench.weather.falls("DescribeAlarmHistory", FAILED)
    row = only_wrong(bench.parity(code=3))
    assert (row.about, row.here, row.holds) == ("cloudwatch:DescribeAlarmHistory", None, None)


def test_two_apis_of_one_name_are_named(bench: Bench) -> None:
    bench.system(lookups={**SYSTEM["lookups"], "api": {"http_api": "shop"}}, endpoint={"http_api": "shop"})
    apis = bench.emulator.client("apigatewayv2")
    api = apis.create_api(Name="shop", ProtocolType="HTTP")["ApiId"]
    apis.create_stage(ApiId=api, StageName="$default")
    assert bench.parity(code=0)
    apis.create_api(Name="shop", ProtocolType="HTTP")
    row = only_wrong(bench.parity(code=1))
    assert row.key is Key.UNIQUE_NAMES
    assert "found 2 of that name" in row.detail


def test_credentials_that_end_before_the_longest_drill_are_named(bench: Bench) -> None:
    def ending(minutes: int) -> dict[str, str]:
        ends = datetime.now(UTC) + timedelta(minutes=minutes)
        return {"AWS_SESSION_TOKEN": "of a session", "AWS_CREDENTIAL_EXPIRATION": ends.isoformat()}

    assert bench.parity(code=0, **ending(600))
    row = only_wrong(bench.parity(code=1, **ending(20)))
    assert (row.key, row.about, row.holds) == (Key.SESSION, "nobody-packs", False)
    row = only_wrong(bench.parity(code=3, AWS_SESSION_TOKEN="of a session"))
    assert (row.key, row.holds) == (Key.SESSION, None)


def test_an_instance_that_is_stopped_has_no_undo(bench: Bench) -> None:
    database = bench.emulator.client("rds")
    database.create_db_instance(
        DBInstanceIdentifier=DATABASE,
        DBInstanceClass="db.t3.micro",
        Engine="postgres",
        MasterUsername="shop",
        MasterUserPassword="not-a-secret",
        AllocatedStorage=20,
    )
    stops = experiment("No database", "rds_stop", {"instance": DATABASE}, {"quiet": ["dead-orders"]})
    bench.experiment("no-database", stops)
    assert bench.parity(code=0)
    database.stop_db_instance(DBInstanceIdentifier=DATABASE)
    row = only_wrong(bench.parity(code=1))
    assert row.key is Key.UNDO
    assert DATABASE in row.about
    assert "stopped" in row.detail


NOT_ASKED = {
    "cloudwatch:GetAlarmMuteRule": "only where ListAlarmMuteRules names a rule",
    "iam:GetRolePolicy": "only of the role of a function that an alarm tells",
    "iam:ListAttachedRolePolicies": "only of the role of a function that an alarm tells",
    "iam:ListRolePolicies": "only of the role of a function that an alarm tells",
    "iam:GetRole": "only where the caller is a role",
    "iam:SimulatePrincipalPolicy": "only the dry run asks it",
    "lambda:GetAccountSettings": "only where more than nothing is reserved",
    "sqs:ReceiveMessage": "to receive is to take away: from the pager, and from the consumers of a queue",
    "tag:GetResources": "only where the target asks for tags",
}
"""IAM actions that drills of this system are allowed and parity does not ask, and why."""
REDRIVES = {
    "type": "action",
    "name": "redrive",
    "provider": {
        "type": "python",
        "module": "tocsin.procedures",
        "func": "sqs_redrive",
        "arguments": {"queue": ORDERS},
    },
}


def test_every_read_that_drills_declare_is_asked_or_left_out_for_a_reason(bench: Bench) -> None:
    faults: dict[str, dict[str, Any]] = {
        "lambda_environment_credential": {"function": PACKER, "variable": "PACKER_KEY"},
        "lambda_event_source_disabled": {"function": PACKER, "queue": ORDERS},
        "sqs_poison_message": {"queue": ORDERS},
    }
    for name, arguments in faults.items():
        must = [{"alarm": "dead-orders", "within": "11m", "clears_within": "12m"}]
        text = json.loads(experiment(name, name, arguments, {"must": must}))
        text["rollbacks"].append(REDRIVES)
        bench.experiment(name.replace("_", "-"), json.dumps(text))
    report = bench.parity(code=1)
    assert only_wrong(report).about == "sqs:ListMessageMoveTasks", "the emulator has none, and so it is found"
    asked = {
        action
        for row in report.rows
        if row.key is Key.ANSWERED
        for action in actions_of(*row.about.split(":"), http_method="GET")
    }
    plans = Planner(bench.root).plan_all(sorted((bench.root / "experiments").glob("*.yaml")))
    target = Target("staging", REGION, account=ACCOUNT, endpoint_url=bench.emulator.url, **KEYS_OF_TARGET)
    allowed = declared(plans, bench.root, target).actions
    reads = {
        action for action in allowed if action.partition(":")[2].startswith((*READING, "Lookup", "Receive", "Sim"))
    }
    assert "sqs:ListMessageMoveTasks" in asked
    assert reads - asked <= NOT_ASKED.keys()


def probe(provider: dict[str, Any], tolerance: object = 200) -> str:
    """An experiment with that probe for its steady state."""
    text = json.loads(NOBODY_PACKS)
    asks = {"type": "probe", "name": "steady", "tolerance": tolerance, "provider": provider}
    return json.dumps({**text, "steady-state-hypothesis": {"title": "steady", "probes": [asks]}})


def test_the_probes_of_the_steady_state_are_asked(bench: Bench) -> None:
    asks = {"type": "python", "module": "tocsin.probes", "func": "endpoint_status"}
    bench.experiment("nobody-packs", probe({**asks, "arguments": {"system": "shop", "path": "/"}}))
    assert bench.parity(code=0)
    bench.system(endpoint={"url": "http://127.0.0.1:9"})
    row = only_wrong(bench.parity(code=3))
    assert (row.about, row.holds) == ("probe steady of nobody-packs", None)
    assert "expected an answer from /" in row.detail


def test_a_probe_of_which_nobody_knows_whether_it_only_reads_is_not_asked_and_named(bench: Bench) -> None:
    with open_shop() as url:
        bench.experiment("nobody-packs", probe({"type": "http", "url": f"{url}/", "method": "POST"}))
        row = only_wrong(bench.parity(code=3))
    assert (row.about, row.holds) == ("probe steady of nobody-packs", None)
    assert "nobody knows whether it only reads" in row.detail


def test_nor_is_one_whose_tolerance_may_do_more_than_read(bench: Bench, tmp_path: Path) -> None:
    sign = tmp_path / "asked"
    program = {"type": "process", "path": "touch", "arguments": str(sign)}
    tolerance = {"type": "probe", "name": "enough", "provider": program}
    with open_shop() as url:
        bench.experiment("nobody-packs", probe({"type": "http", "url": f"{url}/"}, tolerance))
        row = only_wrong(bench.parity(code=3))
    assert "nobody knows whether it only reads" in row.detail
    assert not sign.exists()


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "words"),
    [
        (("--target", "stagign"), {}, 2, "Did you mean 'staging'?"),
        (("--target", "staging"), {"AWS_ACCESS_KEY_ID": "999999999999"}, 4, "found credentials of 999999999999"),
        (("--target", "sandbox"), {}, 3, "sandbox"),
    ],
    ids=("no such target", "another account", "no sandbox"),
)
def test_what_cannot_be_looked_at_is_one_message(
    bench: Bench, arguments: tuple[str, ...], environment: dict[str, str], code: int, words: str
) -> None:
    write(bench.root, "staging", bench.emulator.url, bench.shop)  # the weather would sign as the right account
    done = tocsin(bench.root, "parity", *arguments, **environment)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert words in done.stderr
