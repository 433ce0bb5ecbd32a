"""One way to read AWS: a question that several parts ask is asked in one file, and every list is read to its end."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from tests.house import modules, room_of

CODE = {name: path for name, path in modules().items() if not (room_of(name) or "").startswith("sandbox")}

ASKED_IN = {
    "get_queue_url": "aws.sqs",
    "get_queue_attributes": "aws.sqs",
    "list_dead_letter_source_queues": "aws.sqs",
    "list_topics": "aws.lookups",
    "list_subscriptions_by_topic": "aws.sns",
    "get_subscription_attributes": "aws.sns",
    "describe_alarms": "aws.cloudwatch",
    "list_metrics": "aws.cloudwatch",
    "filter_log_events": "aws.logs",
    "describe_db_instances": "aws.rds",
    "get_secret_value": "aws.secretsmanager",
}
"""Operation -> the one module that calls it."""

ONE_PAGE = {
    "describe_db_instances": "names one",
    "describe_db_proxies": "names one",
    "describe_db_proxy_target_groups": "names one",
    "describe_db_snapshots": "names one",
    "describe_target_groups": "names one",
    "describe_replication_groups": "names one",
    "describe_cache_clusters": "names one",
    "describe_scalable_targets": "names one, with its dimension",
    "get_resources": "names at most a hundred: then all are answered, and there are no pages",
}
"""Operations with pages that are called for their first: why that is all."""


NEXT = frozenset({"nexttoken", "marker", "nextmarker", "paginationtoken", "continuationtoken", "startfrom"})
"""What asks for the next page, and says that there is one, also where botocore has no paginator for it."""


@cache
def paged() -> frozenset[str]:
    """Operations with pages, of the services that are named anywhere: where a client is made, or handed on."""
    text = "".join(path.read_text(encoding="utf-8") for path in CODE.values())
    session = botocore.session.get_session()
    loader = session.get_component("data_loader")
    services = set(re.findall(r"\"([\w-]+)\"", text)) & set(loader.list_available_services("service-2"))
    models = [session.get_service_model(service) for service in services]
    found = {name for model in models for name in model.operation_names if has_pages(model.operation_model(name))}
    for service in services & set(loader.list_available_services("paginators-1")):
        found.update(loader.load_service_model(service, "paginators-1")["pagination"])
    return frozenset(xform_name(name) for name in found)


def has_pages(operation: Any) -> bool:
    """Whether an operation takes and answers a token."""
    shapes = (operation.input_shape, operation.output_shape)
    return all(shape is not None and NEXT & {name.lower() for name in shape.members} for shape in shapes)


def calls_in(path: Path) -> Iterator[tuple[str, int]]:
    """Operations of AWS that a file may call: as a method, or by a name that is handed to a paginator."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr, node.lineno
        elif isinstance(node, ast.Constant) and node.value in paged():
            yield str(node.value), node.lineno


def first_pages(path: Path) -> list[tuple[str, int]]:
    """Calls of a file that read a first page only, and for which nobody says why that is all."""
    calls = (
        (node.func.attr, node.lineno)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    )
    return [(name, line) for name, line in calls if name in paged() and name not in ONE_PAGE]


@cache
def callers() -> dict[str, set[str]]:
    """Operation -> modules that call it."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, path in CODE.items():
        for name, _ in calls_in(path):
            found[name].add(module)
    return found


@pytest.mark.parametrize(("operation", "module"), ASKED_IN.items())
def test_a_question_is_asked_in_one_file(operation: str, module: str) -> None:
    assert callers()[operation] == {module}


def test_there_is_one_door_to_the_pages_of_a_list() -> None:
    assert callers()["get_paginator"] == {"aws.pages"}


def test_every_list_is_read_to_its_end() -> None:
    assert {module: found for module, path in CODE.items() if (found := first_pages(path))} == {}


def test_a_first_page_that_is_taken_for_all_is_noticed(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("def f(client):\n    client.list_topics()\n    client.get_role()\n    client.get_vpc_links()\n")
    assert first_pages(planted) == [("list_topics", 2), ("get_vpc_links", 4)], "one has no paginator in botocore"


def test_an_excuse_is_of_a_call_that_is_there() -> None:
    called = {name for path in CODE.values() for name, _ in calls_in(path)}
    assert ONE_PAGE.keys() <= called & paged()
