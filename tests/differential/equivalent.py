"""Mutants that change nothing which anybody could see, each with the reason."""

from __future__ import annotations

from collections.abc import Mapping

_BOTH_REFUSED = "refused either way; by whom, by CloudWatch or only here, tests/alarms/test_evaluable.py tells"

EQUIVALENT: Mapping[str, str] = {
    "metric_functions.py, the module: False -> True (number 5)": "a missing value that counts as 0 changes no SUM",
    "statistics.py, percentile: 9 -> 10": "rounds away what is no rank, as well",
    "statistics.py, _at_rank: 0 -> 1": "the value for a rank beyond the last sample, which nobody asks for",
    "metric_math.py, the module: 2048 -> 2049": "the model refuses a longer expression before anybody reads it",
    "metric_math.py, __init__: 0 -> 1": "a limit of our own, which keeps clear of Python's",
    "metric_math.py, __init__: False -> True": "all metrics are read before the first expression, in whatever order",
    "metric_math.py, metrics: True -> False": "all metrics are read before the first expression, in whatever order",
    "metric_math.py, of: 1 -> 2": "a limit of our own, which keeps clear of Python's",
    "metric_math.py, of: 1 -> 2 (number 2)": "a limit of our own, which keeps clear of Python's",
    "metric_math.py, of: self._depth > _DEEPEST -> self._depth >= _DEEPEST": (
        "a limit of our own, which keeps clear of Python's"
    ),
    "metric_math.py, the module: 100 -> 101": "a limit of our own, which keeps clear of Python's",
    "metric_math.py, _call: InvalidInput if name in _IN_NO_ALARM else NotEvaluated -> "
    "InvalidInput if not name in _IN_NO_ALARM else NotEvaluated": _BOTH_REFUSED,
    "metric_math.py, _call: name in _IN_NO_ALARM -> name not in _IN_NO_ALARM": _BOTH_REFUSED,
    "metric_math.py, series: value[0] if value else {} -> value[0] if not value else {}": (
        "an alarm on an array is refused"
    ),
    "metric_math.py, series: 0 -> 1": "an alarm on an array is refused",
    "cloudwatch.py, the module: 86400 -> 86401": "no Period times EvaluationPeriods lies between",
    "cloudwatch.py, order_of: any -> all": "all metrics are read before the first expression, in whatever order",
    "cloudwatch.py, series: min -> max": "the samples of metric math decide nothing",
    "cloudwatch.py, series: 0.0 -> 1.0": "the samples of metric math decide nothing",
    "cloudwatch.py, judge: len(real) >= evaluation_periods -> len(real) > evaluation_periods": (
        "where as many are real as are asked for, none is filled in"
    ),
    "cloudwatch.py, least_samples: 6 -> 7": "rounds away what is no sample, as well",
}
