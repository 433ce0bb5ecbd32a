"""With IAM enforced, the declared permissions are enough for a drill, and each of them is asked for.

IAM itself is the judge: the sandbox denies what the policy does not allow, as AWS would.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from tests.drill.conftest import CONTENT, EXPERIMENTS, ROOT, Checkout, extension
from tests.drill.fault_table import ARGUMENTS, BUCKET, DATA, SERVICE, inside, make_resources, settle
from tests.secret_scan import watched
from tests.sweep.account import differences, read_account

from tocsin.aws.iam import CallLog
from tocsin.aws.target import Aws, Target
from tocsin.commands import dryrun
from tocsin.commands.permissions import arns_of, fault_grants, permissions, policy_of
from tocsin.drill.options import RunOptions
from tocsin.errors import TargetError
from tocsin.faults.base import AnyFault
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.faults.registry import FAULTS
from tocsin.model.events import FaultStage
from tocsin.model.verdict import Outcome
from tocsin.project.places import ledger_path
from tocsin.project.targets import load_target
from tocsin.record.ledger import EntryState, Ledger
from tocsin.sandbox import control
from tocsin.sandbox.account import Account
from tocsin.sandbox.drill_user import allow_drill_user

pytestmark = [
    pytest.mark.account,
    pytest.mark.takes(150),
    pytest.mark.xdist_group("permissions"),
    pytest.mark.timeout(600),
]

NOT_ASKED_BY_A_FAULT = {
    # Only a function without a version that holds its environment gets one of ours, and loses it again.
    "lambda_environment_credential": {"lambda:PublishVersion", "lambda:DeleteFunction"},
    "endpoint_override": {"lambda:PublishVersion", "lambda:DeleteFunction"},
    # Only for third parties that ECS services call, and for those that are subscribed to a topic.
    "third_party": {"ecs:DescribeServices", "ecs:DescribeTaskDefinition", "sns:ListSubscriptionsByTopic"},
    # Only for targets that ECS has registered: these are not.
    "elb_target_deregistered": {"ecs:ListTasks", "ecs:DescribeTasks"},
    # Only for managed policies of the role, and where none of its own allows what is denied.
    "iam_role_deny": {"iam:ListAttachedRolePolicies", "iam:GetPolicy", "iam:GetPolicyVersion"},
    # Only where something is reserved.
    "lambda_reserved_concurrency": {"lambda:GetAccountSettings"},
    # Only a message that is not ours is put back.
    "sqs_poison_message": {"sqs:ChangeMessageVisibility"},
}
"""What a fault may need and does not, on these resources; everything else that it declares, it asks."""

VOUCHED_FOR = {"rds_reboot", "elasticache_failover", "elasticache_reboot"}
"""Faults that ask for events only where the effect was over before anybody looked: here they are let ask once more."""

NOT_ASKED_BY_A_DRILL = {
    "iam:SimulatePrincipalPolicy": "a dry run's",
    "iam:GetRole": "a dry run's, where a role's session asks",
    "tag:GetResources": "for opt-in tags: the sandbox asks for none unless its table in tocsin.toml does",
    "cloudwatch:GetAlarmMuteRule": "for mute rules that are there: there is none",
    "lambda:PublishVersion": "as above",
    "lambda:DeleteFunction": "as above",
}
"""What the drill below does not ask of what is declared for it, and why it is declared."""


@pytest.fixture(scope="module")
def enforced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout whose sandbox enforces IAM; the drill's user may do nothing yet."""
    root = tmp_path_factory.mktemp("enforced")
    for name in CONTENT:
        (root / name).symlink_to(ROOT / name)
    checkout = Checkout(root)
    allow(checkout, [])
    try:
        with watched(root):
            make_resources(account(checkout))
            yield checkout
    finally:
        down = checkout.tocsin("sandbox", "down", timeout=120)
        assert down.returncode == 0, down.stdout + down.stderr


def policy_text(statements: list[dict[str, Any]]) -> str:
    """A policy of these statements; IAM takes none without any."""
    nothing = [{"Effect": "Allow", "Action": "sts:GetCallerIdentity", "Resource": "*"}]
    return json.dumps({"Version": "2012-10-17", "Statement": statements or nothing})


def allow(checkout: Checkout, statements: list[dict[str, Any]]) -> None:
    """Give the drill's user this policy, as a user of the sandbox does."""
    policy = checkout.root / "policy.json"
    policy.write_text(policy_text(statements))
    up = checkout.tocsin("sandbox", "up", "leave-attendance", "--policy", str(policy), timeout=300)
    assert up.returncode == 0, up.stdout + up.stderr


def account(checkout: Checkout) -> Account:
    state = control.status(checkout.root)
    assert state is not None
    return state.account


def as_user(checkout: Checkout) -> Target:
    return replace(load_target(checkout.root, "sandbox"), region="ap-southeast-2", calls=CallLog())


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_a_fault_needs_exactly_what_it_declares(enforced: Checkout, tmp_path: Path, kind: str) -> None:
    fault: AnyFault = FAULTS[kind].model_validate(ARGUMENTS[kind])
    root, user = account(enforced).target, as_user(enforced)
    settle(root.client("ecs"))
    known = fault.arns(Aws(root, entry=""))
    allow_drill_user(account(enforced), policy_of(fault_grants(fault, arns_of(root), known)).text())

    ledger = Ledger(tmp_path / "ledger.sqlite", "sandbox")
    lifecycle = FaultLifecycle(
        target=user, ledger=ledger, drill="d", permit=lambda fault, aws: fault.arns(aws) and None
    )
    assert lifecycle.inject(fault) is FaultStage.EFFECTIVE
    assert lifecycle.undo_all() == []
    if kind in VOUCHED_FOR:
        aws = Aws(user, entry="")
        fault.look_ahead(aws, fault.observe(aws, None))

    assert set(fault.permissions) - user.calls.take().keys() == NOT_ASKED_BY_A_FAULT.get(kind, set())


def test_what_no_policy_allows_is_denied(enforced: Checkout) -> None:
    """Without this the test above would prove nothing."""
    allow_drill_user(account(enforced), policy_text([]))
    fault = FAULTS["rds_proxy_throttle"].model_validate(ARGUMENTS["rds_proxy_throttle"])
    with pytest.raises(TargetError, match="is not authorized to perform: rds:DescribeDBProxyTargetGroups"):
        fault.observe(Aws(as_user(enforced), entry=""), None)


def test_a_service_of_the_sandboxs_own_asks_iam_too(enforced: Checkout) -> None:
    scaling, action = as_user(enforced).client("application-autoscaling"), "application-autoscaling:*"
    allow_drill_user(account(enforced), policy_text([]))
    with pytest.raises(ClientError, match="AccessDenied"):
        scaling.describe_scalable_targets(ServiceNamespace="ecs")
    allow_drill_user(account(enforced), policy_text([{"Effect": "Allow", "Action": action, "Resource": "*"}]))
    (found,) = scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]
    assert found["ResourceId"] == f"service/{SERVICE}/{SERVICE}"


def as_role(checkout: Checkout, name: str) -> Any:
    """An S3 client of whoever works under a role of our own, which may list every bucket."""
    root = account(checkout)
    trust = [{"Effect": "Allow", "Principal": {"AWS": root.account_id}, "Action": "sts:AssumeRole"}]
    iam = root.client("iam")
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy_text(trust))["Role"]["Arn"]
    allowed = [{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}]
    iam.put_role_policy(RoleName=name, PolicyName="list", PolicyDocument=policy_text(allowed))
    key = root.client("sts").assume_role(RoleArn=arn, RoleSessionName="caller")["Credentials"]
    return boto3.client(
        "s3",
        endpoint_url=root.target.endpoint_url,
        region_name=root.region,
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
        aws_session_token=key["SessionToken"],
    )


@pytest.mark.parametrize(("ends_in_s", "denied"), [(3600.0, True), (-1.0, False)])
@pytest.mark.parametrize("kind", ["iam_role_deny", "s3_bucket_deny"])
def test_a_denial_is_felt_until_its_time_and_not_after(
    enforced: Checkout, tmp_path: Path, kind: str, ends_in_s: float, denied: bool
) -> None:
    """Nobody undoes the one whose time is over, and yet the call is allowed."""
    role = f"caller-{kind[0]}-{denied}"
    caller = as_role(enforced, role)
    what = {"role": role} if kind == "iam_role_deny" else {"bucket": BUCKET}
    fault = FAULTS[kind].model_validate({**what, "actions": ["s3:ListBucket"]})
    needs = [{"Effect": "Allow", "Action": list(fault.permissions), "Resource": "*"}]
    allow_drill_user(account(enforced), policy_text(needs))
    ledger = Ledger(tmp_path / "ledger.sqlite", "sandbox")
    lifecycle = FaultLifecycle(target=as_user(enforced), ledger=ledger, drill="d", expires_at=time.time() + ends_in_s)
    caller.list_objects_v2(Bucket=BUCKET)
    assert lifecycle.inject(fault) is FaultStage.EFFECTIVE
    try:
        with pytest.raises(ClientError, match="AccessDenied") if denied else contextlib.nullcontext():
            caller.list_objects_v2(Bucket=BUCKET)
        assert len(ledger.entries(only_open=True)) == 1
    finally:
        assert lifecycle.undo_all() == []
    caller.list_objects_v2(Bucket=BUCKET)


@pytest.mark.drill
def test_a_drill_passes_with_the_printed_policy_and_asks_for_all_of_it(enforced: Checkout) -> None:
    experiment = enforced.experiment("break-graph-token")
    allow(enforced, permissions(enforced.root, [experiment], None, None).policy.document()["Statement"])
    code, verdict, directory = enforced.run("break-graph-token")
    assert verdict.outcome is Outcome.PASS, verdict
    assert code == 0
    answer = permissions(enforced.root, [experiment], None, directory)
    assert answer.exit_code == 0, answer.remarks
    unused = {line.rsplit(" ", 1)[1] for line in answer.remarks if line.startswith("declared, not used")}
    assert unused == NOT_ASKED_BY_A_DRILL.keys()


@pytest.mark.drill
def test_a_drill_that_lacks_one_action_does_not_pass_and_names_it(enforced: Checkout) -> None:
    def brief(document: dict[str, Any]) -> None:
        extension(document).update(baseline="30s", load=None)
        extension(document)["expect"]["recovery"]["within"] = "1m"

    experiment = enforced.experiment("calendar-worker-stopped", brief)
    policy = permissions(enforced.root, [experiment], None, None).policy
    allow(enforced, policy.only(policy.actions - {"lambda:UpdateEventSourceMapping"}).document()["Statement"])
    code, verdict, directory = enforced.run("calendar-worker-stopped", brief)
    assert verdict.outcome is not Outcome.PASS
    assert code != 0
    assert "not authorized to perform: lambda:UpdateEventSourceMapping" in (directory / "verdict.json").read_text()
    # The undo was denied as well; with the permission, recover finishes it.
    allow(enforced, policy.document()["Statement"])
    assert enforced.tocsin("recover").returncode == 0


# --- dry runs -----------------------------------------------------------------------------------------------


@dataclass
class Shown:
    """What a dry run showed, and what it asked."""

    code: int
    lines: list[str]
    calls: dict[str, int]

    @property
    def against(self) -> list[str]:
        return [line for line in self.lines if line.startswith("  DENIED") or "could not" in line or "expected" in line]


@pytest.fixture
def shown(enforced: Checkout, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Shown]:
    def show(path: Path) -> Shown:
        target = as_user(enforced)
        monkeypatch.setattr(dryrun, "running_target", lambda systems, options: nullcontext(target))
        lines: list[str] = []
        code = dryrun.dry_run([path], RunOptions(root=enforced.root), lambda text, ok: lines.append(text))
        return Shown(code, lines, target.calls.take())

    return show


def test_a_dry_run_shows_every_change_and_makes_none(enforced: Checkout, shown: Callable[[Path], Shown]) -> None:
    allow(enforced, permissions(enforced.root, [EXPERIMENTS], None, None).policy.document()["Statement"])
    enforced.left = True  # by faults of the tests before
    enforced.settle()
    clients = account(enforced).target.client
    before, files = read_account(clients), files_of(enforced)
    plan = shown(EXPERIMENTS)
    assert (plan.code, plan.against) == (0, [])
    text = "\n".join(plan.lines)
    for change in ("max_connections_percent: 100 -> 1", "variable: 'as_before' -> 'broken'", "enabled: True -> False"):
        assert change in text
    assert "arn:aws:lambda:ap-southeast-2:123456789012:function:leave-attendance-dev-clockIn" in text
    assert differences(before, read_account(clients)) == []
    assert files_of(enforced) == files
    assert [action for action in plan.calls if not re.match(r"[a-z-]+:(Get|GET|List|Describe|Simulate)", action)] == []


def test_a_dry_run_names_what_iam_would_deny(enforced: Checkout, shown: Callable[[Path], Shown]) -> None:
    experiment = EXPERIMENTS / "throttle-rds-proxy.yaml"
    policy = permissions(enforced.root, [experiment], None, None).policy
    allow(enforced, policy.only(policy.actions - {"rds:ModifyDBProxyTargetGroup"}).document()["Statement"])
    plan = shown(experiment)
    denied = [line for line in plan.lines if line.startswith("  DENIED")]
    assert plan.code == 4
    assert denied
    assert all("rds:ModifyDBProxyTargetGroup" in line for line in denied)


def test_a_permission_that_cannot_be_asked_for_is_a_no(enforced: Checkout, shown: Callable[[Path], Shown]) -> None:
    experiment = EXPERIMENTS / "throttle-rds-proxy.yaml"
    policy = permissions(enforced.root, [experiment], None, None).policy
    allow(enforced, policy.only(policy.actions - {"iam:SimulatePrincipalPolicy"}).document()["Statement"])
    plan = shown(experiment)
    assert plan.code == 4
    assert any("not authorized to perform: iam:SimulatePrincipalPolicy" in line for line in plan.lines)


def test_a_dry_run_says_what_is_not_there_and_what_is_not_known(
    enforced: Checkout, shown: Callable[[Path], Shown]
) -> None:
    def elsewhere(document: dict[str, Any]) -> None:
        document["method"][0]["provider"]["arguments"]["proxy"] = "no-such-proxy"
        document["method"].append({"type": "action", "name": "other", "provider": {"type": "process", "path": "true"}})

    allow(enforced, [{"Effect": "Allow", "Action": "*", "Resource": "*"}])
    plan = shown(enforced.experiment("throttle-rds-proxy", elsewhere))
    assert plan.code == 4
    assert any("no-such-proxy" in line and "NotFound" in line for line in plan.lines)
    assert any("other: not a fault of Tocsin" in line for line in plan.lines)


def test_a_dry_run_shows_procedures_and_runs_none(enforced: Checkout, shown: Callable[[Path], Shown]) -> None:
    def with_procedures(document: dict[str, Any]) -> None:
        document["method"] = [procedure("DROP TABLE\nitems\n"), {**other(), "type": "probe", "tolerance": 0}]
        document["rollbacks"] = [procedure("SELECT 1"), other()]
        document["extensions"][0]["changes"] = [{"activity": "query", "leaves": "a dry run runs nothing"}]

    def procedure(sql: str) -> dict[str, Any]:
        arguments = {"secret": DATA, "sql": sql}
        provider = {"type": "python", "module": "tocsin.procedures", "func": "postgres_query", "arguments": arguments}
        return {"type": "action", "name": "query", "provider": provider}

    def other() -> dict[str, Any]:
        return {"type": "action", "name": "other", "provider": {"type": "process", "path": "true"}}

    allow(enforced, [{"Effect": "Allow", "Action": "*", "Resource": "*"}])
    enforced.left = True
    enforced.settle()
    plan = shown(enforced.experiment("throttle-rds-proxy", with_procedures))
    secret = account(enforced).client("secretsmanager").get_secret_value(SecretId=DATA)
    assert (plan.code, plan.against) == (0, [])
    changes = plan.lines[plan.lines.index("  change     tocsin.procedures.postgres_query") :]
    assert changes[1:5] == [
        f"             {secret['ARN']}",
        f"             secret: {DATA}",
        "             sql: DROP TABLE",
        "               items",
    ]
    assert "  undo       none: a dry run runs nothing" in changes
    assert "  rollback   tocsin.procedures.postgres_query" in changes
    assert "  rollback   other: not Tocsin's, cannot be resolved" in changes
    assert not [line for line in changes if line.startswith("  foreign")], "a probe breaks nothing"
    assert inside(json.loads(secret["SecretString"]), "SELECT count(*) FROM items") == [[0]]


def test_a_dry_run_asks_the_guards(enforced: Checkout, shown: Callable[[Path], Shown]) -> None:
    ledger = Ledger(ledger_path(enforced.root, "sandbox"), "sandbox")
    fault = FAULTS["rds_proxy_throttle"].model_validate(ARGUMENTS["rds_proxy_throttle"])
    entry = ledger.intend(
        "d", fault.kind, fault.resource, fault, fault.observe(Aws(account(enforced).target, ""), None)
    )
    try:
        allow(enforced, [{"Effect": "Allow", "Action": "*", "Resource": "*"}])
        plan = shown(EXPERIMENTS / "throttle-rds-proxy.yaml")
        assert plan.code == 4
        assert any("residue: expected no fault left from earlier runs" in line for line in plan.lines)
        with ledger.lock("another drill"):
            plan = shown(EXPERIMENTS / "throttle-rds-proxy.yaml")
        assert any("lock: expected" in line and "in use by another drill" in line for line in plan.lines)
    finally:
        ledger.advance(entry.id, EntryState.VERIFIED)
        ledger.close()


def test_a_dry_run_tells_whether_a_resource_has_opted_in(enforced: Checkout, shown: Callable[[Path], Shown]) -> None:
    allow(enforced, [{"Effect": "Allow", "Action": "*", "Resource": "*"}])
    project = enforced.root / "tocsin.toml"
    project.write_text('[targets.sandbox]\nopt_in = {chaos = "yes"}\n')
    try:
        plan = shown(EXPERIMENTS / "clock-in-throttled.yaml")
    finally:
        project.unlink()
    assert plan.code == 4
    assert any("opt-in: expected" in line and "chaos=yes" in line for line in plan.lines)


def files_of(checkout: Checkout) -> list[Path]:
    """What is in a checkout, but for what a running sandbox writes: PostgreSQL makes and removes files by itself."""
    sandbox = control.directory(checkout.root)
    return sorted(path for path in checkout.root.rglob("*") if not path.is_relative_to(sandbox))
