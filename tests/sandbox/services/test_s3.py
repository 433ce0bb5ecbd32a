"""The pages that a bucket names may ask for its objects, with a signature as everybody; no other page may.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/cors.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from tests.sandbox.test_service import ACCOUNT, REGION, SCALE, started

from tocsin.sandbox.account import Account
from tocsin.sandbox.keys import Keys

PAGE, OTHER, EVIL = "https://shop.example.com", "https://a.example.net", "https://evil.test"
VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"
RULES: list[dict[str, Any]] = [
    {
        "AllowedOrigins": [PAGE, "https://*.example.net"],
        "AllowedMethods": ["PUT", "GET"],
        "AllowedHeaders": ["x-amz-*", "content-type"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 300,
    },
    {"AllowedOrigins": ["*"], "AllowedMethods": ["HEAD"]},
]
HERS = {
    "access-control-allow-origin": PAGE,
    "access-control-allow-credentials": "true",
    "access-control-allow-methods": "PUT, GET",
    "access-control-expose-headers": "ETag",
    "access-control-max-age": "300",
}


@dataclass(frozen=True)
class Bucket:
    """A bucket, as a page and as its owner see it."""

    account: Account
    name: str = "things"

    @property
    def url(self) -> str:
        return f"{self.account.endpoint_url}/{self.name}/one"

    @property
    def by_host(self) -> str:
        """The same object, under a name of the bucket's own."""
        return f"http://{self.name}.s3.localhost:{self.account.endpoint_url.rsplit(':', 1)[1]}/one"

    def presigned(self, operation: str) -> str:
        of = {"Bucket": self.name, "Key": "one"}
        return str(self.account.client("s3").generate_presigned_url(operation, of))

    @contextmanager
    def open_to(self, rules: list[dict[str, Any]]) -> Iterator[None]:
        """The bucket with these rules."""
        self.account.client("s3").put_bucket_cors(Bucket=self.name, CORSConfiguration={"CORSRules": rules})
        yield
        self.account.client("s3").delete_bucket_cors(Bucket=self.name)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with started(tmp_path_factory.mktemp("cors")) as (_, answer):
        account = Account(answer["endpoint_url"], REGION, ACCOUNT, SCALE, Keys(**answer["keys"]))
        account.client("s3").create_bucket(Bucket="things")
        account.client("s3").put_object(Bucket="things", Key="one", Body=b"well")
        yield Bucket(account)


def cors(answer: httpx.Response) -> Mapping[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


def asks(url: str, origin: str, method: str, *headers: str) -> httpx.Response:
    """What a browser is answered that asks first."""
    asked = {"origin": origin, "access-control-request-method": method}
    if headers:
        asked["access-control-request-headers"] = ", ".join(headers)
    if "//things." in url:  # its name is not resolved everywhere, and a browser sends it as it is
        host = url.split("/")[2]
        asked["host"], url = host, url.replace(host, f"127.0.0.1:{host.rsplit(':', 1)[1]}")
    return httpx.options(url, headers=asked)


def test_a_browser_that_asks_first_is_told_what_the_first_rule_that_fits_allows(bucket: Bucket) -> None:
    with bucket.open_to(RULES):
        for url in (bucket.url, bucket.by_host):
            answer = asks(url, PAGE, "PUT", "x-amz-acl", "Content-Type")
            assert (answer.status_code, answer.text, answer.headers["vary"]) == (200, "", VARY)
            assert cors(answer) == {**HERS, "access-control-allow-headers": "x-amz-acl, Content-Type"}
        assert cors(asks(bucket.url, OTHER, "GET")) == {**HERS, "access-control-allow-origin": OTHER}
        assert cors(asks(bucket.url, EVIL, "HEAD")) == {
            "access-control-allow-origin": "*",
            "access-control-allow-methods": "HEAD",
        }


@pytest.mark.parametrize(
    ("origin", "method", "headers"),
    [
        (EVIL, "PUT", ()),
        (f"{PAGE}.evil.test", "PUT", ()),
        ("http://shop.example.com", "PUT", ()),
        ("https://example.net", "PUT", ()),
        (PAGE, "DELETE", ()),
        (PAGE, "PUT", ("authorization",)),
    ],
)
def test_what_no_rule_allows_is_refused(bucket: Bucket, origin: str, method: str, headers: tuple[str, ...]) -> None:
    with bucket.open_to(RULES):
        answer = asks(bucket.url, origin, method, *headers)
    assert (answer.status_code, cors(answer)) == (403, {})
    assert "<Code>AccessForbidden</Code>" in answer.text


def test_a_bucket_without_rules_lets_no_page_in_even_with_a_good_url(bucket: Bucket) -> None:
    with pytest.raises(ClientError, match="NoSuchCORSConfiguration"):
        bucket.account.client("s3").get_bucket_cors(Bucket="things")
    answer = asks(bucket.url, PAGE, "GET")
    assert (answer.status_code, cors(answer)) == (403, {})
    assert "CORS is not enabled for this bucket" in answer.text
    for headers in ({"origin": PAGE}, {"sec-fetch-site": "cross-site"}):
        answer = httpx.get(bucket.presigned("get_object"), headers=headers)
        assert (answer.status_code, cors(answer)) == (403, {})
        assert answer.text != "well"
    assert httpx.get(bucket.presigned("get_object")).text == "well"


def test_a_page_reads_with_a_presigned_url_what_its_bucket_lets_it_read(bucket: Bucket) -> None:
    with bucket.open_to(RULES):
        answer = httpx.get(bucket.presigned("get_object"), headers={"origin": PAGE})
        assert (answer.status_code, answer.text, cors(answer)) == (200, "well", HERS)
        put = httpx.put(bucket.presigned("put_object"), headers={"origin": PAGE}, content=b"well")
        assert (put.status_code, cors(put)) == (200, HERS)
        head = httpx.head(bucket.presigned("head_object"), headers={"origin": EVIL})
        assert (head.status_code, cors(head)["access-control-allow-origin"]) == (200, "*")
        # As on AWS it is carried out, and the browser keeps the answer from the page.
        answer = httpx.get(bucket.presigned("get_object"), headers={"origin": EVIL})
        assert (answer.status_code, cors(answer)) == (200, {})
        assert cors(httpx.get(bucket.presigned("get_object"))) == {}, "a program is told nothing of it"


def test_a_page_without_a_signature_gets_nothing_of_an_open_bucket(bucket: Bucket) -> None:
    everybody = [{"AllowedOrigins": ["*"], "AllowedMethods": ["GET", "PUT", "POST"], "AllowedHeaders": ["*"]}]
    service = {"x-amz-target": "secretsmanager.ListSecrets", "content-type": "application/x-amz-json-1.1"}
    with bucket.open_to(everybody):
        for path in ("/things/one", "/things", "/things/one?cors", "/", "/other/one", "/_ministack/health"):
            for method in ("GET", "PUT", "POST"):
                url = bucket.account.endpoint_url + path
                answer = httpx.request(method, url, headers={"origin": PAGE, **service}, content=b"{}")
                assert answer.status_code in (400, 403), (method, path)
                assert "well" not in answer.text
        for path in ("/", "/other/one", "/_ministack/reset", "/_tocsin/status"):
            answer = asks(bucket.account.endpoint_url + path, PAGE, "GET")
            assert (answer.status_code, cors(answer)) == (403, {}), "nobody there declares anything"
        elsewhere = httpx.options(
            bucket.url, headers={"origin": PAGE, "access-control-request-method": "GET", "host": "rebinding.test"}
        )
        assert (elsewhere.status_code, cors(elsewhere)) == (403, {})
        wrong = bucket.presigned("get_object").replace("/one?", "/two?")
        answer = httpx.get(wrong, headers={"origin": PAGE})
        assert (answer.status_code, "SignatureDoesNotMatch" in answer.text) == (403, True)


def test_a_configuration_is_read_back_and_deleted(bucket: Bucket) -> None:
    s3 = bucket.account.client("s3")
    with bucket.open_to(RULES):
        assert s3.get_bucket_cors(Bucket="things")["CORSRules"] == RULES
    with pytest.raises(ClientError, match="NoSuchCORSConfiguration"):
        s3.get_bucket_cors(Bucket="things")


REFUSED: dict[str, tuple[list[dict[str, Any]], str, str]] = {
    "a method that S3 has not": ([{"AllowedMethods": ["PATCH"]}], "InvalidRequest", "Unsupported method is PATCH"),
    "two wildcards": ([{"AllowedOrigins": ["https://*.*"]}], "InvalidRequest", "can not have more than one wildcard"),
    "two in a header": ([{"AllowedHeaders": ["x-*-*"]}], "InvalidRequest", "can not have more than one wildcard"),
    "any header exposed": ([{"ExposeHeaders": ["*"]}], "InvalidRequest", "do not support wildcard for ExposeHeader"),
    "no origin": ([{"AllowedOrigins": []}], "MalformedXML", "not well-formed"),
    "no rule": ([], "MalformedXML", "not well-formed"),
    "too many": ([{}] * 101, "InvalidRequest", "allowed limit of 100 rules"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_s3_refuses_of_a_configuration_is_refused(bucket: Bucket, case: str) -> None:
    rules, code, message = REFUSED[case]
    given = [{"AllowedOrigins": ["*"], "AllowedMethods": ["GET"], **rule} for rule in rules]
    s3 = bucket.account.client("s3")
    with pytest.raises(ClientError, match=message) as caught:
        s3.put_bucket_cors(Bucket="things", CORSConfiguration={"CORSRules": given})
    assert caught.value.response["Error"]["Code"] == code
    with pytest.raises(ClientError, match="NoSuchCORSConfiguration"):
        s3.get_bucket_cors(Bucket="things")
