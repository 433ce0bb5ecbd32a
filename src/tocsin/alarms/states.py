"""The states of documented alarms, whoever evaluates them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tocsin.alarms.prometheus_api import PrometheusApi
from tocsin.aws.cloudwatch import describe_alarms
from tocsin.aws.target import Target
from tocsin.model.system import AlarmState, System


@dataclass(frozen=True)
class Reading:
    """What a documented alarm is in, and since when it is defined as it is."""

    state: AlarmState
    defined_at: float | None = None
    """Epoch seconds; None where that is not told: of Prometheus' alerts."""


def read_states(system: System, names: Iterable[str], target: Target) -> dict[str, AlarmState]:
    """State of each named alarm of a resolved system that exists; a pending alert of Prometheus is OK still.

    Raises:
        TargetError: CloudWatch or Prometheus did not answer.
    """
    return {name: reading.state for name, reading in read_alarms(system, names, target).items()}


def read_alarms(system: System, names: Iterable[str], target: Target) -> dict[str, Reading]:
    """Each named alarm of a resolved system that exists; a pending alert of Prometheus is OK still.

    Raises:
        TargetError: CloudWatch or Prometheus did not answer.
    """
    wanted = list(names)
    on_cloudwatch = {name: alarm for name, alarm in system.cloudwatch_alarms.items() if name in wanted}
    described = describe_alarms(on_cloudwatch.values(), target)
    found = {
        name: _reading(described[alarm.cloudwatch.alarm_name])
        for name, alarm in on_cloudwatch.items()
        if alarm.cloudwatch.alarm_name in described
    }
    on_prometheus = {name: alarm for name, alarm in system.prometheus_alarms.items() if name in wanted}
    if on_prometheus and system.prometheus is not None:
        with PrometheusApi(system.prometheus.url) as api:
            evaluations = api.evaluations_of(on_prometheus)
        found |= {name: Reading(one.state) for name, one in evaluations.items()}
    return {name: found[name] for name in wanted if name in found}


def _reading(described: Mapping[str, Any]) -> Reading:
    defined = described.get("AlarmConfigurationUpdatedTimestamp")
    return Reading(described["StateValue"], None if defined is None else defined.timestamp())
