# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Archives of a bus, and replays of them to all rules or to chosen ones. ministack keeps both and runs the replays.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-archive.html
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tocsin.sandbox.world import World

_DAY_S = 86_400
_CANCELLED = "CANCELLED"


@dataclass(frozen=True)
class Replayed:
    """What a replay wants with one of its events."""

    wanted: bool
    """False when the replay was cancelled meanwhile."""
    rules: frozenset[str] | None
    """ARNs of the rules that it is for; None: all of the bus."""

    def reaches(self, rule_arn: str) -> bool:
        """Whether the replay is for a rule."""
        return self.rules is None or rule_arn in self.rules


class Archives:
    """The archives of one sandbox."""

    RELIED_ON: ClassVar[Mapping[str, str]] = {
        "_archives": "",
        "_replays": "",
        "_archive_event": "event, view",
        "_start_replay": "data",
        "_coerce_timestamp": "value",
    }

    def __init__(self, world: World) -> None:
        self._clock = world.clock
        self._responses = world.ministack.module("core.responses")
        self._events = events = world.ministack.module("services.eventbridge")
        self._start = world.ministack.replace(events, "_start_replay", self._start_replay)

    def keep(self, event: Mapping[str, Any], view: Any) -> None:
        """Put an event into the archives of its bus whose pattern it matches, and forget what is too old for them."""
        self._events._archive_event({name: value for name, value in event.items() if name != "DispatchPath"}, view)
        for archive in list(self._events._archives.values()):
            days = int(archive.get("RetentionDays") or 0)
            kept = archive.get("Events") or []
            oldest = time.time() - self._clock.wall(days * _DAY_S)
            if days and kept and kept[0]["TakenIn"] < oldest:
                archive["Events"] = [one for one in kept if one["TakenIn"] >= oldest]
                archive["EventCount"] = len(archive["Events"])

    def replayed(self, event: Mapping[str, Any]) -> Replayed | None:
        """None for an event that is not replayed. Replayed events are not archived once more."""
        name = event.get("ReplayName")
        if name is None:
            return None
        replay = self._events._replays.get(name) or {}
        wanted = replay.get("State") != _CANCELLED
        if wanted:
            replay["EventLastReplayedTime"] = event.get("Time")
        chosen = (replay.get("Destination") or {}).get("FilterArns")
        return Replayed(wanted, frozenset(chosen) if chosen else None)

    def _start_replay(self, data: dict[str, Any]) -> Any:
        start, end = (self._events._coerce_timestamp(data.get(name)) for name in ("EventStartTime", "EventEndTime"))
        if isinstance(start, int | float) and isinstance(end, int | float) and start >= end:
            return self._responses.error_response_json(
                "ValidationException",
                "Parameter EventEndTime is not valid. Reason: EventStartTime must be before EventEndTime.",
                400,
            )
        return self._start(data)
