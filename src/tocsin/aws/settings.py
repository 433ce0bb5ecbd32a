"""How everything is set that a system file names: read before and after a drill, and compared.

A fault compares the fields that it changes. A rollback that people wrote may change another one, of the same resource
or of its neighbour, and nobody would notice. So each resource is read whole; what changes by itself is left out
(states, counts, times). Reading changes nothing, and what may not be read is named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tocsin.aws.again import asked_again
from tocsin.aws.cloudwatch import describe_alarms
from tocsin.aws.iam import ANY, Arns, Grant
from tocsin.aws.pages import listed
from tocsin.aws.rds import find_instance
from tocsin.aws.sqs import name_of, queue_attributes, queue_url, source_queues
from tocsin.aws.target import Target, aws_errors
from tocsin.errors import TargetError, Unavailable
from tocsin.model.system import ParameterLookup, System

Fields = Mapping[str, str]
"""Path of a field -> its value as text."""
Answers = Iterator[tuple[str, Any]]
"""A resource, as people call it, and what AWS says of it."""

_AT_ONCE = 8
_PATIENCE_WALL_S = 2.0
_PLACEHOLDER = re.compile(r"\$\{[^{}]*\}")
_CHANGES_BY_ITSELF = re.compile(
    r"ResponseMetadata|Code|RevisionId|LastModified\w*|LastUpdateStatus\w*|LastProcessingResult|EvaluationState"
    r"|State|StateReason\w*|StateValue|StateTransitionReason|ActionsSuppressed\w*|Approximate\w*|\w*Timestamp"
    r"|\w+Time|\w+At|\w+Date|events|deployments|taskSets|runningCount|pendingCount|status|\w*Status|StatusInfos|ItemCount"
    r"|TableSizeBytes|Subscriptions(?:Confirmed|Pending|Deleted)"
)
"""Names of fields that tell what is going on, or when, and not how something is set."""
_NAMES = ("UUID", "AliasArn", "Arn", "Id", "Name", "name", "Key", "Sid")


@dataclass(frozen=True)
class Settings:
    """Resource -> its fields; and what could not be read, with the reason."""

    resources: Mapping[str, Fields] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Kind:
    """One kind of resource: which a system names, how they are read, and what that needs of IAM."""

    named: Callable[[System], Iterable[str]]
    read: Callable[[Target, str], Answers]
    grants: Callable[[str, Arns], Iterator[tuple[str, str]]]
    """IAM action, resource"""


def grants(system: System, arns: Arns) -> Iterator[Grant]:
    """What reading the settings of this system needs of IAM; nothing of it changes anything."""
    for kind in _KINDS:
        for name in dict.fromkeys(kind.named(system)):
            # What a lookup finds is only known in the account.
            for action, resource in kind.grants(_PLACEHOLDER.sub("*", name), arns):
                yield Grant(sid="CompareSettings", actions=(action,), resources=(resource,))


def read_settings(system: System, target: Target) -> Settings:
    """Every resource that the system file names, several at once.

    What cannot be read is told in the answer; where AWS is still not available a moment later, nothing more is asked.
    """
    reading = _Reading(system, target)
    asked = [(kind, name) for kind in _KINDS for name in dict.fromkeys(kind.named(system))]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda one: reading.note(one[1], lambda: one[0].read(target, one[1])), asked))
        list(pool.map(lambda role: reading.note(role, lambda: _role(target, role)), reading.roles()))
        reading.note("alarms", reading.alarms)
    return Settings(dict(sorted(reading.found.items())), dict(sorted(reading.unread.items())))


@dataclass
class _Reading:
    system: System
    target: Target
    found: dict[str, Fields] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    over: bool = False

    def note(self, name: str, read: Callable[[], Answers]) -> None:
        """Read a resource, and what it leads to; a failure is noted in its place."""
        found: dict[str, Fields] = {}

        def read_it() -> None:
            for resource, answer in read():
                told = {path: str(value) for path, value in _flat("", answer)}
                found[resource] = {**found.get(resource, {}), **told}

        try:
            if self.over:
                raise Unavailable("AWS was not available a moment before")
            asked_again(read_it, _PATIENCE_WALL_S)
        except TargetError as error:
            self.over = self.over or isinstance(error, Unavailable)
            self.unread[name] = str(error)
        for resource, fields in found.items():
            self.found[resource] = {**self.found.get(resource, {}), **fields}

    def roles(self) -> list[str]:
        """Names of the roles that functions and tasks have."""
        arns = (
            value
            for fields in self.found.values()
            for path, value in fields.items()
            if path in ("Configuration/Role", "taskRoleArn")
        )
        return sorted({arn.rsplit("/", 1)[-1] for arn in arns})

    def alarms(self) -> Answers:
        for name, alarm in describe_alarms(self.system.cloudwatch_alarms.values(), self.target).items():
            yield f"alarm {name}", alarm


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Leaves by their path. Things that have a name are told by it: their order means nothing."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        value = _parsed(value)  # policies: the order of keys, and blanks, mean nothing
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not _CHANGES_BY_ITSELF.fullmatch(str(key)):
                yield from _flat(f"{path}/{key}".lstrip("/"), item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _flat(f"{path}/{_name(item, index)}".lstrip("/"), item)
    elif value not in ("", None):
        # An empty text and no text are the same: functions come back with the one where they had the other.
        yield path, value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _name(item: Any, index: int) -> str:
    if isinstance(item, Mapping):
        return next((str(item[name]).replace("/", ":") for name in _NAMES if name in item), str(index))
    return str(item).replace("/", ":") if isinstance(item, str) else str(index)


# --- what a system names ------------------------------------------------------------------------------------


def _dimensions(*names: str) -> Callable[[System], Iterator[str]]:
    """Values of dimensions of the alarms' metrics; of several together, joined by `/`."""

    def of(system: System) -> Iterator[str]:
        for alarm in system.cloudwatch_alarms.values():
            for metric in getattr(alarm.cloudwatch, "metric_refs", ()):
                values = {one.name: one.value for one in metric.dimensions}
                if all(name in values for name in names):
                    yield "/".join(values[name] for name in names)

    return of


def _functions(system: System) -> Iterator[str]:
    yield from _dimensions("FunctionName")(system)
    yield from (name for party in system.third_parties.values() for name in party.functions)
    counts = (one for rule in system.conservation.values() for one in (*rule.accepted, rule.processed))
    for group in (count.log_group for count in counts):
        if group.startswith("/aws/lambda/"):
            yield group.removeprefix("/aws/lambda/")


def _services(system: System) -> Iterator[str]:
    yield from _dimensions("ClusterName", "ServiceName")(system)
    yield from (name for party in system.third_parties.values() for name in party.services)


def _queues(system: System) -> Iterator[str]:
    yield from _dimensions("QueueName")(system)
    if system.notifications is not None:
        yield system.notifications.queue


def _topics(system: System) -> Iterator[str]:
    """ARNs of the topics that alarms tell; a placeholder may be one."""
    for alarm in system.cloudwatch_alarms.values():
        for action in alarm.cloudwatch.alarm_actions:
            if ":sns:" in action or _PLACEHOLDER.fullmatch(action):
                yield action


def _parameters(system: System) -> Iterator[str]:
    return (lookup.parameter for lookup in system.lookups.values() if isinstance(lookup, ParameterLookup))


# --- how it is read -----------------------------------------------------------------------------------------


def _function(target: Target, name: str) -> Answers:
    client, of = target.client("lambda"), {"FunctionName": name}
    with aws_errors(f"reading the function {name}"):
        yield f"function {name}", client.get_function(**of)
        yield f"function {name}", {"aliases": list(listed(client, "list_aliases", "Aliases", **of))}
        mappings = list(listed(client, "list_event_source_mappings", "EventSourceMappings", **of))
    # That a mapping is on is a setting, though it is told as a state.
    on = [{**mapping, "Enabled": mapping["State"] in ("Creating", "Enabling", "Enabled")} for mapping in mappings]
    yield f"function {name}", {"mappings": on}


def _role(target: Target, name: str) -> Answers:
    client, of = target.client("iam"), {"RoleName": name}
    with aws_errors(f"reading the policies of the role {name}"):
        attached = list(listed(client, "list_attached_role_policies", "AttachedPolicies", **of))
        yield f"role {name}", {"attached": {one["PolicyName"]: one["PolicyArn"] for one in attached}}
        for policy in listed(client, "list_role_policies", "PolicyNames", **of):
            document = client.get_role_policy(PolicyName=policy, **of)["PolicyDocument"]
            yield f"role {name}", {"policies": {policy: document}}


def _queue(target: Target, name: str) -> Answers:
    """A queue, and those of which it is the dead-letter queue."""
    url = queue_url(target, name)
    for each in (url, *source_queues(target, url)):
        yield f"queue {name_of(each)}", queue_attributes(target, each, "All")


def _topic(target: Target, arn: str) -> Answers:
    with aws_errors(f"reading the topic {arn}"):
        answer = target.client("sns").get_topic_attributes(TopicArn=arn)
    yield f"topic {arn.rsplit(':', 1)[-1]}", answer["Attributes"]


def _service(target: Target, path: str) -> Answers:
    """An ECS service with its task definition. How many tasks auto scaling wants is no setting."""
    client, (cluster, name) = target.client("ecs"), path.split("/", 1)
    with aws_errors(f"reading the service {path}"):
        services = client.describe_services(cluster=cluster, services=[name])["services"]
        scaled = target.client("application-autoscaling").describe_scalable_targets(
            ServiceNamespace="ecs", ResourceIds=[f"service/{path}"]
        )["ScalableTargets"]
        for service in services:
            kept = {key: value for key, value in service.items() if not (scaled and key == "desiredCount")}
            yield f"service {path}", {**kept, "scaling": scaled}
            definition = client.describe_task_definition(taskDefinition=service["taskDefinition"])
            yield f"task definition of {path}", definition["taskDefinition"]


def _instance(target: Target, name: str) -> Answers:
    instance = find_instance(target, name)
    if instance is not None:
        yield f"DB instance {name}", instance


def _table(target: Target, name: str) -> Answers:
    with aws_errors(f"reading the table {name}"):
        yield f"table {name}", target.client("dynamodb").describe_table(TableName=name)["Table"]


def _api(target: Target, api: str) -> Answers:
    client = target.client("apigatewayv2")
    with aws_errors(f"reading the HTTP API {api}"):
        yield f"HTTP API {api}", client.get_api(ApiId=api)
        stages = list(listed(client, "get_stages", "Items", ApiId=api))
    yield f"HTTP API {api}", {"stages": {stage["StageName"]: stage for stage in stages}}


def _parameter(target: Target, name: str) -> Answers:
    with aws_errors(f"reading the parameter {name}"):
        answer = target.client("ssm").get_parameter(Name=name)["Parameter"]
    yield f"parameter {name}", {"secret value": answer["Value"], "Type": answer.get("Type")}


# --- what that needs ----------------------------------------------------------------------------------------

_Needs = Iterator[tuple[str, str]]


def _on(service: str, resource: str, *actions: str) -> Callable[[str, Arns], _Needs]:
    """Actions on a resource with the name in it, `{}`."""

    def needs(name: str, arns: Arns) -> _Needs:
        return ((f"{service}:{action}", arns(service, resource.format(name))) for action in actions)

    return needs


def _on_any(*actions: str) -> Callable[[str, Arns], _Needs]:
    return lambda name, arns: ((action, ANY[0]) for action in actions)


def _all_of(*needs: Callable[[str, Arns], _Needs]) -> Callable[[str, Arns], _Needs]:
    return lambda name, arns: (one for each in needs for one in each(name, arns))


def _on_roles(name: str, arns: Arns) -> _Needs:
    actions = ("GetRolePolicy", "ListAttachedRolePolicies", "ListRolePolicies")
    return ((f"iam:{action}", arns.global_("iam", "role/*")) for action in actions)


def _on_topic(arn: str, arns: Arns) -> _Needs:
    yield "sns:GetTopicAttributes", arns("sns", "*") if arn == "*" else arn


def _on_api(api: str, arns: Arns) -> _Needs:
    for below in ("", "/stages"):
        yield "apigateway:GET", arns.of_no_account("apigateway", f"/apis/{api}{below}")


def _on_parameter(name: str, arns: Arns) -> _Needs:
    yield "ssm:GetParameter", arns("ssm", f"parameter/{name.removeprefix('/')}")


_KINDS: tuple[_Kind, ...] = (
    _Kind(
        _functions,
        _function,
        _all_of(
            _on("lambda", "function:{}", "GetFunction", "ListAliases"),
            _on_any("lambda:ListEventSourceMappings"),
            _on_roles,
        ),
    ),
    _Kind(
        _services,
        _service,
        _all_of(
            _on("ecs", "service/{}", "DescribeServices"),
            _on_any("application-autoscaling:DescribeScalableTargets", "ecs:DescribeTaskDefinition"),
            _on_roles,
        ),
    ),
    # Which queues a dead-letter queue has, only the account knows.
    _Kind(_queues, _queue, _on("sqs", "*", "GetQueueAttributes", "GetQueueUrl", "ListDeadLetterSourceQueues")),
    _Kind(_topics, _topic, _on_topic),
    _Kind(_dimensions("DBInstanceIdentifier"), _instance, _on("rds", "db:{}", "DescribeDBInstances")),
    _Kind(_dimensions("TableName"), _table, _on("dynamodb", "table/{}", "DescribeTable")),
    _Kind(_dimensions("ApiId"), _api, _on_api),
    _Kind(_parameters, _parameter, _on_parameter),
)
"""Alarms are read, too; watching them declares what that needs."""
