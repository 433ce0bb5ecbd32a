"""Puts the stand-in of Clocked into a sandbox account through the AWS APIs: ECS behind a load balancer, RDS, Redis."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from pg8000.native import Connection

if TYPE_CHECKING:
    from tocsin.sandbox.account import Account

HERE = Path(__file__).parent
VERSION = "1.0.0"
IMAGE = f"clocked-server:{VERSION}"
CLUSTER, SERVICE, CONTAINER = "clocked-cluster", "clocked-app-service", "clocked-server"
FAMILY = "clocked-app"
LOG_GROUP = "/ecs/clocked-app"
EXECUTION_ROLE = "clocked-task-execution"
INSTANCE, DATABASE, MASTER_USER = "clocked-db", "clocked", "clocked"
CACHE = "clocked-redis"
PORT = 3000
CPU_UNITS = 256
DESIRED, LEAST, MOST = 2, 2, 10
LOAD_USERS = 10
TAGS = {"chaos-opt-in": "true", "chaos-system": "clocked"}
READY_WITHIN_S = 30.0

USERS = ("synthetic-user", "synthetic-colleague", "synthetic-contract")
LOAD_NAMES = tuple(f"synthetic-load-{number:02}" for number in range(1, LOAD_USERS + 1))


def deploy(account: Account) -> None:
    """Deploy everything and return when the service answers."""
    password = secrets.token_urlsafe(24)
    create_database(account, password)
    create_cache(account)
    database = database_secret(account, password)
    add_users(account, database)
    create_alarm_topic(account)
    target_group = create_load_balancer(account)
    create_service(account, target_group, task_definition(account))
    create_scaling(account)
    wait_until("the service to be steady", lambda: is_steady(account, target_group))
    began, prometheus_url = datetime.now(UTC), start_prometheus(account)
    wait_until("Prometheus to see it", lambda: is_quiet(prometheus_url, since=began))


def create_database(account: Account, password: str) -> None:
    """The PostgreSQL instance."""
    account.client("rds").create_db_instance(
        DBInstanceIdentifier=INSTANCE,
        DBInstanceClass="db.t3.micro",
        Engine="postgres",
        DBName=DATABASE,
        MasterUsername=MASTER_USER,
        MasterUserPassword=password,
        AllocatedStorage=20,
        Tags=tags(),
    )


def database_secret(account: Account, password: str) -> str:
    """The secret `clocked/db` with everything a server needs to connect: its ARN."""
    host, port = account.database(INSTANCE)
    login = {
        "host": host,
        "port": port,
        "dbname": DATABASE,
        "username": MASTER_USER,
        "password": password,
    }
    vault = account.client("secretsmanager")
    return str(vault.create_secret(Name="clocked/db", SecretString=json.dumps(login), Tags=tags())["ARN"])


def create_cache(account: Account) -> None:
    """The replication group: a primary and a replica."""
    account.client("elasticache").create_replication_group(
        ReplicationGroupId=CACHE,
        ReplicationGroupDescription="who is signed in",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        NumCacheClusters=2,
        AutomaticFailoverEnabled=True,
        Tags=tags(),
    )


def add_users(account: Account, database_arn: str) -> None:
    """The schema, and the synthetic people with their secrets."""
    vault = account.client("secretsmanager")
    login = json.loads(vault.get_secret_value(SecretId=database_arn)["SecretString"])
    passwords = {name: secrets.token_urlsafe(18) for name in USERS}
    shared = secrets.token_urlsafe(18)
    connection = Connection(
        login["username"],
        host=login["host"],
        port=login["port"],
        database=login["dbname"],
        password=login["password"],
    )
    try:
        connection.run((HERE / "schema.sql").read_text(encoding="utf-8"))
        for name, password in (passwords | dict.fromkeys(LOAD_NAMES, shared)).items():
            connection.run(
                "INSERT INTO users (username, salt, password) VALUES (:name, :salt, crypt_sha256(:word, :salt))",
                name=name,
                salt=secrets.token_hex(8),
                word=password,
            )
    finally:
        connection.close()
    for name, password in passwords.items():
        user = {"username": name, "password": password}
        vault.create_secret(Name=f"clocked/{name}", SecretString=json.dumps(user))
    load = {"users": list(LOAD_NAMES), "password": shared}
    vault.create_secret(Name="clocked/synthetic-load", SecretString=json.dumps(load))


def create_alarm_topic(account: Account) -> None:
    """The topic of the CloudWatch alarms, and the queue that stands for the pager."""
    topic = str(account.client("sns").create_topic(Name="clocked-alarms")["TopicArn"])
    arn = f"arn:aws:sqs:{account.region}:{account.account_id}:clocked-oncall"
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    account.client("sqs").create_queue(QueueName="clocked-oncall", Attributes={"Policy": policy(statement)})
    account.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)


def create_load_balancer(account: Account) -> str:
    """The load balancer with one target group: the group's ARN."""
    elb = account.client("elbv2")
    subnets = [subnet["SubnetId"] for subnet in account.client("ec2").describe_subnets()["Subnets"][:2]]
    balancer = elb.create_load_balancer(Name="clocked-alb", Subnets=subnets, Tags=tags())["LoadBalancers"][0]
    group = elb.create_target_group(
        Name="clocked-app",
        Protocol="HTTP",
        Port=PORT,
        TargetType="ip",
        VpcId=account.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"],
        HealthCheckPath="/health",
        HealthCheckIntervalSeconds=15,
        HealthCheckTimeoutSeconds=5,
        HealthyThresholdCount=2,
        UnhealthyThresholdCount=2,
        Tags=tags(),
    )["TargetGroups"][0]["TargetGroupArn"]
    elb.modify_target_group_attributes(
        TargetGroupArn=group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "30"}]
    )
    elb.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )
    return str(group)


def task_definition(account: Account) -> str:
    """The task definition of this version: its ARN."""
    account.register_image(IMAGE, HERE / "server")
    account.client("logs").create_log_group(logGroupName=LOG_GROUP)
    vault = account.client("secretsmanager")
    token = vault.create_secret(Name="clocked/token", SecretString=secrets.token_urlsafe(40))["ARN"]
    database = vault.describe_secret(SecretId="clocked/db")["ARN"]
    groups = account.client("elasticache").describe_replication_groups(ReplicationGroupId=CACHE)
    redis = groups["ReplicationGroups"][0]["NodeGroups"][0]["PrimaryEndpoint"]
    role = create_execution_role(account, [database, token])
    environment = {
        "APP_VERSION": VERSION,
        "CPU_UNITS": str(CPU_UNITS),
        "REDIS_HOST": redis["Address"],
        "REDIS_PORT": str(redis["Port"]),
    }
    answer = account.client("ecs").register_task_definition(
        family=FAMILY,
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu=str(CPU_UNITS),
        memory="512",
        executionRoleArn=role,
        containerDefinitions=[
            {
                "name": CONTAINER,
                "image": IMAGE,
                "command": ["python", "-m", "clocked"],
                "portMappings": [{"containerPort": PORT}],
                "environment": [{"name": name, "value": value} for name, value in environment.items()],
                "secrets": [
                    {"name": "DATABASE_SECRET", "valueFrom": database},
                    {"name": "TOKEN_SECRET", "valueFrom": token},
                ],
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {
                        "awslogs-group": LOG_GROUP,
                        "awslogs-region": account.region,
                        "awslogs-stream-prefix": "ecs",
                    },
                },
                "stopTimeout": 30,
            }
        ],
        tags=ecs_tags(),
    )
    return str(answer["taskDefinition"]["taskDefinitionArn"])


def create_execution_role(account: Account, secret_arns: list[str]) -> str:
    """The role in which ECS starts the tasks: its ARN. The servers call no AWS service and have no task role."""
    iam = account.client("iam")
    logs = f"arn:aws:logs:{account.region}:{account.account_id}:log-group:{LOG_GROUP}:*"
    trust = {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = iam.create_role(RoleName=EXECUTION_ROLE, AssumeRolePolicyDocument=policy(trust))["Role"]
    iam.put_role_policy(
        RoleName=EXECUTION_ROLE,
        PolicyName="start-tasks",
        PolicyDocument=policy(
            {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": secret_arns},
            {"Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": logs},
        ),
    )
    return str(role["Arn"])


def create_service(account: Account, target_group: str, definition: str) -> None:
    """Cluster and service."""
    ecs = account.client("ecs")
    ecs.create_cluster(clusterName=CLUSTER, tags=ecs_tags())
    ecs.create_service(
        cluster=CLUSTER,
        serviceName=SERVICE,
        taskDefinition=definition,
        desiredCount=DESIRED,
        launchType="FARGATE",
        loadBalancers=[{"targetGroupArn": target_group, "containerName": CONTAINER, "containerPort": PORT}],
        healthCheckGracePeriodSeconds=60,
        deploymentConfiguration={
            "minimumHealthyPercent": 100,
            "maximumPercent": 200,
            "deploymentCircuitBreaker": {"enable": False, "rollback": False},
        },
        networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-clocked"]}},
        tags=ecs_tags(),
    )


def create_scaling(account: Account) -> None:
    """Two to ten tasks, by the processor."""
    scaling = account.client("application-autoscaling")
    target = {
        "ServiceNamespace": "ecs",
        "ResourceId": f"service/{CLUSTER}/{SERVICE}",
        "ScalableDimension": "ecs:service:DesiredCount",
    }
    scaling.register_scalable_target(**target, MinCapacity=LEAST, MaxCapacity=MOST)
    scaling.put_scaling_policy(
        **target,
        PolicyName="clocked-cpu",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 70.0,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
        },
    )


def start_prometheus(account: Account) -> str:
    """The Prometheus that scrapes the tasks: its URL, told as the operators of a real one would tell it."""
    rules = HERE.parents[1] / "systems" / "clocked.rules.yaml"
    url = account.start_prometheus(rules, {"clocked": [f"ecs://{CLUSTER}/{SERVICE}"]})
    account.client("ssm").put_parameter(Name="/clocked/prometheus-url", Value=url, Type="String")
    return url


def is_quiet(prometheus_url: str, since: datetime) -> bool:
    """Whether every rule was evaluated, and none of them is pending or firing."""
    groups = httpx.get(f"{prometheus_url}/api/v1/rules").raise_for_status().json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    evaluated = min(datetime.fromisoformat(rule["lastEvaluation"]) for rule in rules)
    return evaluated > since and {rule["state"] for rule in rules} == {"inactive"}


def is_steady(account: Account, target_group: str) -> bool:
    """Whether every task runs and the load balancer finds it healthy."""
    service = account.client("ecs").describe_services(cluster=CLUSTER, services=[SERVICE])["services"][0]
    health = account.client("elbv2").describe_target_health(TargetGroupArn=target_group)["TargetHealthDescriptions"]
    healthy = [target for target in health if target["TargetHealth"]["State"] == "healthy"]
    return service["runningCount"] == len(healthy) == DESIRED


def wait_until(what: str, seen: Callable[[], bool]) -> None:
    """Poll. Raises TimeoutError."""
    deadline = time.monotonic() + READY_WITHIN_S
    while not seen():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {READY_WITHIN_S:.0f} s for {what}")
        time.sleep(0.1)  # what is waited for takes seconds


def policy(*statements: dict[str, Any]) -> str:
    """A policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def tags() -> list[dict[str, str]]:
    """What lets chaos tools touch a resource."""
    return [{"Key": key, "Value": value} for key, value in TAGS.items()]


def ecs_tags() -> list[dict[str, Any]]:
    """The same as ECS spells it."""
    return [{"key": key, "value": value} for key, value in TAGS.items()]
