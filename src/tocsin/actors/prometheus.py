"""Watches the alerts of a system's Prometheus: every transition with the time of the evaluation that made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tocsin.actors.base import PollingActor
from tocsin.alarms.prometheus import Evaluation, Fired, PrometheusApi, rule_drift, rules_of
from tocsin.context import RunContext
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
        self._last: dict[str, Evaluation] = {}
        """The last evaluation of each alarm that was recorded."""
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
        for name, evaluation in self._last.items():
            drift = rule_drift(documented[self._alarms[name].prometheus.alert], evaluation.rule)
            state = self._state(name, evaluation)
            self._history.record(AlarmSeen(at=self._ctx.now(), alarm=name, state=state, definition_drift=drift))

    def poll(self) -> None:
        """Record the transitions since the last poll, and the state of every alert that was evaluated anew."""
        # First what has fired: what fires from here on is no alert that is over already.
        fired = self._api.fired(_LOOK_BACK_S)
        news = {
            name: evaluation
            for name, evaluation in self._evaluations(self._api).items()
            if name not in self._last or evaluation.at > self._last[name].at
        }
        for name, evaluation in news.items():
            after = self._state(name, evaluation)
            before = self._state(name, self._last.get(name, evaluation))
            if after == "ALARM" and before != after:
                self._record_ringing(name, before, evaluation, self._api.fired(_LOOK_BACK_S))
            elif before == "ALARM" and after != before:
                self._record_end(name, evaluation)
            elif after == "OK" and self._news(name, fired):
                self._record_ringing(name, before, evaluation, fired)
                self._record_end(name, evaluation)
        self._last |= news
        for at in sorted({evaluation.at for evaluation in news.values()}):
            states = {name: self._state(name, one) for name, one in news.items() if one.at == at}
            self._history.record(AlarmsPolled(at=at, polls=1, states=states))

    def stop(self) -> None:
        """End after a last look, and close the connection."""
        super().stop()
        self._api.close()

    def _news(self, name: str, fired: Sequence[Fired]) -> list[float]:
        """The evaluations at which an alarm was firing and that were not recorded yet, oldest first."""
        alert = self._alarms[name].prometheus
        return sorted(at for one in fired if one.belongs_to(alert) for at in one.at if at > self._known[name])

    def _record_ringing(self, name: str, before: AlarmState, evaluation: Evaluation, fired: Sequence[Fired]) -> None:
        alert, news = self._alarms[name].prometheus, self._news(name, fired)
        firing = evaluation.firing(alert)
        seen = [one.labels for one in firing] or [one.labels for one in fired if one.belongs_to(alert)]
        state = "firing" if firing else "fired, for a moment"
        reason = f"{len(seen)} {state}: {'; '.join(map(_labels, seen))}"[:1000]
        breached_at = min((one.active_at for one in firing), default=None)
        at = news[0] if news else evaluation.at
        self._known[name] = max([self._known[name], *news])
        self._history.record(
            AlarmChanged(at=at, alarm=name, before=before, after="ALARM", breached_at=breached_at, reason=reason)
        )

    def _record_end(self, name: str, evaluation: Evaluation) -> None:
        # Every evaluation so far belongs to what has just ended.
        self._known[name] = max([self._known[name], *self._news(name, self._api.fired(_LOOK_BACK_S))])
        reason = "no instance is firing any more"
        self._history.record(AlarmChanged(at=evaluation.at, alarm=name, before="ALARM", after="OK", reason=reason))

    def _evaluations(self, api: PrometheusApi) -> dict[str, Evaluation]:
        """The last evaluation of each alarm; none of an alarm that could not be evaluated."""
        return {name: one for name, one in api.evaluations_of(self._alarms).items() if not one.error}

    def _state(self, name: str, evaluation: Evaluation) -> AlarmState:
        return evaluation.state(self._alarms[name].prometheus)


def _labels(labels: Mapping[str, str]) -> str:
    hidden = ("__name__", "alertname", "alertstate")
    return ", ".join(f"{name}={value}" for name, value in labels.items() if name not in hidden)
