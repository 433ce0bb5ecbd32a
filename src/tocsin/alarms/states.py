"""The states of documented alarms, whoever evaluates them."""

from __future__ import annotations

from collections.abc import Iterable

from tocsin.alarms.deploy import describe_alarms
from tocsin.alarms.prometheus import PrometheusApi
from tocsin.model.system import AlarmState, System
from tocsin.target import Target


def read_states(system: System, names: Iterable[str], target: Target) -> dict[str, AlarmState]:
    """State of each named alarm of a resolved system that exists; a pending alert of Prometheus is OK still.

    Raises:
        TargetError: CloudWatch or Prometheus did not answer.
    """
    wanted = list(names)
    on_cloudwatch = {name: alarm for name, alarm in system.cloudwatch_alarms.items() if name in wanted}
    described = describe_alarms(on_cloudwatch.values(), target)
    found: dict[str, AlarmState] = {
        name: described[alarm.cloudwatch.alarm_name]["StateValue"]
        for name, alarm in on_cloudwatch.items()
        if alarm.cloudwatch.alarm_name in described
    }
    on_prometheus = {name: alarm for name, alarm in system.prometheus_alarms.items() if name in wanted}
    if on_prometheus and system.prometheus is not None:
        with PrometheusApi(system.prometheus.url) as api:
            evaluations = api.evaluations_of(on_prometheus)
        found |= {name: one.state(on_prometheus[name].prometheus) for name, one in evaluations.items()}
    return {name: found[name] for name in wanted if name in found}
