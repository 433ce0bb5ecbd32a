"""The roles that services of AWS act in: temporary keys of their sessions, and whether their policies allow something.

ministack's evaluator decides, with everything it knows: inline and managed policies, permissions boundaries, the
policy of the resource, explicit denials first.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import contextvars
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.ministack import Ministack
from tocsin.sandbox.service import ReliedOn

RELIED_ON: ReliedOn = {"services.sts": {"register_session": "access_key, session"}}

_SESSION_NAME = 64
"""Longest name of a session."""


@dataclass(frozen=True)
class Session:
    """A session of a role, as AssumeRole gives it."""

    arn: str
    access_key_id: str
    secret_access_key: str
    session_token: str

    def environment(self) -> Mapping[str, str]:
        """Variables in which an SDK finds the keys."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_SESSION_TOKEN": self.session_token,
        }


_KEPT_S = 0.1
"""How long an answer is kept for who asks all the time; IAM itself takes seconds until a change holds everywhere."""


class Allowances:
    """Whether keys of roles allow what services of AWS do for them again and again: poll a queue, write a log."""

    def __init__(self, ministack: Ministack) -> None:
        self._ministack = ministack
        self._answers: dict[tuple[str, Scope, str, str], tuple[float, str | None]] = {}

    def refusal(self, access_key_id: str, scope: Scope, action: str, resource: str) -> str | None:
        """Why it may not, in the words of AWS; None when it may. As it was at most a tenth of a second ago."""
        asked = access_key_id, scope, action, resource
        until, answer = self._answers.get(asked, (0.0, None))
        if until < time.monotonic():
            answer = apart(self._ministack, *asked)
            self._answers[asked] = time.monotonic() + _KEPT_S, answer
        return answer


def apart(ministack: Ministack, access_key_id: str, scope: Scope, action: str, resource: str) -> str | None:
    """What IAM says, in a context of its own: that of a request would be taken for the request to be checked."""
    return contextvars.Context().run(ministack.refusal, access_key_id, scope, action, resource)


class Roles:
    """The sessions of services in the roles of one sandbox."""

    def __init__(self, ministack: Ministack) -> None:
        self._ministack = ministack
        self._sts = ministack.module("services.sts")
        self._sessions: dict[tuple[str, str], Session] = {}

    def session(self, role_arn: str, name: str) -> Session:
        """The session of that name in a role: the same whenever it is asked for."""
        key = role_arn, name[:_SESSION_NAME]
        if key not in self._sessions:
            self._sessions[key] = self._begun(*key)
        return self._sessions[key]

    def refusal(self, session: Session, scope: Scope, action: str, resource: str) -> str | None:
        """Why a session may not, in the words of AWS; None when it may."""
        return apart(self._ministack, session.access_key_id, scope, action, resource)

    def _begun(self, role_arn: str, name: str) -> Session:
        account, role = role_arn.split(":")[4], role_arn.rsplit("/", 1)[-1]
        session = Session(
            arn=f"arn:aws:sts::{account}:assumed-role/{role}/{name}",
            access_key_id=f"ASIA{secrets.token_hex(8).upper()}",
            secret_access_key=secrets.token_hex(20),
            session_token=secrets.token_hex(32),
        )
        self._sts.register_session(
            session.access_key_id,
            {
                "Arn": session.arn,
                "UserId": f"{role}:{name}",
                "SecretAccessKey": session.secret_access_key,
                "SessionToken": session.session_token,
            },
        )
        return session
