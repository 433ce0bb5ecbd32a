"""The whole state of an account, as far as the AWS API tells it: read before a drill and after its undo, and compared.

A snapshot is flat: the path of a value to the value, such as `lambda/clock-in/configuration/Timeout: 10`. Whatever is
not compared is in `LEFT_OUT`, with its reason.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import ClientError

Snapshot = dict[str, Any]
Clients = Callable[[str], Any]

LEFT_OUT: dict[str, str] = {
    r"/ResponseMetadata(/|$)": "of the answer, not of the account",
    r"/LastModified$": "time of the last change: a change and its undo are two",
    r"/LastModified(Date|Timestamp|Time)$": "as LastModified",
    r"/LastUpdated(Date|Timestamp|Time)$": "as LastModified",
    r"/UpdatedDate$": "as LastModified",
    r"/(AlarmConfiguration|State)UpdatedTimestamp$": "as LastModified",
    r"/RevisionId$": "Lambda gives a new one with every change, also with one that puts everything back",
    r"/StateTransitionReason$": "tells who made the last change",
    r"/LastProcessingResult$": "what a mapping last worked on, no configuration",
    r"/Code/Location$": "presigned anew with every answer",
    r"/LastAccessedDate$": "reading a secret changes it",
    r"/RoleLastUsed/": "use, no configuration",
    r"/State(Value|Reason|ReasonData|TransitionedTimestamp)$": "the alarm's judgement, not its definition",
    r"^logs/.*/(storedBytes|lastEventTimestamp|lastIngestionTime|metricFilterCount)$": "lines that functions wrote",
    r"^ecs/.*/services/[^/]*/(deployments|events)/": "what a service did, and does until it is steady",
    r"^ecs/.*/services/[^/]*/(running|pending)Count$": "as deployments: a replacement is on its way",
    r"^elasticache/.*/CurrentRole$": "which node is the primary: a failover is not undone by another one",
    r"^sqs/[^/]*oncall/ApproximateNumberOfMessages": "what the pager received: an alarm may ring under any fault",
}
"""Patterns of paths that are not compared, and why."""

_OMITTED = re.compile("|".join(f"(?:{pattern})" for pattern in LEFT_OUT))
_SECRET = re.compile(r"/Environment/Variables/")


def read_account(clients: Clients, services: Collection[str] | None = None) -> Snapshot:
    """Every configuration that the AWS API returns for what a replica may consist of.

    `clients` gives the boto3 client of a service. Services are read side by side, all of `SERVICES` unless some are
    named.
    """
    read = {name: SERVICES[name] for name in services or SERVICES}
    with ThreadPoolExecutor(len(read)) as threads:
        parts = threads.map(lambda item: _flat(item[0], dict(item[1](clients(item[0])))), read.items())
        return {path: value for part in parts for path, value in part if not _OMITTED.search(path)}


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """One line for every value that is not the same, with both; values of environments as a hash."""
    return [
        f"{path}: {_told(path, before)} -> {_told(path, after)}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path, _told) != after.get(path, _told)
    ]


def _told(path: str, snapshot: Snapshot) -> str:
    if path not in snapshot:
        return "absent"
    if _SECRET.search(path):
        return hashlib.sha256(str(snapshot[path]).encode()).hexdigest()[:8]
    return repr(snapshot[path])[:120]


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Leaves by their path. Lists of things that have a name are told by it: their order means nothing."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(f"{path}/{key}", item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _flat(f"{path}/{_name(item, index)}", item)
    elif value not in ("", None):
        # An empty text and no text are the same: functions come back with the one where they had the other.
        yield path, value


_NAMES = ("UUID", "FunctionArn", "AliasArn", "Arn", "Id", "Name", "Key", "Sid")


def _name(item: Any, index: int) -> str:
    if isinstance(item, Mapping):
        return next((str(item[name]).replace("/", ":") for name in _NAMES if name in item), str(index))
    return str(item).replace("/", ":") if isinstance(item, str) else str(index)


# --- what is asked of each service --------------------------------------------------------------------------

Answers = Iterator[tuple[str, Any]]


def _all(client: Any, operation: str, key: str, **request: Any) -> list[Any]:
    """All pages of a list."""
    if client.can_paginate(operation):
        return [item for page in client.get_paginator(operation).paginate(**request) for item in page.get(key) or []]
    return list(getattr(client, operation)(**request).get(key) or [])


def _optional(client: Any, operation: str, **request: Any) -> Any:
    """An answer, or the code of the error: that something is not there is a part of the state."""
    try:
        return getattr(client, operation)(**request)
    except ClientError as error:
        return error.response["Error"]["Code"]


def _lambda(client: Any) -> Answers:
    yield "event source mappings", _all(client, "list_event_source_mappings", "EventSourceMappings")
    for function in _all(client, "list_functions", "Functions"):
        name = function["FunctionName"]
        of = {"FunctionName": name}
        yield f"{name}/function", client.get_function(**of)
        yield f"{name}/concurrency", _optional(client, "get_function_concurrency", **of)
        # Where there is none some emulators have an error, and AWS an empty list.
        yield f"{name}/provisioned", _optional(client, "list_provisioned_concurrency_configs", **of)
        yield f"{name}/versions", _all(client, "list_versions_by_function", "Versions", **of)
        yield f"{name}/aliases", _all(client, "list_aliases", "Aliases", **of)
        yield f"{name}/policy", _optional(client, "get_policy", **of)
        yield f"{name}/invoke config", _optional(client, "get_function_event_invoke_config", **of)
        yield f"{name}/url", _optional(client, "get_function_url_config", **of)
    yield "layers", _all(client, "list_layers", "Layers")


def _sqs(client: Any) -> Answers:
    for url in _all(client, "list_queues", "QueueUrls"):
        name = url.rsplit("/", 1)[1]
        yield name, client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        yield f"{name}/tags", client.list_queue_tags(QueueUrl=url).get("Tags", {})


def read_messages(client: Any, queues: Collection[str]) -> Snapshot:
    """Every message of these queues: its body, and how often others had received it before this look.

    Looking is receiving: what is looked at has one receive more, and is visible again at once. So an account is read
    in this way once, at the end of a test, and compared with what the test sent.
    """
    found: Snapshot = {}
    for queue in queues:
        url = client.get_queue_url(QueueName=queue)["QueueUrl"]
        held: dict[str, str] = {}
        while messages := _received(client, url):
            for one in messages:
                held[one["MessageId"]] = one["ReceiptHandle"]
                path = f"sqs/{queue}/messages/{one['Body']}"
                found[path] = (*found.get(path, ()), int(one["Attributes"]["ApproximateReceiveCount"]) - 1)
        for handle in held.values():
            client.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
    return found


def _received(client: Any, url: str) -> list[Any]:
    """Some that nobody holds; hidden for long enough to be seen once."""
    answer = client.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=60, AttributeNames=["ApproximateReceiveCount"]
    )
    return list(answer.get("Messages", []))


def _sns(client: Any) -> Answers:
    for topic in _all(client, "list_topics", "Topics"):
        arn = topic["TopicArn"]
        yield arn, client.get_topic_attributes(TopicArn=arn)["Attributes"]
        for subscription in _all(client, "list_subscriptions_by_topic", "Subscriptions", TopicArn=arn):
            of = subscription["SubscriptionArn"]
            yield f"{arn}/{of}", client.get_subscription_attributes(SubscriptionArn=of)["Attributes"]


def _rds(client: Any) -> Answers:
    yield "instances", _by("DBInstanceIdentifier", _all(client, "describe_db_instances", "DBInstances"))
    yield "snapshots", _by("DBSnapshotIdentifier", _all(client, "describe_db_snapshots", "DBSnapshots"))
    for proxy in _all(client, "describe_db_proxies", "DBProxies"):
        name = proxy["DBProxyName"]
        yield f"proxies/{name}", proxy
        groups = _all(client, "describe_db_proxy_target_groups", "TargetGroups", DBProxyName=name)
        yield f"proxies/{name}/groups", _by("TargetGroupName", groups)
        targets = _all(client, "describe_db_proxy_targets", "Targets", DBProxyName=name)
        yield f"proxies/{name}/targets", _by("RdsResourceId", targets)


def _apigatewayv2(client: Any) -> Answers:
    for api in _all(client, "get_apis", "Items"):
        of = {"ApiId": api["ApiId"]}
        yield api["ApiId"], api
        yield f"{api['ApiId']}/routes", _by("RouteId", _all(client, "get_routes", "Items", **of))
        yield f"{api['ApiId']}/integrations", _by("IntegrationId", _all(client, "get_integrations", "Items", **of))
        yield f"{api['ApiId']}/stages", _by("StageName", _all(client, "get_stages", "Items", **of))
        yield f"{api['ApiId']}/authorizers", _all(client, "get_authorizers", "Items", **of)


def _cognito(client: Any) -> Answers:
    for pool in _all(client, "list_user_pools", "UserPools", MaxResults=60):
        of = {"UserPoolId": pool["Id"]}
        yield pool["Id"], client.describe_user_pool(**of)["UserPool"]
        for app in _all(client, "list_user_pool_clients", "UserPoolClients", **of):
            described = client.describe_user_pool_client(ClientId=app["ClientId"], **of)["UserPoolClient"]
            yield f"{pool['Id']}/clients/{app['ClientId']}", described
        yield f"{pool['Id']}/groups", _by("GroupName", _all(client, "list_groups", "Groups", **of))
        yield f"{pool['Id']}/users", _by("Username", _all(client, "list_users", "Users", **of))


def _secretsmanager(client: Any) -> Answers:
    # Which versions there are, never what they hold.
    for secret in _all(client, "list_secrets", "SecretList"):
        yield secret["Name"], client.describe_secret(SecretId=secret["ARN"])


def _iam(client: Any) -> Answers:
    for role in _all(client, "list_roles", "Roles"):
        of = {"RoleName": role["RoleName"]}
        yield role["RoleName"], client.get_role(**of)["Role"]
        for name in _all(client, "list_role_policies", "PolicyNames", **of):
            yield f"{role['RoleName']}/{name}", client.get_role_policy(PolicyName=name, **of)["PolicyDocument"]
        attached = _all(client, "list_attached_role_policies", "AttachedPolicies", **of)
        yield f"{role['RoleName']}/attached", _by("PolicyArn", attached)
        yield f"{role['RoleName']}/tags", _all(client, "list_role_tags", "Tags", **of)
    for policy in _all(client, "list_policies", "Policies", Scope="Local"):
        version = client.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])
        yield policy["Arn"], {**policy, "document": version["PolicyVersion"]["Document"]}


def _s3(client: Any) -> Answers:
    for bucket in _all(client, "list_buckets", "Buckets"):
        of = {"Bucket": bucket["Name"]}
        yield f"{bucket['Name']}/policy", _policy(_optional(client, "get_bucket_policy", **of))
        yield f"{bucket['Name']}/versioning", client.get_bucket_versioning(**of)
        yield f"{bucket['Name']}/tags", _optional(client, "get_bucket_tagging", **of)
        yield f"{bucket['Name']}/objects", _all(client, "list_objects_v2", "Contents", **of)


def _policy(answer: Any) -> Any:
    """Policies are compared as what they mean: the order of their keys and their blanks mean nothing."""
    return json.loads(answer["Policy"]) if isinstance(answer, dict) and "Policy" in answer else answer


def _dynamodb(client: Any) -> Answers:
    for name in _all(client, "list_tables", "TableNames"):
        table = client.describe_table(TableName=name)["Table"]
        yield name, table
        yield f"{name}/policy", _policy(_optional(client, "get_resource_policy", ResourceArn=table["TableArn"]))
        yield f"{name}/time to live", _optional(client, "describe_time_to_live", TableName=name)


def _cloudwatch(client: Any) -> Answers:
    for kind in ("MetricAlarms", "CompositeAlarms"):
        alarms = _all(client, "describe_alarms", kind, AlarmTypes=["MetricAlarm", "CompositeAlarm"])
        yield kind, _by("AlarmName", alarms)


def _events(client: Any) -> Answers:
    for rule in _all(client, "list_rules", "Rules"):
        yield rule["Name"], rule
        yield f"{rule['Name']}/targets", _all(client, "list_targets_by_rule", "Targets", Rule=rule["Name"])


def _ssm(client: Any) -> Answers:
    yield "parameters", _by("Name", _all(client, "describe_parameters", "Parameters"))


def _scheduler(client: Any) -> Answers:
    for found in _all(client, "list_schedules", "Schedules"):
        yield found["Name"], client.get_schedule(Name=found["Name"], GroupName=found.get("GroupName", "default"))
    yield "groups", _all(client, "list_schedule_groups", "ScheduleGroups")


def _logs(client: Any) -> Answers:
    yield "groups", _by("logGroupName", _all(client, "describe_log_groups", "logGroups"))


def _ecs(client: Any) -> Answers:
    for cluster in _all(client, "list_clusters", "clusterArns"):
        arns = _all(client, "list_services", "serviceArns", cluster=cluster)
        services = client.describe_services(cluster=cluster, services=arns)["services"] if arns else []
        yield f"{cluster}/services", _by("serviceName", services)
    for status in ("ACTIVE", "INACTIVE"):
        yield f"{status} task definitions", _all(client, "list_task_definitions", "taskDefinitionArns", status=status)


def _elasticache(client: Any) -> Answers:
    yield "groups", _by("ReplicationGroupId", _all(client, "describe_replication_groups", "ReplicationGroups"))
    yield "clusters", _by("CacheClusterId", _all(client, "describe_cache_clusters", "CacheClusters"))


def _elbv2(client: Any) -> Answers:
    for balancer in _all(client, "describe_load_balancers", "LoadBalancers"):
        arn = balancer["LoadBalancerArn"]
        yield balancer["LoadBalancerName"], balancer
        listeners = _all(client, "describe_listeners", "Listeners", LoadBalancerArn=arn)
        yield f"{balancer['LoadBalancerName']}/listeners", _by("ListenerArn", listeners)
    for group in _all(client, "describe_target_groups", "TargetGroups"):
        health = client.describe_target_health(TargetGroupArn=group["TargetGroupArn"])["TargetHealthDescriptions"]
        yield group["TargetGroupName"], {**group, "targets": [one["Target"] for one in health]}


def _fis(client: Any) -> Answers:
    # Experiments that ran are history, as events are.
    yield "templates", _by("id", _all(client, "list_experiment_templates", "experimentTemplates"))


def _kms(client: Any) -> Answers:
    for key in _all(client, "list_keys", "Keys"):
        of = {"KeyId": key["KeyId"]}
        yield key["KeyId"], client.describe_key(**of)["KeyMetadata"]
        policy = _optional(client, "get_key_policy", PolicyName="default", **of)
        yield f"{key['KeyId']}/policy", _policy(policy)
    yield "aliases", _by("AliasName", _all(client, "list_aliases", "Aliases"))


def _ses(client: Any) -> Answers:
    yield "identities", _all(client, "list_identities", "Identities")


def _application_autoscaling(client: Any) -> Answers:
    yield (
        "targets",
        _by("ResourceId", _all(client, "describe_scalable_targets", "ScalableTargets", ServiceNamespace="ecs")),
    )


def _cloudformation(client: Any) -> Answers:
    for stack in _all(client, "describe_stacks", "Stacks"):
        resources = client.describe_stack_resources(StackName=stack["StackName"])["StackResources"]
        yield stack["StackName"], {**stack, "resources": _by("LogicalResourceId", resources)}


def _by(key: str, items: list[Any]) -> dict[str, Any]:
    return {str(item[key]).replace("/", ":"): item for item in items}


SERVICES: dict[str, Callable[[Any], Answers]] = {
    "application-autoscaling": _application_autoscaling,
    "apigatewayv2": _apigatewayv2,
    "cloudformation": _cloudformation,
    "cloudwatch": _cloudwatch,
    "cognito-idp": _cognito,
    "dynamodb": _dynamodb,
    "ecs": _ecs,
    "elasticache": _elasticache,
    "elbv2": _elbv2,
    "events": _events,
    "fis": _fis,
    "iam": _iam,
    "kms": _kms,
    "lambda": _lambda,
    "logs": _logs,
    "rds": _rds,
    "s3": _s3,
    "scheduler": _scheduler,
    "secretsmanager": _secretsmanager,
    "ses": _ses,
    "sns": _sns,
    "sqs": _sqs,
    "ssm": _ssm,
}
