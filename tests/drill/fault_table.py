"""Arguments with which every fault of the registry can be tried on the replica of Leave & Attendance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pg8000.native

from tocsin.aws.target import Target
from tocsin.model.doors import TOKEN_HEADER
from tocsin.sandbox.account import Account

STAGE = "leave-attendance-dev"
ROLE = f"{STAGE}-ap-southeast-2-lambdaRole"
BUCKET = f"{STAGE}-deployments"
TABLE = "tocsin-drill-orders"
"""A table of our own: the replica has none."""
SERVICE = "tocsin-drill"
"""An ECS cluster and service, a load balancer and a target group of our own."""
_ON = {"cluster": SERVICE, "service": SERVICE}
DATA = "tocsin-drill"
"""A DB instance, a secret that leads into it, and a replication group of our own."""
_ITEMS = {"secret": DATA, "table": "items"}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "dynamodb_table_deny": {"table": TABLE, "actions": ["dynamodb:PutItem"]},
    "ecs_bad_release": {**_ON, "circuit_breaker": True},
    "ecs_scale": {**_ON, "desired": 2},
    "ecs_stop_tasks": _ON,
    "ecs_task_cpu_stress": {**_ON, "role": "arn:aws:iam::123456789012:role/chaos-fis", "percent": 10, "duration": "1h"},
    "elasticache_failover": {"replication_group": DATA},
    "elasticache_reboot": {"replication_group": DATA},
    "elb_target_deregistered": {"target_group": SERVICE},
    "endpoint_override": {
        "function": f"{STAGE}-calendarSyncWorker",
        "variable": "GRAPH_BASE_URL",
        "url": "http://127.0.0.1:9",
    },
    "iam_role_deny": {"role": ROLE, "actions": ["sqs:*"]},
    "lambda_bad_release": {"function": f"{STAGE}-clockIn", "alias": "provisioned"},
    "lambda_environment_credential": {"function": f"{STAGE}-calendarSyncWorker", "variable": "GRAPH_CLIENT_SECRET"},
    "lambda_event_source_disabled": {"function": f"{STAGE}-calendarSyncWorker", "queue": "itcenter-dev-calendar-sync"},
    "lambda_reserved_concurrency": {"function": f"{STAGE}-clockIn", "reserved": 0},
    "postgres_connections": {"secret": DATA, "keep": 80},
    "postgres_failing_statements": _ITEMS,
    "postgres_lock": _ITEMS,
    "postgres_slow_statements": _ITEMS,
    "rds_proxy_throttle": {"proxy": "itcenter-dev-proxy", "max_connections_percent": 1, "borrow_timeout_s": 1},
    "rds_reboot": {"instance": DATA},
    "rds_restore_rehearsal": {"instance": DATA, "restored": f"{DATA}-test", "secret": DATA},
    "rds_stop": {"instance": DATA},
    "s3_bucket_deny": {"bucket": BUCKET, "actions": ["s3:GetObject", "s3:ListBucket"]},
    "sqs_poison_message": {"queue": "itcenter-dev-calendar-sync"},
    "third_party": {"system": "leave-attendance", "name": "graph", "status": 503, "percent": 50},
}


def make_resources(account: Account) -> None:
    """For the faults that the replica itself has no resource for."""
    _make_table(account.client("dynamodb"))
    account.register_image("tocsin-drill:1", Path(__file__).parent)
    _make_service(account.client("ecs"))
    account.client("application-autoscaling").register_scalable_target(
        ServiceNamespace="ecs",
        ResourceId=f"service/{SERVICE}/{SERVICE}",
        ScalableDimension="ecs:service:DesiredCount",
        MinCapacity=1,
        MaxCapacity=2,
    )
    _make_target_group(account.client("elbv2"), urlsplit(account.endpoint_url).port)
    _make_cache(account.client("elasticache"))
    _make_database(account)


def _make_table(dynamodb: Any) -> None:
    dynamodb.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )


def _make_service(ecs: Any) -> None:
    """One task that does nothing, once it runs."""
    ecs.create_cluster(clusterName=SERVICE)
    container = {"name": "idle", "image": "tocsin-drill:1", "command": ["sleep", "3600"]}
    definition = ecs.register_task_definition(family=SERVICE, containerDefinitions=[container])["taskDefinition"]
    ecs.create_service(
        cluster=SERVICE, serviceName=SERVICE, taskDefinition=definition["taskDefinitionArn"], desiredCount=1
    )
    settle(ecs)


def settle(ecs: Any) -> None:
    """Wait until the service runs what it should: a rolled back release is rolled out again."""
    ecs.get_waiter("services_stable").wait(
        cluster=SERVICE, services=[SERVICE], WaiterConfig={"Delay": 0.05, "MaxAttempts": 1200}
    )


def _make_target_group(elb: Any, port: int | None) -> None:
    """A load balancer whose one target is what certainly answers: the sandbox itself."""
    group = elb.create_target_group(
        Name=SERVICE,
        Protocol="HTTP",
        Port=80,
        VpcId="vpc-1",
        TargetType="ip",
        HealthCheckIntervalSeconds=300,
        HealthCheckTimeoutSeconds=120,
        Matcher={"HttpCode": "200-499"},
    )["TargetGroups"][0]["TargetGroupArn"]
    balancer = elb.create_load_balancer(Name=SERVICE, Subnets=["subnet-1"])["LoadBalancers"][0]["LoadBalancerArn"]
    action = {"Type": "forward", "TargetGroupArn": group}
    elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=[action])
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "127.0.0.1", "Port": port}])
    elb.get_waiter("target_in_service").wait(TargetGroupArn=group, WaiterConfig={"Delay": 0.05, "MaxAttempts": 1200})


def _make_cache(elasticache: Any) -> None:
    elasticache.create_replication_group(
        ReplicationGroupId=DATA,
        ReplicationGroupDescription="for faults",
        NumCacheClusters=2,
        AutomaticFailoverEnabled=True,
    )
    elasticache.get_waiter("replication_group_available").wait(
        ReplicationGroupId=DATA, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600}
    )


def _make_database(account: Account) -> None:
    account.client("rds").create_db_instance(
        DBInstanceIdentifier=DATA,
        Engine="postgres",
        DBInstanceClass="db.t3.micro",
        MasterUsername="owner",
        MasterUserPassword="not-checked",
        DBName="app",
        AllocatedStorage=20,
    )
    host, port = account.database(DATA)
    way_in = {"host": host, "port": port, "dbname": "app", "username": "owner", "password": "not-checked"}
    account.client("secretsmanager").create_secret(Name=DATA, SecretString=json.dumps(way_in))
    inside(way_in, "CREATE TABLE items (id serial)")


def door(target: Target) -> Any:
    """What the fault door of the replica's third party is told, asked past the fault."""
    worker = target.client("lambda").get_function_configuration(FunctionName=f"{STAGE}-calendarSyncWorker")
    url = worker["Environment"]["Variables"]["GRAPH_AUTHORITY"]
    return httpx.get(f"{url}/_tocsin/fault", headers={TOKEN_HEADER: target.door_token or ""}).json()["fault"]


def inside(way_in: dict[str, Any], sql: str) -> Any:
    """What PostgreSQL answers; its absence when there is no answer."""
    try:
        with pg8000.native.Connection(
            way_in["username"],
            host=way_in["host"],
            port=way_in["port"],
            database=way_in["dbname"],
            password=way_in["password"],
            timeout=30,
        ) as connection:
            return connection.run(sql)
    except (pg8000.native.InterfaceError, pg8000.native.DatabaseError, OSError):
        return "no answer"
