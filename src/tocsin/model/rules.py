"""What a target allows: the rules that its guards keep, as they are written in `tocsin.toml`."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from functools import cached_property
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tocsin.model.base import Model
from tocsin.model.duration import Duration, Share

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

LONGEST_S = 12 * 3600.0
"""No rule may allow more: the longest action of AWS's own fault injection service.
https://docs.aws.amazon.com/fis/latest/userguide/fis-quotas.html
"""
OPT_IN = {"chaos-opt-in": "true"}
"""What a resource of a real account must be tagged with before it may be changed, unless the target says otherwise."""
ACCOUNT_DURATION_S = 3600.0
ACCOUNT_RESOURCES = 5


def _clock(value: Any) -> Any:
    """A time of day as people write it; pydantic alone would take 9 for nine seconds past midnight."""
    if isinstance(value, time):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"\d\d:\d\d(:\d\d)?", value):
        raise ValueError(f"expected a time of day such as '09:30', found {value!r}")
    return value


def _day(value: Any) -> Any:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        raise ValueError(f"expected a date such as 2026-12-24, found {value!r}")
    return value


Clock = Annotated[time, BeforeValidator(_clock)]
"""A time of day on the clocks of the target's timezone."""
CalendarDay = Annotated[date, BeforeValidator(_day)]


class Window(Model):
    """When drills may run: from a time of day until another; past midnight when `to` is not after `from`."""

    days: tuple[Day, ...] = Field(default=DAYS, min_length=1, description="the days on which it opens")
    opens: Clock = Field(alias="from")
    closes: Clock = Field(alias="to")

    def __str__(self) -> str:
        days = "every day" if self.days == DAYS else ", ".join(self.days)
        return f"{days} {self.opens:%H:%M}-{self.closes:%H:%M}"


class Freeze(Model):
    """Days on which no drill may run, both ends included; a single date is enough."""

    first: CalendarDay = Field(alias="from")
    last: CalendarDay = Field(alias="to")

    @model_validator(mode="before")
    @classmethod
    def _one_day(cls, data: object) -> object:
        return {"from": data, "to": data} if isinstance(data, str | date) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Editors must accept the single date too."""
        return {"anyOf": [{"type": "string", "format": "date"}, handler(core)]}

    @model_validator(mode="after")
    def _in_order(self) -> Freeze:
        if self.last < self.first:
            raise ValueError(f"expected `to` not before `from`, found {self.first} to {self.last}")
        return self

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


class GuardRules(Model):
    """What the guards of a target keep. What is not said is not limited; `for_account` fills in a real one."""

    systems: tuple[str, ...] | None = Field(default=None, description="the only systems that may be drilled")
    timezone: str | None = Field(default=None, description="IANA name, of `windows` and `freeze`: `Asia/Bangkok`")
    windows: tuple[Window, ...] = Field(default=(), description="when drills may run; none means always")
    freeze: tuple[Freeze, ...] = Field(default=(), description="dates on which no drill runs")
    max_duration: Duration | None = Field(default=None, gt=0, le=LONGEST_S, description="longest time of a fault")
    max_resources: int | None = Field(default=None, ge=1, description="most resources that one drill changes")
    max_percent: Share | None = Field(
        default=None, gt=0, description="most of the opted-in resources of one type that one drill changes"
    )
    production: bool = Field(default=False, description="a drill needs --yes-production ACCOUNT")
    opt_in: dict[str, str] | None = Field(default=None, description="tags that a resource needs before it is changed")
    foreign_actions: bool = Field(
        default=False, description="actions of other extensions may run, although nobody knows what they change"
    )
    stop_conditions: tuple[str, ...] = Field(default=(), description="names of alarms that end every drill")

    @model_validator(mode="after")
    def _clear(self) -> GuardRules:
        if self.timezone is None and (self.windows or self.freeze):
            raise ValueError("expected a `timezone` beside `windows` or `freeze`, such as 'Asia/Bangkok', found none")
        if self.timezone is not None and not _is_zone(self.timezone):
            raise ValueError(f"expected an IANA timezone such as 'Asia/Bangkok', found {self.timezone!r}")
        return self

    @cached_property
    def zone(self) -> ZoneInfo:
        """The timezone of windows and freeze dates; UTC where there is none of either."""
        return ZoneInfo(self.timezone or "UTC")

    def for_account(self) -> GuardRules:
        """The rules of a real account: what is not said is limited there all the same."""
        defaults = {"opt_in": OPT_IN, "max_duration": ACCOUNT_DURATION_S, "max_resources": ACCOUNT_RESOURCES}
        return self.model_copy(update={name: value for name, value in defaults.items() if getattr(self, name) is None})


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return False
    return True
