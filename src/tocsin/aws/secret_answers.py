"""What is secret in what AWS is asked and answers: known to `masking` from then on, whoever made the call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import boto3

from tocsin.masking import KNOWN

SECRET_FIELDS: Mapping[str, tuple[str, ...]] = {
    # https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html
    "kms": ("Plaintext", "PrivateKeyPlaintext"),
    # https://docs.aws.amazon.com/apigateway/latest/api/API_ApiKey.html
    "apigateway": ("value",),
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateKeyPair.html
    "ec2": ("KeyMaterial", "PasswordData"),
    # https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_InitiateAuth.html
    "cognito-idp": ("SecretCode", "Session"),
}
"""service -> fields whose names alone do not say it; those that do are in `masking.names`.

Known by their names: GetSecretValue and BatchGetSecretValue (SecretString, SecretBinary), GetRandomPassword,
CreateAccessKey and AssumeRole* (SecretAccessKey, SessionToken), ECR's authorizationToken, Cognito's tokens and client
secrets, passwords of requests (MasterUserPassword), variables of functions and containers.
"""


def watch(session: boto3.Session) -> None:
    """Learn the secrets of every call that a client of this session makes from now on."""

    def before(model: Any, request_signer: Any, **_: Any) -> None:
        if model.auth_type == "none":
            return  # signed by nobody
        # What this very call is signed with, and not what the session has: while the session asks STS for its
        # credentials it has none, and whoever asked it for them then would wait for ever.
        signer = request_signer.get_auth_instance(request_signer.signing_name, request_signer.region_name, "v4")
        if signer.credentials is not None:
            KNOWN.learn(signer.credentials.secret_key)
            KNOWN.learn(signer.credentials.token)

    def asked(params: Any, model: Any, **_: Any) -> None:
        learn_from(model.service_model.service_name, params)

    def answered(parsed: Any, model: Any, **_: Any) -> None:
        learn_from(model.service_model.service_name, parsed)

    session.events.register("before-call", before)
    session.events.register("provide-client-params", asked)
    session.events.register("after-call", answered)


def know(secret: str | None) -> None:
    """Have a secret that no answer repeats hidden from now on."""
    KNOWN.learn(secret)


def learn_from(service: str, fields: object) -> None:
    """Learn the secrets of one request or answer."""
    KNOWN.learn_named(fields)
    if service == "elasticache":
        _learn_addresses(fields)
    special = SECRET_FIELDS.get(service, ())
    if special or service == "ssm":
        _learn(fields, special, secure=service == "ssm")


def _learn_addresses(fields: object) -> None:
    """The address of a cache of the sandbox carries a password: `:password@127.0.0.1`."""
    if isinstance(fields, Mapping):
        before, at, _ = str(fields.get("Address", "")).rpartition("@")
        if at:
            KNOWN.learn(before.partition(":")[2])
    inner = fields.values() if isinstance(fields, Mapping) else fields if isinstance(fields, list) else ()
    for item in inner:
        _learn_addresses(item)


def _learn(fields: object, special: tuple[str, ...], *, secure: bool) -> None:
    if isinstance(fields, Mapping):
        # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_Parameter.html
        if secure and fields.get("Type") == "SecureString":
            KNOWN.learn(fields.get("Value"))
        for name, item in fields.items():
            if name in special:
                KNOWN.learn(item)
            _learn(item, special, secure=secure)
    elif isinstance(fields, list):
        for item in fields:
            _learn(item, special, secure=secure)
