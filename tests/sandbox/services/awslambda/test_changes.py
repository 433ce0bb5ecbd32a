"""One change of a function waits for the other: https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping

import pytest
from botocore.exceptions import ClientError
from tests.sandbox.services.awslambda.conftest import Bench, start

from tocsin.sandbox import control

NAME = "one-by-one"
ARN = f"arn:aws:lambda:us-east-1:123456789012:function:{NAME}"
CANNOT = "The operation cannot be performed at this time. "
PENDING = f"{CANNOT}The function is currently in the following state: Pending"
UPDATING = f"{CANNOT}An update is in progress for resource: {ARN}"
TRIES = 5
"""A machine that stands still for three seconds has seen nothing: it is asked again."""

Changes = Mapping[str, Callable[[], object]]


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A sandbox in production time: an update takes three seconds."""
    root = tmp_path_factory.mktemp("slow")
    try:
        yield start(root, scale=1)
    finally:
        control.down(root)


def package(answer: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("app.py", f"def handler(event, context):\n    return {answer}\n")
    return packed.getvalue()


def create(bench: Bench) -> None:
    bench.client("lambda").create_function(
        FunctionName=NAME, Runtime="python3.11", Role=bench.role, Handler="app.handler", Code={"ZipFile": package(1)}
    )


def changes(bench: Bench, name: str = NAME) -> Changes:
    """The calls that change a function, or take a version of it."""
    client = bench.client("lambda")
    return {
        "code": lambda: client.update_function_code(FunctionName=name, ZipFile=package(2)),
        "configuration": lambda: client.update_function_configuration(FunctionName=name, Timeout=9),
        "version": lambda: client.publish_version(FunctionName=name),
    }


def answers(tried: Changes) -> set[tuple[str, int, str]]:
    """Code, status and message with which each is refused; empty ones for what was taken."""
    found = set()
    for change in tried.values():
        try:
            change()
        except ClientError as error:
            said, status = error.response["Error"], error.response["ResponseMetadata"]["HTTPStatusCode"]
            found.add((said["Code"], status, said["Message"]))
        else:
            found.add(("", 200, ""))
    return found


def in_progress(bench: Bench) -> bool:
    found = bench.client("lambda").get_function_configuration(FunctionName=NAME)
    return bool(found["LastUpdateStatus"] == "InProgress")


def answers_during(bench: Bench, begin: Callable[[], object], tried: Changes) -> set[tuple[str, int, str]]:
    """What is answered while what was begun is in progress."""
    for _ in range(TRIES):
        begin()
        found = answers(tried)
        if in_progress(bench):
            return found
        bench.settle(NAME)
    pytest.fail(f"in {TRIES} tries the machine never asked within three seconds")


def test_a_function_that_is_made_or_updated_takes_no_other_change(slow: Bench) -> None:
    client = slow.client("lambda")

    def anew() -> None:
        if client.list_functions()["Functions"]:
            client.delete_function(FunctionName=NAME)
        create(slow)

    conflict = "ResourceConflictException"
    assert answers_during(slow, anew, changes(slow)) == {(conflict, 409, PENDING)}
    slow.settle(NAME)
    for name in (NAME, ARN):
        for first in ("configuration", "code"):
            found = answers_during(slow, changes(slow)[first], changes(slow, name))
            assert found == {(conflict, 409, UPDATING)}
            slow.settle(NAME)


def test_what_is_settled_or_gone_is_no_conflict(slow: Bench) -> None:
    client = slow.client("lambda")
    create(slow) if not client.list_functions()["Functions"] else None
    slow.settle(NAME)
    assert answers({"version": changes(slow)["version"]}) == {("", 200, "")}
    client.delete_function(FunctionName=NAME)
    assert {code for code, _, _ in answers(changes(slow))} == {"ResourceNotFoundException"}
