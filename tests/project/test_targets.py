"""`tocsin.toml`: what a target allows, what a real account is limited to unasked, and one message for what is wrong."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from chaosaws import aws_client

from tocsin.aws.target import Target
from tocsin.errors import InvalidInput
from tocsin.model.rules import OPT_IN, GuardRules
from tocsin.project.targets import check_target_name, load_target, read_project

EMPTY = AWSResponse("", 200, {"content-type": "application/json"}, SimpleNamespace(stream=lambda: [b"{}"]))
ACCOUNT = 'account = "123456789012"\nregion = "eu-west-1"\n'


def project(root: Path, text: str) -> Path:
    (root / "tocsin.toml").write_text(text)
    return root


def test_a_real_account_is_limited_also_where_nothing_is_said(tmp_path: Path) -> None:
    rules = load_target(project(tmp_path, f"[targets.staging]\n{ACCOUNT}"), "staging").rules
    assert (rules.opt_in, rules.max_duration, rules.max_resources) == (OPT_IN, 3600.0, 5)
    assert not rules.production


def test_an_emulator_is_limited_by_what_is_said_only(tmp_path: Path) -> None:
    project(tmp_path, f'[targets.local]\n{ACCOUNT}endpoint_url = "http://127.0.0.1:1"\nmax_duration = "20m"\n')
    assert load_target(tmp_path, "local").rules == GuardRules(max_duration=1200.0)
    assert read_project(tmp_path).targets.sandbox.model_dump() == GuardRules().model_dump()


def test_what_is_said_wins(tmp_path: Path) -> None:
    text = f'[targets.staging]\n{ACCOUNT}opt_in = {{team = "shop"}}\nmax_resources = 9\nmax_percent = "10%"\n'
    rules = load_target(project(tmp_path, text), "staging").rules
    assert (rules.opt_in, rules.max_resources, rules.max_percent) == ({"team": "shop"}, 9, 0.1)


def test_toml_has_dates_and_times_of_its_own(tmp_path: Path) -> None:
    text = (
        '[targets.sandbox]\ntimezone = "UTC"\nfreeze = [2026-12-01, {from = 2026-12-20, to = 2027-01-04}]\n'
        'windows = [{from = 09:30:00, to = "16:00"}]\n'
    )
    rules = read_project(project(tmp_path, text)).targets.sandbox
    assert [str(freeze) for freeze in rules.freeze] == ["2026-12-01", "2026-12-20 to 2027-01-04"]
    assert str(rules.windows[0]) == "every day 09:30-16:00"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"[targets.staging]\n{ACCOUNT}opt_in = {{}}\n", "targets.staging: expected at least one tag in `opt_in`"),
        (f"[targets.staging]\n{ACCOUNT}scale = 60\n", "targets.staging: expected no `scale` without `endpoint_url`"),
        (f'[targets.staging]\n{ACCOUNT}role_arn = "chaos"\n', "targets.staging.role_arn: "),
        (f'[targets.staging]\n{ACCOUNT}max_duration = "1 day"\n', "targets.staging.max_duration: expected a duration"),
        (f"[targets.staging]\n{ACCOUNT}freeze = [2026-12-24]\n", "targets.staging: expected a `timezone`"),
        ('[targets.sandbox]\naccount = "123456789012"\n', "unknown name 'account' in targets.sandbox. "),
        ('[targets.sandbox]\nmax_percent = "10%"\n', "targets.sandbox: expected `opt_in` tags beside `max_percent`"),
        ('[targets.sandbox]\ntimezone = "Mars/Olympus"\n', "targets.sandbox: expected an IANA timezone"),
        ("[targets.sandbox]\nwindows = [{}]\n", "expected 'targets.sandbox.windows.0.from', found nothing"),
    ],
)
def test_a_bad_rule_is_one_message_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=rf"{re.escape(str(tmp_path / 'tocsin.toml'))}:\d: {re.escape(message)}"):
        load_target(project(tmp_path, text), "sandbox" if "sandbox" in text else "staging")


@pytest.mark.parametrize("name", ["../../x", "a/b", "..", ".hidden", "", "-x", "two words", "x" * 101])
def test_a_target_whose_ledger_would_lie_elsewhere_is_no_target(tmp_path: Path, name: str) -> None:
    text = f'[targets."{name}"]\n{ACCOUNT}opt_in = {{team = "shop"}}\n'
    with pytest.raises(InvalidInput, match="expected the name of a target to be of letters"):
        check_target_name(project(tmp_path, text), name)


class Sts(BaseHTTPRequestHandler):
    """Answers as STS does; roles end after a moment, so that they have to be assumed again."""

    keys: list[str]

    def do_POST(self) -> None:
        body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        signed_with = re.search(r"Credential=([^/]+)/", self.headers["Authorization"] or "")
        assert signed_with is not None
        self.keys.append(f"{body['Action'][0]} {signed_with[1]} {body.get('RoleSessionName', ['-'])[0]}")
        answer = _answer(body["Action"][0], len(self.keys)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        """Quiet."""


def _answer(action: str, number: int) -> str:
    if action == "GetCallerIdentity":
        inner = "<Account>123456789012</Account>"
    else:
        # botocore renews when less than ten minutes are left: the first role is as good as over.
        expires = datetime.now(UTC) + timedelta(seconds=5 if number == 1 else 3600)
        inner = (
            f"<Credentials><AccessKeyId>ROLE{number}</AccessKeyId><SecretAccessKey>x</SecretAccessKey>"
            f"<SessionToken>y</SessionToken><Expiration>{expires.isoformat()}</Expiration></Credentials>"
        )
    return f"<{action}Response><{action}Result>{inner}</{action}Result></{action}Response>"


@pytest.fixture
def sts() -> Iterator[str]:
    Sts.keys = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Sts) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_role_is_assumed_with_the_own_credentials_and_again_before_it_ends(sts: str) -> None:
    target = Target(
        name="staging",
        region="eu-west-1",
        endpoint_url=sts,
        role_arn="arn:aws:iam::123456789012:role/chaos",
        access_key_id="OWN",
        secret_access_key="x",
    )
    client = target.client("sts")
    for _ in range(2):
        assert client.get_caller_identity()["Account"] == "123456789012"
    roles = [key.split()[1] for key in Sts.keys if key.startswith("GetCallerIdentity")]
    assumed = [key.split() for key in Sts.keys if key.startswith("AssumeRole")]
    assert len(assumed) >= 2
    assert {key for _, key, _ in assumed} == {"OWN"}
    assert all(name.startswith("tocsin-") for *_, name in assumed)
    assert roles[0] != "OWN"
    assert roles[-1] == f"ROLE{1 + max(n for n, key in enumerate(Sts.keys) if key.startswith('AssumeRole'))}"


# ------------------------------------------------------------------------------- as the default of other code


def test_other_peoples_clients_are_those_of_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    target = Target("t", "eu-west-1", "http://127.0.0.1:1", access_key_id="ours", secret_access_key="ours")
    with target.as_default():
        theirs = boto3.client("ecs", aws_access_key_id="AKIATHEIRS", aws_secret_access_key="theirs", endpoint_url="x")
        assert (theirs.meta.region_name, theirs.meta.endpoint_url) == ("eu-west-1", "http://127.0.0.1:1")
        assert boto3.client("ecs", "us-east-1").meta.region_name == "us-east-1"
        assert boto3.resource("sqs", region_name=None).meta.client.meta.endpoint_url == "http://127.0.0.1:1"
        # What chaostoolkit-aws does, with everything that it may be told.
        chaos = aws_client("ecs", {"aws_region": "eu-west-1", "aws_profile_name": "none"}, {"aws_access_key_id": "A"})
        signed: list[bytes] = []
        chaos.meta.events.register("before-send", lambda request, **_: signed.append(request.headers["Authorization"]))
        chaos.meta.events.register("before-send", lambda **_: EMPTY)
        chaos.list_clusters()
    assert b"Credential=ours/" in signed[0]
    assert target.calls.take() == {"ecs:ListClusters": 1}
    with pytest.raises(RuntimeError, match="an action failed"), target.as_default():
        raise RuntimeError("an action failed")
    assert boto3.DEFAULT_SESSION is None
