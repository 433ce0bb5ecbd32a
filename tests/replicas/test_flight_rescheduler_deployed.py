"""The replica of Flight Rescheduler in a sandbox: from bad weather to a proposal, a mail and a message on a stream."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.secret_scan import watched
from tests.waiting import SOON_S, eventually

from tocsin.aws.dashboards import gaps_of, read_widgets
from tocsin.project.documents import load_system
from tocsin.project.event_streams import EventStream
from tocsin.sandbox import control
from tocsin.sandbox.account import Account

# One sandbox for all of them, and not one for each worker.
pytestmark = pytest.mark.xdist_group("flight-rescheduler")

REPOSITORY = Path(__file__).parents[2]
SYSTEM = "flight-rescheduler"
SCALE = 240
"""Fast, for what is waited for is mostly production time: three receives and two evaluations of an alarm."""
STREAM, PROBE = "/api/notifications/stream", "/api/notifications/probe"
STORMY = "EHAM"


class Deployed:
    """The deployed system as its users and operators see it."""

    def __init__(self, account: Account) -> None:
        self.account = account
        balancer = account.client("elbv2").describe_load_balancers(Names=["flight-rescheduler-alb"])["LoadBalancers"][0]
        self.http = httpx.Client(base_url=f"http://{balancer['DNSName']}", timeout=60)

    def log_in(self, name: str) -> dict[str, str]:
        secret = self.account.client("secretsmanager").get_secret_value(SecretId=f"flight-rescheduler/synthetic-{name}")
        answer = self.http.post("/auth/login", json=json.loads(secret["SecretString"])).json()
        return {"Authorization": f"Bearer {answer['token']}"}

    def flights(self, who: dict[str, str], origin: str) -> list[str]:
        flights = self.http.get("/api/flights", headers=who).json()["flights"]
        return [flight["id"] for flight in flights if flight["origin"] == origin]

    def book(self, who: dict[str, str], flight: str) -> str:
        answer = self.http.post("/api/bookings", json={"flightId": flight}, headers=who)
        assert answer.status_code == 201
        return str(answer.json()["id"])

    def proposals(self, who: dict[str, str], booking: str) -> list[dict[str, Any]]:
        listed = self.http.get("/api/proposals", headers=who).json()["proposals"]
        return [proposal for proposal in listed if proposal["bookingId"] == booking]

    def check_weather(self) -> dict[str, int]:
        answer = self.account.client("lambda").invoke(FunctionName="weather-monitor-production", Payload=b"{}")
        said: dict[str, int] = json.loads(answer["Payload"].read())
        return said

    def events(self, function: str, event: str, **fields: str) -> list[dict[str, Any]]:
        """Lines of a function's log with this event and these fields."""
        pages = (
            self.account.client("logs")
            .get_paginator("filter_log_events")
            .paginate(logGroupName=f"/aws/lambda/{function}-production")
        )
        messages = [entry["message"].strip() for page in pages for entry in page["events"]]
        lines = [json.loads(message) for message in messages if message.startswith("{")]
        return [line for line in lines if line["event"] == event and fields.items() <= line.items()]

    def queue(self, name: str) -> str:
        return str(self.account.client("sqs").get_queue_url(QueueName=f"{name}-production")["QueueUrl"])

    def depth(self, name: str) -> int:
        asked = ["ApproximateNumberOfMessages"]
        answer = self.account.client("sqs").get_queue_attributes(QueueUrl=self.queue(name), AttributeNames=asked)
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    def send(self, body: str) -> None:
        self.account.client("sqs").send_message(QueueUrl=self.queue("weather-alerts"), MessageBody=body)

    def mails(self, booking: str) -> list[tuple[str, ...]]:
        return [mail.to for mail in self.account.mails() if booking in mail.text]

    def alarm(self, name: str) -> dict[str, Any]:
        found = self.account.client("cloudwatch").describe_alarms(AlarmNames=[f"{name}-production"])["MetricAlarms"]
        (alarm,) = found
        return dict(alarm)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    root = tmp_path_factory.mktemp("project")
    for name in ("contracts", "loadtests", "replicas", "synthetics", "systems"):
        (root / name).symlink_to(REPOSITORY / name)
    try:
        state = control.up(SYSTEM, root, SCALE)
        deployed = Deployed(state.account)
        with watched(root):
            yield deployed
        deployed.http.close()
    finally:
        control.down(root)


@pytest.fixture(scope="module")
def passenger(deployed: Deployed) -> dict[str, str]:
    return deployed.log_in("passenger")


@pytest.fixture(scope="module")
def dispatcher(deployed: Deployed) -> dict[str, str]:
    return deployed.log_in("dispatcher")


def test_bad_weather_is_one_proposal_one_mail_and_one_message(deployed: Deployed, passenger: dict[str, str]) -> None:
    with deployed.http.stream("GET", STREAM, headers=passenger) as response:
        stream = EventStream(response, SOON_S)
        booking = deployed.book(passenger, deployed.flights(passenger, STORMY)[0])
        checked = deployed.check_weather()
        assert checked["checked"] > 0
        said = json.loads(stream.wait("reschedule", containing=booking))
    (proposal,) = deployed.proposals(passenger, booking)
    assert said == {"proposalId": proposal["id"], "bookingId": booking, "options": proposal["options"]}
    assert eventually(lambda: bool(deployed.mails(booking)))

    # Whoever delivers its messages again changes nothing.
    (made,) = deployed.events("ai-rescheduler", "proposal.made", proposalId=proposal["id"])
    (queued,) = deployed.events("weather-monitor", "alert.queued", alertId=made["alertId"])
    forecast = {"at": 1, "code": 211, "windMs": 22, "visibilityM": 800}
    alert = {"alertId": made["alertId"], "flightId": queued["flightId"], "airport": STORMY, "severity": "SEVERE"}
    deployed.send(json.dumps({**alert, "forecast": forecast}))
    topic = {"proposalId": proposal["id"], "bookingId": booking, "type": "RESCHEDULE_PROPOSED"}
    event = {"Records": [{"Sns": {"Message": json.dumps(topic)}}]}
    deployed.account.client("lambda").invoke(FunctionName="reschedule-notifier-production", Payload=json.dumps(event))
    assert eventually(lambda: bool(deployed.events("ai-rescheduler", "alert.repeated", alertId=made["alertId"])))
    assert len(deployed.events("ai-rescheduler", "alert.handled", alertId=made["alertId"])) == 1
    for how in ("mailed", "published"):
        assert len(deployed.events("reschedule-notifier", f"proposal.{how}", proposalId=proposal["id"])) == 1
    assert deployed.mails(booking) == [("synthetic-passenger@example.com",)]
    assert deployed.proposals(passenger, booking) == [proposal]


def test_a_proposal_is_accepted(deployed: Deployed, passenger: dict[str, str], dispatcher: dict[str, str]) -> None:
    flight = deployed.flights(passenger, "EGLL")[0]
    booking = deployed.book(passenger, flight)
    alert = {"flightId": flight, "severity": "MODERATE"}
    assert deployed.http.post("/api/alerts", json=alert, headers=passenger).status_code == 403
    assert deployed.http.post("/api/alerts", json=alert, headers=dispatcher).status_code == 202
    assert eventually(lambda: bool(deployed.proposals(passenger, booking)))
    (proposal,) = deployed.proposals(passenger, booking)
    path = f"/api/proposals/{proposal['id']}/accept"
    assert deployed.http.post(path, headers=dispatcher).status_code == 404
    assert deployed.http.post(path, headers=passenger).json()["status"] == "ACCEPTED"
    moved = deployed.http.get(f"/api/bookings/{booking}", headers=passenger).json()
    assert moved["flightId"] == proposal["options"][0]["flightId"] != flight


def test_the_stream_is_for_those_who_signed_in(deployed: Deployed, passenger: dict[str, str]) -> None:
    assert deployed.http.get(STREAM).status_code == 401
    probe = str(uuid.uuid4())
    with deployed.http.stream("GET", STREAM, headers=passenger) as response:
        stream = EventStream(response, SOON_S)
        assert deployed.http.post(PROBE, json={"probeId": probe}, headers=passenger).status_code == 202
        assert json.loads(stream.wait("probe")) == {"probeId": probe}


def test_every_metric_of_the_dashboards_has_data(deployed: Deployed) -> None:
    target = deployed.account.target

    def gaps() -> list[str]:
        names = ("weather-monitor-production", "ai-rescheduler-production")
        widgets = [widget for name in names for widget in read_widgets(target, name)]
        assert len(widgets) == 9
        return [gap for widget in widgets for gap in gaps_of(target, widget, 3 * 3600)]

    assert eventually(lambda: not gaps()), gaps()


def test_the_alarms_are_those_of_the_system_file_and_nothing_rings(deployed: Deployed) -> None:
    alarms = load_system(REPOSITORY, SYSTEM).cloudwatch_alarms.values()
    names = [alarm.cloudwatch.alarm_name for alarm in alarms]

    def states() -> dict[str, str]:
        listed = deployed.account.client("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"]
        return {alarm["AlarmName"]: alarm["StateValue"] for alarm in listed}

    assert eventually(lambda: set(states().values()) == {"OK"}), states()
    assert states().keys() == set(names)


def test_two_dead_letters_ring_and_one_does_not(deployed: Deployed) -> None:
    def periods_looked_at() -> int:
        """How many periods of the queue's depth ended with exactly what is in it now."""
        alarm, depth = deployed.alarm("ai-rescheduler-dlq"), deployed.depth("ai-rescheduler-dlq")
        answer = deployed.account.client("cloudwatch").get_metric_statistics(
            Namespace=alarm["Namespace"],
            MetricName=alarm["MetricName"],
            Dimensions=alarm["Dimensions"],
            StartTime=time.time() - SOON_S,
            EndTime=time.time(),
            Period=alarm["Period"],
            Statistics=["Minimum", "Maximum"],
        )
        return sum(point["Minimum"] == point["Maximum"] == depth for point in answer["Datapoints"])

    def rings() -> list[str]:
        history = deployed.account.client("cloudwatch").describe_alarm_history(
            AlarmName="ai-rescheduler-dlq-production", HistoryItemType="StateUpdate"
        )
        return [item["HistorySummary"] for item in history["AlarmHistoryItems"] if "to ALARM" in item["HistorySummary"]]

    deployed.send("poison")
    assert eventually(lambda: deployed.depth("ai-rescheduler-dlq") == 1)
    # Two whole periods with one dead letter: the alarm has looked at one of them at least.
    assert eventually(lambda: periods_looked_at() >= 3)
    assert rings() == []
    deployed.send("more poison")
    assert eventually(lambda: deployed.alarm("ai-rescheduler-dlq")["StateValue"] == "ALARM")
    assert deployed.depth("ai-rescheduler-dlq") == 2
    assert len(rings()) == 1
    told = "ai-rescheduler-dlq-production"
    assert eventually(lambda: any(one.alarm == told and one.state == "ALARM" for one in deployed.account.received()))
    assert eventually(lambda: deployed.depth("flight-rescheduler-oncall") > 0)


def test_rollback_stack_is_refused_after_a_deployment_that_succeeded(deployed: Deployed) -> None:
    cloudformation = deployed.account.client("cloudformation")
    stacks = {stack["StackName"]: stack["StackStatus"] for stack in cloudformation.describe_stacks()["Stacks"]}
    names = ["FlightReschedulerAi-production", "FlightReschedulerWeatherMonitor-production"]
    assert stacks == dict.fromkeys(names, "CREATE_COMPLETE")
    with pytest.raises(cloudformation.exceptions.ClientError, match="ValidationError"):
        cloudformation.rollback_stack(StackName=names[1])
