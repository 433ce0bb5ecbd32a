"""The guards before anything else is asked of the target. The account is the first thing asked, and the only one until
everything that can be known here is known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tocsin.aws.target import Target, aws_errors
from tocsin.errors import Refused
from tocsin.guards.base import Guard
from tocsin.guards.calendar import frozen, is_open, opens_next, stays_open
from tocsin.guards.kill_switch import KillSwitch
from tocsin.model.duration import format_duration
from tocsin.model.rules import GuardRules


def check_identity(target: Target) -> str:
    """Whether the credentials are those of the target's account.

    Raises:
        Refused: they are of another one.
        TargetError: STS did not answer.
    """
    with aws_errors("asking who we are"):
        account = target.client("sts").get_caller_identity()["Account"]
    if account != target.account:
        raise Refused(
            "identity",
            f"expected account {target.account} of target '{target.name}', found credentials of {account}. "
            "Use other credentials, or another target.",
        )
    return f"account {account} in {target.region}"


@dataclass(frozen=True)
class Admission:
    """What is known of a drill before it begins.

    `longest_s` is how long its fault may be in place, in production seconds; `consent` the account id given with
    `--yes-production`.
    """

    target: Target
    system: str
    longest_s: float
    consent: str | None
    kill_switch: KillSwitch
    now: Callable[[], float] = time.time

    def guards(self) -> Iterator[Guard]:
        """In the order in which they are asked."""
        yield "identity", lambda: check_identity(self.target)
        yield "systems", self._system
        yield "freeze", self._freeze
        yield "window", self._window
        yield "production", lambda: check_production(self.target, self.consent)
        yield "kill-switch", self.kill_switch.check

    @property
    def _rules(self) -> GuardRules:
        return self.target.rules

    @property
    def _longest_wall_s(self) -> float:
        return self.longest_s / self.target.scale

    def _system(self) -> str:
        allowed = self._rules.systems
        if allowed is None:
            return "every system may be drilled here"
        if self.system not in allowed:
            names = ", ".join(allowed) or "none"
            raise Refused(
                "systems",
                f"expected a system that may be drilled on target '{self.target.name}' ({names}), found "
                f"'{self.system}'. Choose another target, or add it to `systems` in tocsin.toml.",
            )
        return f"{self.system} may be drilled here"

    def _freeze(self) -> str:
        return check_freeze(self._rules, self.now(), self._longest_wall_s)

    def _window(self) -> str:
        return check_window(self._rules, self.now(), self._longest_wall_s)


def check_production(target: Target, consent: str | None) -> str:
    """Whether a production account is named by whoever wants to break it.

    Raises:
        Refused: it is not.
    """
    if not target.rules.production:
        return "not a production account"
    if consent != target.account:
        found = "no consent" if consent is None else f"consent for {consent}"
        raise Refused(
            "production",
            f"expected consent to break production account {target.account}, found {found}. If you mean it, add "
            f"`--yes-production {target.account}`.",
        )
    return f"consent for production account {target.account}"


def check_freeze(rules: GuardRules, at: float, for_s: float = 0.0) -> str:
    """Whether no freeze touches the time from `at` to `for_s` wall seconds later.

    Raises:
        Refused: one does.
    """
    found = frozen(rules, at, for_s)
    if found is not None:
        raise Refused(
            "freeze", f"expected a day without a freeze, found {found} ({rules.timezone}). {_come_back(rules, at)}"
        )
    return "no freeze" if rules.freeze else "no freeze is planned"


def check_window(rules: GuardRules, at: float, for_s: float = 0.0) -> str:
    """Whether a window is open at `at`, and stays open for `for_s` wall seconds.

    Raises:
        Refused: none is, or it closes too soon.
    """
    if not rules.windows:
        return "drills may run at any time"
    windows = "; ".join(str(window) for window in rules.windows)
    if not is_open(rules, at):
        raise Refused(
            "window", f"expected an open window ({windows}, {rules.timezone}), found none. {_come_back(rules, at)}"
        )
    if not stays_open(rules, at, for_s):
        raise Refused(
            "window",
            f"expected a window ({windows}, {rules.timezone}) that stays open while the fault may be in place, "
            f"{format_duration(for_s)}, found that it closes before. {_come_back(rules, at)}",
        )
    return f"open: {windows}, {rules.timezone}"


def _come_back(rules: GuardRules, at: float) -> str:
    opens = opens_next(rules, at)
    return "Run it later." if opens is None else f"The next window opens on {opens:%A %Y-%m-%d at %H:%M}."
