"""The shelf: deliberately broken set-ups. With the bug a drill must not pass, and must name the cause.

A bug is planted in the set-up: in the account, in the project's files, in the code that is deployed, in a fault, or,
where the harness itself is to stumble, in the smallest real part of it. Never in a verdict.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import psutil
from tests.faults.registered import register
from tests.planted.bench import SCALE, Bench

import tocsin.checkers.quiet_alarm
from tocsin.actors.alarm_watcher import AlarmWatcher
from tocsin.aws.target import Aws
from tocsin.faults.awslambda import ConcurrencyState, LambdaReservedConcurrency
from tocsin.faults.base import AnyFault
from tocsin.faults.lambda_release import LambdaBadRelease, ReleaseState
from tocsin.faults.session import faults_of
from tocsin.model.events import Act, ActStarted, AlarmChanged, Event, FaultChanged, FaultStage
from tocsin.model.verdict import Reason

Plant = Callable[[Bench], None]


@dataclass(frozen=True)
class Planted:
    """One bug, the set-up it spoils, and the judgement that must name it."""

    name: str
    setup: str
    plant: Plant
    judgement: str
    reason: Reason
    names: str
    """regular expression: what the message must say"""


SHELF: list[Planted] = []


def planted(name: str, setup: str, judgement: str, reason: Reason, names: str) -> Callable[[Plant], Plant]:
    """Put a bug on the shelf."""

    def put(plant: Plant) -> Plant:
        SHELF.append(Planted(name, setup, plant, judgement, reason, names))
        return plant

    return put


# --- alarms that do not ring --------------------------------------------------------------------------------


@planted("alarm on a wrong dimension", "poison", "must:dead-letters", Reason.DID_NOT_RING, "no datapoint.*Dimensions")
def wrong_dimension(bench: Bench) -> None:
    bench.alarm("dead-letters", Dimensions=[{"Name": "QueueName", "Value": "bell-order-dlq"}])


@planted("alarm on a wrong namespace", "outage", "must:api-5xx", Reason.DID_NOT_RING, "no datapoint.*Namespace")
def wrong_namespace(bench: Bench) -> None:
    bench.alarm("api-5xx", Namespace="AWS/ApiGatewayV2")


@planted("alarm on a wrong statistic", "outage", "must:api-5xx", Reason.DID_NOT_RING, "highest was 1, >= 2.*Statistic")
def wrong_statistic(bench: Bench) -> None:
    bench.alarm("api-5xx", Statistic="Average")


@planted(
    "threshold just out of reach", "poison", "must:dead-letters", Reason.DID_NOT_RING, "highest was 1, >= 2.*Threshold"
)
def out_of_reach(bench: Bench) -> None:
    bench.alarm("dead-letters", Threshold=2)


@planted(
    "one period too many",
    "poison, ten-minute period",
    "must:dead-letters",
    Reason.RANG_LATE,
    "later than 9m.*EvaluationPeriods",
)
def one_period_too_many(bench: Bench) -> None:
    bench.alarm("dead-letters", EvaluationPeriods=2)


@planted("silence taken for health", "silence", "must:silence", Reason.DID_NOT_RING, "TreatMissingData")
def missing_data_not_breaching(bench: Bench) -> None:
    bench.alarm("silence", TreatMissingData="notBreaching")


# --- alarms that nobody hears -------------------------------------------------------------------------------


@planted("alarm with its actions disabled", "poison", "must:dead-letters", Reason.NOT_NOTIFIED, "actions are disabled")
def actions_disabled(bench: Bench) -> None:
    bench.alarm("dead-letters", ActionsEnabled=False)


@planted("alarm without an action", "poison", "must:dead-letters", Reason.NOT_NOTIFIED, "no AlarmActions")
def no_action(bench: Bench) -> None:
    bench.alarm("dead-letters", AlarmActions=[])


@planted("subscription filtered out", "poison", "must:dead-letters", Reason.NOT_NOTIFIED, "filter policy")
def filtered_subscription(bench: Bench) -> None:
    filter_subscription(bench, "bell-alarms", {"severity": ["page"]})


@planted(
    "topic whose key alarms may not use", "poison", "must:dead-letters", Reason.NOT_NOTIFIED, "AWSKMS.*AccessDenied"
)
def key_of_aws(bench: Bench) -> None:
    set_topic(bench, "KmsMasterKeyId", "alias/aws/sns", before="")


@planted(
    "topic that alarms may not publish to",
    "poison",
    "must:dead-letters",
    Reason.NOT_NOTIFIED,
    "its history says: Failed to execute action .*bell-alarms.*not authorized to perform: SNS:Publish",
)
def topic_of_people(bench: Bench) -> None:
    topic = topic_arn(bench)
    before = bench.client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"]
    people = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "sns:*"}
    policy = {"Version": "2012-10-17", "Statement": [{**people, "Resource": topic}]}
    set_topic(bench, "Policy", json.dumps(policy), before)


ABROAD = "eu-north-1"


@planted(
    "alarm of another region that has its name",
    "poison",
    "must:dead-letters",
    Reason.NOT_NOTIFIED,
    "a message that names it does not count: it is of arn:aws:cloudwatch:eu-north-1:",
)
def namesake(bench: Bench) -> None:
    bench.alarm("dead-letters", AlarmActions=[])
    arn = bench.client("cloudwatch").describe_alarms(AlarmNames=["bell-dead-letters"])["MetricAlarms"][0]["AlarmArn"]
    abroad = {"AlarmName": "bell-dead-letters", "NewStateValue": "ALARM", "AlarmArn": arn.replace("us-east-1", ABROAD)}
    told, topic = json.dumps(abroad), topic_arn(bench)
    bench.when(rings("dead-letters"), lambda: bench.client("sns").publish(TopicArn=topic, Message=told))


@planted(
    "notification that waits in the queue",
    "poison",
    "must:dead-letters",
    Reason.NOTIFIED_LATE,
    "notification arrived after .*, later than 8m: it was sent after",
)
def waits_in_the_queue(bench: Bench) -> None:
    set_delay(bench, "540")
    bench.after(set_delay, bench, "0")


@planted(
    "alarm that tells nobody that its source is gone",
    "lost source",
    "must:silence",
    Reason.NOT_NOTIFIED,
    "no InsufficientDataActions",
)
def silent_about_silence(bench: Bench) -> None:
    bench.alarm("silence", InsufficientDataActions=[])


@planted(
    "alarm that tells nobody that it is over", "lost source", "all-clear:silence", Reason.NOT_NOTIFIED, "no OKActions"
)
def no_all_clear(bench: Bench) -> None:
    bench.alarm("silence", OKActions=[])


# --- alarms that ring, and prove nothing --------------------------------------------------------------------


@planted("alarm that rings already", "poison", "guard:alarms", Reason.REFUSED, "already ringing: dead-letters")
def rings_already(bench: Bench) -> None:
    bench.send("bell-orders-dlq")
    bench.wait_for("the alarm to ring", lambda: "bell-dead-letters" in bench.ringing())


@planted(
    "alarm that rang before the fault",
    "poison",
    "must:dead-letters",
    Reason.RANG_BEFORE_FAULT,
    "before the injection: it proves nothing",
)
def rang_before_the_fault(bench: Bench) -> None:
    def ring() -> None:
        bench.send("bell-orders-dlq")
        bench.wait_for("the alarm to ring", lambda: "bell-dead-letters" in bench.ringing())

    bench.when(begins(Act.BASELINE), ring)


@planted(
    "alarm that somebody sets to ALARM", "poison", "must:dead-letters", Reason.SET_BY_HAND, "set it to ALARM.*rehearsal"
)
def set_by_hand(bench: Bench) -> None:
    rehearsed = {"AlarmName": "bell-dead-letters", "StateValue": "ALARM", "StateReason": "rehearsal"}
    bench.when(reaches(FaultStage.ACCEPTED), lambda: bench.client("cloudwatch").set_alarm_state(**rehearsed))


@planted(
    "alarm that somebody edits during the drill",
    "poison",
    "must:dead-letters",
    Reason.DEFINITION_CHANGED,
    "Threshold was 1.0, is 0.0",
)
def edited(bench: Bench) -> None:
    definition = {**bench.definition("dead-letters"), "Threshold": 0}
    bench.when(reaches(FaultStage.ACCEPTED), lambda: bench.client("cloudwatch").put_metric_alarm(**definition))


@planted(
    "alarm that is easier than the documented one",
    "outage",
    "must:api-5xx",
    Reason.NOT_AS_DOCUMENTED,
    "by Threshold this one is easier",
)
def easier(bench: Bench) -> None:
    bench.alarm("api-5xx", Threshold=1)


@planted("alarm that rings for another cause", "outage", "clears:dead-letters", Reason.DID_NOT_CLEAR, "something else")
def another_cause(bench: Bench) -> None:
    bench.expect["must"][0] = {"alarm": "dead-letters", "within": "8m", "clears_within": "5m"}
    bench.when(reaches(FaultStage.EFFECTIVE), lambda: bench.send("bell-orders-dlq"))


@planted(
    "alarm that rings for an older cause",
    "poison, six periods",
    "must:dead-letters",
    Reason.RANG_BEFORE_FAULT,
    "began before it: its oldest breaching datapoint",
)
def older_cause(bench: Bench) -> None:
    def send_early() -> None:
        # After the baseline, which may take as long as six periods; its first minute is over before the fault.
        bench.send("bell-orders-dlq")
        time.sleep(3 * 60.0 / SCALE)

    bench.when(begins(Act.FAULT), send_early)


@planted(
    "flapping alarm",
    "outage with rare visitors",
    "must:api-5xx",
    Reason.FLAPPED,
    "times while the fault was in place.*Period",
)
def flaps(bench: Bench) -> None:
    # The only caller comes every six minutes: most periods hold no failure.
    bench.alarm("api-5xx", Period=60, Threshold=1)


@planted("alarm that never clears", "poison", "clears:dead-letters", Reason.DID_NOT_CLEAR, "Period")
def never_clears(bench: Bench) -> None:
    bench.alarm("dead-letters", Period=1320)


@planted("alarm that comes back", "poison", "clears:dead-letters", Reason.RANG_AGAIN, "rang again")
def comes_back(bench: Bench) -> None:
    def clears(event: Event) -> bool:
        return isinstance(event, AlarmChanged) and event.alarm == "dead-letters" and event.after == "OK"

    bench.when(clears, lambda: bench.send("bell-orders-dlq"))


# --- faults, undos and rollbacks that lie -------------------------------------------------------------------


class AcceptedOnly(LambdaReservedConcurrency):
    """The API says yes, and nothing is different."""

    def inject(self, aws: Aws, prior: ConcurrencyState) -> None:
        aws.client("lambda").get_function_concurrency(FunctionName=self.function)


class UndoesNothing(LambdaReservedConcurrency):
    """The undo says that it is done."""

    effect_within_s: ClassVar[float] = 1.0

    def undo(self, aws: Aws, prior: ConcurrencyState) -> None:
        aws.client("lambda").get_function_concurrency(FunctionName=self.function)


class UndoesHalf(LambdaBadRelease):
    """The alias goes back; the bad code stays where the next release begins."""

    effect_within_s: ClassVar[float] = 1.0

    def undo(self, aws: Aws, prior: ReleaseState) -> None:
        self._point_alias(aws, prior.alias_version, prior.alias_weights)


@planted("fault that is accepted and changes nothing", "outage", "effect", Reason.NO_EFFECT, "changed nothing")
def accepted_only(bench: Bench) -> None:
    replace_fault(bench, AcceptedOnly)


@planted("undo that restores nothing", "outage", "undo", Reason.UNDO_FAILED, "reserved is 0, not None")
def undoes_nothing(bench: Bench) -> None:
    replace_fault(bench, UndoesNothing)


@planted("undo that restores half", "bad release", "undo", Reason.UNDO_FAILED, "latest_sha256 is 'bad'")
def undoes_half(bench: Bench) -> None:
    replace_fault(bench, UndoesHalf)


def release_again(configuration: dict[str, Any]) -> str:
    """The rollback of a runbook that deploys the release that was broken."""
    client = faults_of(configuration).target.client("lambda")
    bad = client.get_alias(FunctionName="bell-api", Name="live")["FunctionVersion"]
    client.update_alias(FunctionName="bell-api", Name="live", FunctionVersion=bad)
    return f"released {bad}"


@planted(
    "rollback by a program that fails", "poison", "rollbacks", Reason.ACTIVITY_FAILED, "open-the-till.*exited with 1"
)
def rollback_by_a_program_that_fails(bench: Bench) -> None:
    failing = {"type": "action", "name": "open-the-till", "provider": {"type": "process", "path": "false"}}
    bench.document["rollbacks"].insert(0, failing)


@planted(
    "rollback that deploys the bad version", "bad release", "rollbacks", Reason.NOT_ROLLED_BACK, "lambda_bad_release"
)
def rollback_of_the_bad_version(bench: Bench) -> None:
    bench.document["rollbacks"][0]["provider"] = {"type": "python", "module": __name__, "func": "release_again"}


# --- canaries -----------------------------------------------------------------------------------------------

JOURNEY = 'def canary_order(api: Journey) -> None:\n    with api.step("the desk is open"):\n'


@planted("canary that cannot fail", "outage", "guard:canaries", Reason.REFUSED, "can never fail")
def cannot_fail(bench: Bench) -> None:
    bench.edit("synthetics/bell.py", JOURNEY, JOURNEY.replace("    with", "    return\n    with"))


@planted("canary that looks elsewhere", "outage", "canary:order", Reason.CANARY_BLIND, "never failed")
def looks_elsewhere(bench: Bench) -> None:
    bench.edit("synthetics/bell.py", 'api.get("/healthz", expect=200)', 'api.get("/stock")\n    return')


@planted(
    "canary whose failure is known too late",
    "outage",
    "canary:order",
    Reason.RANG_LATE,
    "in a run that began after .*later than 8m",
)
def known_too_late(bench: Bench) -> None:
    # Of the two attempts of one run each ends nine minutes after what was wrong: the desk is closed for longer.
    hang = "try:\n            api.get('/healthz', expect=200)\n        except Exception:\n"
    hang += "            __import__('time').sleep(2.25)\n            raise"
    bench.edit("synthetics/bell.py", 'api.get("/healthz", expect=200)', hang)
    bench.document["extensions"][0]["fault_for"] = "48m"


RUNS = "import itertools\nRUNS = itertools.count()\n"


def under_the_fault(bench: Bench) -> str:
    """A condition in a step of a canary, or of the load, that holds from the fault on, whatever there was before it."""
    flag = bench.root / "broken"
    bench.when(reaches(FaultStage.EFFECTIVE), flag.touch)
    bench.after(flag.unlink, True)
    return f"        if __import__('pathlib').Path({str(flag)!r}).exists():\n"


@planted("canary that gives up", "outage", "canaries:after", Reason.NO_EVIDENCE, "order itself is broken: .*SystemExit")
def gives_up(bench: Bench) -> None:
    bench.edit("synthetics/bell.py", JOURNEY, f"{JOURNEY}{under_the_fault(bench)}            raise SystemExit\n")


@planted(
    "canary that stopped running", "outage", "recovery", Reason.NOT_WATCHED, "nothing was seen of the canary order"
)
def stopped_running(bench: Bench) -> None:
    hang = "            import threading\n            threading.Event().wait(60)\n"
    bench.edit("synthetics/bell.py", JOURNEY, f"{JOURNEY}{under_the_fault(bench)}{hang}")


# --- load ---------------------------------------------------------------------------------------------------


@planted(
    "load that sends nothing",
    "outage under load",
    "guard:actors",
    Reason.ACTOR_DIED,
    "load: the load file is at fault: .* the operation sent no request",
)
def sends_nothing(bench: Bench) -> None:
    bench.edit("loadtests/bell.py", 'call.post("/orders", json={"item": "bell"})', "repr(call)")
    bench.edit("loadtests/bell.py", 'call.get("/healthz")', "repr(call)")


@planted("load that stalls", "outage under load", "load", Reason.LOAD_INVALID, "seconds have no record|late")
def stalls(bench: Bench) -> None:
    # Not after some seconds: before the fault the load has to be there, however long Locust takes.
    stall = "from gevent.monkey import get_original\n\nclass Customer(ArrivalUser):"
    bench.edit("loadtests/bell.py", "class Customer(ArrivalUser):", stall)
    bench.edit(
        "loadtests/bell.py",
        '        call.post("/orders", json={"item": "bell"})',
        f'{under_the_fault(bench)}            get_original("time", "sleep")(60)\n'
        '        call.post("/orders", json={"item": "bell"})',
    )


# --- contract and work --------------------------------------------------------------------------------------


@planted(
    "contract broken only under the fault", "lost supplier", "contract:fault", Reason.CONTRACT_BROKEN, "GET /stock"
)
def broken_under_the_fault(bench: Bench) -> None:
    bench.code('{"message": "the supplier does not answer"}', '{"error": "the supplier does not answer"}')


@planted(
    "contract broken only after the recovery",
    "lost supplier",
    "contract:recovery",
    Reason.CONTRACT_BROKEN,
    "POST /orders",
)
def broken_after_the_recovery(bench: Bench) -> None:
    bench.when(reaches(FaultStage.VERIFIED), bench.code_at_hand(ANSWER, OTHER_400))


ANSWER = "def answer(status, body):\n"
OTHER_400 = f'{ANSWER}    body = {{"error": "no"}} if status == 400 else body\n'
"""No refusal of an order has the documented form: canaries are never refused."""

BATCH = 'for record in event["Records"]:'


@planted("a message lost", "stopped worker", "conserved:orders", Reason.WORK_LOST, "1 of .* never processed")
def message_lost(bench: Bench) -> None:
    bench.code(BATCH, 'for record in event["Records"][1:] or event["Records"]:')


@planted("a message processed twice", "stopped worker", "conserved:orders", Reason.WORK_DUPLICATED, "more than once")
def message_twice(bench: Bench) -> None:
    bench.code(BATCH, 'for record in [*event["Records"], event["Records"][0]]:')


# --- the harness itself -------------------------------------------------------------------------------------


@planted("an actor that dies: the alarm watcher", "poison", "actor:alarms", Reason.ACTOR_DIED, "cannot read this")
def watcher_dies(bench: Bench) -> None:
    def stumble(self: AlarmWatcher, *arguments: object) -> None:
        raise ValueError("cannot read this")

    bench.patch.setattr(AlarmWatcher, "_tell", stumble)


@planted("an actor that dies: the load generator", "outage under load", "actor:load", Reason.ACTOR_DIED, "exit code -9")
def load_dies(bench: Bench) -> None:
    bench.when(reaches(FaultStage.ACCEPTED), kill_load)


@planted("a checker that raises", "outage", "checker:quiet_alarms", Reason.CHECKER_CRASHED, "ZeroDivisionError")
def checker_raises(bench: Bench) -> None:
    bench.patch.setattr(tocsin.checkers.quiet_alarm, "format_duration", lambda seconds: str(seconds / 0))


@planted("a clock that jumps ahead", "poison", "guard:clock", Reason.CLOCK_JUMPED, "jumped ahead by 1h")
def clock_ahead(bench: Bench) -> None:
    bench.when(reaches(FaultStage.EFFECTIVE), lambda: turn_clock(bench, 3600.0))


@planted("a clock that jumps back", "poison", "guard:clock", Reason.CLOCK_JUMPED, "jumped back by 1h")
def clock_back(bench: Bench) -> None:
    bench.when(reaches(FaultStage.EFFECTIVE), lambda: turn_clock(bench, -3600.0))


# --- tools --------------------------------------------------------------------------------------------------


def begins(act: Act) -> Callable[[Event], bool]:
    """Whether an event is the beginning of an act."""
    return lambda event: isinstance(event, ActStarted) and event.act is act


def reaches(stage: FaultStage) -> Callable[[Event], bool]:
    """Whether an event is a fault's arrival at a stage."""
    return lambda event: isinstance(event, FaultChanged) and event.stage is stage


def kill_load() -> None:
    """End the generator, as a machine does that has no memory left."""
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # others end meanwhile
            if "locust" in child.cmdline():
                child.kill()


def rings(alarm: str) -> Callable[[Event], bool]:
    """Whether an event is the transition of an alarm to ALARM."""
    return lambda event: isinstance(event, AlarmChanged) and event.alarm == alarm and event.after == "ALARM"


def topic_arn(bench: Bench, name: str = "bell-alarms") -> str:
    """A topic of the account: that of the alarms."""
    arns = [topic["TopicArn"] for topic in bench.client("sns").list_topics()["Topics"]]
    (arn,) = (str(arn) for arn in arns if arn.endswith(f":{name}"))
    return arn


def filter_subscription(bench: Bench, topic: str, policy: dict[str, Any]) -> None:
    """Subscribe the one queue of a topic anew, with a filter, for one drill.

    A subscription that begins with a filter: a change of one takes effect after a quarter of an hour.
    """
    sns = bench.client("sns")

    def subscribe(policy: dict[str, Any]) -> None:
        (present,) = sns.list_subscriptions_by_topic(TopicArn=topic_arn(bench, topic))["Subscriptions"]
        kept = sns.get_subscription_attributes(SubscriptionArn=present["SubscriptionArn"])["Attributes"]
        sns.unsubscribe(SubscriptionArn=present["SubscriptionArn"])
        sns.subscribe(
            **{name: present[name] for name in ("TopicArn", "Protocol", "Endpoint")},
            Attributes={"RawMessageDelivery": kept["RawMessageDelivery"], "FilterPolicy": json.dumps(policy)},
        )

    subscribe(policy)
    bench.after(subscribe, {})


def set_topic(bench: Bench, name: str, value: str, before: str) -> None:
    """Change an attribute of the topic for one drill."""
    change, topic = bench.client("sns").set_topic_attributes, topic_arn(bench)
    change(TopicArn=topic, AttributeName=name, AttributeValue=value)
    bench.after(lambda: change(TopicArn=topic, AttributeName=name, AttributeValue=before))


def set_delay(bench: Bench, seconds: str) -> None:
    """How long a message of the notification queue waits until it can be read."""
    bench.client("sqs").set_queue_attributes(QueueUrl=bench.queue("bell-oncall"), Attributes={"DelaySeconds": seconds})


def replace_fault(bench: Bench, fault: type[AnyFault]) -> None:
    """Register `fault` under the name of the one that it is made from."""
    register(bench.patch, fault)


def turn_clock(bench: Bench, by_s: float) -> None:
    """Let this process's wall clock jump."""
    real = time.time
    bench.patch.setattr(time, "time", lambda: real() + by_s)
