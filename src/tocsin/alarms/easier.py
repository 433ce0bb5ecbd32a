"""Is one alarm easier to ring than another? Pure functions of two definitions.

An alarm is easier than another when it is in ALARM whenever the other one is, whatever the metric does, and harder when
the other one is easier. What is neither is told apart: it looks at something else, or rings at other times. Values are
taken to be not negative, as counts, sizes and durations are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tocsin.alarms.statistics import percentile_of
from tocsin.aws.metrics import KINDS
from tocsin.model.alarm_fields import HasActions
from tocsin.model.alarm_limits import not_judged
from tocsin.model.base import Model
from tocsin.model.only_cloudwatch import BandAlarm, LogAlarm, OnlyCloudWatch
from tocsin.model.system import CompositeAlarm, Definition, MetricAlarm

_Read = Callable[[MetricAlarm], Any]
_AtLeast = Callable[[MetricAlarm, MetricAlarm], bool]

_INCLUSIVE = ("GreaterThanOrEqualToThreshold", "LessThanOrEqualToThreshold")
_MISSING: Mapping[str, int] = {"notBreaching": 0, "missing": 1, "ignore": 1, "breaching": 2}
"""How readily silence rings. `ignore` and `missing` differ, and neither is easier: one keeps an old ALARM."""


@dataclass(frozen=True)
class Differences:
    """Names of the fields in which an account's alarm differs from the documented one, by what they do to it."""

    easier: tuple[str, ...] = ()
    """It may ring where the documented one would not."""
    harder: tuple[str, ...] = ()
    """It may be silent where the documented one would ring."""
    other: tuple[str, ...] = ()
    """Neither can be said: it looks at something else, or at other times."""

    @property
    def unproven_ring(self) -> tuple[str, ...]:
        """Fields because of which a ring of the account's alarm is none of the documented one."""
        return (*self.easier, *self.other)

    @property
    def unproven_clear(self) -> tuple[str, ...]:
        """Fields because of which the account's alarm may clear while the documented one still rings."""
        return (*self.harder, *self.other)


def differences(documented: Definition, account: Mapping[str, Any]) -> Differences:
    """How the account's alarm, as CloudWatch describes it, differs in when it rings.

    Names, descriptions, tags and actions change nothing about that.
    """
    if isinstance(documented, CompositeAlarm):
        same = account.get("AlarmRule") == documented.alarm_rule
        return Differences() if same else Differences(other=("AlarmRule",))
    if isinstance(documented, OnlyCloudWatch):
        return Differences(other=_of_only_cloudwatch(documented, account))
    written = documented.model_dump(by_alias=True)
    unknown = [
        field for field in {**not_judged(account), **not_judged(written)} if account.get(field) != written.get(field)
    ]
    if unknown:
        return Differences(other=tuple(unknown))
    try:
        alarm = MetricAlarm.model_validate(_known(MetricAlarm, account))
    except ValidationError as error:
        return Differences(other=_places(error))
    return _differences(documented, alarm)


def _of_only_cloudwatch(documented: OnlyCloudWatch, account: Mapping[str, Any]) -> tuple[str, ...]:
    """Fields that differ of an alarm that nobody here evaluates: what each does to it cannot be said."""
    kind = type(documented)
    try:
        alarm = kind.model_validate(_known(kind, account))
    except ValidationError as error:
        return _places(error)
    fields = [name for name in kind.model_fields if name not in HasActions.model_fields]
    differing = [name for name in fields if _said(documented, name) != _said(alarm, name)]
    return tuple(kind.model_fields[name].alias or name for name in differing)


def _said(alarm: OnlyCloudWatch, name: str) -> Any:
    if isinstance(alarm, BandAlarm) and name == "metrics":
        return {query.id: query.model_dump(exclude={"label"}) for query in alarm.metrics}
    if isinstance(alarm, BandAlarm) and name == "datapoints_to_alarm":
        return alarm.datapoints_to_alarm or alarm.evaluation_periods
    if isinstance(alarm, LogAlarm) and name == "scheduled_query_configuration":
        return alarm.scheduled_query_configuration.model_copy(update={"query_arn": None, "tags": ()})
    value = getattr(alarm, name)
    # Without a window it is a sliding one, and without a choice low samples are evaluated.
    return _UNSAID.get(name) if value is None or value == {"SlidingWindow": {}} else value


_UNSAID: Mapping[str, Any] = {
    "action_log_line_count": 0,
    "evaluate_low_sample_count_percentile": "evaluate",
}


def _known(kind: type[Model], account: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.alias or name for name, field in kind.model_fields.items()}
    return {name: value for name, value in account.items() if name in names and value is not None}


def _places(error: ValidationError) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_place(one["loc"]) for one in error.errors()))


def _place(location: Sequence[str | int]) -> str:
    return str(location[0]) if location else "the definition"


def _differences(documented: MetricAlarm, account: MetricAlarm) -> Differences:
    easier: list[str] = []
    harder: list[str] = []
    other = [name for name, read in _LOOKED_AT.items() if read(documented) != read(account)]
    for names, at_least in _RULES.items():
        differing = [name for name in names if _READ[name](documented) != _READ[name](account)]
        if not differing:
            continue
        up, down = at_least(account, documented), at_least(documented, account)
        if up and down:
            continue
        (easier if up else harder if down else other).extend(differing)
    return Differences(tuple(easier), tuple(harder), tuple(other))


# ------------------------------------------------------------------------------ is it in ALARM whenever the other is?


def _breaches_at_least(one: MetricAlarm, than: MetricAlarm) -> bool:
    """Threshold and comparison: every value that breaches for the one breaches for the other."""
    if _is_upward(one) != _is_upward(than):
        return False
    if one.threshold == than.threshold:
        return one.comparison_operator in _INCLUSIVE or than.comparison_operator not in _INCLUSIVE
    lower = one.threshold < than.threshold
    return lower if _is_upward(one) else not lower


def _counts_at_least(one: MetricAlarm, than: MetricAlarm) -> bool:
    """M of N: of the datapoints that the other one counts, at most those beyond the own window are out of sight."""
    (needed, window), (than_needed, than_window) = _m_of_n(one), _m_of_n(than)
    return than_needed - needed >= max(0, than_window - window)


def _m_of_n(alarm: MetricAlarm) -> tuple[int, int]:
    return alarm.datapoints_to_alarm or alarm.evaluation_periods, alarm.evaluation_periods


def _period_at_least(one: MetricAlarm, than: MetricAlarm) -> bool:
    """The period: a long one holds what each of the short ones in it holds.

    Only where one datapoint rings: several in a row in long periods are others than several in short ones. And a short
    one may be without data where the long one has some: that is as good only where missing data rings.
    """
    needed = {_m_of_n(alarm)[0] for alarm in (one, than)}
    long, short = max(one.period_s, than.period_s), min(one.period_s, than.period_s)
    if needed != {1} or long % short:
        return False
    rising = ("Sum", "SampleCount", "Maximum") if _is_never_negative(one) else ("SampleCount", "Maximum")
    rises = _all(lambda alarm: alarm.statistic in rising, one, than)
    falls = _all(lambda alarm: alarm.statistic == "Minimum", one, than)
    upward, downward = _all(_is_upward, one, than), not (_is_upward(one) or _is_upward(than))
    if one.period_s == long:
        return (rises and upward) or (falls and downward)
    silence_rings = _all(lambda alarm: alarm.missing_data == "breaching", one, than)
    return silence_rings and ((rises and downward) or (falls and upward))


def _statistic_at_least(one: MetricAlarm, than: MetricAlarm) -> bool:
    """The statistic: of the same samples it is never further from the threshold."""
    if _is_upward(one) != _is_upward(than):
        return False
    low, high = (than, one) if _is_upward(one) else (one, than)
    (low_tier, low_percent), (high_tier, high_percent) = (_tier(_statistic(alarm)) for alarm in (low, high))
    if low_tier != high_tier:
        comparable = {_statistic(low), _statistic(high)} <= _OF_SIGNED or _is_never_negative(one)
        if not comparable:
            return False
        return low_tier is not None and high_tier is not None and low_tier < high_tier
    return low_percent is not None and high_percent is not None and low_percent <= high_percent


def _is_never_negative(alarm: MetricAlarm) -> bool:
    """Whether no sample makes a sum smaller. A metric that nothing is known of may be negative, as a balance is."""
    kind = KINDS.get((alarm.namespace or "", alarm.metric_name or ""))
    return kind is not None and kind.at_least >= 0


_OF_SIGNED = frozenset({"Minimum", "Average", "Maximum"})
"""Their order holds whatever the values. A sum may be below a maximum, and there is no percentile of negative values.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html
"""
_TIERS = {"Minimum": 0, "Average": 1, "Maximum": 2, "Sum": 3}


def _tier(statistic: str) -> tuple[int | None, float | None]:
    """Statistics of a higher tier are never below those of a lower one; percentiles share one, in their order."""
    percent = percentile_of(statistic)
    return (1 if percent is not None else _TIERS.get(statistic)), percent


def _missing_at_least(one: MetricAlarm, than: MetricAlarm) -> bool:
    """Missing data."""
    if one.missing_data == than.missing_data:
        return True
    return _MISSING[one.missing_data] > _MISSING[than.missing_data]


def _all(holds: Callable[[MetricAlarm], bool], *alarms: MetricAlarm) -> bool:
    return all(holds(alarm) for alarm in alarms)


def _is_upward(alarm: MetricAlarm) -> bool:
    return alarm.comparison_operator in ("GreaterThanThreshold", "GreaterThanOrEqualToThreshold")


def _statistic(alarm: MetricAlarm) -> str:
    return alarm.extended_statistic or alarm.statistic or ""


_READ: Mapping[str, _Read] = {
    "Threshold": lambda alarm: alarm.threshold,
    "ComparisonOperator": lambda alarm: alarm.comparison_operator,
    "DatapointsToAlarm": lambda alarm: _m_of_n(alarm)[0],
    "EvaluationPeriods": lambda alarm: alarm.evaluation_periods,
    "Period": lambda alarm: alarm.period,
    "Statistic": _statistic,
    "TreatMissingData": lambda alarm: alarm.missing_data,
}
_RULES: Mapping[tuple[str, ...], _AtLeast] = {
    ("Threshold", "ComparisonOperator"): _breaches_at_least,
    ("DatapointsToAlarm", "EvaluationPeriods"): _counts_at_least,
    ("Period",): _period_at_least,
    ("Statistic",): _statistic_at_least,
    ("TreatMissingData",): _missing_at_least,
}
"""Fields that are compared together, and whether the first alarm is in ALARM whenever the second is."""
_LOOKED_AT: Mapping[str, _Read] = {
    "Namespace": lambda alarm: alarm.namespace,
    "MetricName": lambda alarm: alarm.metric_name,
    "Dimensions": lambda alarm: {one.name: one.value for one in alarm.dimensions},
    "Unit": lambda alarm: alarm.unit,
    "Metrics": lambda alarm: [query.model_dump(exclude={"label"}) for query in alarm.metrics],
    "EvaluateLowSampleCountPercentile": lambda alarm: alarm.evaluate_low_sample_count_percentile or "evaluate",
}
"""What an alarm looks at: another one of these is neither easier nor harder."""
