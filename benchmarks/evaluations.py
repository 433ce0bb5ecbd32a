"""Alarm evaluations a second of a processor, by kind, on a metric that has data in every minute.

As a script it prints them as JSON, of the `tocsin` that is on its path, an older one too: as its sandbox evaluates.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from tocsin.alarms.cloudwatch import AlarmEvaluator, Buckets, metric_key
from tocsin.model.system import MetricAlarm
from tocsin.sandbox.clock import Clock
from tocsin.sandbox.metrics import MetricStore, SystemTime

_BASE = {"AlarmName": "a", "Threshold": 5, "ComparisonOperator": "GreaterThanOrEqualToThreshold"}
_METRIC = {"Namespace": "N", "MetricName": "M"}
_MATH = [
    {"Id": "m1", "MetricStat": {"Metric": _METRIC, "Period": 300, "Stat": "Sum"}, "ReturnData": False},
    {"Id": "m2", "MetricStat": {"Metric": _METRIC, "Period": 300, "Stat": "Sum"}, "ReturnData": False},
    {"Id": "e", "Expression": "100*m1/m2"},
]
KINDS: dict[str, dict[str, Any]] = {
    "Sum, 1 of 1, 300 s": {**_METRIC, "Statistic": "Sum", "Period": 300, "EvaluationPeriods": 1},
    "Sum, 5 of 5, 300 s": {**_METRIC, "Statistic": "Sum", "Period": 300, "EvaluationPeriods": 5},
    "p95, 3 of 5, 60 s": {**_METRIC, "ExtendedStatistic": "p95", "Period": 60, "EvaluationPeriods": 5}
    | {"DatapointsToAlarm": 3},
    "100*m1/m2, 3 of 3, 300 s": {"Metrics": _MATH, "EvaluationPeriods": 3},
}
_HERE = ("123456789012", "ap-southeast-2")
_KEY = metric_key("N", "M", {})
_FIRST_S = 86_400
_MINUTES = 600
_WARM_UP = 60
"""Minutes before the first evaluation: more than any of them looks back."""
_A_MINUTE = 20
"""Samples, of as many values."""
_MEASURED_S = 0.5


def anew(kind: str) -> float:
    """Evaluations a second that sum each period whenever they look at it."""
    alarm, buckets = _alarm(kind), _buckets()
    return _rate(lambda: partial(_evaluate_anew, alarm, buckets))


def once(kind: str) -> float:
    """Evaluations a second, minute after minute, that sum each period once.

    Raises:
        ImportError: this `tocsin` cannot.
    """
    from tocsin.alarms.kept import KeptPeriods

    alarm, buckets = _alarm(kind), _buckets()

    def begin() -> Callable[[int], object]:
        periods = KeptPeriods(buckets, lambda *_: (0, ()))
        return lambda now_s: alarm.evaluate_points("OK", now_s, periods)

    return _rate(begin)


def as_the_sandbox(kind: str) -> float:
    """Evaluations a second, in the way in which the sandbox of this `tocsin` evaluates."""
    try:
        return once(kind)
    except ImportError:
        return anew(kind)


def _alarm(kind: str) -> AlarmEvaluator:
    return AlarmEvaluator(MetricAlarm.model_validate({**_BASE, **KINDS[kind]}))


def _evaluate_anew(alarm: AlarmEvaluator, buckets: Buckets, now_s: int) -> object:
    return alarm.evaluate("OK", now_s, buckets)


def _buckets() -> Buckets:
    """Those of the sandbox's own store."""
    store = MetricStore(SystemTime(Clock(60.0), time.time()))
    for minute in range(_MINUTES):
        wall = store.system_time.wall(_FIRST_S + minute * 60)
        for value in range(_A_MINUTE):
            store.put(_HERE, _KEY, float(value), wall=wall)
    return partial(store.buckets, _HERE)


def _rate(begin: Callable[[], Callable[[int], object]]) -> float:
    """Evaluations a second of a processor, over the recording again and again."""
    done, began = 0, time.process_time()
    while (passed := time.process_time() - began) < _MEASURED_S:
        evaluate = begin()
        for minute in range(_WARM_UP, _MINUTES):
            evaluate(_FIRST_S + minute * 60)
        done += _MINUTES - _WARM_UP
    return done / passed


if __name__ == "__main__":
    print(json.dumps({kind: as_the_sandbox(kind) for kind in KINDS}))
