"""Preflight forecasts with the lags that parity measured on its target, and the history says with which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.stubbed import Stubbed

from tocsin.actors.context import RunContext
from tocsin.aws.target import Target
from tocsin.drill.preflight import _alarms_can_ring
from tocsin.model.events import AlarmForecast
from tocsin.model.experiment import Expect, Experiment, Extension, MustAlarm, RecoveryTarget
from tocsin.model.lags import Lags
from tocsin.model.system import (
    CloudWatchAlarm,
    Endpoint,
    MetricAlarm,
    PrometheusAlarm,
    PrometheusAlert,
    PrometheusServer,
    System,
)
from tocsin.parity.kept import keep
from tocsin.parity.model import Key, Measured, ParityReport
from tocsin.project.histories import read_history
from tocsin.project.places import parity_path
from tocsin.record.history import History

ACCOUNT, REGION = "123456789012", "eu-west-1"
ERRORS: dict[str, Any] = {
    "AlarmName": "errors",
    "Namespace": "Shop",
    "MetricName": "Errors",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 1,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
}


said: list[str] = []
"""What the guard told, each time."""


def measured(region: str) -> ParityReport:
    rows = ((Key.METRIC_LAG, 300.0), (Key.METRIC_LAG, 200.0), (Key.NOTIFICATION_LAG, 90.0))
    return ParityReport(
        target="staging",
        account=ACCOUNT,
        region=region,
        at=5.0,
        version="1",
        systems=(),
        throwaway_at=5.0,
        rows=tuple(Measured(key=key, about="a look", here=here, holds=True) for key, here in rows),
    )


RULES = """
groups:
  - name: shop
    rules:
      - alert: Errors
        expr: sum(rate(errors_total[1m])) > 1
"""


def forecast(root: Path, **on_prometheus: Any) -> AlarmForecast:
    """What the guard records of the one alarm that must ring: one of CloudWatch, where nothing else is given."""
    target = Target("staging", REGION, account=ACCOUNT, access_key_id="x", secret_access_key="x")
    Stubbed(target).answers("cloudwatch", "DescribeAlarms", {"MetricAlarms": []})
    alarm = CloudWatchAlarm(title="Errors", cloudwatch=MetricAlarm.model_validate(ERRORS))
    must = MustAlarm(alarm="errors", within=1200.0, clears_within=720.0)
    extension = Extension(system="shop", expect=Expect(must=(must,), recovery=RecoveryTarget(within=60.0)))
    history = History(root / "history.jsonl")
    ctx = RunContext(
        drill="d",
        root=root,
        directory=root,
        experiment=Experiment(slug="s", path="s.yaml", title="s", method=(), rollbacks=(), extension=extension),
        system=System(
            system="shop",
            title="Shop",
            endpoint=Endpoint(url="http://shop"),
            **({"alarms": {"errors": alarm}} | on_prometheus),
        ),
        target=target,
        history=history,
        base_url="http://shop",
        seed=1,
    )
    try:
        said.append(_alarms_can_ring(ctx))
    finally:
        history.close()
    (found,) = (event for event in read_history(history.path) if isinstance(event, AlarmForecast))
    return found


@pytest.mark.parametrize("region", [None, "us-east-1"], ids=("never measured", "measured in another region"))
def test_without_a_measurement_of_this_target_it_is_an_estimate(tmp_path: Path, region: str | None) -> None:
    if region is not None:
        keep(tmp_path, measured(region))
    found = forecast(tmp_path)
    assert found.lags is None
    assert "measured here" not in found.detail


def test_what_was_measured_is_in_the_forecast_and_in_the_history(tmp_path: Path) -> None:
    before = forecast(tmp_path)
    (tmp_path / "history.jsonl").unlink()
    keep(tmp_path, measured(REGION))
    found = forecast(tmp_path)
    assert found.lags == Lags(measured_at=5.0, metric_s=300.0, notification_s=90.0)
    assert "measured here" in found.detail
    assert (found.worst_s or 0) > (before.worst_s or 0)


def test_an_alarm_of_prometheus_is_not_forecast_with_the_lags_of_cloudwatch(tmp_path: Path) -> None:
    keep(tmp_path, measured(REGION))
    (tmp_path / "rules.yaml").write_text(RULES)
    alarm = PrometheusAlarm(title="Errors", prometheus=PrometheusAlert(alert="Errors"))
    server = PrometheusServer(url="http://127.0.0.1:9", rules="rules.yaml")
    found = forecast(tmp_path, alarms={"errors": alarm}, prometheus=server)
    assert found.feasible
    assert found.lags is None


@pytest.mark.parametrize("text", ["", "{half", '{"target": 1}', "\0"])
def test_what_is_kept_and_damaged_keeps_nobody_from_a_forecast_and_is_named(tmp_path: Path, text: str) -> None:
    keep(tmp_path, measured(REGION))
    parity_path(tmp_path, "staging").write_text(text)
    found = forecast(tmp_path)
    assert found.lags is None
    assert "staging.parity.json is damaged" in said[-1]
