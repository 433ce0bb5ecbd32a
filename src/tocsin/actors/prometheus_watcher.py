"""Watches the alerts of a system's Prometheus: every transition with the time of the evaluation that made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tocsin.actors.base import PollingActor
from tocsin.actors.context import RunContext
from tocsin.alarms.prometheus import rule_drift, rules_of
from tocsin.alarms.prometheus_api import Evaluated, Fired, PrometheusApi
from tocsin.alarms.promql import looks_at_time
from tocsin.model.events import AlarmChanged, AlarmSeen, AlarmsPolled
from tocsin.model.system import AlarmState

_LOOK_BACK_S = 300.0
"""Production seconds in which the evaluations are looked for at which an alert fired: more than any pause of polls."""


class PrometheusWatcher(PollingActor):
    """Polls the rules, and the samples of `ALERTS`: they tell when an alert fired, also one that is over.

    What a poll finds is what the last evaluation found, so it is recorded with the time of that evaluation: a server
    that answers and evaluates nothing has not looked at anything.
    """

    def __init__(self, ctx: RunContext) -> None:
        super().__init__("prometheus", ctx)
        assert ctx.system.prometheus is not None
        self._url = ctx.system.prometheus.url
        self._api = PrometheusApi(self._url)
        self._alarms = ctx.system.prometheus_alarms
        self._last: dict[str, Evaluated] = {}
        """What was recorded last of each alarm."""
        self._rang: set[str] = set()
        """Alarms of which no end was recorded since they rang."""
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
            self._last = self._evaluations(api)
        for name, found in self._last.items():
            drift = rule_drift(documented[name], found.rules)
            self._history.record(
                AlarmSeen(
                    at=self._ctx.now(),
                    alarm=name,
                    state=found.state,
                    definition_drift=drift,
                    not_evaluated="" if found.firing else found.error,
                    looks_at_time=any(looks_at_time(rule.expr) for rule in documented[name]),
                )
            )

    def poll(self) -> None:
        """Record the transitions since the last poll, and the state of every alert that was evaluated anew."""
        # First what has fired: what fires from here on is no alert that is over already.
        fired = self._api.fired(_LOOK_BACK_S)
        news = {
            name: found
            for name, found in self._evaluations(self._api).items()
            if found.newest > (self._last[name].newest if name in self._last else 0)
        }
        for name, found in news.items():
            self._record_news(name, found, fired)
        # One of several rules of an alarm may have been evaluated, and all of them only as of a time that is known.
        looked = {
            name: found
            for name, found in news.items()
            if name not in self._last or found.at > self._last[name].at or found.state != self._last[name].state
        }
        self._last |= news
        for at in sorted({found.at for found in looked.values()}):
            self._record_poll(at, {name: found for name, found in looked.items() if found.at == at})

    def stop(self) -> None:
        """End after a last look, and close the connection."""
        super().stop()
        self._api.close()

    def _record_news(self, name: str, found: Evaluated, fired: Sequence[Fired]) -> None:
        before = self._last.get(name, found).state
        if found.state == "ALARM":
            if before != "ALARM":
                self._record_ringing(name, before, found, self._api.fired(_LOOK_BACK_S))
        elif found.state == "INSUFFICIENT_DATA":
            if before != found.state:
                self._record_change(name, before, found, f"it was not evaluated: {found.error}")
        elif before == "ALARM" or name in self._rang:
            self._record_end(name, before, found)
        elif self._news(name, fired):
            self._record_ringing(name, before, found, fired)
            self._record_end(name, "ALARM", found)

    def _record_poll(self, at: float, looked: Mapping[str, Evaluated]) -> None:
        states = {name: found.state for name, found in looked.items()}
        errors = {name: found.error for name, found in looked.items() if found.state == "INSUFFICIENT_DATA"}
        self._history.record(AlarmsPolled(at=at, polls=1, states=states, not_evaluated=errors))

    def _news(self, name: str, fired: Sequence[Fired]) -> list[float]:
        """The evaluations at which an alarm was firing and that were not recorded yet, oldest first."""
        alert = self._alarms[name].prometheus
        return sorted(at for one in fired if one.belongs_to(alert) for at in one.at if at > self._known[name])

    def _record_ringing(self, name: str, before: AlarmState, found: Evaluated, fired: Sequence[Fired]) -> None:
        alert, news, firing = self._alarms[name].prometheus, self._news(name, fired), found.firing
        seen = [one.labels for one in firing] or [one.labels for one in fired if one.belongs_to(alert)]
        state = "firing" if firing else "fired, for a moment"
        reason = f"{len(seen)} {state}: {'; '.join(map(_labels, seen))}"[:1000]
        breached_at = min((one.active_at for one in firing), default=None)
        at = news[0] if news else found.at
        self._rang.add(name)
        self._known[name] = max([self._known[name], *news])
        self._history.record(
            AlarmChanged(at=at, alarm=name, before=before, after="ALARM", breached_at=breached_at, reason=reason)
        )

    def _record_end(self, name: str, before: AlarmState, found: Evaluated) -> None:
        # Every evaluation so far belongs to what has just ended.
        self._known[name] = max([self._known[name], *self._news(name, self._api.fired(_LOOK_BACK_S))])
        self._rang.discard(name)
        self._record_change(name, before, found, "no instance is firing any more")

    def _record_change(self, name: str, before: AlarmState, found: Evaluated, reason: str) -> None:
        self._history.record(
            AlarmChanged(at=found.newest, alarm=name, before=before, after=found.state, reason=reason[:1000])
        )

    def _evaluations(self, api: PrometheusApi) -> dict[str, Evaluated]:
        return api.evaluations_of(self._alarms)


def _labels(labels: Mapping[str, str]) -> str:
    hidden = ("__name__", "alertname", "alertstate")
    return ", ".join(f"{name}={value}" for name, value in labels.items() if name not in hidden)
