"""An answer that lacks something says what, and where."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from botocore.stub import Stubber

from tocsin.aws.answers import Answer, first_of, taken_by
from tocsin.aws.pages import listed
from tocsin.aws.target import Target, aws_errors
from tocsin.errors import Incomplete

ALIAS = {"FunctionName": "desk", "Name": "live"}


@pytest.fixture
def target() -> Target:
    return Target("account", "eu-west-1", access_key_id="AKIA0000000000000000", secret_access_key="no-secret")


def answered(target: Target, operation: str, answer: dict[str, Any], **request: Any) -> Any:
    with Stubber(target.client("lambda")) as stub:
        stub.add_response(operation, answer, request)
        return getattr(target.client("lambda"), operation)(**request)


def test_a_member_that_is_there_is_there_and_one_that_is_not_is_named(target: Target) -> None:
    routing = {"AdditionalVersionWeights": {"2": 0.5}}
    alias = answered(target, "get_alias", {"Name": "live", "RoutingConfig": routing}, **ALIAS)
    assert alias["RoutingConfig"] == routing
    with pytest.raises(Incomplete, match=r"an answer lambda:GetAlias that says 'FunctionVersion', found one without"):
        alias["FunctionVersion"]
    with pytest.raises(Incomplete, match=r"lambda:GetAlias\.RoutingConfig\.AdditionalVersionWeights that says '3'"):
        alias["RoutingConfig"]["AdditionalVersionWeights"]["3"]
    assert alias.get("FunctionVersion") is None
    assert "FunctionVersion" not in alias


def test_it_says_what_was_asked_for_and_no_value(target: Target) -> None:
    alias = answered(target, "get_alias", {"Description": "secret words"}, **ALIAS)
    with pytest.raises(Incomplete) as lacking, aws_errors("reading the alias"):
        alias["FunctionVersion"]
    assert str(lacking.value).startswith("reading the alias: expected an answer lambda:GetAlias")
    assert "it says Description" in str(lacking.value)
    assert "secret words" not in str(lacking.value)


def test_pages_and_waiters_read_the_same_answers(target: Target) -> None:
    with Stubber(target.client("lambda")) as stub:
        stub.add_response("list_versions_by_function", {"Versions": [{"Version": "1"}]}, {"FunctionName": "desk"})
        (version,) = listed(target.client("lambda"), "list_versions_by_function", "Versions", FunctionName="desk")
        stub.add_response("get_function_configuration", {"LastUpdateStatus": "Successful"}, {"FunctionName": "desk"})
        target.client("lambda").get_waiter("function_updated").wait(FunctionName="desk")
    with pytest.raises(Incomplete, match=r"lambda:ListVersionsByFunction\.Versions\[\] that says 'Description'"):
        version["Description"]


def test_the_first_of_nothing_is_named() -> None:
    for said in ({"Things": []}, {}):
        with pytest.raises(Incomplete, match=r"an answer x:Y that says 'Things\[0\]', found one without"):
            first_of(Answer(said, "x:Y"), "Things")
    assert first_of({"Things": [1, 2]}, "Things") == 1


def test_a_copy_knows_its_place() -> None:
    with pytest.raises(Incomplete, match="x:Y that says 'b'"):
        deepcopy(Answer({"a": 1}, "x:Y"))["b"]


def test_what_a_call_takes_is_told_by_its_model(target: Target) -> None:
    assert {"Id", "Port", "AvailabilityZone"} <= taken_by(target.client("elbv2"), "RegisterTargets", "Targets")
    assert "Targets" in taken_by(target.client("elbv2"), "RegisterTargets")
