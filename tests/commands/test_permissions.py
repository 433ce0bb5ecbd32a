"""The least policy for experiments, and the comparison with what a run really asked: nothing here needs a target."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.checkers.histories import passing, write_history
from tests.drill.fault_table import ARGUMENTS

from tocsin.aws.iam import ANY, Arns, CallLog, Grant
from tocsin.aws.target import Target
from tocsin.commands.permissions import dead_man_grants, fault_grants, observed, permissions, policy_of
from tocsin.drill.plan import Planner, canary_log_groups
from tocsin.errors import InvalidInput
from tocsin.faults.registry import FAULTS
from tocsin.model.events import ApiCalls

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments" / "leave-attendance"

NOT_LIMITED_BY_IAM = {
    "cloudtrail:LookupEvents",
    "application-autoscaling:DescribeScalableTargets",
    "ecs:DeregisterTaskDefinition",
    "ecs:DescribeTaskDefinition",
    "ecs:ListTaskDefinitions",
    "ecs:ListTasks",  # by container instance only, of which Fargate has none
    "ecs:RegisterTaskDefinition",
    "elasticache:DescribeEvents",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
    "fis:ListExperimentTemplates",
    "fis:ListExperiments",
    "lambda:ListEventSourceMappings",
    "rds:DescribeEvents",
}
"""Actions of faults for which the service authorization reference names no resource type."""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(permissions(ROOT, [EXPERIMENTS], None, None).policy.text())
    return found


def statement(document: dict[str, Any], sid: str) -> dict[str, Any]:
    return next(one for one in document["Statement"] if one["Sid"] == sid)


def test_the_policy_is_one_that_iam_takes(document: dict[str, Any]) -> None:
    sids = [one["Sid"] for one in document["Statement"]]
    assert len(sids) == len(set(sids))
    assert all(re.fullmatch("[A-Za-z0-9]+", sid) for sid in sids)
    for one in document["Statement"]:
        assert one["Action"] == sorted(set(one["Action"]))
        assert all(re.fullmatch(r"[a-z0-9-]+:[A-Za-z]+", action) for action in one["Action"])
        assert one["Resource"]
        assert all(re.fullmatch(r"\*|arn:aws:[a-z0-9-]+:[^:]*:[^:]*:.+", arn) for arn in one["Resource"])


def test_only_reading_is_allowed_on_everything(document: dict[str, Any]) -> None:
    loose = [action for one in document["Statement"] if one["Resource"] == ["*"] for action in one["Action"]]
    assert loose
    assert [action for action in loose if not re.match(r"[a-z-]+:(Describe|Get|List|Lookup)", action)] == []


def test_a_fault_may_change_what_its_arguments_name_and_nothing_beside(document: dict[str, Any]) -> None:
    limits = statement(document, "FaultLambdaReservedConcurrency")["Resource"]
    name = "arn:aws:lambda:*:*:function:leave-attendance-dev-clockIn"
    assert limits == [name, f"{name}:*"]
    sending = [one for one in document["Statement"] if one["Action"] == ["sqs:SendMessage"]]
    assert [one["Resource"] for one in sending] == [["arn:aws:sqs:*:*:itcenter-dev-calendar-sync"]]


def test_the_policy_grows_with_the_experiments_and_not_otherwise() -> None:
    one = permissions(ROOT, [EXPERIMENTS / "calendar-worker-stopped.yaml"], None, None).policy
    assert "rds:ModifyDBProxyTargetGroup" not in one.actions
    assert "lambda:UpdateEventSourceMapping" in one.actions


NOT_NEEDED = {
    "lambda_reserved_concurrency": {"lambda:GetAccountSettings"},
    "third_party": {"ecs:DescribeServices", "ecs:DescribeTaskDefinition", "sns:ListSubscriptionsByTopic"},
}
"""What a fault does not ask with the arguments of the table: nothing is reserved, no ECS service calls the party
and no topic posts to it."""


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_every_fault_says_on_what(kind: str) -> None:
    grants = list(fault_grants(FAULTS[kind].model_validate(ARGUMENTS[kind]), Arns("eu-west-1", "123456789012")))
    assert {action for grant in grants for action in grant.actions} == (
        set(FAULTS[kind].permissions) - NOT_NEEDED.get(kind, set())
    )
    anywhere = {action for grant in grants if grant.resources == ANY for action in grant.actions}
    assert anywhere <= NOT_LIMITED_BY_IAM


@pytest.mark.parametrize(
    ("experiment", "role", "armed"),
    [
        ("clock-in-throttled", "arn:aws:iam::123456789012:role/dead-man", True),
        ("clock-in-throttled", None, False),
        ("break-graph-token", "arn:aws:iam::123456789012:role/dead-man", False),
    ],
)
def test_schedules_may_be_made_where_a_target_and_a_fault_want_them(
    experiment: str, role: str | None, armed: bool
) -> None:
    plan = Planner(ROOT).plan(EXPERIMENTS / f"{experiment}.yaml")
    grants = list(dead_man_grants(plan, role, Arns("eu-west-1", "123456789012")))
    allowed = {action: grant.resources for grant in grants for action in grant.actions}
    schedules = ("arn:aws:scheduler:eu-west-1:123456789012:schedule/default/tocsin-undo-*",)
    needed = {"scheduler:CreateSchedule": schedules, "scheduler:DeleteSchedule": schedules, "iam:PassRole": (role,)}
    assert allowed == (needed if armed else {})


def test_real_names_take_the_place_of_wildcards() -> None:
    fault = FAULTS["sqs_poison_message"].model_validate(ARGUMENTS["sqs_poison_message"])
    known = ["arn:aws:sqs:eu-west-1:123456789012:a", "arn:aws:sqs:eu-west-1:123456789012:a-dead"]
    grants = fault_grants(fault, Arns("eu-west-1", "123456789012"), known)
    assert {grant.resources for grant in grants if grant.actions == ("sqs:DeleteMessage",)} == {tuple(known)}


def test_grants_with_one_purpose_are_one_statement_for_the_same_resources() -> None:
    policy = policy_of(
        [
            Grant(sid="Work", actions=("s:A", "s:B"), resources=("arn:1",)),
            Grant(sid="Work", actions=("s:A", "s:B"), resources=("arn:2",)),
            Grant(sid="Work", actions=("s:C",), resources=("arn:1",)),
        ]
    )
    assert [(one["Sid"], one["Action"], one["Resource"]) for one in policy.document()["Statement"]] == [
        ("Work", ["s:C"], ["arn:1"]),
        ("Work2", ["s:A", "s:B"], ["arn:1", "arn:2"]),
    ]


@pytest.mark.parametrize(
    ("line", "groups"),
    [
        ('    api.logged("/aws/lambda/a", event="e")', {"/aws/lambda/a"}),
        ('    api.logged(GROUP, event="e")', {"/aws/lambda/b"}),
        ('    api.logged(f"/aws/{api}", event="e")', {"*"}),
        ('    api.get("/")', set()),
    ],
)
def test_canaries_read_the_log_groups_that_their_file_names(tmp_path: Path, line: str, groups: set[str]) -> None:
    (tmp_path / "canaries.py").write_text(f'GROUP = "/aws/lambda/b"\n\n\ndef canary_a(api):\n{line}\n')
    plan = Planner(ROOT).plan(EXPERIMENTS / "bad-release.yaml")
    canaries = plan.system.canaries
    assert canaries is not None
    here = canaries.model_copy(update={"file": "canaries.py"})
    assert canary_log_groups(tmp_path, plan.system.model_copy(update={"canaries": here})) == groups


# --- what a run really asked --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "operation", "arguments", "actions"),
    [
        ("lambda", "get_alias", {"FunctionName": "f", "Name": "a"}, {"lambda:GetAlias"}),
        ("apigatewayv2", "get_apis", {}, {"apigateway:GET"}),
        ("elbv2", "describe_load_balancers", {}, {"elasticloadbalancing:DescribeLoadBalancers"}),
        ("resourcegroupstaggingapi", "get_resources", {}, {"tag:GetResources"}),
        ("s3", "head_object", {"Bucket": "b", "Key": "k"}, {"s3:GetObject"}),
        ("sqs", "delete_message_batch", {"QueueUrl": "https://q", "Entries": []}, {"sqs:DeleteMessage"}),
        ("sns", "publish_batch", {"TopicArn": "t", "PublishBatchRequestEntries": []}, {"sns:Publish"}),
        ("sts", "get_caller_identity", {}, set()),
        ("cognito-idp", "initiate_auth", {"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": "c"}, set()),
    ],
)
def test_a_call_is_counted_under_its_iam_actions(
    service: str, operation: str, arguments: dict[str, Any], actions: set[str]
) -> None:
    target = Target(name="t", region="eu-west-1", access_key_id="test", secret_access_key="test")
    client = target.client(service)
    client.meta.events.register("before-call", lambda **_: (_Answered(), {}))
    for _ in range(2):
        getattr(client, operation)(**arguments)
    assert target.calls.take() == dict.fromkeys(actions, 2)
    assert target.calls.take() == {}


class _Answered:
    status_code = 200


def test_a_renewed_session_is_counted_too() -> None:
    target = Target(name="t", region="eu-west-1", access_key_id="test", secret_access_key="test")
    target.client("sqs")
    target.renew()
    client = target.client("sqs")
    client.meta.events.register("before-call", lambda **_: (_Answered(), {}))
    client.list_queues()
    assert target.calls.take() == {"sqs:ListQueues": 1}


def run_directory(tmp_path: Path, *calls: dict[str, int]) -> Path:
    for number, some in enumerate(calls):
        directory = tmp_path / f"drill-{number}"
        directory.mkdir()
        events = passing()
        write_history(directory / "history.jsonl", [*events, ApiCalls(at=events[-1].at, calls=some)])
    return tmp_path


def test_calls_of_all_drills_of_a_run_are_added_up(tmp_path: Path) -> None:
    directory = run_directory(tmp_path, {"sqs:SendMessage": 1}, {"sqs:SendMessage": 2, "rds:DescribeDBProxies": 1})
    assert observed(directory) == Counter({"sqs:SendMessage": 3, "rds:DescribeDBProxies": 1})


def test_the_policy_of_a_run_names_the_resources_that_its_experiments_name(tmp_path: Path) -> None:
    directory = run_directory(tmp_path, {"sqs:SendMessage": 1, "cloudwatch:DescribeAlarms": 9})
    answer = permissions(ROOT, [EXPERIMENTS / "poison-calendar-message.yaml"], None, directory)
    assert answer.exit_code == 0
    assert answer.policy.actions == {"sqs:SendMessage", "cloudwatch:DescribeAlarms"}
    limits = statement(answer.policy.document(), "FaultSqsPoisonMessage")["Resource"]
    assert limits == ["arn:aws:sqs:*:*:itcenter-dev-calendar-sync"]
    assert "declared, not used by this run: sqs:DeleteMessage" in answer.remarks


def test_a_call_that_nobody_declared_is_an_error_that_names_it(tmp_path: Path) -> None:
    directory = run_directory(tmp_path, {"sqs:SendMessage": 1, "sqs:PurgeQueue": 2})
    answer = permissions(ROOT, [EXPERIMENTS / "poison-calendar-message.yaml"], None, directory)
    assert answer.exit_code == 1
    assert "used 2 times, declared by nobody: sqs:PurgeQueue" in answer.remarks


def test_what_actions_of_other_extensions_used_is_named_and_not_in_the_policy(tmp_path: Path) -> None:
    """Counted in a run of this experiment: ECS is what chaosaws called, before and after the fault."""
    calls = {"ecs:DescribeClusters": 2, "ecs:DescribeServices": 9, "ecs:UpdateService": 2, "sns:ListTopics": 1}
    experiment = ROOT / "experiments" / "clocked" / "scale-in-under-load.yaml"
    answer = permissions(ROOT, [experiment], None, run_directory(tmp_path, calls))
    assert answer.exit_code == 1
    # Services are read by Tocsin too, to compare how they are set.
    assert answer.policy.actions == {"ecs:DescribeServices", "sns:ListTopics"}
    assert [remark for remark in answer.remarks if not remark.startswith("declared, not used")] == [
        "used 2 times, declared by nobody: ecs:DescribeClusters",
        "used 2 times, declared by nobody: ecs:UpdateService",
        "not Tocsin's, what nobody declared may be its: chaosaws.ecs.actions.update_desired_count",
        "not Tocsin's, what nobody declared may be its: chaosaws.ecs.probes.describe_service",
        "not Tocsin's, what nobody declared may be its: chaosaws.ecs.probes.are_all_desired_tasks_running",
    ]


def test_of_a_run_alone_only_the_actions_are_known(tmp_path: Path) -> None:
    answer = permissions(ROOT, [], None, run_directory(tmp_path, {"sqs:SendMessage": 1}))
    assert answer.policy.document()["Statement"] == [
        {"Sid": "Observed", "Effect": "Allow", "Action": ["sqs:SendMessage"], "Resource": ["*"]}
    ]


def test_a_directory_without_calls_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=re.escape("no history.jsonl")):
        observed(tmp_path)
    write_history(tmp_path / "history.jsonl", passing())
    with pytest.raises(InvalidInput, match="without API calls"):
        observed(tmp_path)


def test_a_log_that_nobody_wrote_to_is_empty() -> None:
    assert CallLog().take() == {}
