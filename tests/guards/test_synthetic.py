"""What drills write to an account is told apart from the data of people, and goes again; or nothing is drilled."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import tocsin
from tocsin.aws.target import Target
from tocsin.errors import Refused
from tocsin.guards.synthetic import check_test_data
from tocsin.model.synthetic import SyntheticData, Writer
from tocsin.model.system import System

ACCOUNT = Target("staging", "eu-west-1", account="123456789012")
EMULATOR = Target("emulator", "eu-west-1", account="123456789012", endpoint_url="http://127.0.0.1:9")
ORDERS: dict[str, Any] = {
    "title": "orders of nobody",
    "written_by": ["load", "canaries"],
    "tag": "channel=drill",
    "mark": "drill",
    "counted_apart": "the daily report takes channels web and shop only",
    "cleanup": "synthetics/cleanup.py:remove_orders",
}
USERS: dict[str, Any] = {
    "title": "synthetic customers",
    "written_by": ["identities"],
    "tenant": "drills",
    "mark": "drill-",
    "counted_apart": "tenant drills is in no bill",
    "expires": "they stay: three of them, whatever is drilled",
}
WHOLE: dict[str, Any] = {"reads_only": ["contract"], "kinds": {"orders": ORDERS, "users": USERS}}
ALL: tuple[Writer, ...] = ("identities", "load", "canaries", "contract")
SOURCES = Path(tocsin.__file__).parent
SENDERS = {"CanaryActor", "ContractActor", "LoadActor", "Identities", "Injector", "run_canary", "check_contract"}
"""What sends a system something by which data may come to be in it."""
BEHIND = {
    "actors/canaries.py": "inner: `surroundings` and CanaryActor are called below",
    "actors/contract.py": "inner: ContractActor is called below",
    "actors/locust.py": "inner: LoadActor is called below",
    "parity/reads.py": "inner: it asks for the names of users and signs nobody in; of activities those that only read",
    "commands/dryrun.py": "reading_guards",
    "commands/owed.py": "inner: rollbacks of a drill that asked before it changed anything",
    "drill/acts.py": "run_preflight",
    "commands/smoke.py": "undisturbed",
    "commands/pytest_items.py": "undisturbed",
    "commands/cleanup.py": "undisturbed",
}
"""Who calls one of them -> the call that asks `check_test_data` before."""


def system(test_data: dict[str, Any] | None) -> System:
    """A shop of which every part writes."""
    return System.model_validate(
        {
            "system": "shop",
            "title": "Shop",
            "endpoint": {"url": "https://shop.test"},
            "identities": {"buyer": {"secret": "s", "user_pool": "p", "client": "c"}},
            "canaries": {"file": "synthetics/shop.py"},
            "load": "loadtests/shop.py",
            "contract": "contracts/shop.yaml",
            "test_data": test_data,
        }
    )


@pytest.mark.parametrize(
    ("test_data", "untold"),
    [
        (None, "identities and load and canaries and contract"),
        ({"kinds": {"orders": ORDERS}}, "identities and contract"),
        ({"kinds": {"orders": {**ORDERS, "written_by": ["load"]}, "users": USERS}}, "canaries and contract"),
        ({"reads_only": ["contract", "canaries"], "kinds": {"users": USERS}}, "load"),
    ],
)
def test_what_a_system_file_does_not_tell_is_written_to_no_account(test_data: dict[str, Any], untold: str) -> None:
    with pytest.raises(Refused, match=f"what {untold} would write to account 123456789012") as no:
        check_test_data(ACCOUNT, system(test_data), ALL)
    assert no.value.guard == "test-data"


def test_whoever_tells_it_may_drill() -> None:
    assert check_test_data(ACCOUNT, system(WHOLE), ALL) == "orders, users are told apart and removed"


def test_load_that_does_not_come_writes_nothing() -> None:
    without_load = {"reads_only": ["contract", "canaries"], "kinds": {"users": USERS}}
    assert check_test_data(ACCOUNT, system(without_load), system(without_load).writers(load=False))


def test_activities_that_may_write_are_named_the_first_of_many() -> None:
    activities = [f"action '{number}' (runs a program) in the method of x.yaml" for number in range(5)]
    writers = system(WHOLE).writers(load=True, activities=True)
    with pytest.raises(Refused, match=r"what activities \(action '0' .*; action '2' .*; 2 more\) would write") as no:
        check_test_data(ACCOUNT, system(WHOLE), writers, activities)
    assert "action '3'" not in str(no.value)


def test_an_emulator_goes_with_all_that_is_in_it() -> None:
    assert check_test_data(EMULATOR, system(None), ALL)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tenant": "drills"}, "either `tenant` or `tag`, found both"),
        ({"tag": None}, "either `tenant` or `tag`, found neither"),
        ({"cleanup": None}, "either `cleanup` or `expires`, found neither"),
        ({"expires": "after a day"}, "either `cleanup` or `expires`, found both"),
        ({"counted_apart": ""}, "counted_apart"),
        ({"mark": None}, "mark"),
        ({"mark": "x"}, "mark"),
        ({"written_by": []}, "written_by"),
        ({"cleanup": "by hand"}, "cleanup"),
    ],
)
def test_each_kind_is_told_apart_counted_apart_and_goes(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        SyntheticData.model_validate({"kinds": {"orders": {**ORDERS, **change}}})


def test_who_only_reads_writes_no_kind() -> None:
    with pytest.raises(ValidationError, match="expected load in `reads_only` or in `written_by`, found it in both"):
        SyntheticData.model_validate({"reads_only": ["load"], "kinds": {"orders": ORDERS}})


def calls_of(file: str) -> set[str]:
    """The names that are called in a source file."""
    tree = ast.parse((SOURCES / file).read_text(encoding="utf-8"))
    called = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {
        one.id if isinstance(one, ast.Name) else one.attr for one in called if isinstance(one, ast.Name | ast.Attribute)
    }


def test_there_is_no_way_to_send_anything_that_does_not_ask_first() -> None:
    files = {path.relative_to(SOURCES).as_posix() for path in SOURCES.rglob("*.py")}
    assert {file for file in files if calls_of(file) & SENDERS} == set(BEHIND)
    for file, behind in BEHIND.items():
        assert behind.startswith("inner: ") or behind in calls_of(file), file
    assert {file for file in files if "check_test_data" in calls_of(file)} == {
        "drill/preflight.py",
        "commands/smoke.py",
        "commands/doctor/readiness.py",
    }
