"""What PutEvents takes in."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.sandbox.services.events.entries import MAX_BYTES, EntryError, entry_error, request_problem, size

GOOD: dict[str, Any] = {"Source": "shop", "DetailType": "ordered", "Detail": '{"id": 1}'}


def test_a_good_entry_and_ten_of_them() -> None:
    assert entry_error(GOOD) is None
    assert request_problem({"Entries": [GOOD] * 10}) is None


@pytest.mark.parametrize("name", ["Source", "DetailType", "Detail"])
def test_what_is_required(name: str) -> None:
    said = f"Parameter {name} is not valid. Reason: {name} is a required argument."
    assert entry_error({key: value for key, value in GOOD.items() if key != name}) == EntryError(
        "InvalidArgument", said
    )


@pytest.mark.parametrize("detail", ["no json", "[1]", '"text"', "7", '{"a": 1'])
def test_a_detail_is_a_json_object(detail: str) -> None:
    assert entry_error({**GOOD, "Detail": detail}) == EntryError("MalformedDetail", "Detail is malformed.")


def test_sources_of_aws_are_for_aws() -> None:
    entry = {**GOOD, "Source": "aws.s3"}
    assert entry_error(entry) == EntryError("NotAuthorizedForSourceException", "Not authorized for the source.")
    assert entry_error(entry, of_aws=True) is None


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({}, "greater than or equal to 1"),
        ({"Entries": [GOOD] * 11}, "less than or equal to 10"),
        ({"Entries": [GOOD], "EndpointId": "abc.veo"}, "leave EndpointId out"),
        ({"Entries": [{**GOOD, "Detail": "x" * MAX_BYTES}]}, "Total size of the entries in the request"),
    ],
)
def test_what_a_request_is_refused_for(request_: dict[str, Any], said: str) -> None:
    found = request_problem(request_)
    assert found is not None
    assert said in found


def test_the_size_of_an_entry_is_counted_in_bytes() -> None:
    assert (
        size({"Source": "ä", "DetailType": "b", "Detail": "cc", "Resources": ["dd"], "Time": 1}) == 2 + 1 + 2 + 2 + 14
    )
