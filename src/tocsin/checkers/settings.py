"""Is everything set as before the drill?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, NotObserved
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import SettingChanged, SettingsCompared
from tocsin.model.verdict import Finding

_MOST = 6
"""Fields of one resource that are told in words; the history has them all."""


def check_settings(timeline: Timeline) -> Iterator[Answer]:
    """What the system file names and is set otherwise after the recovery, a finding for each resource.

    A fault is compared by itself, in the fields that it changes (`undo`). This is about the others: a rollback that
    sets a second one, a procedure, somebody who deploys meanwhile. Nobody knows which, so that it is no failure.
    """
    for compared in timeline.of_kind(SettingsCompared)[-1:]:
        for resource in dict.fromkeys(change.resource for change in compared.changed):
            changes = [change for change in compared.changed if change.resource == resource]
            yield Finding(
                kind="changed", subject=resource, message=f"{resource} is not set as before: {_told(changes)}"
            )
        if compared.unread:
            told = "; ".join(f"{name} ({why})" for name, why in compared.unread.items())
            yield NotObserved(f"Whether all is set as before: these could not be read before or after: {told}.")


def _told(changes: list[SettingChanged]) -> str:
    told = [f"{one.field} was {_value(one.before)}, is {_value(one.after)}" for one in changes[:_MOST]]
    more = [f"and {len(changes) - _MOST} fields more"] if len(changes) > _MOST else []
    return "; ".join([*told, *more])


def _value(text: str | None) -> str:
    return "not there" if text is None else text
