"""Are the account's alarms the documented ones?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer
from tocsin.checkers.timeline import Timeline
from tocsin.model.verdict import Finding


def check_definitions(timeline: Timeline) -> Iterator[Answer]:
    """An alarm that is not the documented one proves nothing about the documented one."""
    for name, seen in timeline.first_seen.items():
        if seen.definition_drift:
            fields = ", ".join(seen.definition_drift)
            yield Finding(
                kind="definition_drift",
                subject=name,
                message=f"{name} differs from its documented definition in {fields}",
            )
