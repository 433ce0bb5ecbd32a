"""Windows and freeze dates: a table, with both changes of the clocks and windows past midnight."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from pydantic import ValidationError

from tocsin.guards.calendar import frozen, is_open, opens_next, stays_open
from tocsin.model.rules import GuardRules

OFFICE = {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "17:00"}
NIGHT = {"days": ["fri"], "from": "22:00", "to": "04:00"}
BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def rules(timezone: str = "UTC", *windows: dict[str, Any], freeze: list[Any] | None = None) -> GuardRules:
    return GuardRules.model_validate({"timezone": timezone, "windows": list(windows), "freeze": freeze or []})


def at(text: str) -> float:
    """Epoch seconds of an ISO time with its offset."""
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo is not None
    return moment.timestamp()


@pytest.mark.parametrize(
    ("timezone", "window", "moment", "expected"),
    [
        ("UTC", OFFICE, "2026-08-03T09:00:00Z", True),  # a Monday
        ("UTC", OFFICE, "2026-08-03T08:59:59Z", False),
        ("UTC", OFFICE, "2026-08-03T16:59:59Z", True),
        ("UTC", OFFICE, "2026-08-03T17:00:00Z", False),
        ("UTC", OFFICE, "2026-08-02T12:00:00Z", False),  # a Sunday
        ("Asia/Bangkok", OFFICE, "2026-08-03T02:00:00Z", True),  # 09:00 there
        ("Asia/Bangkok", OFFICE, "2026-08-03T09:00:00Z", True),  # 16:00 there
        ("Asia/Bangkok", OFFICE, "2026-08-03T10:00:00Z", False),  # 17:00 there
        ("Asia/Bangkok", OFFICE, "2026-08-02T20:00:00Z", False),  # already Monday there, but 03:00
        # Past midnight: opened on Friday, still open early on Saturday, and never early on Friday.
        ("UTC", NIGHT, "2026-08-07T23:00:00Z", True),
        ("UTC", NIGHT, "2026-08-08T03:59:59Z", True),
        ("UTC", NIGHT, "2026-08-08T04:00:00Z", False),
        ("UTC", NIGHT, "2026-08-07T03:00:00Z", False),
        ("UTC", NIGHT, "2026-08-08T23:00:00Z", False),
        # From a time to the same time is a whole day.
        ("UTC", {"days": ["sat"], "from": "00:00", "to": "00:00"}, "2026-08-08T23:59:59Z", True),
        ("UTC", {"days": ["sat"], "from": "00:00", "to": "00:00"}, "2026-08-09T00:00:00Z", False),
        # Berlin puts its clocks forward on 29 March 2026, from 02:00 to 03:00.
        (BERLIN, {"from": "01:30", "to": "03:30"}, "2026-03-29T01:45:00+01:00", True),
        (BERLIN, {"from": "01:30", "to": "03:30"}, "2026-03-29T03:15:00+02:00", True),
        (BERLIN, {"from": "01:30", "to": "03:30"}, "2026-03-29T03:30:00+02:00", False),
        (BERLIN, {"from": "02:15", "to": "02:45"}, "2026-03-29T03:20:00+02:00", False),  # an hour that does not exist
        (BERLIN, {"from": "01:00", "to": "02:30"}, "2026-03-29T03:10:00+02:00", False),
        # And back on 25 October 2026, from 03:00 to 02:00: 02:30 comes twice.
        (BERLIN, {"from": "02:00", "to": "02:40"}, "2026-10-25T02:30:00+02:00", True),
        (BERLIN, {"from": "02:00", "to": "02:40"}, "2026-10-25T02:30:00+01:00", False),  # it has closed already
        (BERLIN, {"from": "02:00", "to": "04:00"}, "2026-10-25T02:30:00+01:00", True),
        (BERLIN, {"from": "22:00", "to": "02:30"}, "2026-10-25T02:15:00+02:00", True),
        (BERLIN, {"from": "22:00", "to": "02:30"}, "2026-10-25T02:15:00+01:00", False),
        (NEW_YORK, OFFICE, "2026-03-09T13:00:00Z", True),  # summer time since Sunday: 09:00
        (NEW_YORK, OFFICE, "2026-03-06T13:00:00Z", False),  # the Friday before: 08:00
        (LORD_HOWE, {"from": "01:40", "to": "02:00"}, "2026-04-05T01:45:00+11:00", True),  # back by half an hour
        (LORD_HOWE, {"from": "01:40", "to": "02:00"}, "2026-04-05T01:45:00+10:30", True),
    ],
)
def test_a_window_is_open_or_not(timezone: str, window: dict[str, Any], moment: str, expected: bool) -> None:
    assert is_open(rules(timezone, window), at(moment)) is expected


def test_without_a_window_it_is_always_open_and_with_two_either_will_do() -> None:
    assert is_open(GuardRules(), 0.0)
    both = rules("UTC", OFFICE, NIGHT)
    assert is_open(both, at("2026-08-03T10:00:00Z"))
    assert is_open(both, at("2026-08-07T23:00:00Z"))
    assert not is_open(both, at("2026-08-07T19:00:00Z"))


@pytest.mark.parametrize(
    ("moment", "minutes", "expected"),
    [
        ("2026-08-03T16:00:00Z", 59, True),
        ("2026-08-03T16:00:00Z", 61, False),
        ("2026-08-03T08:00:00Z", 120, False),
        ("2026-08-03T16:30:00Z", 24 * 60, False),  # closed in between, open at both ends
    ],
)
def test_a_window_must_stay_open_for_the_whole_fault(moment: str, minutes: float, expected: bool) -> None:
    assert stays_open(rules("UTC", OFFICE), at(moment), minutes * 60) is expected


@pytest.mark.parametrize(
    ("moment", "minutes", "expected"),
    [
        ("2026-12-19T16:59:59Z", 0, None),  # 23:59:59 on the 19th in Bangkok
        ("2026-12-19T17:00:00Z", 0, "2026-12-20 to 2027-01-04"),
        ("2026-12-19T16:30:00Z", 45, "2026-12-20 to 2027-01-04"),  # would last into it
        ("2027-01-04T16:59:59Z", 0, "2026-12-20 to 2027-01-04"),
        ("2027-01-04T17:00:00Z", 0, None),
        ("2026-11-27T05:00:00Z", 0, "2026-11-27"),
    ],
)
def test_a_freeze_counts_in_the_days_of_the_timezone(moment: str, minutes: float, expected: str | None) -> None:
    found = frozen(
        rules("Asia/Bangkok", freeze=["2026-11-27", {"from": "2026-12-20", "to": "2027-01-04"}]),
        at(moment),
        minutes * 60,
    )
    assert (None if found is None else str(found)) == expected


@pytest.mark.parametrize(
    ("timezone", "windows", "freeze", "moment", "expected"),
    [
        ("UTC", [OFFICE], [], "2026-08-03T18:00:00Z", "2026-08-04T09:00:00+00:00"),
        ("UTC", [OFFICE], [], "2026-08-07T18:00:00Z", "2026-08-10T09:00:00+00:00"),
        ("UTC", [OFFICE, NIGHT], [], "2026-08-07T18:00:00Z", "2026-08-07T22:00:00+00:00"),
        ("UTC", [OFFICE], ["2026-08-04"], "2026-08-03T18:00:00Z", "2026-08-05T09:00:00+00:00"),
        ("UTC", [OFFICE], [{"from": "2026-08-04", "to": "2026-09-04"}], "2026-08-03T18:00:00Z", None),
        (BERLIN, [{"from": "02:15", "to": "02:45"}], [], "2026-03-28T12:00:00Z", "2026-03-30T02:15:00+02:00"),
    ],
)
def test_a_refusal_can_say_when_to_come_back(
    timezone: str, windows: list[dict[str, Any]], freeze: list[Any], moment: str, expected: str | None
) -> None:
    found = opens_next(rules(timezone, *windows, freeze=freeze), at(moment))
    assert (None if found is None else found.isoformat()) == expected


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"windows": [OFFICE]}, "expected a `timezone`"),
        ({"freeze": ["2026-12-24"]}, "expected a `timezone`"),
        ({"timezone": "Bangkok"}, "IANA timezone"),
        ({"timezone": "../../etc/passwd"}, "IANA timezone"),
        ({"timezone": "UTC", "windows": [{"from": "9:00", "to": "17:00"}]}, "time of day"),
        ({"timezone": "UTC", "windows": [{"from": 9, "to": "17:00"}]}, "time of day"),
        ({"timezone": "UTC", "windows": [{"from": "25:00", "to": "17:00"}]}, "hour"),
        ({"timezone": "UTC", "windows": [{"days": ["monday"], "from": "09:00", "to": "17:00"}]}, "'mon'"),
        ({"timezone": "UTC", "windows": [{"days": [], "from": "09:00", "to": "17:00"}]}, "at least 1"),
        ({"timezone": "UTC", "freeze": ["24.12.2026"]}, "expected a date"),
        ({"timezone": "UTC", "freeze": [{"from": "2027-01-04", "to": "2026-12-20"}]}, "not before `from`"),
        ({"max_duration": "13h"}, "less than or equal to 43200"),
        ({"max_duration": "0s"}, "greater than 0"),
        ({"max_resources": 0}, "greater than or equal to 1"),
        ({"max_percent": "120%"}, "between 0% and 100%"),
        ({"max_percent": "0%"}, "greater than 0"),
        ({"window": []}, "Extra inputs"),
    ],
)
def test_rules_that_mean_nothing_are_refused(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GuardRules.model_validate(document)
