"""Random cases: an alarm with what was published, a rule with the states of its alarms, a text to be refused.

A case is made by its seed and number alone. Every case has a feature that it was made for, in turn, so that each of
`FEATURES` gets its share; what else is in it is found by looking at it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from tests.differential import second_alarm
from tests.differential.expressions import FOCUSES, IDS, Writer, text_of
from tests.differential.second_parser import Node, NoSuchExpression
from tests.differential.second_statistics import Published

OPERATORS = (
    "GreaterThanOrEqualToThreshold",
    "GreaterThanThreshold",
    "LessThanThreshold",
    "LessThanOrEqualToThreshold",
)
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
STATES = ("OK", "ALARM", "INSUFFICIENT_DATA")
_DAY_S = 86_400
_UNITS = ("Count", "Seconds", "None")
_NAMESPACES = (*["Shop"] * 8, "AWS/Lambda")
_NO_STATISTICS = (
    *("tm0", "tm101", "tm100", "p0", "p100", "p101", "TM(10%:100%)", "TM(10%:101%)", "TM(:101%)", "TM(0%:50%)"),
    *("TM(%:90%)", "TM(10%:%)", "TM(1:%)", "TM(5:5)", "TM(5%:5%)", "TM(9:1)", "TM(10:90%)", "TM(:)", "WM(:101)"),
    *(
        "PR(:101)",
        "PR(:3%)",
        "PR(1%:)",
        "p1.12345678901",
        "p1.1234567890",
        "IQM1",
        "TC(%:)",
        "ts",
        "p",
        "tm1",
        "wm1",
        "tc100",
    ),
)
"""Some of them are statistics, by a hair."""
_NO_EXPRESSIONS = (
    *(
        "[m1, 2]",
        "[2, m1]",
        "[]",
        "[2]",
        "SUM([])",
        "SUM(3)",
        "ABS(3)",
        "-[m1]",
        "HOUR([m1])",
        "DAY(3)",
        "TIME_SERIES(m1)",
    ),
    *("IF(1, 2, m1)", "IF([m1], m1, 2)", "IF(m1, [m1], 2)", "IF(m1, m2, [m1])", "IF(m1)", "IF(m1, m2, m1, m2)", "IF()"),
    *("FILL(m1)", "FILL(m1, 1, 2)", "FILL(m1, ASC)", "FILL(m1, [m2])", "FILL(3, 1)", "FILL(m1, 'REPEAT')", "FILL()"),
    *("SLICE(m1, 0)", "SLICE([m1], m1)", "SUM(SLICE([m1], 0, m1))", "SLICE([m1])", "SUM(SLICE([m1], 0, 1, 2))"),
    *(
        "SUM(SORT([m1], STDDEV, ASC))",
        "SUM(SORT([m1], AVG, UP))",
        "SUM(SORT([m1], AVG))",
        "SUM(SORT([m1], AVG, ASC, m1))",
    ),
    *("SUM(SORT([m1], m2, ASC))", "SUM(SORT(m1, AVG, ASC))", "SUM(SORT([m1], AVG, ASC, 1, 2))", "FIRST(m1)", "FIRST()"),
    *("PERIOD(m1 + m2) * m1", "PERIOD(3) * m1", "METRIC_COUNT(m1) * m1", "SUM(METRICS(m1))", "SUM(METRICS('a', 'b'))"),
    *("m1 > [m2]", "[m1] AND m2", "m1 > m2 > m1", "m1 = m2", "RATE(m1, m2)", "RATE()", "SUM(m1, m2) * m1", "gone + m1"),
    *("M1", "REPEAT", "m1 + LINEAR", "'m1'", "m1 + 'a'", "SEARCH('x', 'Sum')", "LAMBDA('f')", "NOPE(m1)", "1e999 * m1"),
    *("m1 AND", "()", "m1 m2", "m1 NOT m2", "watched + 1", "m1 ** 2", "2m1", "m1.5", "SUM[m1]", "(m1", "m1)", "m1,m2"),
    "m1".ljust(2048),  # the longest that there may be
)
"""Expressions that look like some, of the wrong kinds or with too few or too many arguments."""
_WORDS = ("(", ")", "[", ",", "+", "m1", "FILL", "SUM", "NOT", "%", '"', "AND", "=", "2", "REPEAT", "M1", "^", "m1.5")


@dataclass(frozen=True)
class AlarmCase:
    """An alarm that is evaluated `ticks` times, from `now_s` on."""

    made_for: str
    definition: Mapping[str, Any]
    published: tuple[Published, ...]
    state: str
    now_s: int
    ticks: int


@dataclass(frozen=True)
class RuleCase:
    """The rule of a composite alarm, and the states of the alarms that there are."""

    made_for: str
    rule: str
    states: Mapping[str, str]


@dataclass(frozen=True)
class SuppressedCase:
    """A composite alarm with a suppressor, second by second."""

    made_for: str
    changes: tuple[int, ...]
    """Seconds at which the composite alarm changes its state."""
    in_alarm: tuple[bool, ...]
    """Of each second, whether the suppressor is in ALARM."""
    wait_s: int
    extension_s: int


Case = AlarmCase | RuleCase | SuppressedCase


class Maker:
    """Makes the cases of one seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def case(self, number: int) -> Case:
        """The case of a number."""
        rng = random.Random(f"{self._seed}:{number}")
        made_for = _TURNS[number % len(_TURNS)]
        return FEATURES[made_for](made_for, rng)

    def cases(self, count: int) -> Iterator[Case]:
        """The first ones."""
        return (self.case(number) for number in range(count))


# ------------------------------------------------------------------------------------------------ alarms


@dataclass
class _Draft:
    """An alarm in the making: what is not asked for is drawn by chance."""

    rng: random.Random
    made_for: str
    definition: dict[str, Any]
    presence: float
    samples: str = "few"
    aligned: bool | None = None
    exactly: int | None = None
    """Samples of each datapoint, all different."""
    counts: tuple[int, ...] = ()
    """Samples of each datapoint, all equal: one of these."""

    @cached_property
    def period_s(self) -> int:
        return second_alarm.period_of(self.definition)

    def done(self) -> AlarmCase:
        rng = self.rng
        tick_s = 10 if self.period_s < 60 else 60
        now_s = rng.randrange(19_300, 21_200) * _DAY_S + rng.randrange(_DAY_S // tick_s) * tick_s
        if self.aligned is not None:
            now_s -= now_s % self.period_s - (0 if self.aligned else tick_s * rng.randrange(1, self.period_s // tick_s))
        case = AlarmCase(
            self.made_for,
            self.definition,
            self._published(now_s),
            rng.choice(STATES),
            now_s,
            rng.choice((1, 1, 2, 3)),
        )
        return replace(case, definition={**self.definition, "Threshold": _threshold(case, rng)})

    def _published(self, now_s: int) -> tuple[Published, ...]:
        rng, found = self.rng, []
        names = {
            query["MetricStat"]["Metric"]["MetricName"]
            for query in self.definition.get("Metrics", ())
            if "MetricStat" in query
        }
        periods = int(self.definition["EvaluationPeriods"]) + 4
        for name in sorted(names or {self.definition["MetricName"]}):
            # Half of the metrics of an expression have gaps of their own; one in ten is silent.
            presence = 0.0 if rng.random() < 0.1 else self.presence
            for age in range(periods, -2, -1):
                if rng.random() < presence:
                    at_s = (
                        now_s - age * self.period_s + rng.choice((0, self.period_s - 1, rng.randrange(self.period_s)))
                    )
                    times = 1 if self.exactly is not None or self.counts else rng.choice((1, 1, 1, 2))
                    found += [self._one(name, at_s) for _ in range(times)]
        return tuple(found)

    def _one(self, name: str, at_s: int) -> Published:
        """In the unit that is asked for, now and then in another one."""
        unit = self.definition.get("Unit") if self.rng.random() < 0.6 else None
        return replace(self._of_no_unit(name, at_s), unit=unit or self.rng.choice(_UNITS))

    def _of_no_unit(self, name: str, at_s: int) -> Published:
        rng = self.rng
        if self.samples == "many" or (self.samples == "sets" and rng.random() < 0.5):
            value = float(rng.randint(0, 9))
            count = rng.choice(self.counts or (1, 5, 10, 20, 50, 100))
            return Published(name, at_s, summary=(float(count), value * count, value, value))
        if self.samples == "sets":
            low, high, count = rng.randint(-2, 5), rng.randint(6, 12), rng.randint(2, 9)
            return Published(name, at_s, summary=(float(count), float(low + high + (count - 2) * 6), low, high))
        if self.exactly is not None:
            return Published(name, at_s, tuple(float(value) for value in rng.sample(range(400), self.exactly)))
        count = rng.choice((1, 1, 2, 3, 5)) if self.samples == "few" else rng.randint(1, 25)
        return Published(name, at_s, tuple(self._value() for _ in range(count)))

    def _value(self) -> float:
        rng = self.rng
        if self.samples == "negative" and rng.random() < 0.3:
            return float(-rng.randint(1, 9))
        if "Metrics" in self.definition and rng.random() < 0.15:
            return float(-rng.randint(1, 9))
        return rng.choice((float(rng.randint(0, 9)), float(rng.randint(0, 9)), float(rng.randint(0, 40)) / 4, 0.0))


def _threshold(case: AlarmCase, rng: random.Random) -> float:
    """Often just the value of a datapoint, otherwise near one; no value that rounding could put on either side."""
    definition = {**case.definition, "Threshold": 0.0}
    try:
        answer = second_alarm.evaluate(definition, case.published, case.state, case.now_s)
    except NoSuchExpression:
        return 1.0
    values = [point[1] for point in answer.points if point is not None]
    if not values:
        return float(rng.randint(0, 5))
    value = rng.choice(values)
    exact = value * 64 == int(value * 64) if abs(value) < 1e9 else False
    if exact and rng.random() < 0.6:
        return value
    return round(value) + rng.choice((-0.503, 0.497, 0.011))


def _draft(made_for: str, rng: random.Random, **given: Any) -> _Draft:
    """An alarm on one metric; `given` are fields of PutMetricAlarm, None where there should be none."""
    periods = int(given.get("EvaluationPeriods") or rng.choice((1, 1, 2, 3, 3, 4, 5)))
    drawn = {
        "AlarmName": "one",
        "Namespace": "Shop",
        "MetricName": IDS[0],
        "Period": rng.choice((60, 60, 60, 300, 300, 120, 10, 30)),
        "Statistic": rng.choice(("SampleCount", "Average", "Sum", "Minimum", "Maximum")),
        "EvaluationPeriods": periods,
        "DatapointsToAlarm": rng.choice((None, rng.randint(1, periods))),
        "ComparisonOperator": rng.choice(OPERATORS),
        "TreatMissingData": rng.choice((None, *TREATMENTS)),
        "Unit": rng.choice((None, None, None, *_UNITS)),
        **given,
    }
    if drawn.get("ExtendedStatistic") is not None:
        drawn["Statistic"] = None
    definition = {name: value for name, value in drawn.items() if value is not None}
    return _Draft(rng, made_for, definition, rng.choice((0.15, 0.4, 0.6, 0.9, 1.0)))


_Make = Callable[[str, random.Random], Case]


def _alarm(**given: Any) -> _Make:
    """An alarm with these fields of PutMetricAlarm, or of the draft."""
    of_draft = {name: given.pop(name) for name in ("presence", "samples", "aligned") if name in given}

    def make(made_for: str, rng: random.Random) -> Case:
        chosen = {name: rng.choice(value) if isinstance(value, tuple) else value for name, value in given.items()}
        draft = _draft(made_for, rng, **chosen)
        for name, value in of_draft.items():
            setattr(draft, name, value)
        return draft.done()

    return make


def _count(needed: Callable[[int], int | None]) -> _Make:
    def make(made_for: str, rng: random.Random) -> Case:
        periods = rng.randint(2, 6)
        return _draft(made_for, rng, EvaluationPeriods=periods, DatapointsToAlarm=needed(periods)).done()

    return make


def _of_samples(statistic: str) -> _Make:
    """A statistic of single values; `#` is a share, `@` a value."""

    def make(made_for: str, rng: random.Random) -> Case:
        low, high = sorted(rng.sample(range(1, 101), 2))
        low, high = rng.choice(((low, high), (low, high), (1, high), (low, 100))) if low < 100 else (low, high)
        a, b = sorted(rng.sample(range(10), 2))
        name = statistic.replace("#1", str(low)).replace("#2", str(high)).replace("@1", str(a)).replace("@2", str(b))
        name = name.replace("#.", f"{min(high, 99)}.{rng.choice((5, 9, 25, 99))}")
        draft = _draft(made_for, rng, ExtendedStatistic=name, Unit=None)
        draft.samples = "some"
        return draft.done()

    return make


def _exact_rank(made_for: str, rng: random.Random) -> Case:
    """As many samples as put the boundary right on one of them, where rounding would lose or win a sample."""
    percent, count = rng.choice(((55, 21), (35, 21), (28, 26), (29, 101), (57, 101), (58, 51), (14, 51), (70, 11)))
    name = rng.choice((f"tm{percent}", f"TC(:{percent}%)", f"TC({percent}%:)", f"TM({percent}%:)", f"TS(:{percent}%)"))
    draft = _draft(made_for, rng, ExtendedStatistic=name, Unit=None, Period=60, EvaluationPeriods=1)
    draft.exactly = count
    return draft.done()


def _low_samples(which: str) -> _Make:
    def make(made_for: str, rng: random.Random) -> Case:
        name, needed = rng.choice(
            (
                ("p50", 20),
                ("p90", 100),
                ("p95", 200),
                ("p10", 100),
                ("p80", 50),
                ("p99", 1000),
                ("p75", 40),
                ("p99.9", 10_000),
            )
        )
        periods = rng.choice((1, 1, 2))
        draft = _draft(
            made_for,
            rng,
            ExtendedStatistic=name,
            EvaluateLowSampleCountPercentile=which,
            Period=60,
            Unit=None,
            EvaluationPeriods=periods,
            DatapointsToAlarm=None,
        )
        draft.samples = "many"
        draft.counts = (needed - 1, needed, needed, needed + 1) if rng.random() < 0.9 else (1, needed // 2)
        if rng.random() < 0.1:
            draft.definition["ExtendedStatistic"] = rng.choice(("p0", "p100"))
        draft.presence = 1.0
        return draft.done()

    return make


def _hourly(made_for: str, rng: random.Random) -> Case:
    """A day in all is still evaluated every minute."""
    day = _DAY_S
    period, periods = rng.choice(((day, 1), (day // 2, 2), (day, 2), (day // 2, 3), (day, 7), (day // 4, 5)))
    return _draft(made_for, rng, Period=period, EvaluationPeriods=periods).done()


# ------------------------------------------------------------------------------------------------ metric math


def _math(focus: str) -> _Make:
    def make(made_for: str, rng: random.Random) -> Case:
        writer = Writer(rng, IDS[: rng.choice((2, 3, 4))])
        return _math_case(made_for, rng, [writer.as_series(*FOCUSES[focus](writer, 3))])

    return make


def _watched_metric(made_for: str, rng: random.Random) -> Case:
    """An alarm by Metrics that watches one of the metrics themselves."""
    case = _math_case(made_for, rng, [Writer(rng, IDS).series(1)])
    assert isinstance(case, AlarmCase)
    metrics = [{**query, "ReturnData": query["Id"] == IDS[0]} for query in case.definition["Metrics"]]
    return replace(case, definition={**case.definition, "Metrics": metrics})


def _two_expressions(made_for: str, rng: random.Random) -> Case:
    writer = Writer(rng, IDS[:2])
    first = rng.choice((writer.series, writer.series, writer.series, writer.array, writer.number))(2)
    return _math_case(made_for, rng, [Writer(rng, ("e1", "m1", "m2")).series(2), first])


def _mixed_periods(made_for: str, rng: random.Random) -> Case:
    case = _math_case(made_for, rng, [Writer(rng, IDS[:2]).series(2)], periods=(60, 300))
    assert isinstance(case, AlarmCase)
    return case


def _math_on_dynamodb(made_for: str, rng: random.Random) -> Case:
    return _math_case(made_for, rng, [Writer(rng, IDS[:2]).series(2)], namespace="AWS/DynamoDB")


def _math_case(
    made_for: str,
    rng: random.Random,
    trees: Sequence[Node],
    *,
    periods: tuple[int, ...] = (),
    namespace: str | None = None,
) -> Case:
    """The last tree is called e1; the first one is watched."""
    period = rng.choice((60, 60, 300, 300, 30, 10, 3600))
    stats = [
        {
            "Id": name,
            "MetricStat": {
                "Metric": {"Namespace": namespace or rng.choice(_NAMESPACES), "MetricName": name},
                "Period": rng.choice(periods) if periods else period,
                "Stat": rng.choice(("Sum", "Average", "Maximum", "SampleCount", "p50")),
            },
            "ReturnData": False,
        }
        for name in IDS
    ]
    texts = [text_of(tree, rng) for tree in trees]
    expressions = [{"Id": "watched", "Expression": texts[0]}]
    expressions += [{"Id": "e1", "Expression": text, "ReturnData": False} for text in texts[1:]]
    metrics = [*stats, *expressions]
    rng.shuffle(metrics)
    beside = dict.fromkeys(("Namespace", "MetricName", "Period", "Statistic", "Unit"))
    return _draft(made_for, rng, **beside, Metrics=metrics).done()


def _spoilt_math(made_for: str, rng: random.Random) -> Case:
    writer = Writer(rng, IDS)
    if rng.random() < 0.5:
        return _math_text(made_for, rng.choice(_NO_EXPRESSIONS))
    if rng.random() < 0.2:  # well-formed, but no time series
        return _math_text(made_for, text_of(rng.choice((writer.number, writer.array))(2), rng))
    text = text_of(writer.series(2), rng)
    tokens = text.replace("(", " ( ").replace(")", " ) ").replace(",", " , ").split()
    at = rng.randrange(len(tokens))
    spoilt = rng.choice(([], [rng.choice(_WORDS)], [tokens[at], rng.choice(_WORDS)]))
    text = " ".join([*tokens[:at], *spoilt, *tokens[at + 1 :]]) or "("
    return _math_text(made_for, text)


def _math_text(made_for: str, text: str) -> Case:
    query = {"Id": "watched", "Expression": text}
    stats = [
        {
            "Id": name,
            "ReturnData": False,
            "MetricStat": {"Metric": {"Namespace": "Shop", "MetricName": name}, "Period": 60, "Stat": "Sum"},
        }
        for name in IDS
    ]
    definition = {
        "AlarmName": "one",
        "Metrics": [*stats, query],
        "EvaluationPeriods": 1,
        "Threshold": 1.0,
        "ComparisonOperator": OPERATORS[0],
    }
    return AlarmCase(made_for, definition, (), "OK", _DAY_S * 20_000, 1)


def _spoilt_statistic(made_for: str, rng: random.Random) -> Case:
    name = rng.choice(
        ("p95", "tm90", "TM(1%:90%)", "PR(:3)", "IQM", "WM(1:2)", "tc0", "TS(2:1)", "p100.5", "TC(:)", "PR(1%:2%)")
    )
    at = rng.randrange(len(name) + 1)
    cut = at + rng.choice((0, 1))
    name = name[:at] + rng.choice(("", "%", "0", ":", "(", "9", ".", "m", "-", ")")) + name[cut:]
    if rng.random() < 0.5:
        name = rng.choice(_NO_STATISTICS)
    return AlarmCase(
        made_for,
        {
            "AlarmName": "one",
            "Namespace": "Shop",
            "MetricName": "m1",
            "ExtendedStatistic": name or "p",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 1.0,
            "ComparisonOperator": OPERATORS[0],
        },
        tuple(Published("m1", _DAY_S * 20_000 - 30, (float(value),)) for value in range(5)),
        "OK",
        _DAY_S * 20_000,
        1,
    )


# ------------------------------------------------------------------------------------------------ rules

_ALARMS = ("a", "b", "c", "d-1", "e f", "g(h)", 'i"j', "gone")
_ARN = "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:"


def _rule(focus: str) -> _Make:
    def make(made_for: str, rng: random.Random) -> Case:
        states = {name: rng.choice(STATES) for name in _ALARMS[:-1]}
        rule = _combined(_RULES[focus](rng), rng, 2)
        return RuleCase(made_for, rule, states)

    return make


def _combined(rule: str, rng: random.Random, depth: int) -> str:
    """The rule among others, so that what binds tighter matters."""
    if not depth or rng.random() < 0.3:
        return rule
    other = rng.choice(tuple(_RULES.values()))(rng)
    pair = [rule, other]
    rng.shuffle(pair)
    joined = f"{pair[0]}{rng.choice((' ', '  ', chr(10)))}{rng.choice(('AND', 'OR'))} {pair[1]}"
    wrapped = rng.choice((joined, joined, f"({joined})", f"NOT ({joined})", f"NOT {joined}"))
    return _combined(wrapped, rng, depth - 1)


def _written(name: str, rng: random.Random) -> str:
    quoted = '"' + name.replace('"', '\\"') + '"'
    if not name.replace("-", "").isalnum():
        return quoted
    return rng.choice((name, name, quoted, f"{_ARN}{name}", f'"{_ARN}{name}"'))


def _state(state: str) -> Callable[[random.Random], str]:
    return lambda rng: f"{state}({_space(rng)}{_written(rng.choice(_ALARMS[:-1]), rng)}{_space(rng)})"


def _space(rng: random.Random) -> str:
    return rng.choice(("", "", " "))


def _at_least(share: bool, negated: str) -> Callable[[random.Random], str]:
    def write(rng: random.Random) -> str:
        names = rng.sample(_ALARMS, rng.randint(1, 6))
        amount = (
            f"{rng.choice((1, 20, 25, 33, 34, 50, 51, 60, 66, 67, 75, 100))}%"
            if share
            else str(rng.randint(1, len(names)))
        )
        listed = f",{_space(rng)}".join(_written(name, rng) for name in names)
        return f"AT_LEAST({amount},{_space(rng)}{negated}{rng.choice(STATES)}, ({listed}))"

    return write


_RULES: Mapping[str, Callable[[random.Random], str]] = {
    "rule ALARM": _state("ALARM"),
    "rule OK": _state("OK"),
    "rule INSUFFICIENT_DATA": _state("INSUFFICIENT_DATA"),
    "rule AND": lambda rng: f"{_state('ALARM')(rng)} AND {_state('OK')(rng)}",
    "rule OR": lambda rng: f"{_state('ALARM')(rng)} OR {_state('OK')(rng)}",
    "rule NOT": lambda rng: f"NOT {_state('ALARM')(rng)}",
    "rule TRUE and FALSE": lambda rng: rng.choice(("TRUE", "FALSE")),
    "rule AT_LEAST of a number": _at_least(False, ""),
    "rule AT_LEAST of a share": _at_least(True, ""),
    "rule AT_LEAST with NOT": lambda rng: _at_least(rng.random() < 0.5, "NOT ")(rng),
    "rule about an alarm that is not there": lambda rng: f"{rng.choice(STATES)}(gone)",
}


def _spoilt_rule(made_for: str, rng: random.Random) -> Case:
    states = dict.fromkeys(_ALARMS[:3], "OK")
    if rng.random() < 0.4:
        return RuleCase(made_for, rng.choice(_LIMITS)(rng.choice((-1, 0, 1))), states)
    tokens = (
        _combined(rng.choice(tuple(_RULES.values()))(rng), rng, 2).replace("(", " ( ").replace(")", " ) ").split(" ")
    )
    at = rng.randrange(len(tokens))
    word = rng.choice(("(", ")", ",", "AND", "OR", "NOT", "ALARM", "0", "7", "101%", '"', "a", "AT_LEAST"))
    spoilt = rng.choice(([], [word], [tokens[at], word]))
    return RuleCase(made_for, " ".join([*tokens[:at], *spoilt, *tokens[at + 1 :]]), states)


def _suppressed(wait: Sequence[int], extension: Sequence[int], share: float) -> _Make:
    def make(made_for: str, rng: random.Random) -> Case:
        in_alarm, now = [], rng.random() < 0.2
        for _ in range(30):
            now = (not now) if rng.random() < share else now
            in_alarm.append(now and share > 0)
        changes = tuple(at for at in range(30) if rng.random() < rng.choice((0.05, 0.15)))
        return SuppressedCase(made_for, changes, tuple(in_alarm), rng.choice(wait), rng.choice(extension))

    return make


_LIMITS: Sequence[Callable[[int], str]] = (
    lambda by: " OR ".join(f"OK(n{number})" for number in range(100 + by)),
    lambda by: " AND ".join(["TRUE"] * (500 + by)),
    lambda by: " OR ".join(["(FALSE)"] * 166 + ["FALSE", "TRUE", "TRUE"][: 2 + by]),
    lambda by: " OR ".join(["OK(a)"] * (500 + by)),
    lambda by: f"AT_LEAST({100 + by}%, OK, (a, b))",
    lambda by: f"AT_LEAST({1 + by}%, OK, (a, b))",
    lambda by: f"AT_LEAST({2 + by}, OK, (a, b))",
    lambda by: f"AT_LEAST({1 + by}, OK, (a, b))",
)
"""Rules right below a limit of CloudWatch, on it and above it."""


# ------------------------------------------------------------------------------------------------ the list

FEATURES: Mapping[str, _Make] = {
    **{f"operator {name}": _alarm(ComparisonOperator=name) for name in OPERATORS},
    **{f"missing data: {name}": _alarm(TreatMissingData=name, presence=0.35) for name in TREATMENTS},
    "missing data: not said": _alarm(TreatMissingData=None, presence=0.35),
    "M of N": _count(lambda periods: periods - 1),
    "1 of N": _count(lambda periods: 1),
    "N of N": _count(lambda periods: None),
    "evaluation range beyond N": _alarm(EvaluationPeriods=(1, 2, 3), presence=0.5),
    **{f"statistic {name}": _alarm(Statistic=name) for name in ("SampleCount", "Average", "Sum", "Minimum", "Maximum")},
    "statistic pNN": _of_samples("p#2"),
    "statistic pNN.N": _of_samples("p#."),
    **{f"statistic {name}NN": _of_samples(f"{name}#2") for name in ("tm", "wm", "tc", "ts")},
    **{f"statistic {name} of per cent": _of_samples(f"{name}(#1%:#2%)") for name in ("TM", "WM", "TC", "TS")},
    **{f"statistic {name} of values": _of_samples(f"{name}(@1:@2)") for name in ("TM", "WM", "TC", "TS")},
    "statistic with one bound": lambda made_for, rng: _of_samples(
        rng.choice(("TM(:#2%)", "TM(#1%:)", "WM(@1:)", "WM(:#2%)", "TC(@1:)", "TS(:@2)", "TC(#1%:)", "PR(@1:)"))
    )(made_for, rng),
    "statistic PR": lambda made_for, rng: _of_samples(rng.choice(("PR(:@2)", "PR(@1:@2)", "PR(@1:)")))(made_for, rng),
    "statistic at an exact rank": _exact_rank,
    "statistic IQM": _of_samples("IQM"),
    "statistic sets": _alarm(samples="sets", ExtendedStatistic=("p90", None, "tm50", "TC(1:5)")),
    "negative values": _alarm(samples="negative", ExtendedStatistic=("p90", None, "tm50", "WM(1:5)", "PR(:3)")),
    "few samples: ignore": _low_samples("ignore"),
    "few samples: evaluate": _low_samples("evaluate"),
    **{f"period {period}": _alarm(Period=period) for period in (10, 20, 30, 60)},
    "window that slides": _alarm(Period=(120, 300, 3600), aligned=False),
    "window on the clock": _alarm(Period=(120, 300, 3600), aligned=True),
    "window over a day, hourly": _hourly,
    "Unit": _alarm(Unit=_UNITS),
    "DynamoDB: missing data": _alarm(Namespace="AWS/DynamoDB", Period=(60, 300), presence=0.35),
    "DynamoDB: metric math": _math_on_dynamodb,
    "metrics of AWS at high resolution": _alarm(Namespace="AWS/Lambda", Period=(10, 30, 60)),
    **{name: _math(name) for name in FOCUSES},
    "math of an expression": _two_expressions,
    "math beside a metric that is watched": _watched_metric,
    "math of several periods": _mixed_periods,
    **{name: _rule(name) for name in _RULES},
    "suppressor: wait period": _suppressed((1, 2, 5), (0, 3), 0.1),
    "suppressor: extension period": _suppressed((0, 2), (1, 3, 6), 0.2),
    "suppressor: no periods": _suppressed((0,), (0,), 0.2),
    "suppressor that stays out of ALARM": _suppressed((0, 2, 4), (0, 3), 0.0),
    "refused expressions": _spoilt_math,
    "refused statistics": _spoilt_statistic,
    "refused rules": _spoilt_rule,
}

_TURNS = (
    *FEATURES,
    *(
        name
        for name in FEATURES
        if name.startswith(("stat", "few", "refused", "suppressor", "rule AT", "rule about", "Dyn"))
    ),
    *(
        "negative values",
        "period 20",
        "Unit",
        "window over a day, hourly",
        "metrics of AWS at high resolution",
        "math of an expression",
        "math beside a metric that is watched",
        "math of several periods",
    ),
    *(["refused statistics"] * 4),
    *(["refused rules", "refused expressions", "statistic tmNN"] * 2),
)
"""What is found in no other cases has two turns, and what has many borders more."""
