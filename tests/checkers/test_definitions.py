"""Alarms of the account that differ from their definition."""

from __future__ import annotations

from tests.checkers.histories import (
    passing,
    tweak,
)
from tests.checkers.spoiled import (
    found,
)

from tocsin.checkers import judge
from tocsin.model.events import (
    AlarmSeen,
)


def test_definition_drift_is_a_finding_and_told_beside_the_ring() -> None:
    verdict = judge(
        tweak(
            passing(),
            lambda e: isinstance(e, AlarmSeen) and e.alarm == "api-5xx",
            definition_drift=("Threshold", "Period"),
        )
    )
    assert [f.subject for f in verdict.findings if f.kind == "definition_drift"] == ["api-5xx"]
    assert "Threshold, Period" in found(verdict, "must:api-5xx").message
