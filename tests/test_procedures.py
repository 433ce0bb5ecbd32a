"""Procedures, as far as they need no account."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tocsin.errors import InvalidInput
from tocsin.faults.base import Aws
from tocsin.procedures import change_of, compressed, wait
from tocsin.target import Target

ROOT = Path(__file__).parents[1]
KILL = "WHERE query_start < now() - interval '5 minutes' OR query_start < now() - INTERVAL '1 h'"


def test_intervals_of_a_statement_are_divided_by_the_time_scale() -> None:
    expected = "WHERE query_start < now() - (interval '5 minutes' / 60) OR query_start < now() - (INTERVAL '1 h' / 60)"
    assert compressed(KILL, 60) == expected


def test_on_a_real_account_a_statement_is_word_for_word() -> None:
    assert compressed(KILL, 1) == KILL


def activity(func: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "action", "provider": {"module": "tocsin.procedures", "func": func, "arguments": arguments}}


def test_a_procedure_that_changes_something_says_what(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(name="none", account="123456789012", region="eu-west-1")
    login = type("Login", (), {"instance": "orders", "arn": ""})
    monkeypatch.setattr("tocsin.faults.login.login_of", lambda target, secret: login)
    change = change_of(activity("postgres_query", secret="orders/db", sql="VACUUM"))
    assert change is not None
    assert change.resource == "what postgres_query works on"
    assert change.arns(Aws(target, entry="")) == ("arn:aws:rds:eu-west-1:123456789012:db:orders",)


@pytest.mark.parametrize(
    "harmless", [activity("wait", duration="6m"), {"type": "action"}, {"provider": {"module": "tocsin.faults"}}]
)
def test_what_changes_nothing_is_no_change(harmless: dict[str, Any]) -> None:
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
