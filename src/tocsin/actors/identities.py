"""Tokens of the synthetic users: from Cognito (USER_PASSWORD_AUTH) or from the system's own login.

Credentials come from Secrets Manager. A secret holds one user (`{"username": ..., "password": ...}`) or many
(`{"users": [...]}`, each a user of that form, or a name when all share the `password` beside the list). Tokens and
passwords stay in memory.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from tocsin.aws.iam import Arns, Grant
from tocsin.aws.lookups import resolve_base_url, user_pool_client_grants, user_pool_client_id, user_pool_id
from tocsin.aws.secretsmanager import read_secret
from tocsin.aws.target import Target, aws_errors
from tocsin.errors import InvalidInput, TargetError, near_match
from tocsin.masking import KNOWN
from tocsin.model.synthetic import carries
from tocsin.model.system import CognitoIdentity, Identity, LoginIdentity, System
from tocsin.project.proxies import is_loopback

# A token is renewed when this share of its life is left, so that no request is sent with one that just ended.
_RENEW_AT = 0.25
_LOGIN_TIMEOUT_S = 10.0
_LIFE_S = 3600.0


def grants(system: System, arns: Arns) -> Iterator[Grant]:
    """What signing in the synthetic users needs of IAM; Cognito's InitiateAuth itself is not signed."""
    secrets = {identity.secret for identity in system.identities.values()}
    if secrets:
        # Secrets Manager ends the ARN of a secret with six characters of its own.
        # https://docs.aws.amazon.com/secretsmanager/latest/userguide/auth-and-access_iam-policies.html
        resources = tuple(arns("secretsmanager", f"secret:{name}-??????") for name in sorted(secrets))
        yield Grant(sid="SignInSyntheticUsers", actions=("secretsmanager:GetSecretValue",), resources=resources)
    if any(isinstance(identity, CognitoIdentity) for identity in system.identities.values()):
        yield from user_pool_client_grants(arns)


@dataclass(frozen=True)
class Token:
    """A bearer token and the wall-clock epoch seconds between which it is good."""

    value: str = field(repr=False)
    issued_at: float
    expires_at: float

    def fresh(self, now: float) -> bool:
        """Whether there is enough life left to send it."""
        return self.expires_at - now > _RENEW_AT * (self.expires_at - self.issued_at)


@dataclass(frozen=True)
class Credentials:
    """Name and password of one synthetic user."""

    username: str
    password: str = field(repr=False)


class Identities:
    """The identities of a system file on one target; signs in when first asked, and again before the end.

    Safe to use from several threads.
    """

    def __init__(self, target: Target, system: System) -> None:
        self._system = system
        self._door = _Door(target, system)
        self._lock = threading.Lock()
        self._users: dict[str, tuple[Credentials, ...]] = {}
        self._tokens: dict[tuple[str, str], Token] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The identities there are."""
        return tuple(self._system.identities)

    def users(self, name: str) -> tuple[str, ...]:
        """Names of the users of an identity, in the order of its secret; nobody is signed in.

        Raises:
            InvalidInput: the system file has no such identity, or its secret has no user.
            TargetError: Secrets Manager did not answer as expected.
        """
        identity = self._identity(name)
        with self._lock:
            return tuple(user.username for user in self._known(name, identity))

    def token(self, name: str) -> Token:
        """A token of the identity; of the first user when it stands for many.

        Raises:
            InvalidInput: the system file has no such identity, or its secret has no user.
            TargetError: Secrets Manager or Cognito did not answer as expected.
        """
        return self.tokens(name, at_most=1)[0]

    def tokens(self, name: str, at_most: int | None = None) -> tuple[Token, ...]:
        """Tokens of the users of an identity, in the order of the secret.

        Args:
            name: the identity in the system file.
            at_most: how many users are needed.

        Raises:
            InvalidInput: the system file has no such identity, or its secret has no user.
            TargetError: Secrets Manager or Cognito did not answer as expected.
        """
        identity = self._identity(name)
        with self._lock:
            return tuple(self._signed_in(name, identity, user) for user in self._known(name, identity)[:at_most])

    def _known(self, name: str, identity: Identity) -> tuple[Credentials, ...]:
        if name not in self._users:
            users, marks = self._door.credentials(identity), self._system.marks("identities")
            for user in users:
                if not carries(marks, user.username):
                    raise InvalidInput(
                        f"secret '{identity.secret}': expected the name of a synthetic user with the mark "
                        f"{' or '.join(marks)} of `test_data`, found '{user.username}': nobody would be signed in as "
                        "somebody else. Store the synthetic user again, or correct the mark."
                    )
            self._users[name] = users
        return self._users[name]

    def _identity(self, name: str) -> Identity:
        try:
            return self._system.identities[name]
        except KeyError:
            known = self._system.identities
            raise InvalidInput(
                f"expected an identity of systems/{self._system.system}.yaml, found '{name}'. {near_match(name, known)}"
            ) from None

    def _signed_in(self, name: str, identity: Identity, user: Credentials) -> Token:
        held = self._tokens.get((name, user.username))
        if held is not None and held.fresh(time.time()):
            return held
        try:
            self._tokens[name, user.username] = self._door.sign_in(identity, user)
        except TargetError:
            # A fault may keep the login from answering; a token that is still good needs no other one yet.
            if held is None or held.expires_at <= time.time():
                raise
        KNOWN.learn(self._tokens[name, user.username].value)
        return self._tokens[name, user.username]


class _Door:
    """Everything that is asked of AWS and of the system; remembers what cannot change during a run."""

    def __init__(self, target: Target, system: System) -> None:
        self._target = target
        self._system = system
        self._client_ids: dict[tuple[str, str], str] = {}

    def credentials(self, identity: Identity) -> tuple[Credentials, ...]:
        found = read_secret(self._target, identity.secret)
        try:
            users = _users(found.values)
        except (KeyError, TypeError):
            users = ()
        if not users:
            raise InvalidInput(
                f"secret '{identity.secret}': expected JSON with `username` and `password`, or with `users`, "
                "found something else (not shown). Store the synthetic user again."
            )
        return users

    def sign_in(self, identity: Identity, user: Credentials) -> Token:
        if isinstance(identity, LoginIdentity):
            return self._log_in(identity, user)
        return self._sign_in_at_cognito(identity, user)

    def _log_in(self, identity: LoginIdentity, user: Credentials) -> Token:
        url = resolve_base_url(self._system.endpoint, self._target) + identity.login
        before = time.time()
        try:
            answer = httpx.post(
                url,
                json={"username": user.username, "password": user.password},
                timeout=_LOGIN_TIMEOUT_S,
                trust_env=not is_loopback(url),
            )
            answer.raise_for_status()
            document = answer.json()
            value, life_s = str(document[identity.token]), float(document.get(identity.expires_in, _LIFE_S))
        except httpx.HTTPError as error:
            raise TargetError(f"sign in '{user.username}' at {url}: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TargetError(
                f"sign in '{user.username}' at {url}: expected JSON with the token in '{identity.token}', found none"
            ) from error
        return Token(value, before, before + life_s)

    def _sign_in_at_cognito(self, identity: CognitoIdentity, user: Credentials) -> Token:
        client_id = self._client_id(identity.user_pool, identity.client)
        before = time.time()
        with aws_errors(f"sign in '{user.username}' at the user pool '{identity.user_pool}'"):
            answer = self._target.client("cognito-idp").initiate_auth(
                ClientId=client_id,
                AuthFlow="USER_PASSWORD_AUTH",
                AuthParameters={"USERNAME": user.username, "PASSWORD": user.password},
            )
        result = answer.get("AuthenticationResult")
        if not result:
            challenge = answer.get("ChallengeName", "no token")
            raise TargetError(
                f"sign in '{user.username}': expected a token, Cognito answered {challenge}. "
                "Give the synthetic user a permanent password and no second factor."
            )
        value = result["AccessToken"]
        return Token(value, before, _expiry(value, default=before + result.get("ExpiresIn", _LIFE_S)))

    def _client_id(self, pool: str, client: str) -> str:
        if (pool, client) not in self._client_ids:
            pool_id = user_pool_id(pool, self._target)
            self._client_ids[pool, client] = user_pool_client_id(pool_id, client, self._target)
        return self._client_ids[pool, client]


def _users(secret: dict[str, Any]) -> tuple[Credentials, ...]:
    if "users" not in secret:
        return (Credentials(secret["username"], secret["password"]),)
    shared = secret.get("password")
    return tuple(
        Credentials(user, _text(shared))
        if isinstance(user, str)
        else Credentials(user["username"], _text(user.get("password", shared)))
        for user in secret["users"]
    )


def _text(password: object) -> str:
    if not isinstance(password, str):
        raise TypeError("no password")
    return password


def _expiry(jwt: str, default: float) -> float:
    """The `exp` of a token, read without verifying it: only to know when to ask for the next one."""
    try:
        payload = jwt.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return default
