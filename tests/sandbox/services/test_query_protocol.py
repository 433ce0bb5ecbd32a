"""Forms of the Query protocol are read as AWS writes them."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.errors import InvalidInput
from tocsin.sandbox.services.cloudwatch.query_protocol import request_of


def test_lists_and_structures_are_put_together_in_order() -> None:
    form: dict[str, Any] = {
        "Action": ["PutMetricAlarm"],
        "Version": "2010-08-01",
        "Period": ["60"],
        "AlarmDescription": "",
        "AlarmActions": "",
        **{f"OKActions.member.{number}": str(number) for number in (10, 2, 1)},
        "Metrics.member.1.MetricStat.Metric.Dimensions.member.1.Name": "desk",
        "Metrics.member.1.Id": "m",
    }
    assert request_of(form) == {
        "Period": "60",
        "AlarmDescription": "",
        "AlarmActions": [],
        "OKActions": ["1", "2", "10"],
        "Metrics": [{"MetricStat": {"Metric": {"Dimensions": [{"Name": "desk"}]}}, "Id": "m"}],
    }


@pytest.mark.parametrize(
    "form",
    [{"A": "1", "A.B": "2"}, {"A.B": "2", "A": "1"}, {"A.member.x": "1"}, {"A.member.1": "1", "A.member.-1": "2"}],
    ids=str,
)
def test_a_form_that_means_two_things_is_refused(form: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        request_of(form)
