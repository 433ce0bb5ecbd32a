"""Who has no keys gets nothing from a sandbox that runs and changes nothing in it: pages, strangers, other names."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from tests.report.test_browser import BROWSER, BROWSERS, browse
from tests.sandbox.pages import found_by, served_pages
from tests.sandbox.test_service import ACCOUNT, REGION, SCALE, started

from tocsin.model.doors import TOKEN_HEADER
from tocsin.sandbox.account import Account, open_door
from tocsin.sandbox.keys import Keys

SECRET = "not-a-secret-that-anybody-may-read"
LIST_SECRETS = {"X-Amz-Target": "secretsmanager.ListSecrets", "Content-Type": "application/x-amz-json-1.1"}
CREATE_USER = b"Action=CreateUser&UserName=eve&Version=2010-05-08"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
FOREIGN = "https://evil.example"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Stage:
    """A sandbox with something in it."""

    account: Account

    @property
    def port(self) -> int:
        return int(self.account.endpoint_url.rsplit(":", 1)[1])

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        """A request exactly as it is given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": f"127.0.0.1:{self.port}", "Content-Length": str(len(body)), **headers}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def signed(self, headers: dict[str, str], host: str | None = None) -> dict[str, str]:
        """The headers of a good `ListSecrets`, with others beside them."""
        host = host or f"127.0.0.1:{self.port}"
        request = AWSRequest("POST", f"http://{host}/", {**LIST_SECRETS, "Host": host}, b"{}")
        credentials = Credentials(ACCOUNT, self.account.keys.secret_access_key)
        SigV4Auth(credentials, "secretsmanager", REGION).add_auth(request)
        return {**dict(request.headers.items()), **headers}

    def content(self) -> Any:
        """What there is that a stranger could change."""
        return (
            self.account.client("sqs").list_queues().get("QueueUrls"),
            [one["UserName"] for one in self.account.client("iam").list_users()["Users"]],
            [one["FunctionName"] for one in self.account.client("lambda").list_functions()["Functions"]],
            self.account.client("secretsmanager").get_secret_value(SecretId="kept")["SecretString"],
            open_door(self.account.endpoint_url, self.account.keys.token, "parrot", {})["queues"],
        )

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Nothing of that changes meanwhile."""
        before = self.content()
        yield
        assert self.content() == before


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with started(tmp_path_factory.mktemp("stage")) as (_, answer):
        account = Account(answer["endpoint_url"], REGION, ACCOUNT, SCALE, Keys(**answer["keys"]))
        account.client("sqs").create_queue(QueueName="kept")
        account.client("secretsmanager").create_secret(Name="kept", SecretString=SECRET)
        yield Stage(account)


def says_nothing(answer: Answer) -> bool:
    """Whether an answer refuses, tells nothing of the account, and may be read by no page."""
    cors = [name for name in answer.headers if name.startswith("access-control-")]
    return answer.status in (400, 401, 403) and SECRET.encode() not in answer.body and not cors


def test_a_program_with_the_keys_is_answered(stage: Stage) -> None:
    for headers in ({}, {"Sec-Fetch-Site": "none"}):
        answer = stage.send("POST", "/", stage.signed(headers), b"{}")
        assert answer.status == 200
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    localhost = f"localhost:{stage.port}"
    assert stage.send("POST", "/", stage.signed({"Host": localhost}, localhost), b"{}").status == 200


PAGES = {
    "a foreign origin": {"Origin": FOREIGN},
    "a page without an address": {"Origin": "null"},
    "a page of the sandbox itself": {"Origin": "http://127.0.0.1:4566"},
    "an image of another site": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    "a page of another port": {"Sec-Fetch-Site": "same-site"},
}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_gets_nothing_even_with_the_keys(stage: Stage, page: str) -> None:
    headers, token = PAGES[page], {TOKEN_HEADER: stage.account.keys.token}
    with stage.unchanged():
        assert says_nothing(stage.send("POST", "/", stage.signed(headers), b"{}"))
        assert says_nothing(stage.send("POST", "/", {**headers, **FORM}, CREATE_USER))
        assert says_nothing(stage.send("POST", "/_ministack/reset", {**headers, **token}))
        assert says_nothing(stage.send("GET", "/_tocsin/status", {**headers, **token}))
        asks = {**headers, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        assert says_nothing(stage.send("OPTIONS", "/", asks))
        assert says_nothing(stage.send("OPTIONS", "/_ministack/reset", asks))


def test_a_simple_request_that_no_browser_marks_gets_nothing(stage: Stage) -> None:
    with stage.unchanged():
        for headers in (FORM, {"Content-Type": "text/plain"}, {}):
            assert says_nothing(stage.send("POST", "/", headers, CREATE_USER))
        assert says_nothing(stage.send("GET", f"/?{CREATE_USER.decode()}", {}))
        assert says_nothing(stage.send("POST", "/", LIST_SECRETS, b"{}"))
        assert says_nothing(stage.send("GET", "/2015-03-31/functions/", {}))
        assert says_nothing(stage.send("PUT", "/bucket", {}))


@pytest.mark.parametrize(
    "host", ["evil.example:{port}", "evil.example", "127.0.0.1.evil.example:{port}", "0.0.0.0:{port}", "127.0.0.1:9"]
)
def test_a_name_that_was_made_to_lead_here_gets_nothing(stage: Stage, host: str) -> None:
    host = host.format(port=stage.port)
    with stage.unchanged():
        assert says_nothing(stage.send("POST", "/", stage.signed({"Host": host}, host), b"{}"))
        assert says_nothing(stage.send("GET", "/", {"Host": host}))
        assert says_nothing(stage.send("GET", "/_parrot/cage", {"Host": host}))
        assert says_nothing(
            stage.send("POST", "/_ministack/reset", {"Host": host, TOKEN_HEADER: stage.account.keys.token})
        )


def test_what_has_no_data_plane_here_answers_nobody(stage: Stage) -> None:
    """AppSync and CloudFront: what was deployed there is refused under every name, with the API's own key, too."""
    appsync, cloudfront = stage.account.client("appsync"), stage.account.client("cloudfront")
    api = appsync.create_graphql_api(name="open", authenticationType="API_KEY")["graphqlApi"]["apiId"]
    key = {"X-Api-Key": appsync.create_api_key(apiId=api)["apiKey"]["id"], "Content-Type": "application/json"}
    origin = {"Id": "o", "DomainName": "kept.s3.amazonaws.com", "S3OriginConfig": {"OriginAccessIdentity": ""}}
    behaviour = {
        "TargetOriginId": "o",
        "ViewerProtocolPolicy": "allow-all",
        "ForwardedValues": {"QueryString": False, "Cookies": {"Forward": "none"}},
        "MinTTL": 0,
    }
    made = cloudfront.create_distribution(
        DistributionConfig={
            "CallerReference": "1",
            "Comment": "",
            "Enabled": True,
            "Origins": {"Quantity": 1, "Items": [origin]},
            "DefaultCacheBehavior": behaviour,
        }
    )["Distribution"]
    label = made["DomainName"].split(".")[0]
    hosts = [f"{api}.appsync-api.us-east-1.{end}" for end in ("amazonaws.com", f"localhost:{stage.port}")]
    hosts += [f"{label}.cloudfront.{end}" for end in ("net", f"localhost:{stage.port}", f"net:{stage.port}")]
    for host in (*hosts, f"127.0.0.1:{stage.port}"):
        for path in ("/graphql", f"/v1/apis/{api}/graphql", "/"):
            for more in ({}, {"Origin": FOREIGN}):
                assert says_nothing(stage.send("POST", path, {"Host": host, **key, **more}, b'{"query": "{kept}"}'))
                assert says_nothing(stage.send("GET", path, {"Host": host, **key, **more}))


CALLS: dict[str, tuple[str, str, dict[str, Any], str, str]] = {
    "JSON": ("secretsmanager", "list_secrets", {}, "InvalidSignatureException", "UnrecognizedClientException"),
    "query": ("iam", "list_users", {}, "SignatureDoesNotMatch", "InvalidClientTokenId"),
    "query-compatible": ("sqs", "list_queues", {}, "SignatureDoesNotMatch", "InvalidClientTokenId"),
    "REST and JSON": ("lambda", "list_functions", {}, "InvalidSignatureException", "UnrecognizedClientException"),
    "REST and XML": ("s3", "list_buckets", {}, "SignatureDoesNotMatch", "InvalidAccessKeyId"),
    "CBOR": ("cloudwatch", "list_metrics", {}, "SignatureDoesNotMatch", "InvalidClientTokenId"),
    "ours": (
        *("comprehend", "detect_dominant_language", {"Text": "pt"}),
        *("InvalidSignatureException", "UnrecognizedClientException"),
    ),
    "always allowed": ("sts", "get_caller_identity", {}, "SignatureDoesNotMatch", "InvalidClientTokenId"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_signature_and_an_unknown_key_get_the_errors_of_aws(stage: Stage, call: str) -> None:
    service, operation, arguments, wrong, unknown = CALLS[call]
    secret = stage.account.keys.secret_access_key
    tried = {(ACCOUNT, "sandbox"): wrong, (ACCOUNT, secret[:-1]): wrong}
    tried |= {(key, secret): unknown for key in ("test", "210987654321", "AKIATOCSINSTRANGER00")}
    for (key, signs), code in tried.items():
        stranger = replace(stage.account.target, access_key_id=key, secret_access_key=signs)
        with pytest.raises(ClientError) as refused:
            getattr(stranger.client(service), operation)(**arguments)
        assert refused.value.response["Error"]["Code"] == code
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403)
    getattr(stage.account.client(service), operation)(**arguments)


def test_a_request_of_yesterday_gets_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    import datetime as dt

    with monkeypatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda: dt.datetime.now(dt.UTC) - dt.timedelta(days=1))
        late = stage.signed({})
    answer = stage.send("POST", "/", late, b"{}")
    assert says_nothing(answer)
    assert b"Signature expired" in answer.body
    again = stage.signed({})
    assert stage.send("POST", "/", again, b"{}").status == 200
    assert says_nothing(stage.send("POST", "/", again, b'{"MaxResults": 1}'))


INNER = (
    ("POST", "/_ministack/reset"),
    ("POST", "/_ministack/config"),
    ("GET", "/_ministack/health"),
    ("GET", "/_ministack/ready"),
    ("GET", "/_ministack/sqs/messages"),
    ("GET", "/_ministack/ses/messages"),
    ("GET", "/_ministack/lambda-code/123456789012/us-east-1/any"),
    ("GET", "/_localstack/health"),
    ("GET", "/health"),
    ("POST", "/_tocsin/status"),
    ("POST", "/_tocsin/stub"),
    ("POST", "/_tocsin/image"),
    ("POST", "/_aws/lambda-url/any/"),
    ("POST", "/%5Fministack/reset"),
    ("POST", "/_ministack/cfn-response/any"),
    ("GET", "/_ministack/cfn-signal/any"),
    ("PUT", "/_ministack/cfn-response/../reset"),
)


@pytest.mark.parametrize(("method", "path"), INNER)
def test_an_inner_path_needs_the_token(stage: Stage, method: str, path: str) -> None:
    token = stage.account.keys.token
    with stage.unchanged():
        assert says_nothing(stage.send(method, path, {}))
        assert says_nothing(stage.send(method, path, stage.signed({}), b"{}"))
        for wrong in ("", token[:-1], token + "0", token.upper(), "é"):
            assert says_nothing(stage.send(method, path, {TOKEN_HEADER: wrong}))


@pytest.mark.parametrize("name", ["cfn-response", "cfn-signal"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS"])
def test_what_answers_cloudformation_answers_for_no_other_service(stage: Stage, method: str, name: str) -> None:
    credential = f"Credential={ACCOUNT}/20261129/{REGION}/secretsmanager/aws4_request"
    unproved = {**LIST_SECRETS, "Authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=00"}
    read = {**unproved, "X-Amz-Target": "secretsmanager.GetSecretValue"}
    form = {**FORM, "Authorization": unproved["Authorization"].replace("secretsmanager", "iam")}
    with stage.unchanged():
        for headers, body in ((unproved, b"{}"), (read, b'{"SecretId": "kept"}'), (form, CREATE_USER)):
            answer = stage.send(method, f"/_ministack/{name}/any", headers, body)
            assert SECRET.encode() not in answer.body
            assert b"SecretList" not in answer.body
            assert method == "PUT" or answer.status in (400, 403)


def test_with_the_token_a_door_opens(stage: Stage) -> None:
    answer = stage.send("POST", "/_tocsin/status", {TOKEN_HEADER: stage.account.keys.token}, b"{}")
    assert answer.status == 200
    assert "processes" in json.loads(answer.body)
    assert stage.send("GET", "/_ministack/health", {TOKEN_HEADER: stage.account.keys.token}).status == 200


def test_a_websocket_is_closed(stage: Stage) -> None:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    for beside in ({}, {"Origin": FOREIGN}, {"Host": "evil.example"}):
        assert stage.send("GET", "/", {**headers, **beside}).status == 403


@pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is on PATH")
def test_a_page_of_another_origin_in_a_real_browser_gets_nothing(stage: Stage, tmp_path: Path) -> None:
    with served_pages() as (page, open_to_all), stage.unchanged():
        sees_all = found_by(browse(f"{page}/?target={open_to_all.url}", tmp_path))
        found = found_by(browse(f"{page}/?target={stage.account.endpoint_url}", tmp_path))
    # The page does what it says: a server that lets everybody in is read, and hears each of its requests.
    assert sees_all == {"read": 200, "read simple": 200, "asked first": 200, "sent": "opaque", "image": "loaded"}
    assert {"GET /", "POST /", "POST /_ministack/reset", "PUT /bucket", "GET /image"} <= set(open_to_all.heard)
    refused = dict.fromkeys(("read", "read simple", "asked first"), "TypeError")
    assert found == {**refused, "sent": "opaque", "image": "failed"}
