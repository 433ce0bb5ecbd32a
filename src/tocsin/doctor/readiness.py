"""Whether a target, and a system in it, is ready for a drill. Nothing is changed and no message is taken."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from tocsin.alarms.deploy import definition_drift, describe_alarms
from tocsin.alarms.prometheus import Evaluation, PrometheusApi, rule_drift, rules_of
from tocsin.alarms.states import read_states
from tocsin.coverage.table import experiments_of
from tocsin.doctor.result import Result, gap, warn, well
from tocsin.errors import NotFound, Refused, TargetError
from tocsin.faults.base import Aws
from tocsin.guards.admission import check_freeze, check_identity, check_window
from tocsin.guards.changes import missing_tags, resource_tags
from tocsin.guards.kill_switch import KillSwitch
from tocsin.guards.lock import holder_of
from tocsin.ledger import Ledger
from tocsin.model.system import AlarmState, System
from tocsin.permissions import faults
from tocsin.project import ledger_path
from tocsin.resolve import resolve_base_url, resolve_system
from tocsin.target import Target, aws_errors
from tocsin.validation import Planner

# AWS refuses a request whose time differs from its own by more than this
# (https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html).
_SKEW_REFUSED_S = 300.0
# A transition counts only after the injection, by CloudWatch's clock and ours; the header tells whole seconds.
_SKEW_SEEN_S = 5.0
_SCHEDULER = "scheduler.amazonaws.com"


@dataclass(frozen=True)
class Place:
    """A target, as a drill of this checkout would use it."""

    root: Path
    target: Target

    @property
    def ledger(self) -> Path:
        """The file of its ledger; it need not exist yet."""
        return ledger_path(self.root, self.target.name)


@dataclass(frozen=True)
class Deployed:
    """A system of this checkout in a target."""

    root: Path
    target: Target
    system: System

    @cached_property
    def resolved(self) -> System:
        """The system with ids and ARNs of this target, which are asked for once.

        Raises:
            TargetError: AWS did not answer, or something that the system file names does not exist.
        """
        return resolve_system(self.system, self.target)

    def states(self) -> dict[str, AlarmState]:
        """State of each alarm that exists.

        Raises:
            TargetError: CloudWatch or Prometheus did not answer.
        """
        return read_states(self.resolved, self.system.alarms, self.target)


def identity(place: Place) -> Result:
    """The credentials are those of the account that the target says it is."""
    target = place.target
    credentials = f"Check the credentials: profile '{target.profile}'." if target.profile else "Check the credentials."
    try:
        return well(check_identity(target))
    except (Refused, TargetError) as error:
        return gap(str(error), credentials)


def clock(place: Place) -> Result:
    """The difference between our clock and that of AWS, by the Date header of an answer."""
    with aws_errors("asking for the time"):
        asked = time.time()
        answer = place.target.client("sts").get_caller_identity()
    header = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    if header is None:
        return warn("the answer had no Date header, so the clocks cannot be compared", "Compare them by hand.")
    return judge_skew(asked - parsedate_to_datetime(header).timestamp())


def judge_skew(skew_s: float) -> Result:
    """Our clock minus that of AWS, in seconds."""
    found = f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} AWS"
    if abs(skew_s) > _SKEW_REFUSED_S:
        return gap(f"{found}: requests are refused", "Set the clock, and keep it with NTP.")
    if abs(skew_s) > _SKEW_SEEN_S:
        return warn(f"{found}: an alarm may seem to ring before the fault", "Set the clock, and keep it with NTP.")
    return well("as that of AWS")


def residue(place: Place) -> Result:
    """The ledger can be read and holds nothing open."""
    if not place.ledger.exists():
        return well("no drill has been here yet")
    ledger = Ledger(place.ledger, place.target.name)
    try:
        left = ledger.entries(only_open=True)
    finally:
        ledger.close()
    if left:
        names = ", ".join(f"{entry.fault} on {entry.resource}" for entry in left)
        return gap(f"not seen undone: {names}", f"Call `tocsin recover --target {place.target.name}`.")
    return well("nothing is left of earlier faults")


def lock(place: Place) -> Result:
    """Nobody else is using the target."""
    if not place.ledger.exists():
        return well("free")
    ledger = Ledger(place.ledger, place.target.name)
    try:
        with ledger.lock("tocsin doctor"):
            return well("free")
    except Refused as error:
        return gap(str(error), "")
    finally:
        ledger.close()


def account_lock(place: Place) -> Result:
    """No runner elsewhere holds the account and region."""
    try:
        holder = holder_of(place.target)
    except Refused as refusal:
        return gap(str(refusal), "Find out whose it is.")
    if holder is None:
        return well("free")
    until = f"{holder.owner} on {holder.host}, until {holder.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    if holder.expires_at <= datetime.now(UTC):
        return well(f"left by {until}: the next drill takes it over")
    return gap(f"held by {until}", "Wait for that run to end; it can be taken over when it has expired.")


def kill_switch(place: Place) -> Result:
    """Nobody has pulled it, here or in the account."""
    try:
        return well(KillSwitch(place.root, place.target).check())
    except Refused as refusal:
        return gap(str(refusal), "")


def calendar(place: Place) -> Result:
    """Drills may run now: no freeze, and a window is open."""
    rules, now = place.target.rules, time.time()
    try:
        return well(f"{check_freeze(rules, now)}; {check_window(rules, now)}")
    except Refused as refusal:
        return warn(str(refusal), "")


def dead_man_role(place: Place) -> Result:
    """The role under which EventBridge Scheduler ends a fault exists, and may be assumed by it.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/setting-up.html
    """
    role = place.target.dead_man_role
    if role is None:
        return well("none: if this machine dies, most faults stay until `tocsin recover`")
    mend = "Create it as docs/SAFETY.md says, or take `dead_man_role` out of tocsin.toml."
    try:
        with aws_errors(f"looking for the role {role}"):
            found = place.target.client("iam").get_role(RoleName=role.rsplit("/", 1)[-1])["Role"]
    except NotFound:
        return gap(f"there is no role {role}", mend)
    except TargetError as error:
        # A drill passes the role on and never reads it: whoever may drill need not be allowed to look.
        return warn(f"cannot be told: {error}", "Allow iam:GetRole on it, or ask whoever may look.")
    if found["Arn"] != role:
        return gap(f"there is no role {role}, but {found['Arn']}", mend)
    if not _trusts(found["AssumeRolePolicyDocument"], _SCHEDULER):
        return gap(f"{role} does not trust {_SCHEDULER}", f"Allow {_SCHEDULER} sts:AssumeRole in its trust policy.")
    return well(f"{role} is there and trusts the scheduler")


def _trusts(policy: Mapping[str, Any], service: str) -> bool:
    """Whether a trust policy allows a service; lists of one may be their element."""
    statements = policy["Statement"]
    principals = (
        statement.get("Principal", {})
        for statement in (statements if isinstance(statements, list) else [statements])
        if statement["Effect"] == "Allow"
    )
    services = (principal.get("Service", []) for principal in principals if isinstance(principal, Mapping))
    return any(service == found or (isinstance(found, list) and service in found) for found in services)


def names(deployed: Deployed) -> Result:
    """Everything that the system file names is there: APIs, user pools, topics."""
    system = deployed.resolved
    return well(resolve_base_url(system.endpoint, deployed.target))


def region(deployed: Deployed) -> Result:
    """The target is where the system file says that the system is."""
    if deployed.target.region != deployed.system.region:
        return warn(
            f"the target is in {deployed.target.region}, the system file says {deployed.system.region}",
            "Take the target of that region, or correct `region` of the system file.",
        )
    return well(deployed.target.region)


def opt_in(deployed: Deployed) -> Result:
    """Everything that the system's experiments change carries the tags that the target asks for."""
    wanted = deployed.target.rules.opt_in
    if not wanted:
        return well("this target asks for no tags")
    arns = sorted(set(_changed(deployed)))
    lacking = missing_tags(resource_tags(deployed.target, arns), arns, wanted)
    if lacking:
        told = "; ".join(f"{arn} lacks {', '.join(missing)}" for arn, missing in lacking.items())
        return gap(told, "Tag it, if its owner agrees.")
    return well(f"{len(arns)} resources that experiments change have the tags")


def _changed(deployed: Deployed) -> Iterator[str]:
    """ARNs of what the system's experiments change, as far as they are faults of Tocsin."""
    planner, aws = Planner(deployed.root), Aws(deployed.target, entry="")
    for experiment in experiments_of(deployed.root, deployed.system.system):
        for fault in faults(planner.plan(Path(experiment.path))):
            yield from fault.arns(aws)


def alarms_exist(deployed: Deployed) -> Result:
    """Every alarm of the system file exists, in CloudWatch or in its Prometheus, which evaluates it."""
    known = deployed.states()
    missing = [name for name in deployed.system.alarms if name not in known]
    if missing:
        return gap(f"not in the target: {', '.join(missing)}", "Deploy them, or take them out of the system file.")
    idle = [f"{name}: {evaluation.error}" for name, evaluation in _evaluations(deployed).items() if evaluation.error]
    if idle:
        return gap(f"not evaluated: {'; '.join(idle)}", "Mend the expression, or wait for the first evaluation.")
    return well(f"all {len(known)} exist")


def alarms_as_documented(deployed: Deployed) -> Result:
    """No alarm differs from its definition: that of the system file, or of its Prometheus rules."""
    drifted = {name: drift for name, drift in _drifts(deployed) if drift}
    if drifted:
        told = "; ".join(f"{name}: {', '.join(fields)}" for name, fields in drifted.items())
        return warn(told, "Deploy what is documented, or document what is deployed.")
    return well("as documented")


def _drifts(deployed: Deployed) -> Iterator[tuple[str, tuple[str, ...]]]:
    system, described = deployed.resolved, _described(deployed)
    for name, alarm in system.cloudwatch_alarms.items():
        if name in described:
            yield name, definition_drift(alarm, described[name])
    documented = rules_of(deployed.root, system)
    for name, evaluation in _evaluations(deployed).items():
        alert = system.prometheus_alarms[name].prometheus.alert
        yield name, rule_drift(documented[alert], evaluation.rule)


def _evaluations(deployed: Deployed) -> dict[str, Evaluation]:
    """The last evaluation of each alarm that its Prometheus knows."""
    system = deployed.system
    if system.prometheus is None:
        return {}
    with PrometheusApi(system.prometheus.url) as api:
        return api.evaluations_of(system.prometheus_alarms)


def alarms_quiet(deployed: Deployed) -> Result:
    """No alarm rings: what is red already can prove nothing."""
    ringing = [name for name, state in deployed.states().items() if state == "ALARM"]
    if ringing:
        return gap(f"ringing: {', '.join(ringing)}", "Find out why; a drill begins when they are quiet.")
    return well("none rings")


def alarms_can_act(deployed: Deployed) -> Result:
    """No alarm of CloudWatch has its actions disabled, or none at all."""
    described = _described(deployed)
    mute = [name for name, alarm in described.items() if not (alarm["ActionsEnabled"] and alarm["AlarmActions"])]
    if mute:
        return warn(f"these tell nobody: {', '.join(mute)}", "Enable their actions, and give them one.")
    return well("each tells somebody")


def notifications(deployed: Deployed) -> Result:
    """The queue of the system file is subscribed to every topic that its alarms tell."""
    if deployed.system.notifications is None:
        return warn("the system file names no queue, so whether anybody is told is not seen", "Add `notifications`.")
    queue, target = deployed.system.notifications.queue, deployed.target
    with aws_errors(f"looking for the notification queue {queue}"):
        client = target.client("sqs")
        url = client.get_queue_url(QueueName=queue)["QueueUrl"]
        arn = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topics = {
        action
        for alarm in deployed.resolved.cloudwatch_alarms.values()
        for action in alarm.cloudwatch.alarm_actions
        if action.split(":")[2] == "sns"
    }
    problems = [problem for topic in sorted(topics) if (problem := _subscription_problem(target, topic, arn))]
    if problems:
        return gap(f"{queue} {'; '.join(problems)}", "Subscribe the queue to the topic, without a filter policy.")
    return well(f"{queue} is subscribed")


def _subscription_problem(target: Target, topic: str, queue_arn: str) -> str:
    client = target.client("sns")
    with aws_errors(f"listing the subscriptions of {topic}"):
        pages = client.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
        found = [one for page in pages for one in page["Subscriptions"] if one["Endpoint"] == queue_arn]
        if not found:
            return f"is not subscribed to {topic}"
        attributes = client.get_subscription_attributes(SubscriptionArn=found[0]["SubscriptionArn"])["Attributes"]
    if json.loads(attributes.get("FilterPolicy") or "{}"):
        return f"is subscribed to {topic} with a filter policy: {attributes['FilterPolicy']}"
    return ""


def _described(deployed: Deployed) -> dict[str, Mapping[str, Any]]:
    """Name in the system file -> what CloudWatch says of the alarm; those that it knows."""
    alarms = deployed.system.cloudwatch_alarms
    described = describe_alarms(alarms.values(), deployed.target)
    return {
        name: described[alarm.cloudwatch.alarm_name]
        for name, alarm in alarms.items()
        if alarm.cloudwatch.alarm_name in described
    }


TARGET: Mapping[str, Callable[[Place], Result]] = {
    "identity": identity,
    "time of AWS": clock,
    "residue": residue,
    "lock": lock,
    "account lock": account_lock,
    "kill switch": kill_switch,
    "calendar": calendar,
    "dead man": dead_man_role,
}
"""Asked of every target, in this order; without the right identity nothing more is asked."""

SYSTEM: Mapping[str, Callable[[Deployed], Result]] = {
    "names": names,
    "region": region,
    "opt-in": opt_in,
    "alarms": alarms_exist,
    "definitions": alarms_as_documented,
    "ringing": alarms_quiet,
    "actions": alarms_can_act,
    "notifications": notifications,
}
"""Asked of a system that was named."""
