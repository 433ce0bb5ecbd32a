"""The words of which every event is made: which part of a drill, when, how much and how often."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

Time = Annotated[float, Field(ge=0, le=253_402_300_799)]
"""Wall-clock epoch seconds, from 1970 to the end of the year 9999: what a clock can tell."""

Amount = Annotated[float, Field(ge=-1e12, le=1e12)]
"""Of seconds or milliseconds: thirty years of the latter, far more than any drill takes."""

Count = Annotated[int, Field(ge=0, le=10**12)]
"""How often something was seen."""


class Act(StrEnum):
    """The four parts of a drill."""

    PREFLIGHT = "preflight"
    BASELINE = "baseline"
    FAULT = "fault"
    RECOVERY = "recovery"
