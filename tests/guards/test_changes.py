"""Right before each change: each guard says no with its name and nothing is changed, and yes without the reason."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.guards.conftest import Aws

from tocsin.actors.context import RunContext
from tocsin.actors.injector import Injector
from tocsin.aws.target import Aws as FaultAws
from tocsin.drill.plan import Planner
from tocsin.errors import NotFound, Refused
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.faults.registry import FAULTS
from tocsin.faults.session import faults_of
from tocsin.guards.changes import ChangeGuards, resource_type
from tocsin.guards.kill_switch import KillSwitch, set_file
from tocsin.model.events import GuardChecked
from tocsin.model.toolkit import ExperimentFile
from tocsin.record.history import History
from tocsin.record.ledger import Ledger

ROOT = Path(__file__).parents[2]

MONDAY_NOON = datetime.fromisoformat("2026-08-03T12:00:00Z").timestamp()
ONE, TWO, THREE = (f"arn:aws:lambda:eu-west-1:123456789012:function:{name}" for name in ("one", "two", "three"))
QUEUE = "arn:aws:sqs:eu-west-1:123456789012:orders"
ROLE = "arn:aws:iam::123456789012:role/app/orders"
YES = {"chaos-opt-in": "true"}


def tagging(aws: Aws, tags: dict[str, dict[str, str]]) -> None:
    """The Resource Groups Tagging API of an account with these resources, and IAM's own list of a role's tags."""

    def get_resources(request: dict[str, Any]) -> Any:
        wanted = request.get("ResourceARNList", list(tags))
        kinds = request.get("ResourceTypeFilters")
        filters = {one["Key"]: one["Values"] for one in request.get("TagFilters", [])}
        found = [
            {"ResourceARN": arn, "Tags": [{"Key": key, "Value": value} for key, value in tags[arn].items()]}
            for arn in wanted
            if arn in tags
            and ":iam:" not in arn
            and (kinds is None or resource_type(arn) in kinds)
            and all(tags[arn].get(key) in values for key, values in filters.items())
        ]
        return {"ResourceTagMappingList": found, "PaginationToken": ""}

    def list_role_tags(_: dict[str, Any]) -> str:
        members = "".join(f"<member><Key>{k}</Key><Value>{v}</Value></member>" for k, v in tags[ROLE].items())
        return (
            f"<ListRoleTagsResponse><ListRoleTagsResult><Tags>{members}</Tags><IsTruncated>false</IsTruncated>"
            "</ListRoleTagsResult></ListRoleTagsResponse>"
        )

    aws.answers |= {"GetResources": get_resources, "ListRoleTags": list_role_tags}


class Desk:
    """The guards of one drill, and what they recorded."""

    def __init__(self, aws: Aws, root: Path, **rules: Any) -> None:
        self.record: list[GuardChecked] = []
        target = aws.target(**rules)
        self.guards = ChangeGuards(target, KillSwitch(root, target), self.record.append, now=lambda: MONDAY_NOON)

    def permit(self, *arns: str) -> None:
        self.guards.permit("what is broken", lambda: arns)

    def refusal(self, *arns: str) -> Refused:
        with pytest.raises(Refused) as caught:
            self.permit(*arns)
        assert (self.record[-1].guard, self.record[-1].ok) == (caught.value.guard, False)
        return caught.value


def test_what_has_opted_in_may_be_changed_and_the_answer_is_recorded(aws: Aws, tmp_path: Path) -> None:
    tagging(aws, {ONE: YES, QUEUE: YES})
    desk = Desk(aws, tmp_path, opt_in=YES, max_resources=2)
    desk.permit(ONE, QUEUE)
    assert [(check.guard, check.ok) for check in desk.record] == [
        ("kill-switch", True),
        ("freeze", True),
        ("window", True),
        ("opt-in", True),
        ("blast-radius", True),
    ]


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({}, "found no tag that the Resource Groups Tagging API knows of"),
        ({ONE: {}}, "found no tag"),
        ({ONE: {"chaos-opt-in": "false"}}, "found other tags or values"),
        ({ONE: {"chaos-opt-in": "True"}}, "found other tags or values"),
        ({ONE: {"Chaos-Opt-In": "true"}}, "found other tags or values"),
    ],
)
def test_what_has_not_opted_in_may_not(aws: Aws, tmp_path: Path, tags: dict[str, dict[str, str]], message: str) -> None:
    tagging(aws, tags)
    no = Desk(aws, tmp_path, opt_in=YES).refusal(ONE)
    assert no.guard == "opt-in"
    assert f"expected {ONE} to be tagged chaos-opt-in=true before it is changed, {message}" in str(no)


def test_every_resource_of_a_change_must_have_opted_in_with_every_tag(aws: Aws, tmp_path: Path) -> None:
    both = {**YES, "chaos-system": "shop"}
    tagging(aws, {ONE: both, TWO: YES})
    desk = Desk(aws, tmp_path, opt_in=both)
    desk.permit(ONE)
    assert f"expected {TWO} to be tagged chaos-system=shop" in str(desk.refusal(ONE, TWO))


def test_the_tags_of_a_role_are_asked_of_iam(aws: Aws, tmp_path: Path) -> None:
    tagging(aws, {ROLE: YES})
    Desk(aws, tmp_path, opt_in=YES).permit(ROLE)
    tagging(aws, {ROLE: {}})
    assert Desk(aws, tmp_path, opt_in=YES).refusal(ROLE).guard == "opt-in"


def test_a_tag_that_was_taken_off_meanwhile_is_noticed(aws: Aws, tmp_path: Path) -> None:
    tagging(aws, {ONE: YES})
    desk = Desk(aws, tmp_path, opt_in=YES)
    desk.permit(ONE)
    tagging(aws, {ONE: {}})
    assert desk.refusal(ONE).guard == "opt-in"


def test_a_resource_without_an_arn_cannot_be_judged(aws: Aws, tmp_path: Path) -> None:
    tagging(aws, {})
    assert Desk(aws, tmp_path, opt_in=YES).refusal().guard == "opt-in"
    assert Desk(aws, tmp_path, max_resources=5).refusal().guard == "blast-radius"


def test_a_guard_that_cannot_be_evaluated_forbids_the_change(aws: Aws, tmp_path: Path) -> None:
    no = Desk(aws, tmp_path, opt_in=YES).refusal(ONE)  # GetResources is not allowed
    assert (no.guard, "AccessDenied" in str(no)) == ("opt-in", True)

    def gone() -> tuple[str, ...]:
        raise NotFound("no such proxy")

    with pytest.raises(Refused, match="no such proxy"):
        Desk(aws, tmp_path, max_resources=1).guards.permit("a proxy", gone)


def test_the_calendar_and_the_kill_switch_are_asked_again(aws: Aws, tmp_path: Path) -> None:
    frozen = Desk(aws, tmp_path, timezone="UTC", freeze=["2026-08-03"])
    assert frozen.refusal(ONE).guard == "freeze"
    closed = Desk(aws, tmp_path, timezone="UTC", windows=[{"from": "13:00", "to": "14:00"}])
    assert closed.refusal(ONE).guard == "window"
    desk = Desk(aws, tmp_path)
    desk.permit(ONE)
    set_file(tmp_path, "staging", "enough")
    assert desk.refusal(ONE).guard == "kill-switch"


# --- blast radius -------------------------------------------------------------------------------------------


def test_one_drill_changes_so_many_resources_and_no_more(aws: Aws, tmp_path: Path) -> None:
    desk = Desk(aws, tmp_path, max_resources=2)
    desk.permit(ONE)
    desk.permit(ONE)  # once more the same is no further resource
    desk.permit(TWO)
    no = desk.refusal(THREE)
    assert (no.guard, "makes 3" in str(no)) == ("blast-radius", True)
    desk.permit(TWO)  # what was forbidden does not count


@pytest.mark.parametrize(
    ("percent", "opted_in", "allowed"),
    [("10%", 1, 1), ("50%", 2, 1), ("50%", 3, 2), ("34%", 3, 2), ("33%", 3, 1), ("100%", 3, 3)],
)
def test_the_share_is_of_the_opted_in_of_the_same_type_rounded_up(
    aws: Aws, tmp_path: Path, percent: str, opted_in: int, allowed: int
) -> None:
    arns = (ONE, TWO, THREE)[:opted_in]
    untouched = {f"{ONE}-{n}": {} for n in range(20)}
    tagging(aws, {**dict.fromkeys(arns, YES), QUEUE: YES, **untouched})
    desk = Desk(aws, tmp_path, opt_in=YES, max_percent=percent)
    desk.permit(QUEUE)
    for arn in arns[:allowed]:
        desk.permit(arn)
    for arn in arns[allowed:]:
        assert f"of the {opted_in} opted-in resources of type lambda:function" in str(desk.refusal(arn))


def test_roles_cannot_be_counted_by_their_tags(aws: Aws, tmp_path: Path) -> None:
    tagging(aws, {ROLE: YES})
    no = Desk(aws, tmp_path, opt_in=YES, max_percent="50%").refusal(ROLE)
    assert (no.guard, "Use `max_resources` instead" in str(no)) == ("blast-radius", True)


@pytest.mark.parametrize(
    ("arn", "kind"),
    [
        (ONE, "lambda:function"),
        (QUEUE, "sqs"),
        (ROLE, "iam:role"),
        ("arn:aws:rds:eu-west-1:123456789012:db-proxy:prx-1", "rds:db-proxy"),
        ("arn:aws:dynamodb:eu-west-1:123456789012:table/orders", "dynamodb:table"),
        ("arn:aws:s3:::bucket", "s3"),
        ("arn:aws:ecs:eu-west-1:123456789012:service/cluster/orders", "ecs:service"),
    ],
)
def test_the_type_of_a_resource_is_in_its_arn(arn: str, kind: str) -> None:
    assert resource_type(arn) == kind


# --- actions of other extensions ----------------------------------------------------------------------------


def run_foreign(aws: Aws, root: Path, **rules: Any) -> bool:
    """A method of one process that makes a file; whether the file is there afterwards."""
    made = root / "made"
    provider = {"type": "process", "path": "touch", "arguments": [str(made)]}
    run_part(aws, root, "method", provider, **rules)
    return made.exists()


def run_part(aws: Aws, root: Path, part: str, provider: dict[str, Any], **rules: Any) -> None:
    """An experiment whose `part`, method or rollbacks, has one action."""
    written = {"title": "One", "description": "action", "method": []}
    toolkit = ExperimentFile.model_validate(
        {**written, part: [{"type": "action", "name": "act", "provider": provider}]}
    )
    plan = Planner(ROOT).plan(ROOT / "experiments" / "leave-attendance" / "clock-in-throttled.yaml")
    target = aws.target(**rules)
    history = History(root / "history.jsonl")
    ledger = Ledger(root / "ledger.sqlite", "staging")
    ctx = RunContext(
        drill="d",
        root=root,
        directory=root,
        experiment=plan.loaded.experiment,
        system=plan.system,
        target=target,
        history=history,
        base_url="",
        seed=0,
    )
    guards = ChangeGuards(target, KillSwitch(root, target), history.record)
    faults = FaultLifecycle(
        target=target,
        ledger=ledger,
        drill="d",
        permit=lambda change, aws: guards.permit(change.resource, lambda: change.arns(aws)),
    )
    try:
        injector = Injector(ctx, toolkit, faults, guards.permit_foreign)
        injector.run_method() if part == "method" else injector.run_rollbacks()
    finally:
        ledger.close()
        history.close()


def test_where_nothing_is_limited_an_action_of_another_extension_runs(aws: Aws, tmp_path: Path) -> None:
    assert run_foreign(aws, tmp_path)


@pytest.mark.parametrize(
    ("rules", "guard"), [({"opt_in": YES, "max_resources": 5}, "opt-in"), ({"max_resources": 5}, "blast-radius")]
)
def test_what_nobody_knows_is_not_changed_where_changes_are_limited(
    aws: Aws, tmp_path: Path, rules: dict[str, Any], guard: str
) -> None:
    with pytest.raises(Refused, match="set `foreign_actions = true`") as no:
        run_foreign(aws, tmp_path, **rules)
    assert no.value.guard == guard
    assert not (tmp_path / "made").exists()
    assert run_foreign(aws, tmp_path, **rules, foreign_actions=True)


def test_the_kill_switch_is_asked_before_it_too(aws: Aws, tmp_path: Path) -> None:
    set_file(tmp_path, "staging", "enough")
    with pytest.raises(Refused, match="enough"):
        run_foreign(aws, tmp_path, foreign_actions=True)
    assert not (tmp_path / "made").exists()


# --- procedures ---------------------------------------------------------------------------------------------

DATABASE = "arn:aws:rds:eu-west-1:123456789012:db:orders"
STATEMENT = {
    "type": "python",
    "module": "tocsin.procedures",
    "func": "postgres_query",
    "arguments": {"secret": "orders/db", "sql": "SELECT pg_terminate_backend(1)"},
}


def run_statement(aws: Aws, root: Path, part: str) -> None:
    way_in = {"host": "127.0.0.1", "port": 1, "username": "app", "password": "x", "dbInstanceIdentifier": "orders"}
    aws.answers["GetSecretValue"] = lambda request: {"ARN": "arn", "SecretString": json.dumps(way_in)}
    aws.asked.clear()
    run_part(aws, root, part, STATEMENT, opt_in=YES)


def test_a_statement_in_a_method_needs_the_consent_of_its_database(aws: Aws, tmp_path: Path) -> None:
    """Whoever runs it reads the secret once more, after the guards have asked where it leads."""
    tagging(aws, {DATABASE: {}})
    with pytest.raises(Refused) as no:
        run_statement(aws, tmp_path, "method")
    assert (no.value.guard, aws.asked.count("GetSecretValue")) == ("opt-in", 1)
    tagging(aws, {DATABASE: YES})
    run_statement(aws, tmp_path, "method")
    assert aws.asked.count("GetSecretValue") == 2


def test_the_way_back_needs_no_consent(aws: Aws, tmp_path: Path) -> None:
    tagging(aws, {DATABASE: {}})
    run_statement(aws, tmp_path, "rollbacks")
    assert (aws.asked.count("GetSecretValue"), aws.asked.count("GetResources")) == (1, 0)


# --- plain `chaos run` --------------------------------------------------------------------------------------


@pytest.fixture
def chaos_run(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in {"TOCSIN_TARGET": "staging", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tocsin.toml").write_text(
        f'[targets.staging]\naccount = "123456789012"\nregion = "eu-west-1"\nendpoint_url = "{aws.url}"\n'
        'production = true\nopt_in = {chaos-opt-in = "true"}\n'
    )
    return tmp_path


def test_chaos_run_asks_for_the_account_first(aws: Aws, chaos_run: Path) -> None:
    aws.account = "999999999999"
    with pytest.raises(Refused, match="credentials of 999999999999"):
        faults_of(None)
    assert aws.asked == ["GetCallerIdentity"]


def test_chaos_run_keeps_the_guards_of_each_change(aws: Aws, chaos_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tagging(aws, {ONE: {}})
    fault = FAULTS["lambda_reserved_concurrency"].model_validate({"function": "one", "reserved": 0})
    lifecycle = faults_of(None)
    looking = FaultAws(lifecycle.target, entry="")
    with pytest.raises(Refused, match="--yes-production 123456789012"):
        lifecycle.permit(fault, looking)
    monkeypatch.setenv("TOCSIN_YES_PRODUCTION", "123456789012")
    with pytest.raises(Refused, match="tagged chaos-opt-in=true"):
        lifecycle.permit(fault, looking)
    tagging(aws, {ONE: YES})
    lifecycle.permit(fault, looking)
    lifecycle.ledger.close()
