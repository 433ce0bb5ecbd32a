"""Watches the alerts of a system's Prometheus: every transition with the time of the evaluation that made it."""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.actors.base import PollingActor
from tocsin.alarms.prometheus import PrometheusApi, rule_drift, rules_of
from tocsin.context import RunContext
from tocsin.model.events import AlarmChanged, AlarmSeen, AlarmsPolled
from tocsin.model.system import AlarmState, PrometheusAlarm

_LOOK_BACK_S = 300.0
"""Production seconds in which the evaluation that made an alert fire is looked for, once it is seen firing."""


class PrometheusWatcher(PollingActor):
    """Polls `/api/v1/alerts`; asks for the samples of `ALERTS` when a state has changed.

    An alert that fires and clears between two polls of 15 s is not seen: no rule evaluates faster by default.
    https://prometheus.io/docs/prometheus/latest/configuration/configuration/
    """

    def __init__(self, ctx: RunContext) -> None:
        super().__init__("prometheus", ctx)
        assert ctx.system.prometheus is not None
        self._url = ctx.system.prometheus.url
        self._api = PrometheusApi(self._url)
        self._alarms = ctx.system.prometheus_alarms
        self._states: dict[str, AlarmState] = {}
        self._since = ctx.now()

    def look(self) -> None:
        """Read and record every alert once, before the watching starts.

        Raises:
            TargetError: Prometheus did not answer.
        """
        documented = rules_of(self._ctx.root, self._ctx.system)
        # A drill that is refused now never starts what it would have to stop: this connection is not kept.
        with PrometheusApi(self._url) as api:
            found, self._states = api.rules(), api.states(self._alarms)
        for name, state in self._states.items():
            alert = self._alarms[name].prometheus.alert
            drift = rule_drift(documented[alert], found[alert])
            self._history.record(AlarmSeen(at=self._ctx.now(), alarm=name, state=state, definition_drift=drift))

    def poll(self) -> None:
        """Record the transitions since the last poll, and the state of every alert."""
        states = self._api.states(self._alarms)
        for name, after in states.items():
            before = self._states.get(name, after)
            if after != before:
                self._record_change(name, self._alarms[name], before, after)
        self._states |= states
        self._history.record(AlarmsPolled(at=self._ctx.now(), polls=1, states=states))

    def stop(self) -> None:
        """End after a last look, and close the connection."""
        super().stop()
        self._api.close()

    def _record_change(self, name: str, alarm: PrometheusAlarm, before: AlarmState, after: AlarmState) -> None:
        at, breached_at, reason = self._ctx.now(), None, "no instance is firing any more"
        if after == "ALARM":
            firing = [one for one in self._api.alerts() if one.firing and one.belongs_to(alarm.prometheus)]
            fired = [at for at in self._api.fired_at(alarm.prometheus, _LOOK_BACK_S) if at >= self._since]
            at = min(fired, default=at)
            breached_at = min((one.active_at for one in firing), default=None)
            reason = f"{len(firing)} firing: {'; '.join(_labels(one.labels) for one in firing)}"[:1000]
        self._history.record(
            AlarmChanged(at=at, alarm=name, before=before, after=after, breached_at=breached_at, reason=reason)
        )
        self._since = self._ctx.now()


def _labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in labels.items() if name != "alertname")
