"""As whom AWS is called: the credentials of a target, in a role where it names one, and how they are renewed."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from threading import RLock
from typing import Any

import boto3
import botocore.session
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import CredentialRetrievalError

from tocsin.aws import models
from tocsin.aws.secret_answers import watch

_ASSUME_ROLE = "assume-role"


class Login:
    """The sessions of one target, shared by all its regions: never boto3's process-wide default.

    `own` are the credentials found, `session` is in the role that is assumed with them. Whoever is asked for the code
    of a second factor is asked when the first call is made, and never again: after `renew` nobody is asked.
    """

    def __init__(
        self,
        *,
        region: str,
        profile: str | None,
        role_arn: str | None,
        endpoint_url: str | None,
        key: tuple[str | None, str | None],
        see: Callable[..., None],
    ) -> None:
        self._region = region
        self._profile = profile
        self._role_arn = role_arn
        self._endpoint_url = endpoint_url
        self._key = key
        self._see = see
        self._lock = RLock()
        self.renewals = 0
        """How often they were read again: clients made before are of no use any more."""

    @property
    def own(self) -> boto3.Session:
        """The session with the credentials that are found."""
        with self._lock:
            return self._own

    @property
    def session(self) -> boto3.Session:
        """The session that calls are made with."""
        with self._lock:
            return self._session

    @cached_property
    def _own(self) -> boto3.Session:
        inner = botocore.session.Session()
        session = boto3.Session(
            botocore_session=inner,
            aws_access_key_id=self._key[0],
            aws_secret_access_key=self._key[1],
            region_name=self._region,
            profile_name=self._profile,
        )
        models.share(inner)
        if self.renewals:
            assumes = inner.get_component("credential_provider").get_provider(_ASSUME_ROLE)
            assumes._prompter = _ask_nobody  # noqa: SLF001 - botocore takes it in no other way
        watch(session)
        return session

    @cached_property
    def _session(self) -> boto3.Session:
        if self._role_arn is None:
            session = self._own
        else:
            session = _in_role(self._own, self._role_arn, self._endpoint_url)
            watch(session)
        session.events.register("before-call", self._see)
        return session

    @property
    def wants_a_code(self) -> bool:
        """Whether the profile, or one that it takes its credentials from, asks for the code of a second factor."""
        return any("mfa_serial" in profile for profile in self.profiles())

    def profiles(self) -> Iterator[Mapping[str, Any]]:
        """The profile and those that it takes its credentials from, each once, with the `sso_session` that it names."""
        config = botocore.session.Session().full_config
        known, sessions = config.get("profiles", {}), config.get("sso_sessions", {})
        name, seen = self.own.profile_name, set[str]()
        while name in known and name not in seen:
            seen.add(name)
            yield {**sessions.get(known[name].get("sso_session"), {}), **known[name]}
            name = known[name].get("source_profile")

    def renew(self) -> None:
        """Forget the credentials: the next session reads them again from where they come from, and asks nobody."""
        with self._lock:
            self.renewals += 1
            for session in ("_own", "_session"):
                self.__dict__.pop(session, None)


def _ask_nobody(prompt: str) -> str:
    raise CredentialRetrievalError(
        provider=_ASSUME_ROLE,
        error_msg="new ones need the code of a second factor, and nobody is asked for it while something is undone. "
        "Call `tocsin recover`, which asks.",
    )


def _in_role(session: boto3.Session, role_arn: str, endpoint_url: str | None) -> boto3.Session:
    """A session in a role that `session` may assume: when first used, and again before its credentials end."""

    class _Role(CredentialProvider):  # type: ignore[misc]  # botocore carries no types
        METHOD = _ASSUME_ROLE

        def load(self) -> Any:
            fetcher = AssumeRoleCredentialFetcher(
                client_creator=_sts_of(session, endpoint_url),
                source_credentials=session.get_credentials(),
                role_arn=role_arn,
                extra_args={"RoleSessionName": _session_name()},
            )
            return DeferredRefreshableCredentials(method=self.METHOD, refresh_using=fetcher.fetch_credentials)

    inner = botocore.session.Session()
    inner.register_component("credential_provider", CredentialResolver([_Role()]))
    in_role = boto3.Session(botocore_session=inner, region_name=session.region_name)
    models.share(inner)
    return in_role


def _sts_of(session: boto3.Session, endpoint_url: str | None) -> Callable[..., Any]:
    """How botocore makes the STS client of a role; the credentials that it passes are the session's own."""

    def create(service: str, **_: Any) -> Any:
        return session.client(service, endpoint_url=endpoint_url)

    return create


def caller_name() -> str:
    """Who is calling on this machine: a name, or the number of a user that has none, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the latter since Python 3.13
        return f"uid-{os.getuid()}"


def _session_name() -> str:
    """Who is calling, as CloudTrail will show it: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html"""
    return re.sub(r"[^\w+=,.@-]", "-", f"tocsin-{caller_name()}")[:64]
