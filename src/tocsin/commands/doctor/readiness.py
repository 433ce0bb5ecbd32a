"""Whether a target, and a system in it, is ready for a drill. Nothing is changed and no message is taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from tocsin.actors.alarm_evidence import path_to_people
from tocsin.actors.alarm_mutes import held_notes, suppressors_in_alarm
from tocsin.alarms.delivery import obstacle
from tocsin.alarms.prometheus import rule_drift, rules_of
from tocsin.alarms.prometheus_api import Evaluated, PrometheusApi
from tocsin.alarms.states import read_states
from tocsin.aws.cloudwatch import definition_drift, describe_alarms
from tocsin.aws.credentials import lasting_of
from tocsin.aws.delivery import hindrances, topic_hindrances
from tocsin.aws.identity import clock_skew_s
from tocsin.aws.lookups import resolve_base_url, resolve_system
from tocsin.aws.role_policies import policies_of
from tocsin.aws.sns import read_topic, topics_of
from tocsin.aws.sqs import queue_url
from tocsin.aws.target import Aws, Target, aws_errors
from tocsin.commands.doctor.result import Result, gap, warn, well
from tocsin.coverage.table import experiments_of, loaded_of
from tocsin.drill.plan import Planner, faults
from tocsin.drill.writing import may_write
from tocsin.errors import NotFound, Refused, TargetError
from tocsin.faults import deadman
from tocsin.faults.deny import allows_any
from tocsin.guards.admission import check_freeze, check_identity, check_window
from tocsin.guards.changes import missing_tags, resource_tags
from tocsin.guards.kill_switch import KillSwitch
from tocsin.guards.lock import holder_of
from tocsin.guards.synthetic import check_test_data
from tocsin.model.events import TopicPath
from tocsin.model.system import AlarmState, System
from tocsin.parity.assumptions import CLOCK_S
from tocsin.project.places import ledger_path
from tocsin.record.ledger import Ledger

# AWS refuses a request whose time differs from its own by more than this
# (https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html).
_SKEW_REFUSED_S = 300.0
# Production seconds: no fault is held for longer, unless a target allows it.
_MUTES_AHEAD_S = 3600.0
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


def credentials(place: Place) -> Result:
    """They last, or say how long: a drill that takes longer is refused."""
    lasting = lasting_of(place.target)
    if not lasting.told:
        return warn(lasting.words(), f"{lasting.next_move()}.")
    if lasting.until is None:
        return well(lasting.words())
    return warn(f"{lasting.words()}, and a drill that may take longer is refused", f"{lasting.next_move()}.")


def clock(place: Place) -> Result:
    """The difference between our clock and that of AWS, by the Date header of an answer."""
    skew_s = clock_skew_s(place.target)
    if skew_s is None:
        return warn("the answer had no Date header, so the clocks cannot be compared", "Compare them by hand.")
    return judge_skew(skew_s)


def judge_skew(skew_s: float) -> Result:
    """Our clock minus that of AWS, in seconds."""
    found = f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} AWS"
    if abs(skew_s) > _SKEW_REFUSED_S:
        return gap(f"{found}: requests are refused", "Set the clock, and keep it with NTP.")
    if abs(skew_s) > CLOCK_S:
        return warn(f"{found}: an alarm may seem to ring before the fault", "Set the clock, and keep it with NTP.")
    return well("as that of AWS")


def residue(place: Place) -> Result:
    """The ledger can be read and holds nothing open."""
    if not place.ledger.exists():
        return well("no drill has been here yet")
    ledger = Ledger(place.ledger, place.target.name)
    try:
        left, owed = ledger.read(only_open=True), ledger.owed()
    finally:
        ledger.close()
    if left:
        return gap(f"not seen undone: {left.names}", f"Call `tocsin recover --target {place.target.name}`.")
    if owed:
        debts = "; ".join(map(str, owed))
        return gap(
            f"owed by drills that died: {debts}", f"Call `tocsin recover --rollbacks --target {place.target.name}`."
        )
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
    return _may_call(place.target, role)


def _may_call(target: Target, role: str) -> Result:
    """Whether the role may make the calls that end faults: else it is found out when nobody is left."""
    there = f"{role} is there and trusts the scheduler"
    try:
        policies = list(policies_of(target, role.rsplit("/", 1)[-1]))
    except TargetError as error:
        return well(f"{there}; what it may do cannot be told: {error}")
    denied = [call for call in deadman.CALLS if not allows_any(policies, [call], ["*"])]
    if denied:
        mend = "Allow it what ends the faults of your drills (docs/SAFETY.md)."
        return warn(f"{there}, and may nowhere do: {', '.join(denied)}", mend)
    return well(f"{there}, and may end every fault")


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


def test_data(deployed: Deployed) -> Result:
    """The system file says what becomes of what drills write to an account."""
    loaded = loaded_of(deployed.root, deployed.system.system)
    activities = [what for one in loaded for what in may_write(one.toolkit, one.experiment.path)]
    writers = deployed.system.writers(load=True, activities=bool(activities))
    try:
        return well(check_test_data(deployed.target, deployed.system, writers, activities))
    except Refused as refusal:
        return gap(str(refusal), "See `test_data` in docs/EXPERIMENTS.md.")


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
        yield name, rule_drift(documented[name], evaluation.rules)


def _evaluations(deployed: Deployed) -> dict[str, Evaluated]:
    """The last evaluations of each alarm that its Prometheus knows."""
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


def alarms_not_held(deployed: Deployed) -> Result:
    """No mute rule and no suppressor holds the actions of an alarm back, now or within the next hour."""
    described, target, now = _described(deployed), deployed.target, time.time()
    in_alarm = suppressors_in_alarm(described.values(), target)
    paths = [
        path_to_people(target, name, alarm, "ALARM", now, now + _MUTES_AHEAD_S / target.scale)
        for name, alarm in described.items()
    ]
    told = [f"{path.alarm}: {note}" for path in paths for note in held_notes(path, in_alarm)]
    if told:
        return warn("; ".join(told), "Wait, or end the mute rule or what makes the suppressor ring.")
    return well("nothing holds their actions back")


def notifications(deployed: Deployed) -> Result:
    """What each alarm tells reaches the queue of the system file."""
    if deployed.system.notifications is None:
        return warn("the system file names no queue, so whether anybody is told is not seen", "Add `notifications`.")
    queue = deployed.system.notifications.queue
    queue_url(deployed.target, queue)
    told = _told(deployed)
    topics = dict.fromkeys(topic for way in told.values() for topic in way)
    return judge_paths(queue, told, {topic: read_topic(deployed.target, topic, queue) for topic in topics})


def delivery(deployed: Deployed) -> Result:
    """CloudWatch may publish to the topics of the alarms, and SNS may write to the queue of the system file."""
    alarms_of: dict[str, list[str]] = {}
    for alarm in _described(deployed).values():
        for topic in topics_of(alarm["AlarmActions"]):
            alarms_of.setdefault(topic, []).append(alarm["AlarmArn"])
    found = [one for topic, alarms in alarms_of.items() for one in topic_hindrances(deployed.target, topic, alarms)]
    listener = deployed.system.notifications
    if listener is not None:
        found += hindrances(deployed.target, listener.queue, alarms_of)
    if not found:
        queue = "the system file names no queue" if listener is None else f"SNS may write to {listener.queue}"
        return well(f"CloudWatch may publish to {len(alarms_of)} topics; {queue}")
    words = "; ".join(dict.fromkeys(one.words for one in found))
    mend = " ".join(dict.fromkeys(one.mend for one in found))
    return gap(words, mend) if any(one.certain for one in found) else warn(words, mend)


def _told(deployed: Deployed) -> dict[str, tuple[str, ...]]:
    """Topics that each alarm tells, by AlarmName."""
    return {alarm["AlarmName"]: topics_of(alarm["AlarmActions"]) for alarm in _described(deployed).values()}


def judge_paths(queue: str, alarms: Mapping[str, Sequence[str]], paths: Mapping[str, TopicPath]) -> Result:
    """Whether one way from each alarm to the queue is whole; `alarms` are the topics of each, by AlarmName.

    An alarm without a topic is none of this question.
    """
    ways = [[obstacle(paths[topic], alarm, queue) for topic in topics] for alarm, topics in alarms.items()]
    found = [one for way in ways if None not in way for one in way if one is not None]
    told = "; ".join(dict.fromkeys(one.words for one in found))
    mend = "Subscribe the queue to the topic, confirm it, and let its filter policy pass the alarms."
    if any(one.certain for one in found):
        return gap(told, mend)
    return warn(told, mend) if found else well(f"{queue} is subscribed")


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
    "credentials": credentials,
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
    "test data": test_data,
    "alarms": alarms_exist,
    "definitions": alarms_as_documented,
    "ringing": alarms_quiet,
    "actions": alarms_can_act,
    "held back": alarms_not_held,
    "notifications": notifications,
    "delivery": delivery,
}
"""Asked of a system that was named."""
