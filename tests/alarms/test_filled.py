"""What has a value for every period, whatever was published: by the words of the page, and by the evaluator."""

from __future__ import annotations

import random
from itertools import product

import pytest
from tests.differential.expressions import IDS, Writer, text_of

from tocsin.alarms.filled import is_filled
from tocsin.alarms.metric_functions import Grid, Inputs, Series
from tocsin.alarms.metric_math import compile_expression
from tocsin.errors import InvalidInput

ALWAYS = (
    *(
        "FILL(m1, 0)",
        "100 * FILL(m1, 0) / 60",
        "SUM(FILL(METRICS(), 0))",
        "FILL(FILL(m1, 0), REPEAT)",
        "m2 + FILL(m1, 0)",
    ),
    *(
        "FILL(m1, FILL(m2, 1))",
        "-FILL(m1, 1) > 3",
        "MAX(FILL([m1, m2], 0))",
        "FIRST(FILL([m1], 1))",
        "HOUR(m1)",
        "f + m1",
    ),
    *("IF(FILL(m1, 0) > 1, m2, FILL(m2, 0))", "TIME_SERIES(DATAPOINT_COUNT(m1))", "CEIL(FILL(m1, 0))", "m1 OR f"),
    *("RUNNING_SUM(FILL(m1, 0))", "TIME_SERIES(METRIC_COUNT([m1]))", "FILL(m1, PERIOD(m1))", "f * AVG(f)"),
)
NOT_ALWAYS = (
    *("m1", "m1 + m2", "100 * FILL(m1, 0) / m2", "FILL(m1, m2)", "FILL(m1, AVG(m2))", "FILL(m1, REPEAT)", "1 + m1"),
    *("FILL(m1, LINEAR)", "IF(FILL(m1, 0), 1)", "IF(m1, 1, 0)", "LOG(FILL(m1, 0))", "RATE(FILL(m1, 0))", "AVG(m2) * f"),
    *('SUM(FILL(METRICS("no"), 0))', "FILL(m1, 0) ^ 0.5", "TIME_SERIES(MAX(m1))", "FILL(m1, 0) / 0", "MIN([m1, m2])"),
)


@pytest.mark.parametrize(
    ("expression", "always"), [*((one, True) for one in ALWAYS), *((one, False) for one in NOT_ALWAYS)]
)
def test_what_has_a_value_for_every_period_whatever_was_published(expression: str, always: bool) -> None:
    compiled, grid = compile_expression(expression), Grid(0, 60, 3)
    published: tuple[dict[int, float], ...] = ({}, {60: -1.0}, {0: 2.0, 120: 0.0}, {0: 1.0, 60: 5.0, 120: 0.0})
    whole = []
    for m1, m2 in product(published, repeat=2):
        series = {"m1": m1, "m2": m2, "f": {0: 4.0, 60: 0.0, 120: 1.0}}
        found = compiled.series(Inputs(grid, series, ("m1", "m2"), {"m1": 60, "m2": 60}))
        whole.append(len(found) == grid.count)
    assert is_filled(expression, {"f"}) is always
    assert all(whole) is always


def test_nothing_is_called_filled_in_which_the_evaluator_leaves_a_gap() -> None:
    rng, grid, filled = random.Random(20261129), Grid(0, 60, 5), 0
    for _ in range(3000):
        text = text_of(Writer(rng, IDS).series(3), rng)
        try:
            compiled = compile_expression(text)
        except InvalidInput:
            continue
        if not is_filled(text):
            continue
        filled += 1
        for share in (0.0, 0.5, 1.0):
            series: dict[str, Series] = {
                name: {at: float(rng.choice((0, 1, 2, -3))) for at in grid.starts if rng.random() < share}
                for name in IDS
            }
            found = compiled.series(Inputs(grid, series, IDS, dict.fromkeys(IDS, 60)))
            assert len(found) == grid.count, text
    assert filled > 200
