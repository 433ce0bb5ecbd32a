"""The guards right before each change: the world may have moved on since preflight."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from tocsin.aws.pages import listed
from tocsin.aws.target import Target, aws_errors
from tocsin.errors import Refused
from tocsin.guards.admission import check_freeze, check_window
from tocsin.guards.base import Guard, Record, ask_all
from tocsin.guards.kill_switch import KillSwitch

_ARNS_A_CALL = 100
"""https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html"""


class ChangeGuards:
    """Asked before each change of one drill; remembers what the drill was allowed to change."""

    def __init__(
        self, target: Target, kill_switch: KillSwitch, record: Record, now: Callable[[], float] = time.time
    ) -> None:
        self._target = target
        self._rules = target.rules
        self._kill_switch = kill_switch
        self._record = record
        self._now = now
        self._changed: set[str] = set()
        self._lock = threading.Lock()

    def permit(self, resource: str, arns: Callable[[], Sequence[str]]) -> None:
        """Whether `resource` may be changed now. `arns` finds its ARNs, and is asked when a rule needs them.

        Raises:
            Refused: a guard says no, or cannot be evaluated.
        """
        with self._lock:
            ask_all(self._guards(resource, arns), self._record)

    def permit_foreign(self, action: str) -> None:
        """Whether an action of another Chaos Toolkit extension may run now: nobody knows what it will change.

        Raises:
            Refused: a guard says no, or cannot be evaluated.
        """
        with self._lock:
            ask_all(self._foreign_guards(action), self._record)

    def _foreign_guards(self, action: str) -> Iterator[Guard]:
        yield from self._guards_of_the_moment()
        limited = "opt-in" if self._rules.opt_in else "blast-radius"
        if self._rules.opt_in or self._counts:
            yield limited, lambda: self._unknown(limited, action)

    def _unknown(self, guard: str, action: str) -> str:
        if not self._rules.foreign_actions:
            raise Refused(
                guard,
                f"expected an action of which it is known what it changes, found {action}: it is no fault of Tocsin. "
                "Use one, or, if the owner of what it changes agrees, set `foreign_actions = true` in tocsin.toml.",
            )
        return f"{action}: allowed by `foreign_actions`, what it changes is not known"

    def _guards_of_the_moment(self) -> Iterator[Guard]:
        yield "kill-switch", self._kill_switch.check
        yield "freeze", lambda: check_freeze(self._rules, self._now())
        yield "window", lambda: check_window(self._rules, self._now())

    @property
    def _counts(self) -> bool:
        return self._rules.max_resources is not None or self._rules.max_percent is not None

    def _guards(self, resource: str, arns: Callable[[], Sequence[str]]) -> Iterator[Guard]:
        yield from self._guards_of_the_moment()
        if self._rules.opt_in:
            yield "opt-in", lambda: self._opted_in(resource, arns())
        if self._counts:
            yield "blast-radius", lambda: self._within_the_blast_radius(resource, arns())

    # --- opt-in ---------------------------------------------------------------------------------------------

    def _opted_in(self, resource: str, arns: Sequence[str]) -> str:
        wanted = self._rules.opt_in or {}
        if not arns:
            raise Refused("opt-in", f"expected the ARN of {resource}, found none: its tags cannot be read.")
        tags = resource_tags(self._target, arns)
        for arn, missing in missing_tags(tags, arns, wanted).items():
            raise Refused("opt-in", _not_opted_in(arn, missing, tags.get(arn)))
        names = ", ".join(f"{name}={value}" for name, value in wanted.items())
        return f"{', '.join(arns)}: {names}"

    # --- blast radius ---------------------------------------------------------------------------------------

    def _within_the_blast_radius(self, resource: str, arns: Sequence[str]) -> str:
        if not arns:
            raise Refused("blast-radius", f"expected the ARN of {resource}, found none: it cannot be counted.")
        changed = self._changed | set(arns)
        self._check_count(changed)
        shares = self._check_shares(changed)
        self._changed = changed
        return f"{len(changed)} resources changed by this drill{shares}"

    def _check_count(self, changed: set[str]) -> None:
        limit = self._rules.max_resources
        if limit is not None and len(changed) > limit:
            raise Refused(
                "blast-radius",
                f"expected at most {limit} resources changed by one drill (`max_resources`), found that this change "
                f"makes {len(changed)}: {', '.join(sorted(changed))}. Break less, or allow more in tocsin.toml.",
            )

    def _check_shares(self, changed: set[str]) -> str:
        percent = self._rules.max_percent
        if percent is None:
            return ""
        told = []
        for kind, count in sorted(Counter(resource_type(arn) for arn in changed).items()):
            there = self._count_opted_in(kind)
            # Rounded up, so that a system with one queue can be drilled at all.
            limit = math.ceil(percent * there - 1e-9)
            if count > limit:
                raise Refused(
                    "blast-radius",
                    f"expected at most {percent:.0%} of the {there} opted-in resources of type {kind} (`max_percent`: "
                    f"{limit}) changed by one drill, found that this change makes {count}. Break less, or allow more "
                    "in tocsin.toml.",
                )
            told.append(f"{count} of {there} {kind}")
        return f"; {', '.join(told)}"

    def _count_opted_in(self, kind: str) -> int:
        if kind == "iam:role":
            raise Refused(
                "blast-radius",
                "expected resources that can be counted by their tags (`max_percent`), found an IAM role: the Resource "
                "Groups Tagging API lists none. Use `max_resources` instead.",
            )
        filters = [{"Key": name, "Values": [value]} for name, value in (self._rules.opt_in or {}).items()]
        with aws_errors(f"counting the opted-in resources of type {kind}"):
            tagging, part = self._target.client("resourcegroupstaggingapi"), "ResourceTagMappingList"
            found = listed(tagging, "get_resources", part, TagFilters=filters, ResourceTypeFilters=[kind])
            return sum(1 for _ in found)


def resource_type(arn: str) -> str:
    """Service and type of a resource, as the tagging API filters by them: `lambda:function`, `rds:db-proxy`, `sqs`."""
    _, _, service, _, _, resource = arn.split(":", 5)
    kind = resource.replace("/", ":").partition(":")
    return f"{service}:{kind[0]}" if kind[1] else service


def resource_tags(target: Target, arns: Sequence[str]) -> dict[str, dict[str, str]]:
    """The tags of each resource that has, or ever had, any; others are left out.

    Raises:
        TargetError: the account did not say.
    """
    found: dict[str, dict[str, str]] = {}
    roles = [arn for arn in arns if resource_type(arn) == "iam:role"]
    others = [arn for arn in arns if arn not in roles]
    for first in range(0, len(others), _ARNS_A_CALL):
        with aws_errors("reading the tags of what is about to be changed"):
            answer = target.client("resourcegroupstaggingapi").get_resources(
                ResourceARNList=others[first : first + _ARNS_A_CALL]
            )
            for mapping in answer["ResourceTagMappingList"]:
                found[mapping["ResourceARN"]] = {tag["Key"]: tag["Value"] for tag in mapping["Tags"]}
    for arn in roles:
        # IAM's own answer: https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/supported-services.html
        # "The GetResources operation does not currently support IAM users and roles."
        with aws_errors(f"reading the tags of {arn}"):
            tags = listed(target.client("iam"), "list_role_tags", "Tags", RoleName=arn.rsplit("/", 1)[1])
            found[arn] = {tag["Key"]: tag["Value"] for tag in tags}
    return found


def missing_tags(
    tags: Mapping[str, Mapping[str, str]], arns: Iterable[str], wanted: Mapping[str, str]
) -> dict[str, list[str]]:
    """ARN -> the wanted tags (`name=value`) that it lacks, by its tags of `resource_tags`; only those that lack any."""
    lacking = {
        arn: [f"{name}={value}" for name, value in wanted.items() if tags.get(arn, {}).get(name) != value]
        for arn in arns
    }
    return {arn: missing for arn, missing in lacking.items() if missing}


def _not_opted_in(arn: str, missing: Sequence[str], tags: dict[str, str] | None) -> str:
    found = "no tag that the Resource Groups Tagging API knows of" if not tags else "other tags or values"
    return (
        f"expected {arn} to be tagged {', '.join(missing)} before it is changed, found {found}. "
        "Tag it, if its owner agrees."
    )
