"""Procedures, as far as they need no account."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.stub import Stubber

from tocsin.aws.target import Aws, Target
from tocsin.errors import InvalidInput
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.faults.session import CONFIGURATION_KEY
from tocsin.model.toolkit import Activity, PythonProvider
from tocsin.procedures import change_of, wait
from tocsin.procedures.postgres import compressed
from tocsin.procedures.sqs import sqs_redrive
from tocsin.record.ledger import Ledger

ROOT = Path(__file__).parents[2]
KILL = "WHERE query_start < now() - interval '5 minutes' OR query_start < now() - INTERVAL '1 h'"


def test_intervals_of_a_statement_are_divided_by_the_time_scale() -> None:
    expected = "WHERE query_start < now() - (interval '5 minutes' / 60) OR query_start < now() - (INTERVAL '1 h' / 60)"
    assert compressed(KILL, 60) == expected


def test_on_a_real_account_a_statement_is_word_for_word() -> None:
    assert compressed(KILL, 1) == KILL


def activity(func: str, module: str = "tocsin.procedures", **arguments: Any) -> Activity:
    provider = PythonProvider(type="python", module=module, func=func, arguments=arguments)
    return Activity(type="action", name="act", provider=provider)


def test_a_procedure_that_changes_something_says_what() -> None:
    target = Target("none", "eu-west-1", account="123456789012", access_key_id="x", secret_access_key="x")
    way_in = {"host": "127.0.0.1", "username": "app", "password": "x", "dbInstanceIdentifier": "orders"}
    secret = {"ARN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders", "SecretString": json.dumps(way_in)}
    change = change_of(activity("postgres_query", secret="orders/db", sql="VACUUM"))
    assert change is not None
    assert change.resource == "what postgres_query works on"
    with Stubber(target.client("secretsmanager")) as account:
        account.add_response("get_secret_value", secret, {"SecretId": "orders/db"})
        assert change.arns(Aws(target, entry="")) == ("arn:aws:rds:eu-west-1:123456789012:db:orders",)


@pytest.mark.parametrize("harmless", [activity("wait", duration="6m"), activity("undo", module="tocsin.faults")])
def test_what_changes_nothing_is_no_change(harmless: Activity) -> None:
    assert change_of(harmless) is None


def test_a_wait_has_a_unit() -> None:
    with pytest.raises(InvalidInput):
        wait("6")


def test_the_statement_of_the_lock_drill_is_the_runbooks_own() -> None:
    document = yaml.safe_load((ROOT / "experiments" / "clocked" / "lock-holder.yaml").read_text())
    (kill,) = [one for one in document["method"] if one["name"] == "kill-long-running-queries"]
    assert [line.strip() for line in kill["provider"]["arguments"]["sql"].splitlines()] == [
        "-- Kill long-running queries",
        "SELECT pg_terminate_backend(pid)",
        "FROM pg_stat_activity",
        "WHERE state = 'active'",
        "AND query_start < now() - interval '5 minutes';",
    ]


def test_what_comes_back_while_nobody_could_look_is_redriven_too(tmp_path: Path) -> None:
    """A message that comes after a look whose answer takes longer than a message may need to come back."""
    keys = {"access_key_id": "x", "secret_access_key": "x"}
    target = Target("none", "eu-west-1", scale=10, account="123456789012", **keys)
    sqs = target.client("sqs")
    sqs.meta.events.register("before-call.sqs.GetQueueAttributes", lambda **_: time.sleep(0.2))
    dead = "arn:aws:sqs:eu-west-1:123456789012:orders-dlq"
    attributes = {
        "RedrivePolicy": json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": 1}),
        "VisibilityTimeout": "1",
        "QueueArn": dead,
    }
    moved = {"Status": "COMPLETED", "ApproximateNumberOfMessagesMoved": 1}
    with Stubber(sqs) as account:

        def has(waiting: int) -> None:
            account.add_response("get_queue_attributes", {"Attributes": {"ApproximateNumberOfMessages": str(waiting)}})

        url = ("get_queue_url", {"QueueUrl": "https://sqs.test/123456789012/orders"})
        read = ("get_queue_attributes", {"Attributes": attributes})
        for asked, answer in (url, read, url, url, read, read):
            account.add_response(asked, answer)
        has(0)
        has(1)
        account.add_response("start_message_move_task", {"TaskHandle": "x"})
        account.add_response("list_message_move_tasks", {"Results": [moved]})
        has(0)
        has(0)
        drill = FaultLifecycle(target=target, ledger=Ledger(tmp_path / "ledger.sqlite", "none"), drill="d")
        found = sqs_redrive("orders", configuration={CONFIGURATION_KEY: drill})
    assert found == "1 messages moved back to orders"
