"""Puts the stand-in of leave & attendance, stage dev, into a sandbox account through the AWS APIs."""

from __future__ import annotations

import json
import secrets
import string
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pg8000.native import Connection

if TYPE_CHECKING:
    from tocsin.sandbox.account import Account

HERE = Path(__file__).parent
STACK = "leave-attendance-dev"
VERSION = "1.0.0"
DATABASE = "itcenter_auth"
MASTER_USER = "itcenter"
INSTANCE = "itcenter-dev-db"
PROXY = "itcenter-dev-proxy"
DEPLOYMENT_BUCKET = "leave-attendance-dev-deployments"
GRAPH_TENANT = "itcenter-dev"
GRAPH_CLIENT_ID = "calendar-sync-dev"
LOAD_USERS = 20
READY_TIMEOUT_S = 20


class SyntheticUser(NamedTuple):
    """A user of the pool who is an employee too."""

    name: str
    group: str
    secret: str


# Each kind of visitor has users of its own: nobody else clocks them in or takes their days.
SYNTHETIC_USERS = (
    SyntheticUser("synthetic-admin", "ADMIN", "itcenter/dev/synthetic/admin"),
    SyntheticUser("synthetic-employee", "EMPLOYEE", "itcenter/dev/synthetic/employee"),
    SyntheticUser("synthetic-contract-admin", "ADMIN", "itcenter/dev/synthetic/contract-admin"),
    SyntheticUser("synthetic-contract-employee", "EMPLOYEE", "itcenter/dev/synthetic/contract-employee"),
    *(
        SyntheticUser(f"synthetic-{number:02}", "EMPLOYEE", "itcenter/dev/synthetic/load")
        for number in range(1, LOAD_USERS + 1)
    ),
)


def deploy(account: Account) -> None:
    """Deploy everything and return when it can be used."""
    with ThreadPoolExecutor(4) as threads:
        password = new_password()
        create_database(account, password)
        schema = threads.submit(migrate, account, password)
        code = threads.submit(upload_code, account)
        secret_arn, proxy = create_proxy(account, password)
        outputs = deploy_stack(account, secret_arn, proxy, code.result())
        users = create_users(account, outputs["UserPoolId"], threads)
        schema.result()
        add_employees(account, users, password)
        wait_for_provisioned_concurrency(account)


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
    )


def create_proxy_role(account: Account, secret_arn: str) -> str:
    """The role in which the proxy reads its secret: its ARN."""
    iam = account.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "rds.amazonaws.com"}, "Action": "sts:AssumeRole"}
    read = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": secret_arn}
    role = iam.create_role(RoleName=PROXY, AssumeRolePolicyDocument=policy(trust))["Role"]
    iam.put_role_policy(RoleName=PROXY, PolicyName="read-secret", PolicyDocument=policy(read))
    return str(role["Arn"])


def policy(statement: dict[str, Any]) -> str:
    """A policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def create_proxy(account: Account, password: str) -> tuple[str, str]:
    """The secret `itcenter/dev/db` and the proxy that reads it: the secret's ARN and the proxy's host."""
    rds, vault = account.client("rds"), account.client("secretsmanager")
    login = {"username": MASTER_USER, "password": password, "dbname": DATABASE}
    secret_arn = vault.create_secret(Name="itcenter/dev/db", SecretString=json.dumps(login))["ARN"]
    subnets = account.client("ec2").describe_subnets()["Subnets"]
    rds.create_db_proxy(
        DBProxyName=PROXY,
        EngineFamily="POSTGRESQL",
        Auth=[{"AuthScheme": "SECRETS", "SecretArn": secret_arn, "IAMAuth": "DISABLED"}],
        RoleArn=create_proxy_role(account, secret_arn),
        VpcSubnetIds=[subnet["SubnetId"] for subnet in subnets[:2]],
        Tags=[{"Key": "chaos-opt-in", "Value": "true"}, {"Key": "chaos-system", "Value": "leave-attendance"}],
    )
    rds.modify_db_proxy_target_group(
        DBProxyName=PROXY,
        TargetGroupName="default",
        ConnectionPoolConfig={
            "MaxConnectionsPercent": 100,
            "MaxIdleConnectionsPercent": 50,
            "ConnectionBorrowTimeout": 120,
        },
    )
    rds.register_db_proxy_targets(DBProxyName=PROXY, DBInstanceIdentifiers=[INSTANCE])
    endpoint = rds.describe_db_proxies(DBProxyName=PROXY)["DBProxies"][0]["Endpoint"]
    host, _, port = endpoint.partition(":")
    login |= {"host": host, "port": port or "5432"}
    vault.put_secret_value(SecretId=secret_arn, SecretString=json.dumps(login))
    return secret_arn, host


def upload_code(account: Account) -> str:
    """The deployment package, in the bucket of the deployments: its key."""
    s3 = account.client("s3")
    # S3's oldest region is the only one that must not be named.
    elsewhere = account.region != "us-east-1"
    location = {"CreateBucketConfiguration": {"LocationConstraint": account.region}} if elsewhere else {}
    s3.create_bucket(Bucket=DEPLOYMENT_BUCKET, **location)
    key = f"leave-attendance/dev/{VERSION}.zip"
    s3.put_object(Bucket=DEPLOYMENT_BUCKET, Key=key, Body=account.zip_directory(HERE / "functions"))
    return key


def deploy_stack(account: Account, secret_arn: str, proxy: str, code_key: str) -> dict[str, str]:
    """Everything that CloudFormation makes: its outputs."""
    client_secret = secrets.token_urlsafe(30)
    graph = account.start_stub(
        "microsoft-graph",
        {
            "tenant": GRAPH_TENANT,
            "client_id": GRAPH_CLIENT_ID,
            "client_secret": client_secret,
            "time_scale": str(account.time_scale),
        },
    )
    parameters = {
        "CodeBucket": DEPLOYMENT_BUCKET,
        "CodeKey": code_key,
        "Version": VERSION,
        "DbSecretArn": secret_arn,
        "DbProxyEndpoint": proxy,
        "CognitoJwksUrlPrefix": account.endpoint_url,
        "AllowedOrigins": "https://dev-admin.example.com,http://localhost:5173",
        "GraphAuthority": graph,
        "GraphBaseUrl": graph,
        "GraphTenant": GRAPH_TENANT,
        "GraphClientId": GRAPH_CLIENT_ID,
        "GraphClientSecret": client_secret,
    }
    return dict(account.create_stack(STACK, HERE / "template.yaml", parameters))


def migrate(account: Account, password: str) -> None:
    """Run the (idempotent) migration, as an operator does: past the proxy."""
    with _connect(account, password) as connection:
        connection.run((HERE / "schema.sql").read_text())


def create_users(account: Account, pool: str, threads: ThreadPoolExecutor) -> dict[str, str]:
    """The synthetic users with generated passwords, and their secrets: Cognito `sub` by user name."""
    cognito, vault = account.client("cognito-idp"), account.client("secretsmanager")
    passwords = {user.secret: new_password() for user in SYNTHETIC_USERS}
    for secret, password in passwords.items():
        names = [user.name for user in SYNTHETIC_USERS if user.secret == secret]
        who: dict[str, Any] = {"username": names[0]} if len(names) == 1 else {"users": names}
        content = who | {"password": password}
        vault.create_secret(Name=secret, SecretString=json.dumps(content))

    def create(user: SyntheticUser) -> str:
        created = cognito.admin_create_user(
            UserPoolId=pool,
            Username=user.name,
            MessageAction="SUPPRESS",
            UserAttributes=[{"Name": "email", "Value": f"{user.name}@example.com"}],
        )
        cognito.admin_set_user_password(
            UserPoolId=pool, Username=user.name, Password=passwords[user.secret], Permanent=True
        )
        cognito.admin_add_user_to_group(UserPoolId=pool, Username=user.name, GroupName=user.group)
        attributes = {item["Name"]: item["Value"] for item in created["User"]["Attributes"]}
        sub: str = attributes["sub"]
        return sub

    return dict(zip((user.name for user in SYNTHETIC_USERS), threads.map(create, SYNTHETIC_USERS), strict=True))


def add_employees(account: Account, users: dict[str, str], password: str) -> None:
    """A row in app_users for each synthetic user."""
    with _connect(account, password) as connection:
        connection.run("BEGIN")
        for name, sub in users.items():
            connection.run(
                """
                INSERT INTO app_users (id, email, full_name) VALUES (:sub, :email, :name)
                ON CONFLICT DO NOTHING
                """,
                sub=sub,
                email=f"{name}@example.com",
                name=name,
            )
        connection.run("COMMIT")


def wait_for_provisioned_concurrency(account: Account) -> None:
    """Return when the environments of clock-in and clock-out are READY."""
    functions = account.client("lambda")
    deadline = time.monotonic() + READY_TIMEOUT_S
    for name in ("clockIn", "clockOut"):
        alias = {"FunctionName": f"{STACK}-{name}", "Qualifier": "provisioned"}
        while (status := functions.get_provisioned_concurrency_config(**alias)["Status"]) != "READY":
            if status == "FAILED" or time.monotonic() > deadline:
                raise RuntimeError(f"expected provisioned concurrency of {name} to be READY, found {status}")
            time.sleep(0.05)


def new_password() -> str:
    """A password that every policy here accepts."""
    kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits, "!#%+-=")
    return "".join(secrets.choice(kind) for kind in kinds * 6)


def _connect(account: Account, password: str) -> Connection:
    host, port = account.database(INSTANCE)
    return Connection(MASTER_USER, host=host, port=port, database=DATABASE, password=password, timeout=10)
