"""Watches the alerts of a system's Prometheus: every transition with the time of the evaluation that made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tocsin.actors.base import PollingActor
from tocsin.alarms.prometheus import Fired, PrometheusApi, rule_drift, rules_of
from tocsin.context import RunContext
from tocsin.model.events import AlarmChanged, AlarmSeen, AlarmsPolled
from tocsin.model.system import AlarmState

_LOOK_BACK_S = 300.0
"""Production seconds in which the evaluations are looked for at which an alert fired: more than any pause of polls."""


class PrometheusWatcher(PollingActor):
    """Polls `/api/v1/alerts`, and the samples of `ALERTS`: they tell when an alert fired, also one that is over."""

    def __init__(self, ctx: RunContext) -> None:
        super().__init__("prometheus", ctx)
        assert ctx.system.prometheus is not None
        self._url = ctx.system.prometheus.url
        self._api = PrometheusApi(self._url)
        self._alarms = ctx.system.prometheus_alarms
        self._states: dict[str, AlarmState] = {}
        self._known = dict.fromkeys(self._alarms, ctx.now())
        """Epoch seconds of the newest evaluation of each alarm that was recorded as ringing."""

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
        # First what has fired: what fires from here on is no alert that is over already.
        fired = self._api.fired(_LOOK_BACK_S)
        states = self._api.states(self._alarms)
        for name, after in states.items():
            before = self._states.get(name, after)
            if after == "ALARM" and before != after:
                self._record_ringing(name, before, self._api.fired(_LOOK_BACK_S))
            elif before == "ALARM" and after != before:
                self._record_end(name, after)
            elif after == "OK" and self._news(name, fired):
                self._record_ringing(name, before, fired)
                self._record_end(name, after)
        self._states |= states
        self._history.record(AlarmsPolled(at=self._ctx.now(), polls=1, states=states))

    def stop(self) -> None:
        """End after a last look, and close the connection."""
        super().stop()
        self._api.close()

    def _news(self, name: str, fired: Sequence[Fired]) -> list[float]:
        """The evaluations at which an alarm was firing and that were not recorded yet, oldest first."""
        alert = self._alarms[name].prometheus
        return sorted(at for one in fired if one.belongs_to(alert) for at in one.at if at > self._known[name])

    def _record_ringing(self, name: str, before: AlarmState, fired: Sequence[Fired]) -> None:
        alert, news = self._alarms[name].prometheus, self._news(name, fired)
        firing = [one for one in self._api.alerts() if one.firing and one.belongs_to(alert)]
        seen = [one.labels for one in firing] or [one.labels for one in fired if one.belongs_to(alert)]
        state = "firing" if firing else "fired, for a moment"
        reason = f"{len(seen)} {state}: {'; '.join(map(_labels, seen))}"[:1000]
        breached_at = min((one.active_at for one in firing), default=None)
        at = news[0] if news else self._ctx.now()
        self._known[name] = max([self._known[name], *news])
        self._history.record(
            AlarmChanged(at=at, alarm=name, before=before, after="ALARM", breached_at=breached_at, reason=reason)
        )

    def _record_end(self, name: str, after: AlarmState) -> None:
        # Every evaluation so far belongs to what has just ended.
        self._known[name] = max([self._known[name], *self._news(name, self._api.fired(_LOOK_BACK_S))])
        reason = "no instance is firing any more"
        self._history.record(AlarmChanged(at=self._ctx.now(), alarm=name, before="ALARM", after=after, reason=reason))


def _labels(labels: Mapping[str, str]) -> str:
    hidden = ("__name__", "alertname", "alertstate")
    return ", ".join(f"{name}={value}" for name, value in labels.items() if name not in hidden)
