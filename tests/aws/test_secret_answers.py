"""What AWS is asked and answers for a secret is known from then on; what beside it is no secret stays."""

from __future__ import annotations

import boto3
import pytest

from tocsin.aws.secret_answers import learn_from, watch
from tocsin.masking import HIDDEN, KNOWN, KnownSecrets, mask

VALUE = "plum-velvet-harbour"

ANSWERS = {
    "GetSecretValue": ("secretsmanager", {"Name": "shop/db", "SecretString": VALUE}),
    "GetSecretValue of JSON": (
        "secretsmanager",
        {"SecretString": f'{{"username": "shopkeeper", "password": "{VALUE}"}}'},
    ),
    "GetSecretValue of bytes": ("secretsmanager", {"Name": "shop/db", "SecretBinary": VALUE.encode()}),
    "BatchGetSecretValue": ("secretsmanager", {"SecretValues": [{"Name": "shop/db", "SecretString": VALUE}]}),
    "GetRandomPassword": ("secretsmanager", {"RandomPassword": VALUE}),
    "GetParameter": ("ssm", {"Parameter": {"Name": "shop/db", "Type": "SecureString", "Value": VALUE}}),
    "GetParametersByPath": ("ssm", {"Parameters": [{"Name": "shop/db", "Type": "SecureString", "Value": VALUE}]}),
    "CreateAccessKey": ("iam", {"AccessKey": {"AccessKeyId": "shop/db", "SecretAccessKey": VALUE}}),
    "AssumeRole": ("sts", {"Credentials": {"SecretAccessKey": "other-value-1", "SessionToken": VALUE}}),
    "GetCredentialsForIdentity": ("cognito-identity", {"Credentials": {"SecretKey": VALUE}}),
    "InitiateAuth": ("cognito-idp", {"AuthenticationResult": {"RefreshToken": VALUE, "TokenType": "Bearer"}}),
    "InitiateAuth, asked": ("cognito-idp", {"AuthParameters": {"USERNAME": "shopkeeper", "PASSWORD": VALUE}}),
    "DescribeUserPoolClient": ("cognito-idp", {"UserPoolClient": {"ClientId": "shop/db", "ClientSecret": VALUE}}),
    "CreateDBInstance": ("rds", {"DBInstanceIdentifier": "shop/db", "MasterUserPassword": VALUE}),
    "DescribeReplicationGroups": (
        "elasticache",
        {"NodeGroups": [{"PrimaryEndpoint": {"Address": f":{VALUE}@127.0.0.1", "Port": 6379}}]},
    ),
    "GetFunction": ("lambda", {"Environment": {"Variables": {"TABLE": "shop/db", "DB_PASSWORD": VALUE}}}),
    "DescribeTaskDefinition": (
        "ecs",
        {"containerDefinitions": [{"environment": [{"name": "API_KEY", "value": VALUE}]}]},
    ),
    "GetAuthorizationToken": ("ecr", {"authorizationData": [{"authorizationToken": VALUE}]}),
    "GetApiKey": ("apigateway", {"id": "shop/db", "value": VALUE}),
    "Decrypt": ("kms", {"KeyId": "shop/db", "Plaintext": VALUE.encode()}),
}


@pytest.fixture(autouse=True)
def _knows_nothing() -> None:
    KNOWN.become(KnownSecrets())


@pytest.mark.parametrize(("service", "answer"), ANSWERS.values(), ids=ANSWERS)
def test_it_is_known(service: str, answer: dict[str, object]) -> None:
    text = f"found {VALUE} of shop/db for shopkeeper"
    assert mask(text) == text
    learn_from(service, answer)
    assert mask(text) == f"found {HIDDEN} of shop/db for shopkeeper"


@pytest.mark.parametrize(
    ("service", "answer"),
    [
        ("ssm", {"Parameter": {"Type": "String", "Value": VALUE}}),
        ("sqs", {"NextToken": VALUE, "Messages": [{"Body": VALUE}]}),
        ("secretsmanager", {"SecretId": VALUE, "ARN": VALUE}),
        ("lambda", {"Environment": {"Variables": {"TABLE": VALUE}}}),
    ],
)
def test_what_is_no_secret_is_not_learned(service: str, answer: dict[str, object]) -> None:
    learn_from(service, answer)
    assert mask(VALUE) == VALUE


def test_every_client_of_a_session_that_is_watched_teaches() -> None:
    session = boto3.Session(aws_access_key_id="A", aws_secret_access_key="of-the-caller-1", region_name="eu-west-1")
    watch(session)
    client = session.client("secretsmanager", endpoint_url="http://127.0.0.1:9")
    client.meta.events.register("before-call", lambda model, **_: _answer(model))
    assert client.get_secret_value(SecretId="shop/db")["SecretString"] == VALUE
    assert mask(f"{VALUE}, of-the-caller-1, shop/db") == f"{HIDDEN}, {HIDDEN}, shop/db"


def _answer(model: object) -> tuple[object, dict[str, str]]:
    """Instead of a call, as botocore's own stubs do it."""

    class Answered:
        status_code = 200

    return Answered(), {"SecretString": VALUE}
