"""How long the credentials of a target last: those that end in the middle of a drill leave its fault in place."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.credentials import SSOProvider
from botocore.exceptions import SSOTokenLoadError
from botocore.utils import JSONFileCache, SSOTokenLoader
from dateutil.parser import parse

from tocsin.aws.target import NO_CREDENTIALS, Target, aws_errors
from tocsin.errors import TargetError

_ENVIRONMENT = "env"
_BY_PROFILE = ("sso", "assume-role")
"""Methods of botocore that renew with what a profile, or one that it names, is signed in with."""
_BY_A_PERSON = ("login", "assume-role-with-web-identity")
"""Those that renew with a token of somebody's sign-in, or of a job, whose end they do not tell."""
_RENEWED_BEFORE_S = 600.0
"""botocore wants new credentials when the old ones have ten minutes left, and signs nothing where it cannot have them:
`_DEFAULT_MANDATORY_REFRESH_TIMEOUT` of botocore.credentials.
"""


@dataclass(frozen=True)
class Lasting:
    """How long calls can be signed."""

    until: float | None = None
    """Epoch seconds; None: as long as anybody likes, or it is not told."""
    told: bool = True
    """Whether it is told. Temporary credentials that are only pasted somewhere do not say when they end."""
    renewed: bool = False
    """Whether new ones come by themselves."""
    at_least: float | None = None
    """Epoch seconds until which they are good whatever happens, where the end itself is not told."""

    def words(self) -> str:
        """In a sentence: `they end at 12:30 UTC`."""
        if not self.told and self.renewed:
            good = "" if self.at_least is None else f"; those of now can be used until {_clock(self.at_least)}"
            return f"they are renewed as long as somebody is signed in, and when that ends is not told{good}"
        if not self.told:
            return "they are temporary, and when they end is not told"
        if self.until is None:
            return "they are renewed by themselves" if self.renewed else "they do not end"
        return f"they can be used until {_clock(self.until)}"

    def next_move(self) -> str:
        """What whoever drills can do about it."""
        if not self.told and self.renewed:
            return "Sign in again right before the drill"
        if not self.told:
            return "Set AWS_CREDENTIAL_EXPIRATION beside them, or use a profile that renews them"
        return "Use ones that renew themselves"


def _clock(epoch_s: float) -> str:
    return f"{datetime.fromtimestamp(epoch_s, UTC):%H:%M} UTC"


def lasting_of(target: Target) -> Lasting:
    """How long the credentials of a target last; of a role that it assumes, those that it is assumed with.

    Raises:
        TargetError: there are none.
    """
    login = target.login
    with aws_errors("asking for credentials"):
        found = login.own.get_credentials()
        frozen = None if found is None else found.get_frozen_credentials()
    if found is None or frozen is None:
        raise TargetError(NO_CREDENTIALS)
    if not frozen.token:
        return Lasting()
    ends: datetime | None = getattr(found, "_expiry_time", None)  # botocore tells it in no other way
    if ends is None:
        return Lasting(told=False)
    good_until = ends.timestamp() - _RENEWED_BEFORE_S
    if login.wants_a_code:
        return Lasting(until=good_until)
    if found.method == _ENVIRONMENT:
        return Lasting(until=ends.timestamp())  # an environment does not change
    if found.method in _BY_A_PERSON:
        return Lasting(told=False, renewed=True, at_least=good_until)
    if found.method in _BY_PROFILE:
        return _of_profiles(list(login.profiles()), good_until)
    return Lasting(renewed=True)


def _of_profiles(profiles: Sequence[Mapping[str, Any]], good_until: float) -> Lasting:
    """How long those are renewed that come of a profile: as long as what the last of its chain renews them with."""
    for profile in profiles:
        if "sso_start_url" in profile:
            return _of_sign_in(profile, good_until)
        if "web_identity_token_file" in profile:
            return Lasting(told=False, renewed=True, at_least=good_until)
    last = profiles[-1] if profiles else {}
    pasted = "aws_session_token" in last or (
        last.get("credential_source") == "Environment" and "AWS_SESSION_TOKEN" in os.environ
    )
    return Lasting(told=not pasted, renewed=True, at_least=good_until if pasted else None)


def _of_sign_in(profile: Mapping[str, Any], good_until: float) -> Lasting:
    """Of IAM Identity Center, by the token that `aws sso login` keeps. Nothing of it but its end is looked at.

    A token of a `sso_session` is renewed itself, as long as a session lasts whose end the file does not tell. One
    of a profile without such a name, and one that came without a right to renew it, is good until it ends.
    https://docs.aws.amazon.com/cli/latest/userguide/sso-configure-profile-legacy.html
    """
    cache = JSONFileCache(SSOProvider._SSO_TOKEN_CACHE_DIR)  # noqa: SLF001 - botocore says in no other way where it is
    try:
        token = SSOTokenLoader(cache)(profile["sso_start_url"], profile.get("sso_session"))
        ends = parse(token["expiresAt"]).timestamp()
    except (SSOTokenLoadError, KeyError, TypeError, ValueError):
        return Lasting(told=False, renewed=True, at_least=good_until)
    if "sso_session" in profile and "refreshToken" in token:
        return Lasting(told=False, renewed=True, at_least=max(good_until, ends))
    # While the token is good, new credentials are fetched with it; those that it fetched last go on after it.
    return Lasting(until=max(good_until, ends))
