"""What an account holds of secrets is known before a drill begins, also where some of its services do not answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tocsin.masking import HIDDEN, mask
from tocsin.sandbox.account import Account
from tocsin.sandbox.keys import Keys
from tocsin.sandbox.planted import learn_secrets

ARN = "arn:aws:secretsmanager:eu-west-1:000000000000:secret:shop/db"
ANSWERS: Mapping[str, Any] = {
    "secretsmanager.ListSecrets": {"SecretList": [{"Name": "gone", "ARN": f"{ARN}-gone"}, {"Name": "db", "ARN": ARN}]},
    f"secretsmanager.GetSecretValue {ARN}": {"SecretString": '{"username": "shopkeeper", "password": "plum-velvet"}'},
    "AmazonSSM.DescribeParameters": {
        "Parameters": [{"Name": "key", "Type": "SecureString"}, {"Name": "url", "Type": "String"}]
    },
    "AmazonSSM.GetParameter key": {"Parameter": {"Name": "key", "Type": "SecureString", "Value": "amber-lantern"}},
    "AWSCognitoIdentityProviderService.ListUserPools": {"UserPools": [{"Id": "eu-west-1_Aaaaaaaaa"}]},
    "AWSCognitoIdentityProviderService.ListUserPoolClients": {"UserPoolClients": [{"ClientId": "web"}]},
    "AWSCognitoIdentityProviderService.DescribeUserPoolClient web": {"UserPoolClient": {"ClientSecret": "jade-quay-9"}},
}


class Door(BaseHTTPRequestHandler):
    """Answers what is in `ANSWERS`; everything else is refused, and Lambda answers what nobody can read."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        target = self.headers.get("x-amz-target", "")
        named = asked.get("SecretId") or asked.get("ClientId") or asked.get("Name")
        answer = ANSWERS.get(f"{target.replace('_20141106', '')} {named}" if named else target)
        self._answer(400 if answer is None else 200, json.dumps(answer or {"__type": "ResourceNotFoundException"}))

    def do_GET(self) -> None:
        self._answer(200, "<no JSON")

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments: Any) -> None:
        """Nobody reads it."""


@pytest.fixture
def account() -> Iterator[Account]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Account(
            f"http://127.0.0.1:{server.server_port}", "eu-west-1", "000000000000", 60.0, Keys.new("000000000000")
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_its_secrets_are_known_and_what_does_not_answer_is_passed_over(account: Account) -> None:
    text = "plum-velvet of shopkeeper, amber-lantern, jade-quay-9"
    assert mask(text) == text
    learn_secrets(account)
    assert mask(text) == f"{HIDDEN} of shopkeeper, {HIDDEN}, {HIDDEN}"
