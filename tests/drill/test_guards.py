"""Guards in whole drills on the sandbox; each by itself is shown in tests/guards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.drill.conftest import Checkout, extension, wait_for
from tests.drill.fault_table import ARGUMENTS, BUCKET, ROLE

from tocsin.aws.target import Aws
from tocsin.errors import Refused
from tocsin.faults.registry import FAULTS
from tocsin.guards.changes import ChangeGuards
from tocsin.guards.kill_switch import KillSwitch
from tocsin.guards.lock import AccountLock
from tocsin.model.events import FaultChanged, FaultStage, GuardChecked
from tocsin.model.verdict import RunVerdict
from tocsin.project.documents import load_system
from tocsin.project.histories import read_history
from tocsin.project.targets import in_region, load_target
from tocsin.record.ledger import Ledger

CLOCK_IN = "leave-attendance-dev-clockIn"
PROXY = "itcenter-dev-proxy"

pytestmark = [pytest.mark.drill, pytest.mark.takes(260), pytest.mark.xdist_group("drills"), pytest.mark.timeout(600)]


def brief(document: dict[str, Any]) -> None:
    """Nobody is needed to see a guard say no."""
    extension(document).update(baseline="30s", load=None)


@contextmanager
def rules(checkout: Checkout, text: str) -> Iterator[None]:
    file = checkout.root / "tocsin.toml"
    file.write_text(f"[targets.sandbox]\n{text}\n")
    try:
        yield
    finally:
        file.unlink()


def reserved(checkout: Checkout) -> int | None:
    answer = checkout.client("lambda").get_function_concurrency(FunctionName=CLOCK_IN)
    return None if "ReservedConcurrentExecutions" not in answer else int(answer["ReservedConcurrentExecutions"])


def asked(directory: Path) -> dict[str, str]:
    """The last answer of each guard."""
    events = read_history(directory / "history.jsonl")
    return {event.guard: event.detail for event in events if isinstance(event, GuardChecked)}


def faults(directory: Path) -> list[FaultStage]:
    return [e.stage for e in read_history(directory / "history.jsonl") if isinstance(e, FaultChanged)]


def test_what_has_not_opted_in_is_not_broken(checkout: Checkout) -> None:
    functions = checkout.client("lambda")
    arn = functions.get_function(FunctionName=CLOCK_IN)["Configuration"]["FunctionArn"]
    with rules(checkout, 'opt_in = {chaos-opt-in = "true", chaos-system = "leave-attendance"}'):
        functions.tag_resource(Resource=arn, Tags={"chaos-system": "payroll"})
        try:
            code, verdict, directory = checkout.run("clock-in-throttled", brief)
        finally:
            functions.tag_resource(Resource=arn, Tags={"chaos-system": "leave-attendance"})
    assert (code, verdict.stopped) == (4, "opt-in")
    assert f"expected {arn} to be tagged chaos-system=leave-attendance" in verdict.judgements[0].message
    assert faults(directory) == []
    assert reserved(checkout) is None


@pytest.mark.parametrize("experiment", ["clock-in-throttled", "throttle-rds-proxy", "poison-calendar-message"])
def test_the_replica_has_opted_in(checkout: Checkout, experiment: str) -> None:
    """Asked as the drill asks, of the tagging API of the sandbox: functions, proxies, queues."""
    tagging = checkout.client("resourcegroupstaggingapi")
    kind = {"clock-in-throttled": "lambda:function", "throttle-rds-proxy": "rds:db-proxy"}.get(experiment, "sqs")
    found = tagging.get_resources(
        TagFilters=[
            {"Key": "chaos-opt-in", "Values": ["true"]},
            {"Key": "chaos-system", "Values": ["leave-attendance"]},
        ],
        ResourceTypeFilters=[kind],
    )
    assert len(found["ResourceTagMappingList"]) == {"lambda:function": 11, "rds:db-proxy": 1, "sqs": 2}[kind]


KEY, VALUE = "drill-opt-in", "yes"
"""A tag that nothing has yet."""
_PAIR = [{"Key": KEY, "Value": VALUE}]
Tagger = Callable[[Any, str], object]
TAGGERS: dict[str, tuple[str, Tagger, Tagger]] = {
    "dynamodb": (
        "dynamodb",
        lambda client, arn: client.tag_resource(ResourceArn=arn, Tags=_PAIR),
        lambda client, arn: client.untag_resource(ResourceArn=arn, TagKeys=[KEY]),
    ),
    "ecs": (
        "ecs",
        lambda client, arn: client.tag_resource(resourceArn=arn, tags=[{"key": KEY, "value": VALUE}]),
        lambda client, arn: client.untag_resource(resourceArn=arn, tagKeys=[KEY]),
    ),
    "elasticache": (
        "elasticache",
        lambda client, arn: client.add_tags_to_resource(ResourceName=arn, Tags=_PAIR),
        lambda client, arn: client.remove_tags_from_resource(ResourceName=arn, TagKeys=[KEY]),
    ),
    "elasticloadbalancing": (
        "elbv2",
        lambda client, arn: client.add_tags(ResourceArns=[arn], Tags=_PAIR),
        lambda client, arn: client.remove_tags(ResourceArns=[arn], TagKeys=[KEY]),
    ),
    "iam": (
        "iam",
        lambda client, _: client.tag_role(RoleName=ROLE, Tags=_PAIR),
        lambda client, _: client.untag_role(RoleName=ROLE, TagKeys=[KEY]),
    ),
    "lambda": (
        "lambda",
        lambda client, arn: client.tag_resource(Resource=arn, Tags={KEY: VALUE}),
        lambda client, arn: client.untag_resource(Resource=arn, TagKeys=[KEY]),
    ),
    "rds": (
        "rds",
        lambda client, arn: client.add_tags_to_resource(ResourceName=arn, Tags=_PAIR),
        lambda client, arn: client.remove_tags_from_resource(ResourceName=arn, TagKeys=[KEY]),
    ),
    "s3": (
        "s3",
        lambda client, _: client.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": _PAIR}),
        lambda client, _: client.delete_bucket_tagging(Bucket=BUCKET),
    ),
    "secretsmanager": (
        "secretsmanager",
        lambda client, arn: client.tag_resource(SecretId=arn, Tags=_PAIR),
        lambda client, arn: client.untag_resource(SecretId=arn, TagKeys=[KEY]),
    ),
    "sqs": (
        "sqs",
        lambda client, arn: client.tag_queue(QueueUrl=_queue_url(client, arn), Tags={KEY: VALUE}),
        lambda client, arn: client.untag_queue(QueueUrl=_queue_url(client, arn), TagKeys=[KEY]),
    ),
}
"""Service of an ARN -> boto3's name of it, and how an owner tags a resource with its API, and takes the tag off."""


def _queue_url(client: Any, arn: str) -> str:
    return str(client.get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"])


def test_every_resource_that_a_fault_changes_can_opt_in_and_out(checkout: Checkout) -> None:
    """What its owner tagged with its service's API, the guard finds; and it misses each tag that is taken off."""
    found = in_region(load_target(checkout.root, "sandbox"), load_system(checkout.root, "leave-attendance"))
    target = replace(found, rules=found.rules.model_copy(update={"opt_in": {KEY: VALUE}}))
    guards = ChangeGuards(target, KillSwitch(checkout.root, target), lambda _: None)
    changed = {
        kind: FAULTS[kind].model_validate(arguments).arns(Aws(target, entry=""))
        for kind, arguments in ARGUMENTS.items()
    }
    arns = sorted({arn for some in changed.values() for arn in some})

    def refused(kinds: Iterable[str]) -> list[str]:
        return [kind for kind in kinds if _refused_by(guards, kind, changed[kind]) == "opt-in"]

    assert refused(changed) == list(changed)
    for arn in arns:
        _tag(checkout, arn, 1)
    try:
        assert refused(changed) == []
        for arn in arns:
            changing = [kind for kind, some in changed.items() if arn in some]
            _tag(checkout, arn, 2)
            assert refused(changing) == changing, arn
            _tag(checkout, arn, 1)
    finally:
        for arn in arns:
            _tag(checkout, arn, 2)


def _tag(checkout: Checkout, arn: str, way: Literal[1, 2]) -> None:
    """Tag a resource (1), or take the tag off (2)."""
    tagger = TAGGERS[arn.split(":")[2]]
    tagger[way](checkout.client(tagger[0]), arn)


def _refused_by(guards: ChangeGuards, kind: str, arns: tuple[str, ...]) -> str | None:
    try:
        guards.permit(kind, lambda: arns)
    except Refused as no:
        return no.guard
    return None


def test_tocsin_stop_ends_a_running_drill_which_undoes_and_reports(checkout: Checkout) -> None:
    experiment, out = checkout.experiment("clock-in-throttled", brief), checkout.out()
    with rules(
        checkout, 'opt_in = {chaos-opt-in = "true"}\nmax_resources = 1\nmax_percent = "5%"\nmax_duration = "2h"'
    ):
        process = checkout.start("run", "--try-again", str(experiment), "--out", str(out))
        wait_for("the fault", lambda: reserved(checkout) == 0)
        stopped = checkout.tocsin("stop", "--reason", "the release looks bad")
        assert stopped.returncode == 0, stopped.stderr
        output, _ = process.communicate(timeout=120)
    try:
        assert process.returncode == 4, output
        verdict = RunVerdict.model_validate_json((out / "verdict.json").read_text()).drills[0]
        assert verdict.stopped == "kill-switch"
        assert "the release looks bad" in verdict.judgements[0].message
        directory = out / experiment.stem
        assert faults(directory)[-1] is FaultStage.VERIFIED
        assert reserved(checkout) is None
        assert (directory / "report.html").exists()
        assert "chaos-opt-in=true" in asked(directory)["opt-in"]
        assert asked(directory)["blast-radius"] == "1 resources changed by this drill; 1 of 11 lambda:function"
        again = checkout.tocsin("run", str(experiment))
        assert again.returncode == 4
        assert "tocsin stop --clear" in again.stdout
    finally:
        cleared = checkout.tocsin("stop", "--clear")
    assert "cleared in the account" in cleared.stdout
    parameters = checkout.client("ssm").describe_parameters()["Parameters"]
    assert [one["Name"] for one in parameters] == []


def test_two_checkouts_and_one_account(checkout: Checkout, tmp_path: Path) -> None:
    """Another checkout on the same account, as a colleague would have it: a ledger of its own."""
    state = checkout.root / ".tocsin" / "sandbox" / "state.json"
    for entry in checkout.root.iterdir():
        if entry.is_symlink():
            (tmp_path / entry.name).symlink_to(entry.resolve())
    (tmp_path / ".tocsin" / "sandbox").mkdir(parents=True)
    (tmp_path / ".tocsin" / "sandbox" / "state.json").symlink_to(state)
    colleague = Checkout(tmp_path)
    experiment, out = checkout.experiment("clock-in-throttled", brief), checkout.out()
    process = checkout.start("run", "--try-again", str(experiment), "--out", str(out))
    try:
        wait_for("the fault", lambda: reserved(checkout) == 0)
        code, verdict, directory = colleague.run("calendar-worker-stopped", brief)
    finally:
        process.terminate()
        process.communicate(timeout=120)
    assert (code, verdict.stopped) == (4, "lock")
    assert "in use by clock-in-throttled-" in verdict.judgements[0].message
    assert faults(directory) == []
    assert reserved(checkout) is None


def test_of_many_runners_the_account_gives_the_lock_to_one(checkout: Checkout, tmp_path: Path) -> None:
    """Against the Parameter Store of the sandbox; from nothing, and from a lock that has expired."""
    target = in_region(load_target(checkout.root, "sandbox"), load_system(checkout.root, "leave-attendance"))
    ledgers = [Ledger(tmp_path / str(number) / "sandbox.sqlite", "sandbox") for number in range(6)]
    try:
        for start in ("nothing", "expired"):
            if start == "expired":
                assert AccountLock(target, ledgers[0], "dead", for_s=-60).take()
            locks = [AccountLock(target, ledger, f"drill-{n}", 600) for n, ledger in enumerate(ledgers[1:])]
            with ThreadPoolExecutor(len(locks)) as pool:
                winners = [lock for lock in pool.map(_taken, locks) if lock is not None]
            assert len(winners) == 1
            assert winners[0].release() == "/tocsin/lock released"
    finally:
        for ledger in ledgers:
            ledger.close()


def _taken(lock: AccountLock) -> AccountLock | None:
    try:
        lock.take()
    except Refused:
        return None
    return lock
