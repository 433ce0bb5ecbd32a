"""Compares how everything is set that the system file names: before the fault, and after the recovery."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tocsin.actors.context import RunContext
from tocsin.aws.settings import Fields, Settings, read_settings
from tocsin.masking import HIDDEN, mask
from tocsin.model.events import SettingChanged, SettingsCompared

_SECRET = re.compile(r"environment|secret|password|token|credential|authorizer", re.IGNORECASE)
"""Of such fields only is told that they are others: an environment holds passwords under any name."""
_LONGEST = 200


class SettingsComparison:
    """One look before the fault, one after the recovery, and what is not the same."""

    def __init__(self, ctx: RunContext) -> None:
        self._ctx = ctx
        self._before: Settings | None = None

    def look(self) -> None:
        """Read everything as it is before anything is broken."""
        self._before = read_settings(self._ctx.system, self._ctx.target)

    def compare(self) -> None:
        """Read everything again, and record what is not as before; nothing where it was not read before."""
        if self._before is None:
            return
        before, after = self._before, read_settings(self._ctx.system, self._ctx.target)
        unread = {**after.unread, **before.unread}
        changed = tuple(differences(before, after))
        both = before.resources.keys() & after.resources.keys()
        self._ctx.history.record(
            SettingsCompared(at=self._ctx.now(), resources=len(both), unread=unread, changed=changed)
        )


def differences(before: Settings, after: Settings) -> Iterator[SettingChanged]:
    """Every field that is another one than before, with both values; secrets are not told.

    A resource that is gone is one, where all could be read afterwards.
    """
    for resource, was in sorted(before.resources.items()):
        now = after.resources.get(resource)
        if now is None:
            if not after.unread:
                yield SettingChanged(resource=resource, field="the whole of it", before="there", after=None)
            continue
        for path in sorted(was.keys() | now.keys()):
            if was.get(path) != now.get(path):
                yield SettingChanged(resource=resource, field=path, before=_told(was, path), after=_told(now, path))


def _told(fields: Fields, path: str) -> str | None:
    if path not in fields:
        return None
    return HIDDEN if _SECRET.search(path) else mask(fields[path])[:_LONGEST]
