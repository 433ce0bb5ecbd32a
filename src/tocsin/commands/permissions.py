"""`tocsin permissions`: the least IAM policy for experiments, from what each part declares and from what a run did."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tocsin.actors import alarm_evidence, alarm_watcher, identities, message_taps, pager, work
from tocsin.aws import keys, lookups, settings, sqs
from tocsin.aws.iam import ANY, Arns, Grant
from tocsin.aws.target import Aws, Target
from tocsin.drill.plan import Plan, Planner, canary_log_groups, faults, foreign
from tocsin.errors import InvalidInput
from tocsin.faults import deadman
from tocsin.faults.base import AnyFault, Fault
from tocsin.guards import base as guards
from tocsin.model.events import ApiCalls
from tocsin.model.toolkit import Activity
from tocsin.parity.throwaway.running import grants as throwaway_grants
from tocsin.probes import PROBES
from tocsin.procedures import PROCEDURES
from tocsin.project.documents import find_experiments
from tocsin.project.histories import read_history
from tocsin.project.targets import in_region, load_target

_SYSTEM_GRANTS = (
    lookups.grants,
    identities.grants,
    sqs.grants,
    alarm_watcher.grants,
    pager.grants,
    message_taps.grants,
    alarm_evidence.grants,
    work.grants,
    settings.grants,
    guards.grants,
)
"""What each part that looks at a system, or guards it, declares."""
_DECLARED = {"tocsin.probes": PROBES, "tocsin.procedures": PROCEDURES}
_OBSERVE = "Observe"
_MANAGED_POLICY_CHARACTERS = 6144
"""https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""


@dataclass(frozen=True)
class Answer:
    """What `tocsin permissions` prints: the policy, what there is to say about it, and the exit code."""

    policy: Policy
    remarks: tuple[str, ...]
    exit_code: int = 0


def permissions(
    root: Path,
    paths: Sequence[Path],
    target_name: str | None,
    run: Path | None,
    *,
    dead_man: bool = False,
    throwaway: bool = False,
) -> Answer:
    """The least policy for the experiments of `paths`, or for what the run in the directory `run` really asked.

    With both, the policy is that of the experiments cut down to what the run used, and a call that nobody declared
    ends with exit code 1. `throwaway`: for `tocsin parity --throwaway`, too, which needs no experiment.

    Raises:
        InvalidInput: neither is given, or one cannot be used.
        TargetError: the target did not answer.
    """
    if not paths and run is None and not throwaway:
        raise InvalidInput("expected experiments, or a run with --observed, found neither")
    used = None if run is None else observed(run)
    if used is not None and not paths and not throwaway:
        return Answer(unlimited(used), ("Give the experiments of this run too, and resources are named.",))
    planner = Planner(root)
    plans = planner.plan_all(find_experiments(paths)) if paths else []
    target = None if target_name is None else load_target(root, target_name)
    policy = declared(plans, root, target, dead_man=dead_man, throwaway=throwaway)
    strangers = dict.fromkeys(name for plan in plans for name in foreign(plan))
    if used is None:
        return Answer(policy, (*notes(policy), *(f"not Tocsin's, add what it needs: {name}" for name in strangers)))
    # Keys are used by the services on our behalf: no call of ours tells of it.
    by_others = {action for action in policy.actions if action.startswith("kms:")}
    unused, undeclared = sorted(policy.actions - used.keys() - by_others), sorted(used.keys() - policy.actions)
    remarks = (
        *(f"declared, not used by this run: {action}" for action in unused),
        *(f"used {used[action]} times, declared by nobody: {action}" for action in undeclared),
        *(f"not Tocsin's, what nobody declared may be its: {name}" for name in strangers if undeclared),
    )
    return Answer(policy.only({*used, *by_others}), remarks, 1 if undeclared else 0)


@dataclass(frozen=True)
class Policy:
    """An identity-based policy: purpose -> action -> the resources it is allowed on."""

    purposes: Mapping[str, Mapping[str, frozenset[str]]]

    @property
    def actions(self) -> frozenset[str]:
        """Every action that is allowed."""
        return frozenset(action for allowed in self.purposes.values() for action in allowed)

    def only(self, actions: Iterable[str]) -> Policy:
        """This policy with no other actions than these."""
        kept = set(actions)
        purposes = {
            sid: {action: resources for action, resources in allowed.items() if action in kept}
            for sid, allowed in self.purposes.items()
        }
        return Policy({sid: allowed for sid, allowed in purposes.items() if allowed})

    def document(self) -> dict[str, Any]:
        """The policy as IAM takes it: sorted, so that the same input gives the same text."""
        return {"Version": "2012-10-17", "Statement": list(self._statements())}

    def text(self) -> str:
        """The document as JSON."""
        return json.dumps(self.document(), indent=2)

    def _statements(self) -> Iterator[dict[str, Any]]:
        for sid, allowed in sorted(self.purposes.items()):
            by_resources: dict[tuple[str, ...], list[str]] = defaultdict(list)
            for action, resources in sorted(allowed.items()):
                by_resources[tuple(sorted(resources))].append(action)
            for number, (limits, actions) in enumerate(sorted(by_resources.items()), start=1):
                name = sid if number == 1 else f"{sid}{number}"
                yield {"Sid": name, "Effect": "Allow", "Action": actions, "Resource": list(limits)}


def policy_of(grants: Iterable[Grant]) -> Policy:
    """One policy of many grants; what no resource can limit is gathered in one statement, `Observe`."""
    purposes: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for grant in grants:
        sid = _OBSERVE if grant.resources == ANY else grant.sid
        for action in grant.actions:
            purposes[sid][action].update(grant.resources)
    return Policy(
        {
            sid: {action: frozenset(resources) for action, resources in allowed.items()}
            for sid, allowed in purposes.items()
        }
    )


def declared(
    plans: Sequence[Plan],
    root: Path,
    target: Target | None = None,
    *,
    dead_man: bool = False,
    throwaway: bool = False,
) -> Policy:
    """What these experiments need, as the parts that they use declare it.

    With a target, its account and region stand in the ARNs, and it is asked for the names that only it knows.
    `dead_man`: with a dead man's schedule, also where no target says under which role. `throwaway`: with what `tocsin
    parity --throwaway` makes, measures and deletes.

    Raises:
        TargetError: the target did not answer.
    """
    of_drills = (grant for plan in plans for grant in plan_grants(plan, root, target, dead_man=dead_man))
    arns = Arns() if target is None else arns_of(target)
    return policy_of(
        (*of_drills, *(throwaway_grants(arns, None if target is None else target.dead_man_role) if throwaway else ()))
    )


def arns_of(target: Target) -> Arns:
    """ARNs of a target's account and region."""
    partition = target.session.get_partition_for_region(target.region)
    return Arns(region=target.region, account=target.account or "*", partition=partition)


def plan_grants(plan: Plan, root: Path, target: Target | None = None, *, dead_man: bool = False) -> Iterator[Grant]:
    """What one experiment needs, purpose by purpose."""
    aws = None if target is None else Aws(in_region(target, plan.system), entry="")
    arns = Arns() if aws is None else arns_of(aws.target)
    role = None if target is None else target.dead_man_role
    for grants in _SYSTEM_GRANTS:
        yield from grants(plan.system, arns)
    if aws is not None:
        yield from keys.grants(aws.target, plan.system)
    looked_into = canary_log_groups(root, plan.system)
    if looked_into:
        yield work.log_grant(looked_into, arns)
    for activity in plan.activities():
        yield from _activity_grants(plan.variables.filled(activity), arns, aws)
    for fault in faults(plan):
        yield from fault_grants(fault, arns, () if aws is None else fault.arns(aws))
        if aws is not None:
            yield from fault.key_grants(aws)
        if fault.aws_service == "iam":
            yield guards.role_tags_grant(arns)
    yield from dead_man_grants(plan, role or (arns.global_("iam", "role/*") if dead_man else None), arns)
    principals = (arns.global_("iam", "user/*"), arns.global_("iam", "role/*"))
    yield Grant(sid="DryRun", actions=("iam:SimulatePrincipalPolicy",), resources=principals)
    yield Grant(sid="DryRun", actions=("iam:GetRole",), resources=principals[1:])


def dead_man_grants(plan: Plan, role: str | None, arns: Arns) -> Iterator[Grant]:
    """What the schedules need that end faults of this experiment; nothing where none would be made."""
    if role is not None and any(type(fault).dead_man is not Fault.dead_man for fault in faults(plan)):
        yield from deadman.grants(role, arns)


def _activity_grants(activity: Activity, arns: Arns, aws: Aws | None) -> Iterator[Grant]:
    """What a probe or a procedure of Tocsin needs."""
    called = activity.python
    declared = None if called is None else _DECLARED.get(called.module, {}).get(called.func)
    if called is not None and declared is not None and declared.grant is not None:
        grant = declared.grant(called.arguments, arns)
        known = () if aws is None or declared.changes is None else declared.changes(called.arguments, aws)
        yield grant.model_copy(update={"resources": tuple(_named(grant.resources, known))})
        if aws is not None and declared.key_grants is not None:
            yield from declared.key_grants(called.arguments, aws)


def fault_grants(fault: AnyFault, arns: Arns, known: Sequence[str] = ()) -> Iterator[Grant]:
    """What one fault needs; `known` are real ARNs, which take the place of the wildcards that they match."""
    sid = "Fault" + "".join(word.capitalize() for word in fault.kind.split("_"))
    for action in fault.permissions:
        scope = fault.scope(action, arns)
        if not scope:
            continue  # with these arguments it is not asked
        yield Grant(sid=sid, actions=(action,), resources=tuple(dict.fromkeys(_named(scope, known))))


def _named(patterns: Sequence[str], known: Sequence[str]) -> Iterator[str]:
    for pattern in patterns:
        matching = [arn for arn in known if pattern != "*" and fnmatchcase(arn, pattern)]
        yield from matching or [pattern]


# --- from a run ---------------------------------------------------------------------------------------------


def observed(directory: Path) -> Counter[str]:
    """IAM action -> calls, in all histories of a run.

    Raises:
        InvalidInput: there is no history, or none that holds calls.
    """
    files = sorted(directory.glob("**/history.jsonl"))
    calls: Counter[str] = Counter()
    for file in files:
        for event in read_history(file):
            if isinstance(event, ApiCalls):
                calls.update(event.calls)
    if not calls:
        what = "histories without API calls" if files else "no history.jsonl"
        raise InvalidInput(f"expected the directory of a run, found {what} in it", file=directory)
    return calls


def unlimited(actions: Iterable[str]) -> Policy:
    """A policy for actions of which only the names are known."""
    return Policy({"Observed": dict.fromkeys(actions, frozenset(ANY))})


def notes(policy: Policy) -> Iterator[str]:
    """What a reader of the printed policy should know."""
    loose = sorted(policy.purposes.get(_OBSERVE, ()))
    if loose:
        yield f'IAM cannot limit these to a resource, or must not: {", ".join(loose)} on "*"'
    size = len("".join(policy.text().split()))
    if size > _MANAGED_POLICY_CHARACTERS:
        yield f"the policy has {size} characters, a managed policy at most {_MANAGED_POLICY_CHARACTERS}: split it"
