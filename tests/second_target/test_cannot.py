"""The list of what each emulator cannot do is right both ways: when one learns something, a test fails."""

from __future__ import annotations

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from tests.second_target.cannot import CANNOT, PAGE, written
from tests.second_target.emulators import NAMES, Emulator
from tests.second_target.needs import NEEDS, READS, Missing
from tests.second_target.shop import deploy


def refused(emulator: Emulator, need: str) -> str | None:
    """How it fails; None where it does what Tocsin needs."""
    try:
        (NEEDS.get(need) or READS[need])(emulator)
    except (ClientError, ResponseParserError, Missing) as error:
        return str(error)
    return None


def check(emulator: Emulator, need: str) -> None:
    """It is listed and fails so, or neither."""
    limit = CANNOT.get((emulator.name, need))
    # What does not come is not waited for as long as what has to.
    found = refused(emulator if limit is None else replace(emulator, patience_s=4.0), need)
    if limit is None:
        assert found is None, f"{emulator.name} cannot do it: {need}"
    else:
        assert found is not None, f"{emulator.name} has learned it, take it out of the list: {need}"
        assert limit.answer in found


@pytest.mark.parametrize("need", NEEDS)
def test_it_can_do_what_is_not_listed_and_nothing_that_is(emulator: Emulator, need: str) -> None:
    deploy(emulator, mapped=False)
    check(emulator, need)


def test_of_an_account_it_tells_what_is_not_listed_and_nothing_that_is(emulator: Emulator) -> None:
    deploy(emulator, mapped=False)
    for need in READS:
        check(emulator, need)


def test_the_list_names_only_what_is_tried() -> None:
    assert {name for name, _ in CANNOT} <= set(NAMES)
    assert {need for _, need in CANNOT} <= NEEDS.keys() | READS.keys()


def test_the_page_has_the_list() -> None:
    assert PAGE.read_text(encoding="utf-8") == written()
