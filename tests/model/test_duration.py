from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.model.duration import format_duration, parse_duration, parse_share


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("11m", 660), ("90s", 90), ("1h30m", 5400), ("500ms", 0.5), ("1 m 30 s", 90), ("1.5h", 5400), ("2d", 172_800)],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "11", "-5m", "5 minutes", "m", "1m-", None, 11, True])
def test_anything_else_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match=r"expected a duration (such as|with its unit)"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=360_000))
def test_what_is_written_can_be_read_again(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (60, "1m"),
        (172_799, "47h59m59s"),
        (172_800, "2d"),
        (302_405, "3d12h05s"),
        (22_394_880_735, "259200d12m15s"),
        (-172_860, "-2d1m"),
    ],
)
def test_what_takes_days_is_told_in_days(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("100 %", 1.0), (0.25, 0.25), ("0%", 0.0)])
def test_shares(text: object, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["101%", -0.1, "half", None])
def test_no_shares(text: object) -> None:
    with pytest.raises(ValueError, match="expected a share"):
        parse_share(text)
