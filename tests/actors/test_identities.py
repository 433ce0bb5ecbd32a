"""Synthetic users sign in at a small stand-in of Secrets Manager and Cognito that speaks their protocol."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tocsin.actors.identities import Identities
from tocsin.aws.target import Target
from tocsin.errors import InvalidInput, NotFound, TargetError
from tocsin.model.system import CognitoIdentity, Endpoint, LoginIdentity, System

PASSWORD = "not-a-real-password"


@dataclass
class Account:
    """What the AWS API answers."""

    url: str = ""
    secrets: dict[str, str] = field(default_factory=dict)
    lifetime_s: float = 3600.0
    challenge: str | None = None
    down: bool = False
    signed_in: list[str] = field(default_factory=list)

    def answer(self, operation: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.down:
            return 400, {"__type": "InternalErrorException", "message": "planted"}
        return getattr(self, f"_{operation}")(body)  # type: ignore[no-any-return]

    def _GetSecretValue(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:  # noqa: N802
        if body["SecretId"] not in self.secrets:
            return 400, {"__type": "ResourceNotFoundException", "message": "no such secret"}
        return 200, {"Name": body["SecretId"], "SecretString": self.secrets[body["SecretId"]]}

    def _ListUserPools(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:  # noqa: N802
        return 200, {"UserPools": [{"Id": "p-1", "Name": "people"}]}

    def _ListUserPoolClients(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:  # noqa: N802
        return 200, {"UserPoolClients": [{"ClientId": "c-1", "UserPoolId": "p-1", "ClientName": "web"}]}

    def _InitiateAuth(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:  # noqa: N802
        assert body["ClientId"] == "c-1"
        if body["AuthParameters"]["PASSWORD"] != PASSWORD:
            return 400, {"__type": "NotAuthorizedException", "message": "Incorrect username or password."}
        if self.challenge:
            return 200, {"ChallengeName": self.challenge, "ChallengeParameters": {}}
        name = body["AuthParameters"]["USERNAME"]
        self.signed_in.append(name)
        claims = json.dumps({"sub": name, "exp": time.time() + self.lifetime_s, "n": len(self.signed_in)})
        payload = base64.urlsafe_b64encode(claims.encode()).decode().rstrip("=")
        return 200, {"AuthenticationResult": {"AccessToken": f"h.{payload}.s", "ExpiresIn": 3600}}


Answer = Callable[[str, Message, dict[str, Any]], tuple[int, dict[str, Any]]]
"""Path, headers and JSON body of a POST -> status and JSON of the answer."""


@contextmanager
def served(answer: Answer) -> Iterator[str]:
    """The URL of a server on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, document = answer(self.path, self.headers, body)
            text = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def account() -> Iterator[Account]:
    account = Account()
    with served(lambda _, headers, body: account.answer(headers["X-Amz-Target"].rpartition(".")[2], body)) as url:
        account.url = url
        yield account


def identities(account: Account, **identity: str) -> Identities:
    spec = {"secret": "s", "user_pool": "people", "client": "web"} | identity
    return of_buyer(account, "http://127.0.0.1", CognitoIdentity.model_validate(spec))


def of_buyer(account: Account, url: str, buyer: CognitoIdentity | LoginIdentity) -> Identities:
    system = System(system="shop", title="Shop", endpoint=Endpoint(url=url), identities={"buyer": buyer})
    target = Target(name="test", region="us-east-1", endpoint_url=account.url, access_key_id="a", secret_access_key="b")
    return Identities(target, system)


ONE = json.dumps({"username": "ann", "password": PASSWORD})
MANY = json.dumps({"users": ["ann", "bob", {"username": "cy", "password": PASSWORD}], "password": PASSWORD})


def test_one_user_signs_in_once(account: Account) -> None:
    account.secrets["s"] = ONE
    known = identities(account)
    assert known.token("buyer") == known.token("buyer")
    assert account.signed_in == ["ann"]


def test_many_users_behind_one_secret(account: Account) -> None:
    account.secrets["s"] = MANY
    known = identities(account)
    assert len({token.value for token in known.tokens("buyer", at_most=2)}) == 2
    assert account.signed_in == ["ann", "bob"]
    assert len({token.value for token in known.tokens("buyer")}) == 3
    assert account.signed_in == ["ann", "bob", "cy"]


def test_a_token_is_renewed_before_it_ends(account: Account) -> None:
    account.secrets["s"] = ONE
    account.lifetime_s = 0.0
    known = identities(account)
    assert known.token("buyer") != known.token("buyer")
    assert account.signed_in == ["ann", "ann"]


def test_a_token_that_is_still_good_outlives_an_outage_of_cognito(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.secrets["s"] = ONE
    known = identities(account)
    token = known.token("buyer")
    account.down = True
    nearly = token.issued_at + 0.9 * (token.expires_at - token.issued_at)
    monkeypatch.setattr("tocsin.actors.identities.time.time", lambda: nearly)
    assert known.token("buyer") == token
    monkeypatch.setattr("tocsin.actors.identities.time.time", lambda: token.expires_at + 1)
    with pytest.raises(TargetError):
        known.token("buyer")


@pytest.mark.parametrize(
    "secret", ["no json", "{}", "[]", '{"users": []}', '{"users": ["ann"]}', '{"username": "ann"}']
)
def test_a_secret_that_holds_no_user_is_told_without_showing_it(account: Account, secret: str) -> None:
    account.secrets["s"] = secret
    with pytest.raises(InvalidInput, match="secret 's': expected JSON") as caught:
        identities(account).token("buyer")
    assert secret not in str(caught.value) or secret in ("{}", "[]")


@pytest.mark.parametrize(
    ("identity", "told"),
    [({"secret": "x"}, "secret 'x'"), ({"user_pool": "peple"}, "people"), ({"client": "wob"}, "web")],
)
def test_what_does_not_exist_is_named(account: Account, identity: dict[str, str], told: str) -> None:
    account.secrets["s"] = ONE
    with pytest.raises(NotFound, match=told):
        identities(account, **identity).token("buyer")


def test_an_unknown_identity_has_a_near_match(account: Account) -> None:
    with pytest.raises(InvalidInput, match="Did you mean 'buyer'"):
        identities(account).token("byuer")


def test_a_wrong_password_and_a_challenge_are_told_without_the_password(account: Account) -> None:
    account.secrets["s"] = json.dumps({"username": "ann", "password": "another-secret"})
    with pytest.raises(TargetError, match="NotAuthorizedException") as caught:
        identities(account).token("buyer")
    assert "another-secret" not in str(caught.value)
    account.secrets["s"] = ONE
    account.challenge = "NEW_PASSWORD_REQUIRED"
    with pytest.raises(TargetError, match="NEW_PASSWORD_REQUIRED"):
        identities(account).token("buyer")


def test_secrets_do_not_show_when_printed(account: Account) -> None:
    account.secrets["s"] = ONE
    token = identities(account).token("buyer")
    assert token.value not in repr(token)
    assert token.value not in str(token)


class Login:
    """A system with a login of its own."""

    def __init__(self) -> None:
        self.status, self.document = 200, {"token": "t-1", "expiresIn": 60}
        self.asked: list[dict[str, Any]] = []
        self.url = ""

    def answer(self, path: str, _: Message, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.asked.append({"path": path, **body})
        return self.status, self.document


@pytest.fixture
def login() -> Iterator[Login]:
    login = Login()
    with served(login.answer) as url:
        login.url = url
        yield login


def own_login(account: Account, login: Login) -> Identities:
    return of_buyer(account, login.url, LoginIdentity(secret="s", login="/auth/login"))


def test_a_user_signs_in_at_the_system_itself(account: Account, login: Login) -> None:
    account.secrets["s"] = ONE
    token = own_login(account, login).token("buyer")
    assert (token.value, token.expires_at - token.issued_at) == ("t-1", 60)
    assert login.asked == [{"path": "/auth/login", "username": "ann", "password": PASSWORD}]


@pytest.mark.parametrize(
    ("status", "document", "said"),
    [(401, {"error": "no"}, "401"), (200, {"other": 1}, "expected JSON with the token in 'token'")],
)
def test_a_login_that_fails_says_where_and_shows_no_password(
    account: Account, login: Login, status: int, document: dict[str, Any], said: str
) -> None:
    account.secrets["s"] = ONE
    login.status, login.document = status, document
    with pytest.raises(TargetError, match=said) as refused:
        own_login(account, login).token("buyer")
    assert PASSWORD not in str(refused.value)
