"""Puts the stand-in of Flight Rescheduler, environment production, into a sandbox account through the AWS APIs."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pg8000.native import Connection

from tocsin.project.python_files import import_python

if TYPE_CHECKING:
    from tocsin.sandbox.account import Account

HERE = Path(__file__).parent
ENVIRONMENT, VERSION = "production", "1.0.0"
MONITOR_STACK = f"FlightReschedulerWeatherMonitor-{ENVIRONMENT}"
AI_STACK = f"FlightReschedulerAi-{ENVIRONMENT}"
DEPLOYMENT_BUCKET = f"flight-rescheduler-deployments-{ENVIRONMENT}"
INSTANCE, DATABASE, MASTER_USER = f"flight-rescheduler-{ENVIRONMENT}", "flight_rescheduler", "rescheduler"
CACHE = "flight-rescheduler-redis"
MAIL_FROM = "notifications@flight-rescheduler.example.com"

CLUSTER, SERVICE, CONTAINER = "flight-rescheduler", "flight-rescheduler-app", "app"
IMAGE = f"flight-rescheduler-app:{VERSION}"
LOG_GROUP = "/ecs/flight-rescheduler-app"
PORT, CPU_UNITS, DESIRED = 3000, 256, 2
STOP_TIMEOUT_S, GRACEFUL_S = 60, 15
"""Production seconds. A stream is never finished, so the server gives up on it before ECS kills the server."""
PROBE_EVERY_S = 60

TAGS = {"chaos-opt-in": "true", "chaos-system": "flight-rescheduler"}
READY_WITHIN_S = 30.0
LOAD_USERS = 10

PASSENGERS = ("synthetic-passenger", "synthetic-contract")
DISPATCHER = "synthetic-dispatcher"
LOAD_NAMES = tuple(f"synthetic-load-{number:02}" for number in range(1, LOAD_USERS + 1))

AIRPORTS = {"EHAM": (52.31, 4.76), "EGLL": (51.47, -0.45), "LFPG": (49.01, 2.55), "KJFK": (40.64, -73.78)}
STORMY = "EHAM"
ROUTES = (("FR1", "EHAM", "EGLL"), ("FR2", "EGLL", "EHAM"), ("FR3", "LFPG", "EHAM"), ("FR4", "KJFK", "LFPG"))
STORM = {"id": 211, "temp_k": 283.15, "wind_ms": 22, "visibility_m": 800}
RECOMMENDS = {"choices": [1, 2], "reason": "The next flights of the same route leave after the storm."}
"""What the model says to every question."""


def deploy(account: Account) -> None:
    """Deploy everything and return when the service answers and the first weather check was made."""
    with ThreadPoolExecutor(5) as threads:
        password = secrets.token_urlsafe(24)
        create_database(account, password)
        cache = threads.submit(create_cache, account)
        code = threads.submit(upload_code, account)
        alarms = threads.submit(create_alarm_topic, account)
        target_group = threads.submit(create_load_balancer, account)
        account.client("sesv2").create_email_identity(EmailIdentity=MAIL_FROM)
        url = database_secrets(account, password)
        users = threads.submit(prepare_database, account, url)
        app = threads.submit(create_app, account, cache.result(), target_group.result())
        deploy_stacks(account, url, cache.result(), code.result())
        for done in (alarms, users, app):
            done.result()
    account.client("lambda").invoke(FunctionName=f"weather-monitor-{ENVIRONMENT}", Payload=b"{}")
    wait_until("the service to be steady", lambda: is_steady(account, target_group.result()))


def create_database(account: Account, password: str) -> None:
    """The PostgreSQL instance; it starts while the rest goes on."""
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


def create_cache(account: Account) -> str:
    """The replication group: a primary and a replica. The URL of the primary."""
    elasticache = account.client("elasticache")
    elasticache.create_replication_group(
        ReplicationGroupId=CACHE,
        ReplicationGroupDescription="notifications on their way to streams",
        Engine="valkey",
        CacheNodeType="cache.t3.micro",
        NumCacheClusters=2,
        AutomaticFailoverEnabled=True,
        Tags=tags(),
    )
    group = elasticache.describe_replication_groups(ReplicationGroupId=CACHE)["ReplicationGroups"][0]
    primary = group["NodeGroups"][0]["PrimaryEndpoint"]
    return f"redis://{primary['Address']}:{primary['Port']}"


def database_secrets(account: Account, password: str) -> str:
    """`prod/db-url`, which everything connects with, and `prod/db-admin`, the way in of operators: the URL."""
    host, port = account.database(INSTANCE)
    url = f"postgresql://{MASTER_USER}:{quote(password)}@{host}:{port}/{DATABASE}?connection_limit=5&pool_timeout=2"
    admin = {
        "host": host,
        "port": port,
        "dbname": DATABASE,
        "username": MASTER_USER,
        "password": password,
        "dbInstanceIdentifier": INSTANCE,
    }
    vault = account.client("secretsmanager")
    vault.create_secret(Name="prod/db-url", SecretString=url, Tags=tags())
    vault.create_secret(Name="prod/db-admin", SecretString=json.dumps(admin), Tags=tags())
    return url


def prepare_database(account: Account, url: str) -> None:
    """The migrations, the flights of the next days, and the synthetic people with their secrets."""
    migrate: Any = import_python(HERE / "migrate.py", "flight_rescheduler_migrate")
    migrate.deploy(url, migrate.read())
    with migrate.connected(url) as connection:
        add_flights(connection)
        add_users(account, connection)


def add_flights(connection: Connection) -> None:
    """Each route every three hours, for ten days."""
    for code, (latitude, longitude) in AIRPORTS.items():
        connection.run("INSERT INTO airports VALUES (:code, :lat, :lon)", code=code, lat=latitude, lon=longitude)
    for number, origin, destination in ROUTES:
        connection.run(
            "INSERT INTO flights (number, origin, destination, departs_at) SELECT :number || lpad(n::text, 2, '0'),"
            " :origin, :destination, date_trunc('hour', now()) + n * interval '3 hours' FROM generate_series(2, 81) n",
            number=number,
            origin=origin,
            destination=destination,
        )


def add_users(account: Account, connection: Connection) -> None:
    """Synthetic people; each kind of visitor has users of its own."""
    vault = account.client("secretsmanager")
    passwords = {name: secrets.token_urlsafe(18) for name in (*PASSENGERS, DISPATCHER)}
    shared = secrets.token_urlsafe(18)
    for name, password in (passwords | dict.fromkeys(LOAD_NAMES, shared)).items():
        connection.run(
            "INSERT INTO users (username, email, role, salt, password)"
            " VALUES (:name, :email, :role, :salt, hashed(:word, :salt))",
            name=name,
            email=f"{name}@example.com",
            role="DISPATCHER" if name == DISPATCHER else "PASSENGER",
            salt=secrets.token_hex(8),
            word=password,
        )
    for name, password in passwords.items():
        content = json.dumps({"username": name, "password": password})
        vault.create_secret(Name=f"flight-rescheduler/{name}", SecretString=content)
    load = json.dumps({"users": list(LOAD_NAMES), "password": shared})
    vault.create_secret(Name="flight-rescheduler/synthetic-load", SecretString=load)


def create_alarm_topic(account: Account) -> None:
    """The topic of the alarms, and who is subscribed: the channel in Slack, and the queue that stands for the pager."""
    sns = account.client("sns")
    topic = str(sns.create_topic(Name=f"flight-rescheduler-alerts-{ENVIRONMENT}")["TopicArn"])
    queue = f"flight-rescheduler-oncall-{ENVIRONMENT}"
    arn = f"arn:aws:sqs:{account.region}:{account.account_id}:{queue}"
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    account.client("sqs").create_queue(QueueName=queue, Attributes={"Policy": policy(statement)})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    slack = account.start_stub("slack", {"webhook": "T0/B0/not-a-secret"})
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=f"{slack}/chatbot")


def upload_code(account: Account) -> str:
    """The code of the functions, in the bucket of the deployments: its key."""
    s3 = account.client("s3")
    s3.create_bucket(Bucket=DEPLOYMENT_BUCKET)
    key = f"{VERSION}.zip"
    s3.put_object(Bucket=DEPLOYMENT_BUCKET, Key=key, Body=account.zip_directory(HERE / "code"))
    return key


def deploy_stacks(account: Account, database_url: str, redis_url: str, code_key: str) -> None:
    """The stacks, in the order of their exports. What CDK is told by `--context` are their parameters."""
    weather_key, openai_key = (secrets.token_urlsafe(24) for _ in range(2))
    places = {f"{latitude},{longitude}": STORM for latitude, longitude in (AIRPORTS[STORMY],)}
    weather = account.start_stub("openweathermap", {"api_key": weather_key, "places": json.dumps(places)})
    openai = account.start_stub("openai", {"api_key": openai_key, "answer": json.dumps(RECOMMENDS)})
    account.client("secretsmanager").create_secret(Name="prod/openai-key", SecretString=openai_key, Tags=tags())
    shared = {
        "Environment": ENVIRONMENT,
        "CodeBucket": DEPLOYMENT_BUCKET,
        "CodeKey": code_key,
        "Version": VERSION,
        "DatabaseUrl": database_url,
    }
    monitor = {"WeatherApiKey": weather_key, "WeatherBaseUrl": weather}
    account.create_stack(MONITOR_STACK, HERE / "weather-monitor.yaml", shared | monitor)
    ai = {
        "OpenAiApiKey": openai_key,
        "OpenAiBaseUrl": f"{openai}/v1",
        "RedisUrl": redis_url,
        "MailFrom": MAIL_FROM,
    }
    account.create_stack(AI_STACK, HERE / "ai-rescheduler.yaml", shared | ai)


def create_load_balancer(account: Account) -> str:
    """The load balancer with one target group: the group's ARN."""
    elb = account.client("elbv2")
    subnets = [subnet["SubnetId"] for subnet in account.client("ec2").describe_subnets()["Subnets"][:2]]
    balancer = elb.create_load_balancer(Name="flight-rescheduler-alb", Subnets=subnets, Tags=tags())["LoadBalancers"][0]
    group = elb.create_target_group(
        Name="flight-rescheduler-app",
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


def create_app(account: Account, redis_url: str, target_group: str) -> None:
    """The server: an ECS service behind the load balancer, where the real one is on Amplify."""
    account.register_image(IMAGE, HERE / "code")
    account.client("logs").create_log_group(logGroupName=LOG_GROUP)
    vault = account.client("secretsmanager")
    redis = vault.create_secret(Name="prod/redis-url", SecretString=redis_url)["ARN"]
    token = vault.create_secret(Name="prod/token", SecretString=secrets.token_urlsafe(40))["ARN"]
    database = vault.describe_secret(SecretId="prod/db-url")["ARN"]
    held = {"DATABASE_URL": database, "REDIS_URL": redis, "TOKEN_SECRET": token}
    clock = account.clock
    environment = {
        "APP_VERSION": VERSION,
        "AWS_REGION": account.region,
        "ALERT_TOPIC_ARN": f"arn:aws:sns:{account.region}:{account.account_id}:weather-alerts-{ENVIRONMENT}",
        "GRACEFUL_TIMEOUT_S": str(clock.wall(GRACEFUL_S)),
        "STREAM_PROBE_EVERY_S": str(max(1.0, clock.wall(PROBE_EVERY_S))),
    }
    definition = account.client("ecs").register_task_definition(
        family=SERVICE,
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu=str(CPU_UNITS),
        memory="512",
        executionRoleArn=create_execution_role(account, list(held.values())),
        taskRoleArn=create_task_role(account, environment["ALERT_TOPIC_ARN"]),
        containerDefinitions=[
            {
                "name": CONTAINER,
                "image": IMAGE,
                "command": ["python", "-m", "flight_rescheduler"],
                "portMappings": [{"containerPort": PORT}],
                "environment": [{"name": name, "value": value} for name, value in environment.items()],
                "secrets": [{"name": name, "valueFrom": arn} for name, arn in held.items()],
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {
                        "awslogs-group": LOG_GROUP,
                        "awslogs-region": account.region,
                        "awslogs-stream-prefix": "ecs",
                    },
                },
                "stopTimeout": STOP_TIMEOUT_S,
            }
        ],
        tags=ecs_tags(),
    )["taskDefinition"]["taskDefinitionArn"]
    create_service(account, definition, target_group)


def create_service(account: Account, definition: str, target_group: str) -> None:
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
        deploymentConfiguration={"minimumHealthyPercent": 100, "maximumPercent": 200},
        networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-flight-rescheduler"]}},
        tags=ecs_tags(),
    )


def create_execution_role(account: Account, secret_arns: list[str]) -> str:
    """The role in which ECS starts the tasks: its ARN."""
    logs = f"arn:aws:logs:{account.region}:{account.account_id}:log-group:{LOG_GROUP}:*"
    return create_role(
        account,
        "flight-rescheduler-app-execution",
        {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": secret_arns},
        {"Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": logs},
    )


def create_task_role(account: Account, alert_topic: str) -> str:
    """The role of the servers: its ARN. They publish alerts of dispatchers, and their own metrics."""
    return create_role(
        account,
        "flight-rescheduler-app",
        {"Effect": "Allow", "Action": "sns:Publish", "Resource": alert_topic},
        {"Effect": "Allow", "Action": "cloudwatch:PutMetricData", "Resource": "*"},
    )


def create_role(account: Account, name: str, *statements: Mapping[str, Any]) -> str:
    """A role for tasks of ECS: its ARN."""
    iam = account.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(trust), Tags=tags())["Role"]
    iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=policy(*statements))
    return str(role["Arn"])


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


def policy(*statements: Mapping[str, Any]) -> str:
    """A policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def tags() -> list[dict[str, str]]:
    """What lets chaos tools touch a resource."""
    return [{"Key": key, "Value": value} for key, value in TAGS.items()]


def ecs_tags() -> list[dict[str, Any]]:
    """The same as ECS spells it."""
    return [{"key": key, "value": value} for key, value in TAGS.items()]
