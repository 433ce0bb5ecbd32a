"""Alerts of a real Prometheus server, as a drill sees them."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from tests.actors.conftest import Stage

from tocsin.actors.context import RunContext
from tocsin.actors.prometheus_watcher import PrometheusWatcher
from tocsin.alarms.prometheus import AlertRule, load_rules, parse_duration, rule_drift
from tocsin.alarms.prometheus_api import Evaluated, Evaluation, Firing, PrometheusApi
from tocsin.alarms.states import read_states
from tocsin.errors import InvalidInput, SandboxError, TargetError, Unavailable
from tocsin.model.events import AlarmChanged, AlarmSeen, AlarmsPolled
from tocsin.model.system import PrometheusAlarm, PrometheusAlert, PrometheusServer
from tocsin.sandbox.parts.promtool import find_promtool

RULES = {
    "groups": [
        {
            "name": "task",
            "rules": [
                {"alert": "Hot", "expr": "cpu_usage_percent > 80", "for": "1s", "labels": {"severity": "warning"}},
                {"alert": "Hot", "expr": "cpu_usage_percent > 99", "for": "1s", "labels": {"severity": "critical"}},
                {"alert": "Down", "expr": "up == 0", "for": "1h"},
                {"alert": "Broken", "expr": 'label_replace(up, "a", "$1", "job", "(")'},
                {"record": "cpu:highest", "expr": "max_over_time(cpu_usage_percent[3s])"},
                {"alert": "WasHot", "expr": "cpu:highest > 80"},
            ],
        },
        {"name": "seldom", "interval": "1y", "rules": [{"alert": "Late", "expr": "cpu_usage_percent > 80"}]},
    ]
}
# A page that is not scraped within an interval has no values: what rings clears for a moment. So much time it has.
CONFIGURATION = """
global: {{scrape_interval: 1s, evaluation_interval: 200ms}}
rule_files: [rules.yaml]
scrape_configs: [{{job_name: app, static_configs: [{{targets: ["{page}"]}}]}}]
"""


class Page:
    """What Prometheus scrapes."""

    cpu = 40


@pytest.fixture
def page() -> Iterator[tuple[Page, str]]:
    page = Page()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"cpu_usage_percent {page.cpu}\n".encode())

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield page, f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def server(page: tuple[Page, str], tmp_path: Path) -> Iterator[str]:
    """The URL of a real server that scrapes the page."""
    try:
        binary = find_promtool().with_name("prometheus")
    except SandboxError as error:
        pytest.skip(str(error))
    home = tmp_path / "prometheus"
    home.mkdir()
    (home / "rules.yaml").write_text(yaml.safe_dump(RULES))
    (home / "prometheus.yml").write_text(CONFIGURATION.format(page=page[1]))
    # It chooses the port itself: one that was free a moment ago may be somebody else's by now.
    command = [str(binary), "--config.file=prometheus.yml", "--web.listen-address=127.0.0.1:0"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--storage.tsdb.path=data"], cwd=home, stdout=log, stderr=log)
    try:
        until("its port", lambda: bool(listening(process.pid)))
        url = f"http://127.0.0.1:{listening(process.pid)[0]}"
        until("the server", lambda: ready(url))
        with PrometheusApi(url) as api:
            until(
                "the first evaluation",
                lambda: not any(one.error for one in api.evaluations() if one.rule.alert == "Hot"),
            )
        yield url
    finally:
        process.kill()
        process.wait()


def listening(pid: int) -> list[int]:
    found = psutil.Process(pid).net_connections("tcp4")
    return [one.laddr.port for one in found if one.status == psutil.CONN_LISTEN]


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").is_success
    except httpx.HTTPError:
        return False


def ask(url: str) -> None:
    with PrometheusApi(url) as api:
        api.evaluations()


def connections_to(url: str) -> int:
    port = int(url.rpartition(":")[2])
    found = psutil.Process().net_connections("tcp4")
    return sum(1 for one in found if one.raddr and one.raddr.port == port and one.status == psutil.CONN_ESTABLISHED)


def until(what: str, seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not seen():
        assert time.monotonic() < deadline, f"waited 60 s for {what}"
        time.sleep(0.05)


def alarm(alert: str, **labels: str) -> PrometheusAlarm:
    return PrometheusAlarm(title=alert, prometheus=PrometheusAlert(alert=alert, labels=labels))


def watching(ctx: RunContext, root: Path, **alarms: PrometheusAlarm) -> PrometheusWatcher:
    """A watcher of these alarms, whose rules are documented as the server has them."""
    (root / "documented.yaml").write_text(yaml.safe_dump(RULES))
    return PrometheusWatcher(replace(ctx, system=ctx.system.model_copy(update={"alarms": alarms})))


def context(stage: Stage, url: str, root: Path, **documented: str) -> RunContext:
    rules = {"groups": [{"name": "task", "rules": [RULES["groups"][0]["rules"][0] | documented]}]}  # type: ignore[index]
    (root / "documented.yaml").write_text(yaml.safe_dump(rules))
    ctx = stage.context()
    system = ctx.system.model_copy(
        update={
            "prometheus": PrometheusServer(url=url, rules="documented.yaml"),
            "alarms": {"hot": alarm("Hot", severity="warning")},
        }
    )
    return replace(ctx, root=root, system=system, target=replace(ctx.target, scale=60.0))


def test_an_alert_rings_and_clears_at_the_time_of_an_evaluation(
    stage: Stage, page: tuple[Page, str], server: str, tmp_path: Path
) -> None:
    ctx = context(stage, server, tmp_path)
    watcher = PrometheusWatcher(ctx)
    watcher.look()
    assert connections_to(server) == 0
    watcher.start()

    def changes() -> list[AlarmChanged]:
        return [event for event in stage.events() if isinstance(event, AlarmChanged)]

    broken = time.time()
    page[0].cpu = 95
    until("the alert", lambda: len(changes()) >= 1)
    page[0].cpu = 40
    until("its end", lambda: len(changes()) >= 2)
    assert connections_to(server) == 1
    watcher.stop()
    assert connections_to(server) == 0
    rang, cleared = changes()[:2]
    assert (rang.alarm, rang.before, rang.after, cleared.after) == ("hot", "OK", "ALARM", "OK")
    assert "severity=warning" in rang.reason
    assert rang.breached_at is not None
    # `for: 1s` counts from the evaluation at which it became pending; the transition is one evaluation, not a poll.
    # What is scraped and evaluated has the time at which that was due, and may have been seen after it.
    assert broken - 1.5 < rang.breached_at <= rang.at - 1.0 + 0.001
    assert rang.at < cleared.at
    polled = [event for event in stage.events() if isinstance(event, AlarmsPolled)]
    assert {"hot": "ALARM"} in [event.states for event in polled]


def test_an_alert_that_is_over_before_anybody_looked_has_rung(
    stage: Stage, page: tuple[Page, str], server: str, tmp_path: Path
) -> None:
    ctx = context(stage, server, tmp_path)
    watcher = PrometheusWatcher(ctx)
    watcher.look()

    def firing() -> bool:
        with PrometheusApi(server) as api:
            return bool(api.evaluations_of(ctx.system.prometheus_alarms)["hot"].firing)

    page[0].cpu = 95
    until("the alert", firing)
    page[0].cpu = 40
    until("its end", lambda: not firing())
    watcher.poll()
    watcher.poll()
    watcher.stop()
    rang, cleared = (event for event in stage.events() if isinstance(event, AlarmChanged))
    assert (rang.alarm, rang.before, rang.after) == ("hot", "OK", "ALARM")
    assert (cleared.before, cleared.after) == ("ALARM", "OK")
    assert "1 fired, for a moment: " in rang.reason
    assert rang.at < cleared.at


def test_states_and_drift_are_read_from_the_server(stage: Stage, server: str, tmp_path: Path) -> None:
    ctx = context(stage, server, tmp_path, expr="cpu_usage_percent > 70")
    assert read_states(ctx.system, ["hot"], ctx.target) == {"hot": "OK"}
    PrometheusWatcher(ctx).look()
    (seen,) = (event for event in stage.events() if isinstance(event, AlarmSeen))
    assert (seen.state, seen.definition_drift) == (
        "OK",
        ("expr is 'cpu_usage_percent > 80', documented 'cpu_usage_percent > 70'",),
    )


def test_what_is_not_evaluated_is_not_watched(stage: Stage, server: str, tmp_path: Path) -> None:
    hot = alarm("Hot", severity="warning")
    watcher = watching(context(stage, server, tmp_path), tmp_path, hot=hot, broken=alarm("Broken"), late=alarm("Late"))
    watcher.look()

    def polled() -> list[AlarmsPolled]:
        watcher.poll()
        return [event for event in stage.events() if isinstance(event, AlarmsPolled)]

    until("three evaluations", lambda: len(polled()) >= 3)
    seen = {event.alarm: event for event in stage.events() if isinstance(event, AlarmSeen)}
    assert {name: event.state for name, event in seen.items()} == {
        "hot": "OK",
        "broken": "INSUFFICIENT_DATA",
        "late": "INSUFFICIENT_DATA",
    }
    assert seen["late"].not_evaluated == "it was not evaluated yet"
    assert seen["hot"].not_evaluated == ""
    # Nobody has looked at what the late one is about.
    assert {name for event in polled() for name in event.states} == {"hot", "broken"}
    told = {name: why for event in polled() for name, why in event.not_evaluated.items()}
    assert told.keys() == {"broken"}
    assert "invalid regular expression in label_replace(): (" in told["broken"]
    # A poll that finds the evaluation it knows has seen nothing new.
    times = [event.at for event in polled() if "hot" in event.states]
    assert len(set(times)) == len(times)
    watcher.stop()


def test_of_two_rules_of_one_name_the_one_with_the_labels_is_meant(
    stage: Stage, page: tuple[Page, str], server: str, tmp_path: Path
) -> None:
    watcher = watching(
        context(stage, server, tmp_path),
        tmp_path,
        ticket=alarm("Hot", severity="warning"),
        page=alarm("Hot", severity="critical"),
        either=alarm("Hot"),
    )
    watcher.look()
    assert [event.definition_drift for event in stage.events() if isinstance(event, AlarmSeen)] == [(), (), ()]

    def rang() -> set[str]:
        watcher.poll()
        return {event.alarm for event in stage.events() if isinstance(event, AlarmChanged) and event.after == "ALARM"}

    page[0].cpu = 95
    until("the ticket", lambda: rang() == {"ticket", "either"})
    page[0].cpu = 100
    until("the page", lambda: rang() == {"ticket", "either", "page"})
    watcher.stop()


def test_a_rule_on_a_recorded_series_rings_and_clears_with_it(
    stage: Stage, page: tuple[Page, str], server: str, tmp_path: Path
) -> None:
    watcher = watching(context(stage, server, tmp_path), tmp_path, was_hot=alarm("WasHot"))
    watcher.look()

    def changes() -> list[AlarmChanged]:
        watcher.poll()
        return [event for event in stage.events() if isinstance(event, AlarmChanged)]

    page[0].cpu = 95
    until("the alert", lambda: len(changes()) >= 1)
    page[0].cpu = 40
    until("its end", lambda: len(changes()) >= 2)
    rang, cleared = changes()[:2]
    watcher.stop()
    assert (rang.after, cleared.after) == ("ALARM", "OK")
    assert rang.breached_at is not None
    # The recorded maximum remembers for three seconds, whatever the page says by then; a busy machine may evaluate late
    # what it scraped in time. Without the memory it would be over after one or two evaluations, 200 ms each.
    assert cleared.at - rang.breached_at >= 2


def test_a_server_that_is_away_is_said_to_be_away() -> None:
    with socket.socket() as closed:
        # Bound and not listening: nobody else can take it.
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(Unavailable, match=f"asking Prometheus at {url}/api/v1/rules"):
            ask(url)


def test_something_that_is_no_prometheus_is_said_to_be_none(page: tuple[Page, str]) -> None:
    with pytest.raises(TargetError, match="found an answer that is no JSON"):
        ask(f"http://{page[1]}")


def test_an_alert_with_other_labels_is_another_one() -> None:
    firing = Firing({"alertname": "Hot", "service": "a"}, firing=True, active_at=0)
    assert firing.belongs_to(PrometheusAlert(alert="Hot"))
    assert firing.belongs_to(PrometheusAlert(alert="Hot", labels={"service": "a"}))
    assert not firing.belongs_to(PrometheusAlert(alert="Hot", labels={"service": "b"}))
    assert not firing.belongs_to(PrometheusAlert(alert="Cold"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("15s", 15), ("2m", 120), ("1h30m", 5400), ("500ms", 0.5), ("1d", 86400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "1.5h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


def test_spaces_are_no_drift_and_another_for_is() -> None:
    documented = AlertRule.model_validate({"alert": "A", "expr": "a  >\n 1", "for": "2m"})
    assert rule_drift([documented], [AlertRule.model_validate({"alert": "A", "expr": "a > 1", "for": "120s"})]) == ()
    other = AlertRule.model_validate({"alert": "A", "expr": "a > 1", "for": "5m"})
    assert rule_drift([documented], [other]) == ("for is 300 s, documented 120 s",)


@pytest.mark.parametrize(
    "printed",
    [
        'sum by (le) (rate(x{a="b"}[5m])) > 1',
        "sum(rate(x{a='b'}[300s])) by (le)>1",
        'sum(rate(x{a="b"}[5m]))by(le)>1.0',
    ],
)
def test_an_expression_may_be_printed_in_another_form(printed: str) -> None:
    documented = AlertRule.model_validate({"alert": "A", "expr": 'sum by(le) (rate(x{a="b"}[5m])) > 1'})
    assert rule_drift([documented], [AlertRule.model_validate({"alert": "A", "expr": printed})]) == ()


def test_rules_of_one_name_are_compared_each_with_its_own() -> None:
    def rule(severity: str, for_: str) -> AlertRule:
        return AlertRule.model_validate({"alert": "A", "expr": "a > 1", "for": for_, "labels": {"severity": severity}})

    page, ticket = rule("page", "1m"), rule("ticket", "2h")
    assert rule_drift([page, ticket], [ticket, page]) == ()
    assert rule_drift([page, ticket], [ticket]) == ("there is no rule 'a > 1' with {'severity': 'page'}",)
    assert rule_drift([ticket], [ticket, page]) == ("there is a rule 'a > 1' with {'severity': 'page'} too",)
    assert rule_drift([page, ticket], [ticket, rule("page", "5m")]) == ("for is 300 s, documented 60 s",)


def test_an_alarm_is_silent_only_when_all_its_rules_are() -> None:
    def evaluation(at: float, error: str = "", *, firing: bool = False) -> Evaluation:
        rule = AlertRule.model_validate({"alert": "A", "expr": "a"})
        return Evaluation(rule, at, error, (Firing({"alertname": "A"}, firing=True, active_at=1),) if firing else ())

    def of(*evaluations: Evaluation) -> Evaluated:
        return Evaluated(PrometheusAlert(alert="A"), evaluations)

    assert (of(evaluation(10), evaluation(20)).state, of(evaluation(10), evaluation(20)).at) == ("OK", 10)
    assert of(evaluation(10), evaluation(20, "it failed")).state == "INSUFFICIENT_DATA"
    rings = of(evaluation(10, "it failed"), evaluation(20, firing=True))
    assert (rings.state, rings.at) == ("ALARM", 20)


@pytest.mark.parametrize("text", ["groups: 1", "nothing: {}", "a: [", "groups: [{name: a, rules: [{alert: A}]}]"])
def test_a_file_that_is_no_rules_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=r"rules.yaml:\d: .*(expected|unknown name)"):
        load_rules(file)
