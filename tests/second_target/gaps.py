"""What ministack does not answer of what a drill reads, and AWS would answer for the shop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from botocore.credentials import Credentials
from tests.aws_weather import Answer, Weather
from tests.second_target.emulators import KEYS, Emulator

GAPS: Mapping[str, Answer] = {
    "ListAlarmMuteRules": Answer(200, "", '{"AlarmMuteRuleSummaries": []}'),
    "ListDeadLetterSourceQueues": Answer(200, "", '{"queueUrls": []}'),
}


@contextmanager
def without_gaps(emulator: Emulator) -> Iterator[Weather]:
    """The emulator behind weather that answers what it does not; more may be told to go wrong."""
    with Weather(emulator.url, Credentials(*KEYS.values())) as weather:
        for operation, answer in GAPS.items():
            weather.falls(operation, answer)
        yield weather
