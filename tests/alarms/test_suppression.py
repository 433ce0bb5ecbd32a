"""A suppressor holds actions back as the examples of AWS's page say.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-suppression.html: a wait period of 2 units and an
extension period of 3.
"""

from __future__ import annotations

import pytest

from tocsin.alarms.suppression import Suppression, Suppressor, step

WAIT, EXTENSION = 2, 3
EXAMPLES = [
    pytest.param({2}, [], {2: "WaitPeriod", 3: "WaitPeriod", 4: None}, [4], id="1: not suppressed after the wait"),
    pytest.param({2}, [(3, 99)], {2: "WaitPeriod", 3: "Alarm", 9: "Alarm"}, [], id="2: suppressed before it ends"),
    pytest.param({2, 3}, [], {3: "WaitPeriod", 4: "WaitPeriod", 5: None}, [5], id="3: a change begins a new wait"),
    pytest.param({2}, [(1, 99)], {1: "Alarm", 2: "Alarm", 9: "Alarm"}, [], id="4: suppressed by an alarm"),
    pytest.param(
        {2}, [(3, 6)], {5: "Alarm", 6: "ExtensionPeriod", 8: "ExtensionPeriod", 9: None}, [9], id="5: extension ends"
    ),
    pytest.param(
        {2, 7}, [(3, 6)], {6: "ExtensionPeriod", 7: "WaitPeriod", 8: "WaitPeriod", 9: None}, [9], id="6: change in it"
    ),
    pytest.param(set(), [(1, 3)], {1: "Alarm", 3: "ExtensionPeriod", 6: None}, [], id="nothing was held back"),
]


@pytest.mark.parametrize(("changes", "in_alarm", "phases", "acts"), EXAMPLES)
def test_examples_of_the_page(
    changes: set[int], in_alarm: list[tuple[int, int]], phases: dict[int, str | None], acts: list[int]
) -> None:
    now, seen, taken = Suppression(), {}, []
    for at in range(12):
        suppressor = Suppressor(any(start <= at < end for start, end in in_alarm), WAIT, EXTENSION)
        now, act = step(now, suppressor, at, changed=at in changes)
        seen[at] = now.by
        taken += [at] if act else []
    assert {at: seen[at] for at in phases} == phases
    assert taken == acts


def test_without_periods_actions_are_taken_at_once() -> None:
    assert step(Suppression(), Suppressor(False, 0, 0), 5, changed=True) == (Suppression(), True)
