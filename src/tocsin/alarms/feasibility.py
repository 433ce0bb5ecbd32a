"""Can an alarm ring at the traffic that is offered, and when? Pure arithmetic, done before anything is broken.

    time to detect = effect     the fault is accepted -> the first bad event
                   + fill       the first bad event -> the newest period breaches
                   + repeat     (DatapointsToAlarm - 1) periods
                   + publish    CloudWatch shows the datapoint
                   + evaluate   the alarm looks
                   + deliver    its action reaches people

An alarm that hears silence (TreatMissingData is breaching, and it waits for less) has a sum of its own: nothing bad
comes, but so many periods must be empty that even older datapoints are out of sight.

    time to detect = effect + silence + evaluate + deliver

Only what is certainly impossible is infeasible: every request that could come is taken to be bad, and where nothing
bounds a metric nothing is said against it. All durations are production seconds, those of real AWS.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from tocsin.alarms.cloudwatch import EXTRA_DATAPOINTS, breaches, evaluation_tick_s, least_samples
from tocsin.alarms.composite import CompositeRule
from tocsin.alarms.evaluable import only_cloudwatch
from tocsin.alarms.prometheus import AlertRule
from tocsin.alarms.statistics import percentile_of
from tocsin.aws.metrics import AGE, KINDS, PUBLISH, PUBLISH_DEFAULT, SIGN, Kind, Stage, queue_of_depth
from tocsin.model.duration import format_duration
from tocsin.model.lags import Lags
from tocsin.model.system import CompositeAlarm, Definition, MetricAlarm

EFFECT = Stage(10, 60)
"""From the API call to the first bad event: seconds, a minute with caches and updates. Estimated, not documented."""
DELIVERY = Stage(15, 60)
"""From the transition to the notification. Estimated, not documented."""
_GAUGE = Stage(30, 60)
"""A gauge breaches at its next sample: AWS' own gauges have one a minute."""
_DLQ_POLLING_S = 120.0
"""What polling and batching may add to the receives of a message that ends in a dead-letter queue."""
CANARY_REQUESTS = 10
"""Requests that one run of a canary is taken to make at most, its retry included."""
CONTRACT_REQUESTS = 30
"""Requests that a contract run is taken to make at most for each operation."""
_SIGMAS = 5.0
"""Arrivals come at random (Poisson); more than the mean and five standard deviations do not come."""
_BAD_SHARE = 0.5
"""The share of bad requests that the typical time is told for; how many the fault will spoil, nobody knows before."""
IGNORED = "alarms on AWS/DynamoDB metrics ignore missing data, whatever TreatMissingData says: silence cannot ring it"
_MOST_CHILDREN = 8
"""Children of a composite alarm whose combinations are tried."""


@dataclass(frozen=True)
class Traffic:
    """What the harness offers while the fault is in place. What others send is neither known nor counted."""

    arrivals_per_s: float = 0.0
    """requests of the load, in a real second"""
    scale: float = 1.0
    """production seconds in a real second"""
    canaries: int = 0
    canary_every_s: float = 60.0
    """production seconds between two runs of one canary"""
    operations: int = 0
    """operations of the contract, which is run once beside the load"""

    def offered(self, period_s: float) -> float:
        """Requests of the load that are expected in a period of production time."""
        return self.arrivals_per_s * period_s / self.scale

    def at_most(self, period_s: float) -> float:
        """Requests that can come in a period, by load, canaries and contract together."""
        mean = self.offered(period_s)
        return math.floor(mean + _SIGMAS * math.sqrt(mean)) + self._beside(period_s)

    def soonest(self, requests: float, period_s: float) -> float:
        """Production seconds before which that many requests of one period cannot have come."""
        needed = requests - self._beside(period_s)
        if needed <= 0 or not self.arrivals_per_s:
            return 0.0
        # The smallest mean with mean + 5 * sqrt(mean) >= needed.
        mean = ((math.sqrt(_SIGMAS**2 + 4 * needed) - _SIGMAS) / 2) ** 2
        return mean * self.scale / self.arrivals_per_s

    def _beside(self, period_s: float) -> int:
        runs = math.ceil(period_s / self.canary_every_s) + 1
        return self.canaries * runs * CANARY_REQUESTS + self.operations * CONTRACT_REQUESTS


@dataclass(frozen=True)
class Forecast:
    """Whether an alarm can ring, how soon after the injection, and the arithmetic in words."""

    feasible: bool
    detail: str
    earliest_s: float | None = None
    """no sooner than this; None when it cannot ring at all"""
    typical_s: float | None = None
    worst_s: float | None = None
    notes: tuple[str, ...] = ()


# ------------------------------------------------------------------------------------------------ fill times


def fill_of_sum(needed: float, bad_per_s: float, period_s: float) -> float:
    """Seconds from the first bad event until `needed` of them are in the window; infinite when they never are."""
    return needed / bad_per_s if bad_per_s * period_s >= needed and bad_per_s > 0 else math.inf


def fill_of_percentile(percent: float, bad_share: float, period_s: float) -> float:
    """Seconds until more than `100 - percent` of a window is bad; infinite when the bad share is smaller."""
    good = 1 - percent / 100
    return period_s * good / bad_share if bad_share > good else math.inf


def needed_of(alarm: MetricAlarm) -> float:
    """The least Sum of whole events that breaches `>=` or `>`."""
    strict = alarm.comparison_operator == "GreaterThanThreshold"
    return math.floor(alarm.threshold) + 1 if strict else math.ceil(alarm.threshold)


def time_to_detect(alarm: MetricAlarm, fill: Stage, effect: Stage = EFFECT, lags: Lags | None = None) -> Stage:
    """All stages together, until somebody is told; with the lags that were measured, where they were."""
    stages = _stages(alarm, fill, effect, lags).values()
    return Stage(sum(stage.typical_s for stage in stages), sum(stage.worst_s for stage in stages))


def silence_s(alarm: MetricAlarm) -> float:
    """Seconds from the last datapoint until an alarm hears that nothing comes any more.

    When datapoints are missing CloudWatch looks at more periods than EvaluationPeriods: the evaluation range. Missing
    ones count only for the datapoints that are then still lacking, so all but `EvaluationPeriods - DatapointsToAlarm`
    of the whole range must be missing.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
    """
    one_is_enough = not breaches(1.0, alarm.comparison_operator, alarm.threshold)
    if one_is_enough or not _sums(alarm):
        return float(_empty_periods(alarm) * alarm.period_s)
    # A period in which it falls silent holds a smaller sum, which breaches by itself; but only one such is in sight.
    if _periods(alarm) == 1:
        return alarm.period_s / 2
    return (_empty_periods(alarm) - 0.5) * alarm.period_s


def _empty_periods(alarm: MetricAlarm) -> int:
    return _periods(alarm) + EXTRA_DATAPOINTS


def _hears_silence(alarm: MetricAlarm) -> bool:
    """Whether silence is what the alarm waits for: missing data breaches, and so do small values."""
    return alarm.missing_data == "breaching" and not _is_above(alarm)


def _sums(alarm: MetricAlarm) -> bool:
    """Whether fewer datapoints in a period make a smaller value."""
    return _statistic(alarm) in ("Sum", "SampleCount")


def _stages(alarm: MetricAlarm, fill: Stage, effect: Stage, lags: Lags | None) -> dict[str, Stage]:
    repeat, tick = _repeat(alarm), evaluation_tick_s(alarm)
    deliver = _delivery(lags)
    if _hears_silence(alarm):
        # What is not there need not be published. At worst all that is in sight must be gone.
        worst_s = float(_empty_periods(alarm) * alarm.period_s)
        silence = Stage(silence_s(alarm), worst_s)
        return {"effect": effect, "silence": silence, "evaluate": Stage(tick / 2, tick), "deliver": deliver}
    return {
        "effect": effect,
        "fill": fill,
        "repeat": Stage(repeat, repeat),
        "publish": _publication(next((ref.namespace for ref in alarm.metric_refs), ""), tick, lags),
        "evaluate": Stage(tick / 2, tick),
        "deliver": deliver,
    }


def _publication(namespace: str, tick_s: float, lags: Lags | None) -> Stage:
    """Until CloudWatch shows a datapoint. A few looks are no worst case: they make it worse, and never better.

    What is measured is on a metric of one's own, and has an evaluation in it. AWS's own metrics come later than that.
    """
    estimate = PUBLISH.get(namespace, PUBLISH_DEFAULT)
    if lags is None or lags.metric_s is None:
        return estimate
    typical_s = max(0.0, lags.metric_s - tick_s / 2)
    if namespace.startswith("AWS/"):
        typical_s = max(estimate.typical_s, typical_s)
    return Stage(typical_s, max(estimate.worst_s, lags.metric_s - tick_s, typical_s))


def _delivery(lags: Lags | None) -> Stage:
    """From the transition to the notification."""
    if lags is None or lags.notification_s is None:
        return DELIVERY
    return Stage(lags.notification_s, max(DELIVERY.worst_s, lags.notification_s))


def _repeat(alarm: MetricAlarm) -> float:
    """Seconds from the first to the last of the periods that must breach."""
    return (_periods(alarm) - 1) * alarm.period_s


def _periods(alarm: MetricAlarm) -> int:
    return alarm.datapoints_to_alarm or alarm.evaluation_periods


# ------------------------------------------------------------------------------------------------ one alarm


def forecast(
    alarm: MetricAlarm, within_s: float, traffic: Traffic, redrive_s: float | None = None, lags: Lags | None = None
) -> Forecast:
    """Whether a metric alarm can ring within `within_s` of the injection, and when it is likely to.

    `redrive_s`: for the alarm on a dead-letter queue, how long a message is tried before it gets there. `lags` were
    measured on the target.
    """
    impossible = _out_of_reach(alarm, traffic)
    if impossible:
        return Forecast(feasible=False, detail=impossible)
    filled, repeat = _soonest_fill(alarm, traffic), _repeat(alarm)
    earliest = filled + repeat
    if earliest > within_s:
        return Forecast(
            feasible=False,
            detail=f"{_asked(alarm)} needs {_periods(alarm)} breaching periods: the first breaches no sooner than "
            f"{format_duration(filled)} after the fault, the last {format_duration(repeat)} later. "
            f"That is {format_duration(earliest)} at the earliest, and `within` is {format_duration(within_s)}",
        )
    fill = _fill(alarm, traffic, redrive_s)
    total = time_to_detect(alarm, fill, lags=lags)
    return Forecast(
        feasible=True,
        detail=f"{_reach(alarm, traffic)}; {_sum_in_words(alarm, fill, total, lags)}",
        earliest_s=earliest,
        typical_s=total.typical_s,
        worst_s=total.worst_s,
        notes=tuple(_notes(alarm, within_s, traffic, redrive_s, total)),
    )


def _kind(alarm: MetricAlarm) -> Kind | None:
    return KINDS.get((alarm.namespace or "", alarm.metric_name or ""))


def _statistic(alarm: MetricAlarm) -> str:
    return alarm.extended_statistic or alarm.statistic or ""


def _asked(alarm: MetricAlarm) -> str:
    name = f"{alarm.metric_name} {_statistic(alarm)}" if alarm.metric_name else "metric math"
    return f"{name} {SIGN[alarm.comparison_operator]} {alarm.threshold:g} in {alarm.period_s} s"


def _is_above(alarm: MetricAlarm) -> bool:
    return alarm.comparison_operator.startswith("Greater")


def _out_of_reach(alarm: MetricAlarm, traffic: Traffic) -> str | None:
    """Why no datapoint can ever breach, with the arithmetic; None when one may, or nobody knows."""
    kind = _kind(alarm)
    if kind is None or alarm.missing_data == "breaching":
        # Silence would breach too, and a fault may silence anything.
        return None
    if _is_above(alarm) and _counts(alarm, kind):
        return _too_few(alarm, traffic)
    lowest, highest = kind.at_least, math.inf if _statistic(alarm) in ("Sum", "SampleCount") else kind.at_most
    if not breaches(highest if _is_above(alarm) else lowest, alarm.comparison_operator, alarm.threshold):
        return f"{_asked(alarm)} cannot be: a value of this metric is between {lowest:g} and {highest:g}"
    fewest = least_samples(alarm)
    if kind.sampled_by_request and traffic.at_most(alarm.period_s) < fewest:
        return (
            f"{_asked(alarm)} is not evaluated with fewer than {fewest:g} samples in a period "
            f"(EvaluateLowSampleCountPercentile is ignore); {_can_come(alarm, traffic)}. "
            f"{_offer_more(fewest, alarm, traffic)}"
        )
    return None


def _counts(alarm: MetricAlarm, kind: Kind) -> bool:
    """Whether the statistic cannot exceed the number of requests."""
    statistic = _statistic(alarm)
    return (statistic == "Sum" and kind.counts_requests) or (statistic == "SampleCount" and kind.sampled_by_request)


def _too_few(alarm: MetricAlarm, traffic: Traffic) -> str | None:
    needed = needed_of(alarm)
    if traffic.at_most(alarm.period_s) >= needed:
        return None
    return (
        f"{_asked(alarm)} needs {needed:g} bad requests a period; {_can_come(alarm, traffic)}. "
        f"{_offer_more(needed, alarm, traffic)}"
    )


def _can_come(alarm: MetricAlarm, traffic: Traffic) -> str:
    real = format_duration(alarm.period_s / traffic.scale)
    most = traffic.at_most(alarm.period_s)
    return (
        f"at {traffic.arrivals_per_s:g} arrivals/s {traffic.offered(alarm.period_s):g} are expected and at most "
        f"{most:g} can come, canaries and contract included, in the {real} that a period lasts at scale "
        f"{traffic.scale:g}"
    )


def _offer_more(needed: float, alarm: MetricAlarm, traffic: Traffic) -> str:
    rate = math.ceil(needed * traffic.scale / alarm.period_s)
    return f"Offer at least {rate} arrivals/s, or mend the alarm"


def _soonest_fill(alarm: MetricAlarm, traffic: Traffic) -> float:
    kind = _kind(alarm)
    if kind is None or not _is_above(alarm) or not _counts(alarm, kind) or alarm.missing_data == "breaching":
        return 0.0
    return traffic.soonest(needed_of(alarm), alarm.period_s)


def _fill(alarm: MetricAlarm, traffic: Traffic, redrive_s: float | None) -> Stage:
    """The first bad event to the first breaching period; at worst the window fills only by its end."""
    kind, period_s = _kind(alarm), float(alarm.period_s)
    if redrive_s is not None:
        return Stage(redrive_s, redrive_s + _DLQ_POLLING_S)
    if (alarm.namespace, alarm.metric_name) == AGE and _is_above(alarm):
        return Stage(alarm.threshold, alarm.threshold + _GAUGE.worst_s)
    if kind is None and _statistic(alarm) in ("Minimum", "Maximum"):
        return _GAUGE
    if _is_above(alarm) and kind is not None and _counts(alarm, kind):
        typical = fill_of_sum(needed_of(alarm), _BAD_SHARE * traffic.offered(1), period_s)
    elif percent := percentile_of(_statistic(alarm)):
        typical = fill_of_percentile(percent, _BAD_SHARE, period_s)
    else:
        typical = period_s / 2
    return Stage(min(typical, period_s), period_s)


def _range_in_words(alarm: MetricAlarm) -> str:
    looked_at, empty = alarm.evaluation_periods + EXTRA_DATAPOINTS, _empty_periods(alarm)
    periods = f"{empty} of the {looked_at} periods" if empty < looked_at else f"all {looked_at} periods"
    return (
        f"silence rings it only when {periods} of {format_duration(alarm.period_s)} that CloudWatch looks at are "
        f"empty, {format_duration(empty * alarm.period_s)} after the last datapoint"
    )


def _reach(alarm: MetricAlarm, traffic: Traffic) -> str:
    kind = _kind(alarm)
    if kind is not None and _is_above(alarm) and _counts(alarm, kind):
        return f"{_asked(alarm)} needs {needed_of(alarm):g} bad requests a period; {_can_come(alarm, traffic)}"
    if kind is not None and kind.sampled_by_request:
        return f"{_asked(alarm)} depends on how bad requests get; {_can_come(alarm, traffic)}"
    if alarm.namespace == "AWS/Lambda":
        return f"{_asked(alarm)} depends on invocations, and how many a request makes is not known"
    if not alarm.metric_name:
        return f"{_asked(alarm)}: what its expression can reach is not known"
    return f"{_asked(alarm)} does not depend on the number of requests: its reach is not known"


def _sum_in_words(alarm: MetricAlarm, fill: Stage, total: Stage, lags: Lags | None) -> str:
    stages = _stages(alarm, fill, EFFECT, lags).items()
    told = " + ".join(f"{name} {stage.typical_s:.0f}/{stage.worst_s:.0f}" for name, stage in stages)
    typical, worst = (format_duration(round(seconds)) for seconds in (total.typical_s, total.worst_s))
    measured = "" if lags is None else ", with the lags measured here"
    return f"seconds on AWS{measured}, typical/worst: {told} = typically {typical}, at worst {worst}"


def _notes(
    alarm: MetricAlarm, within_s: float, traffic: Traffic, redrive_s: float | None, total: Stage
) -> Iterable[str]:
    if total.worst_s > within_s:
        yield (
            f"at worst it takes {format_duration(round(total.worst_s))} on AWS, "
            f"and `within` is {format_duration(within_s)}"
        )
    if alarm.missing_data != alarm.treat_missing_data == "breaching":
        yield IGNORED
    if alarm.missing_data == "breaching":
        yield _range_in_words(alarm)
    percent = percentile_of(_statistic(alarm))
    if percent is not None:
        fewest = least_samples(alarm.model_copy(update={"evaluate_low_sample_count_percentile": "ignore"}))
        offered = traffic.offered(alarm.period_s)
        if offered < fewest:
            yield f"{_statistic(alarm)} of {offered:g} samples a period is unsteady: {fewest:g} would be enough"
    if redrive_s is not None and redrive_s > within_s:
        yield (
            f"a message is tried for {format_duration(redrive_s)} before it is dead, longer than `within`: "
            "it rings in time only if messages get there in another way"
        )
    if (alarm.namespace, alarm.metric_name) == AGE and _is_above(alarm) and alarm.threshold > within_s:
        yield (
            f"a message that arrives after the injection is {alarm.threshold:g} s old only after "
            f"{format_duration(alarm.threshold)}, later than `within`"
        )
    if alarm.namespace == "AWS/SQS":
        yield "a queue that nobody used for six hours may take 15 minutes to publish its metrics again"


# ------------------------------------------------------------------------------------------------ composite alarms


def forecast_composite(alarm: CompositeAlarm, within_s: float, children: Mapping[str, Forecast]) -> Forecast:
    """Whether a composite alarm can ring, from the forecasts of its children by AlarmName.

    A child without a forecast may be in any state at any time; one that cannot ring is never in ALARM.
    """
    rule = CompositeRule(alarm.alarm_rule)
    names = sorted(rule.children)
    if len(names) > _MOST_CHILDREN:
        return Forecast(feasible=True, detail=f"not judged: its rule has more than {_MOST_CHILDREN} children")
    known = {name: children[name] for name in names if name in children}
    times = [_first_time(rule, names, known, field) for field in ("earliest_s", "typical_s", "worst_s")]
    stuck = [name for name, child in known.items() if not child.feasible]
    why = "; ".join(f"{name} cannot ring: {known[name].detail}" for name in stuck)
    if times[0] is None:
        return Forecast(feasible=False, detail=f"{alarm.alarm_rule} cannot hold: {why}")
    if times[0] > within_s:
        return Forecast(
            feasible=False,
            detail=f"{alarm.alarm_rule} holds after {format_duration(times[0])} at the earliest, "
            f"and `within` is {format_duration(within_s)}",
        )
    unknown = [name for name in names if name not in children]
    return Forecast(
        feasible=True,
        detail=f"{alarm.alarm_rule} can hold" + (f"; not judged: {', '.join(unknown)}" if unknown else ""),
        earliest_s=times[0],
        typical_s=None if unknown else times[1],
        worst_s=None if unknown else times[2],
        notes=tuple(note for child in known.values() for note in child.notes) + ((why,) if why else ()),
    )


def _first_time(rule: CompositeRule, names: list[str], known: Mapping[str, Forecast], field: str) -> float | None:
    """The first time at which the rule can hold, when each child may be in ALARM from its own time on."""
    times = {name: getattr(child, field) for name, child in known.items()}
    for now in sorted({0.0, *(time for time in times.values() if time is not None)}):
        choices = [
            ("OK", "INSUFFICIENT_DATA", "ALARM")
            if name not in times or (times[name] is not None and times[name] <= now)
            else ("OK", "INSUFFICIENT_DATA")
            for name in names
        ]
        if any(rule.holds(dict(zip(names, states, strict=True))) for states in product(*choices)):
            return float(now)
    return None


def forecast_rules(rules: Sequence[AlertRule], within_s: float) -> Forecast:
    """Whether an alert of Prometheus can fire within `within_s`: an expression must hold for its whole `for:`.

    Of several rules that the alarm may stand for the earliest counts. When an expression begins to hold depends on
    what is measured and is not guessed.
    """
    first = min(rules, key=lambda rule: rule.for_s)
    several = f" (the earliest of {len(rules)} rules of this name)" if len(rules) > 1 else ""
    if first.for_s > within_s:
        longest = format_duration(within_s)
        detail = f"its expression must hold for {first.for_} first{several}, which is longer than {longest}"
        return Forecast(feasible=False, detail=detail)
    detail = f"once its expression has held for {first.for_}{several}"
    return Forecast(feasible=True, detail=detail, earliest_s=first.for_s)


def forecast_all(
    wanted: Mapping[str, float],
    alarms: Mapping[str, Definition],
    traffic: Traffic,
    redrives: Mapping[str, float],
    lags: Lags | None = None,
) -> dict[str, Forecast]:
    """Forecasts of the alarms that must ring.

    Args:
        wanted: name of the alarm -> `within` in production seconds
        alarms: every alarm of the system by its name
        traffic: what is offered
        redrives: queue -> production seconds for which a message is tried before it gets there
        lags: measured on the target; None where nothing was

    Raises:
        InvalidInput: the rule of a composite alarm cannot be read.
    """
    by_alarm_name = {alarm.alarm_name: alarm for alarm in alarms.values()}

    def judged(alarm: Definition, within_s: float, above: frozenset[str]) -> Forecast:
        why = only_cloudwatch(alarm)
        if why is not None:
            return Forecast(feasible=True, detail=f"cannot be forecast: {why}")
        if isinstance(alarm, MetricAlarm):
            return forecast(alarm, within_s, traffic, redrives.get(queue_of_depth(alarm) or ""), lags)
        assert isinstance(alarm, CompositeAlarm)  # all others are CloudWatch's alone
        above |= {alarm.alarm_name}
        below = CompositeRule(alarm.alarm_rule).children & by_alarm_name.keys() - above
        known = [name for name in below if only_cloudwatch(by_alarm_name[name]) is None]
        # A child has no deadline of its own: what is too late for the parent is told of the parent.
        children = {name: judged(by_alarm_name[name], math.inf, above) for name in known}
        found = forecast_composite(alarm, within_s, children)
        return replace(found, notes=tuple(dict.fromkeys(found.notes)))

    return {
        name: _told_later(alarms[name], judged(alarms[name], within_s, frozenset()))
        for name, within_s in wanted.items()
    }


def _told_later(alarm: Definition, found: Forecast) -> Forecast:
    """The forecast of an alarm whose actions wait for its suppressor: it rings as soon, and tells later."""
    wait_s = alarm.actions_suppressor_wait_period if isinstance(alarm, CompositeAlarm) else None
    if not wait_s or found.typical_s is None or found.worst_s is None:
        return found
    return replace(found, typical_s=found.typical_s + wait_s, worst_s=found.worst_s + wait_s)
