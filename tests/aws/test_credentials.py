"""How long credentials last, when they are read again, and who is asked for the code of a second factor."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import AssumeRoleProvider, SSOProvider
from botocore.exceptions import SSOTokenLoadError, UnauthorizedSSOTokenError
from botocore.tokens import SSOTokenProvider
from tests.stubbed import Stubbed, refused

import tocsin
from tocsin.aws.credentials import lasting_of
from tocsin.aws.target import Target, aws_errors
from tocsin.errors import CredentialsExpired, Refused, TargetError, Unavailable
from tocsin.guards.admission import check_identity
from tocsin.guards.credentials import check_credentials, surely_outlast

ACCOUNT = "123456789012"
SOURCE = Path(tocsin.__file__).parent
MFA = f"""
[profile chaos]
role_arn = arn:aws:iam::{ACCOUNT}:role/chaos
source_profile = me
mfa_serial = arn:aws:iam::{ACCOUNT}:mfa/me
region = eu-west-1

[profile me]
aws_access_key_id = AKIAIOSFODNN7EXAMPLE
aws_secret_access_key = example
"""


def in_minutes(minutes: float) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()


def assumed(minutes: float) -> dict[str, Any]:
    """What AssumeRole answers."""
    key = {"AccessKeyId": "ASIAIOSFODNN7EXAMPLE", "SecretAccessKey": "example", "SessionToken": "example"}
    return {"Credentials": {**key, "Expiration": datetime.now(UTC) + timedelta(minutes=minutes)}}


@pytest.fixture(autouse=True)
def nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file and no machine from which credentials could come."""
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def pasted(monkeypatch: pytest.MonkeyPatch) -> Target:
    """Temporary credentials in the environment."""
    for name, value in (("ACCESS_KEY_ID", "ASIA"), ("SECRET_ACCESS_KEY", "example"), ("SESSION_TOKEN", "example")):
        monkeypatch.setenv(f"AWS_{name}", value)
    return Target("staging", "eu-west-1", account=ACCOUNT)


class Person:
    """Whoever has the second factor."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, prompt: str) -> str:
        self.asked.append(prompt)
        return "123456"


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Person:
    found = Person()
    defaults = AssumeRoleProvider.__init__.__defaults__
    monkeypatch.setattr(AssumeRoleProvider.__init__, "__defaults__", (found, *defaults[1:]))
    return found


@pytest.fixture
def with_code(tmp_path: Path, person: Person) -> tuple[Target, Stubbed]:
    """A profile whose role wants the code of a second factor, and lasts an hour."""
    (tmp_path / "aws_config_file").write_text(MFA)
    target = Target("staging", "eu-west-1", account=ACCOUNT, profile="chaos")
    api = Stubbed(target)
    api.answers("sts", "AssumeRole", assumed(60))
    api.answers("sts", "GetCallerIdentity", {"Account": ACCOUNT})
    return target, api


# --------------------------------------------------------------------------------------------- how long they last


def test_a_key_does_not_end() -> None:
    target = Target("t", "eu-west-1", access_key_id="AKIA", secret_access_key="example")
    assert check_credentials(target, 3600) == "they do not end"


def test_a_drill_that_outlives_its_credentials_is_refused(pasted: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", in_minutes(30))
    assert check_credentials(pasted, 15 * 60).startswith("they can be used until ")
    with pytest.raises(Refused, match=r"that last for the 35m that this drill may take, found that they can"):
        check_credentials(pasted, 25 * 60)


def test_on_a_fast_clock_the_same_drill_is_soon_over(monkeypatch: pytest.MonkeyPatch, pasted: Target) -> None:
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", in_minutes(30))
    assert check_credentials(Target("t", "eu-west-1", scale=60), 25 * 60)


def test_temporary_ones_that_do_not_say_when_they_end_are_told(pasted: Target) -> None:
    assert check_credentials(pasted, 3600) == "they are temporary, and when they end is not told"


def test_a_code_is_asked_for_once_an_hour_so_the_hour_counts(with_code: tuple[Target, Stubbed]) -> None:
    target, _ = with_code
    until = lasting_of(target).until
    assert until is not None
    assert abs(until - time.time() - 50 * 60) < 60, "botocore signs nothing in the last ten minutes"


def test_a_role_of_the_target_is_renewed_by_itself(pasted: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/team/chaos"
    target = Target("t", "eu-west-1", role_arn=role, access_key_id="AKIA", secret_access_key="example")
    assert lasting_of(target).words() == "they do not end"
    # Of those that it is assumed with, the end counts.
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", in_minutes(30))
    assert lasting_of(Target("t", "eu-west-1", role_arn=role)).until is not None


START, TEAM = "https://team.awsapps.test/start", "team"
SSO = f"""
[profile chaos]
sso_account_id = {ACCOUNT}
sso_role_name = chaos
region = eu-west-1
{{named}}

[profile above]
role_arn = arn:aws:iam::{ACCOUNT}:role/above
source_profile = chaos
region = eu-west-1

[profile pasted]
aws_access_key_id = ASIAIOSFODNN7EXAMPLE
aws_secret_access_key = example
aws_session_token = example

[profile above-pasted]
role_arn = arn:aws:iam::{ACCOUNT}:role/above
source_profile = pasted
region = eu-west-1

[sso-session {TEAM}]
sso_start_url = {START}
sso_region = eu-west-1
"""
LEGACY, NAMED = f"sso_start_url = {START}\nsso_region = eu-west-1", f"sso_session = {TEAM}"
SECRET = "of-the-token-not-shown"


def signed_in(folder: Path, monkeypatch: pytest.MonkeyPatch, named: str, token: dict[str, Any] | str) -> None:
    """A person who is: what `aws sso login` keeps, under the name that botocore looks for."""
    (folder / "aws_config_file").write_text(SSO.format(named=named))
    cache = folder / "sso-cache"
    cache.mkdir(exist_ok=True)
    for reader in (SSOProvider, SSOTokenProvider):
        monkeypatch.setattr(reader, "_SSO_TOKEN_CACHE_DIR", str(cache))
    key = hashlib.sha1((START if named == LEGACY else TEAM).encode(), usedforsecurity=False).hexdigest()
    (cache / f"{key}.json").write_text(token if isinstance(token, str) else json.dumps(token))


def token_until(minutes: float, **more: str) -> dict[str, Any]:
    ends = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"accessToken": SECRET, "expiresAt": ends, "startUrl": START, "region": "eu-west-1", **more}


def of_profile(profile: str, minutes: float = 60) -> Target:
    """A target whose credentials of Identity Center, or of a role above them, are good for so many minutes."""
    target = Target("staging", "eu-west-1", account=ACCOUNT, profile=profile)
    api = Stubbed(target)
    key = {"accessKeyId": "ASIA", "secretAccessKey": "example", "sessionToken": "example"}
    ends = int((time.time() + minutes * 60) * 1000)
    api.answers("sso", "GetRoleCredentials", {"roleCredentials": {**key, "expiration": ends}})
    api.answers("sts", "AssumeRole", assumed(minutes))
    return target


@pytest.mark.parametrize("profile", ["chaos", "above"])
@pytest.mark.parametrize(("token_min", "creds_min", "until_min"), [(120, 60, 120), (20, 60, 50), (20, 25, 20)])
def test_a_sign_in_of_a_profile_without_a_session_ends_with_its_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, token_min: int, creds_min: int, until_min: int
) -> None:
    signed_in(tmp_path, monkeypatch, LEGACY, token_until(token_min))
    target = of_profile(profile, creds_min)
    until = lasting_of(target).until
    assert until is not None
    assert abs(until - time.time() - until_min * 60) < 60
    with pytest.raises(Refused, match="credentials that last") as no:
        check_credentials(target, until_min * 60)
    assert SECRET not in str(no.value)


@pytest.mark.parametrize("profile", ["chaos", "above"])
def test_a_session_that_is_renewed_does_not_tell_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    signed_in(tmp_path, monkeypatch, NAMED, token_until(90, refreshToken=SECRET, clientId="c", clientSecret=SECRET))
    target = of_profile(profile)
    lasting = lasting_of(target)
    assert (lasting.told, lasting.until) == (False, None)
    assert lasting.at_least is not None
    assert abs(lasting.at_least - time.time() - 90 * 60) < 60
    assert "when that ends is not told; those of now can be used until" in check_credentials(target, 10 * 3600)
    assert surely_outlast(lasting, target, 60 * 60)
    assert not surely_outlast(lasting, target, 90 * 60)
    assert SECRET not in repr(lasting) + lasting.words() + lasting.next_move()


def test_a_session_that_nothing_renews_ends_with_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signed_in(tmp_path, monkeypatch, NAMED, token_until(90))
    until = lasting_of(of_profile("chaos")).until
    assert until is not None
    assert abs(until - time.time() - 90 * 60) < 60


@pytest.mark.parametrize("damage", [lambda token: "{half", lambda token: {**token, "expiresAt": "soon"}])
def test_a_kept_token_that_cannot_be_read_later_tells_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[dict[str, Any]], Any]
) -> None:
    signed_in(tmp_path, monkeypatch, LEGACY, token_until(90))
    target = of_profile("chaos")
    target.session.get_credentials().get_frozen_credentials()
    signed_in(tmp_path, monkeypatch, LEGACY, damage(token_until(90)))
    lasting = lasting_of(target)
    assert (lasting.told, lasting.renewed) == (False, True)


def test_a_role_above_pasted_ones_ends_with_them_and_nobody_knows_when(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_in(tmp_path, monkeypatch, LEGACY, token_until(90))
    lasting = lasting_of(of_profile("above-pasted"))
    assert (lasting.told, lasting.at_least is not None) == (False, True)


def test_without_any_it_is_said_what_to_do() -> None:
    with pytest.raises(TargetError, match=r"expected credentials, found none\. Name a `profile`"):
        lasting_of(Target("t", "eu-west-1"))
    with pytest.raises(TargetError, match="asking who we are: expected credentials, found none"):
        check_identity(Target("t", "eu-west-1"))


# ----------------------------------------------------------------------------------------- renewed, and by whom


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException", "RequestExpired"])
def test_expired_ones_are_told_from_a_throttle(target: Target, code: str) -> None:
    api = Stubbed(target)
    api.answers("sts", "GetCallerIdentity", refused(code))
    with pytest.raises(CredentialsExpired), aws_errors("asking who we are"):
        target.client("sts").get_caller_identity()
    api.answers("sts", "GetCallerIdentity", refused("Throttling"))
    with pytest.raises(Unavailable) as throttled, aws_errors("asking who we are"):
        target.client("sts").get_caller_identity()
    assert not isinstance(throttled.value, CredentialsExpired)


@pytest.mark.parametrize("error", [UnauthorizedSSOTokenError(), SSOTokenLoadError(error_msg="none")])
def test_a_session_that_ended_is_renewed_by_a_person(error: Exception) -> None:
    with pytest.raises(CredentialsExpired), aws_errors("asking who we are"):
        raise error


def test_an_environment_that_ended_is_no_traceback(pasted: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", in_minutes(-1))
    with pytest.raises(CredentialsExpired, match="still expired"):
        lasting_of(pasted)


def test_nobody_is_asked_for_a_code_after_the_first_call(with_code: tuple[Target, Stubbed], person: Person) -> None:
    target, _ = with_code
    target.client("sts").get_caller_identity()
    assert len(person.asked) == 1
    target.renew()
    with pytest.raises(CredentialsExpired, match="nobody is asked for it while"), aws_errors("undoing"):
        target.client("sts").get_caller_identity()
    assert len(person.asked) == 1


def test_another_region_asks_nobody_again(with_code: tuple[Target, Stubbed], person: Person) -> None:
    target, api = with_code
    target.client("sts").get_caller_identity()
    there = target.in_region("eu-north-1")
    assert there.client("sqs").meta.region_name == "eu-north-1"
    there.client("sts").get_caller_identity()
    assert len(person.asked) == 1
    assert len(api.calls("AssumeRole")) == 1


def test_those_that_were_renewed_outside_are_read_by_every_region(target: Target, tmp_path: Path) -> None:
    keys = "[default]\naws_access_key_id = {}\naws_secret_access_key = example\n"
    (tmp_path / "aws_shared_credentials_file").write_text(keys.format("OLD"))
    here = Target("t", "eu-west-1")
    there = here.in_region("eu-north-1")

    def signed_with(one: Target) -> str:
        key: str = one.client("sqs")._request_signer._credentials.access_key
        return key

    assert {signed_with(here), signed_with(there)} == {"OLD"}
    (tmp_path / "aws_shared_credentials_file").write_text(keys.format("NEW"))
    here.renew()
    assert {signed_with(here), signed_with(there)} == {"NEW"}


# -------------------------------------------------------------------------------------- clients, one for each call


def kept_clients(text: str) -> Iterator[int]:
    """Lines on which an object keeps a client: one that was made before credentials were renewed signs with the old."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            owners = (one.value if isinstance(one, ast.Subscript) else one for one in targets)
            kept = any(isinstance(owner, ast.Attribute) for owner in owners)
            if kept and re.search(r"\b(client|make_client)\(['\w]", ast.unparse(node.value)):
                yield node.lineno


def test_nobody_keeps_a_client() -> None:
    files = [path for path in SOURCE.rglob("*.py") if "sandbox" not in path.relative_to(SOURCE).parts]
    kept = {str(path.relative_to(SOURCE)): list(kept_clients(path.read_text(encoding="utf-8"))) for path in files}
    assert {name: lines for name, lines in kept.items() if lines} == {}
    assert list(kept_clients("self._sqs = ctx.target.client('sqs')\nself._made[service] = target.client(service)")) == [
        *(1, 2)
    ]
    assert not list(kept_clients("sqs = self._target.client('sqs')"))
