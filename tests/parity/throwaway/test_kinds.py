"""Each kind of throwaway resource: what is somebody else's is neither made over nor deleted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.faults.stub.account import documented
from tests.faults.stub.clock import Clock
from tests.stubbed import Answer, Error, Stubbed, refused

from tocsin.aws.error_codes import BUSY as BUSY_CODES
from tocsin.aws.target import Target
from tocsin.errors import Busy, Refused, TargetError
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.parity.throwaway.alarm_lags import resolution
from tocsin.parity.throwaway.kinds.base import TAG, Throwaway
from tocsin.parity.throwaway.registry import RECOVERABLE, THROWAWAY
from tocsin.record.ledger import EntryState, Ledger

NAME = "tocsin-parity-0123456789ab-it"
ACCOUNT = "123456789012"
ARN = f"arn:aws:sqs:eu-west-1:{ACCOUNT}:{NAME}"
ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "parity_alarm": {},
    "parity_function": {"role": f"arn:aws:iam::{ACCOUNT}:role/{NAME}"},
    "parity_queue": {},
    "parity_role": {"trusted": "lambda.amazonaws.com"},
    "parity_schedule": {"at": 1.8e9, "queue": ARN, "role": f"arn:aws:iam::{ACCOUNT}:role/{NAME}"},
    "parity_topic": {},
}
CREATES = {
    "parity_alarm": ("cloudwatch", "PutMetricAlarm", "DeleteAlarms"),
    "parity_function": ("lambda", "CreateFunction", "DeleteFunction"),
    "parity_queue": ("sqs", "CreateQueue", "DeleteQueue"),
    "parity_role": ("iam", "CreateRole", "DeleteRole"),
    "parity_schedule": ("scheduler", "CreateSchedule", "DeleteSchedule"),
    "parity_topic": ("sns", "CreateTopic", "DeleteTopic"),
}
"""Service, and the operations that make and delete one."""


class Place:
    """An account with one thing in it at most, which has the name of ours."""

    def __init__(self, kind: str, ledger: Ledger) -> None:
        self.target = Target("none", "eu-west-1", account=ACCOUNT, access_key_id="x", secret_access_key="x")
        self.stub = Stubbed(self.target)
        self.ledger = ledger
        self.tags: Mapping[str, str] | None = None
        """of what is there; None for nothing"""
        self.made = THROWAWAY[kind].model_validate({"name": NAME, **ARGUMENTS[kind]})
        self._service, self._create, self._delete = CREATES[kind]
        self._write_down()

    @property
    def deleted(self) -> int:
        return len(self.stub.calls(self._delete))

    @property
    def created(self) -> int:
        return len(self.stub.calls(self._create))

    def lifecycle(self) -> FaultLifecycle:
        return FaultLifecycle(self.target, self.ledger, "d", wait=lambda wall_s: None, registry=RECOVERABLE)

    def says(self, operation: str, code: str, message: str = "said the stub") -> None:
        """An operation of its service is refused."""
        self.stub.answers(self._service, operation, refused(code, message))

    def cannot_be(self, what: str) -> None:
        self.says({"created": self._create, "deleted": self._delete}[what], "AccessDenied")

    def _write_down(self) -> None:
        def there(code: str, told: Callable[[Mapping[str, str]], Mapping[str, Any]]) -> Answer:
            return lambda asked: told(self._there(code))

        answers: Mapping[tuple[str, str], Any] = {
            ("sqs", "GetQueueUrl"): there("AWS.SimpleQueueService.NonExistentQueue", lambda tags: {"QueueUrl": "q/it"}),
            ("sqs", "ListQueueTags"): there("QueueDoesNotExist", lambda tags: {"Tags": tags}),
            ("sns", "ListTagsForResource"): there("ResourceNotFoundException", lambda tags: {"Tags": pairs(tags)}),
            ("cloudwatch", "DescribeAlarms"): lambda asked: {
                "MetricAlarms": [] if self.tags is None else [{"AlarmName": NAME}]
            },
            ("cloudwatch", "ListTagsForResource"): there("ResourceNotFound", lambda tags: {"Tags": pairs(tags)}),
            ("iam", "ListRoleTags"): there("NoSuchEntity", lambda tags: {"Tags": pairs(tags)}),
            ("iam", "ListRolePolicies"): there("NoSuchEntity", lambda tags: {"PolicyNames": []}),
            ("scheduler", "GetSchedule"): there("ResourceNotFoundException", lambda tags: {"Description": tags[TAG]}),
            ("lambda", "GetFunction"): there("ResourceNotFoundException", lambda tags: {"Tags": tags}),
        }
        for (service, operation), answer in answers.items():
            self.stub.answers(service, operation, answer)
        self.stub.answers(self._service, self._create, self._made)
        self.stub.answers(self._service, self._delete, self._gone)

    def _there(self, code: str) -> Mapping[str, str]:
        if self.tags is None:
            raise Error(code)
        return self.tags

    def _made(self, asked: Any) -> Mapping[str, Any]:
        self.tags = {TAG: NAME}
        if self._create != "CreateRole":
            return {"ScheduleArn": ARN} if self._create == "CreateSchedule" else {}
        made = {"Path": "/", "RoleName": NAME, "RoleId": "A" * 16, "Arn": ARN, "CreateDate": datetime.now(UTC)}
        return {"Role": made}

    def _gone(self, asked: Any) -> Mapping[str, Any]:
        self._there("ResourceNotFoundException")
        self.tags = None
        return {}


def pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


@pytest.fixture(params=sorted(THROWAWAY))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    ledger = Ledger(tmp_path / "ledger.sqlite", "none")
    yield Place(request.param, ledger)
    ledger.close()


def only(place: Place) -> tuple[EntryState, str]:
    (entry,) = place.ledger.entries()
    return entry.state, entry.detail


def test_it_is_made_seen_deleted_and_seen_to_be_gone(place: Place) -> None:
    life = place.lifecycle()
    life.inject(place.made)
    assert place.tags == {TAG: NAME}
    assert life.undo_all() == []
    assert (place.tags, place.created, place.deleted, only(place)[0]) == (None, 1, 1, EntryState.VERIFIED)


def test_what_has_its_name_already_is_not_made_over(place: Place) -> None:
    place.tags = {TAG: "somebody else's"}
    with pytest.raises(Refused, match=f"nothing named {NAME}"):
        place.lifecycle().inject(place.made)
    assert (place.created, place.deleted, place.ledger.entries()) == (0, 0, [])


def test_what_somebody_else_put_in_its_place_is_left_alone(place: Place) -> None:
    place.lifecycle().inject(place.made)
    place.tags = {TAG: "somebody else's"}
    (left,) = place.lifecycle().undo_all()
    assert (place.deleted, left.open) == (0, True)
    assert "changed by somebody else" in only(place)[1]


def test_what_may_not_be_created_leaves_no_entry_even_where_nothing_may_be_deleted(place: Place) -> None:
    place.cannot_be("created")
    place.cannot_be("deleted")
    with pytest.raises(TargetError, match="AccessDenied"):
        place.lifecycle().inject(place.made)
    assert place.lifecycle().undo_all() == []
    assert only(place)[0] is EntryState.VERIFIED


def test_what_may_not_be_deleted_is_left_and_told(place: Place) -> None:
    place.lifecycle().inject(place.made)
    place.cannot_be("deleted")
    (left,) = place.lifecycle().undo_all()
    assert left.open
    assert "AccessDenied" in only(place)[1]


def test_a_name_that_is_not_ours_cannot_even_be_written_down() -> None:
    for name in ("orders", "tocsin-parity-", f"{NAME}-2", f"x{NAME}"):
        for kind, arguments in ARGUMENTS.items():
            with pytest.raises(ValueError, match="name"):
                THROWAWAY[kind].model_validate({"name": name, **arguments})


BUSY = [
    (kind, operation, code)
    for kind, (service, *operations) in CREATES.items()
    for operation in operations
    for code in sorted(set(documented(service, operation)) & BUSY_CODES)
]
"""Whatever the call that makes one, or the one that deletes it, may answer while something else goes on."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize(("kind", "operation", "code"), BUSY)
def test_what_is_busy_for_a_while_is_made_and_deleted_later(
    clock: Clock, tmp_path: Path, kind: str, operation: str, code: str
) -> None:
    with contextlib.closing(Ledger(tmp_path / "ledger.sqlite", "none")) as ledger:
        place = Place(kind, ledger)
        life = place.lifecycle()
        life.wait = clock.sleep
        usual, began = place.stub.answer_of(CREATES[kind][0], operation), clock.now

        def answer(asked: Any) -> Mapping[str, Any]:
            if len(place.stub.calls(operation)) <= 4:
                raise Error(code)
            return usual(asked)

        place.stub.answers(CREATES[kind][0], operation, answer)
        life.inject(place.made)
        assert life.undo_all() == []
        assert (place.tags, len(place.stub.calls(operation))) == (None, 5)
        assert clock.now - began >= 1 + 2 + 4 + 8


@pytest.mark.parametrize(("kind", "operation", "code"), [one for one in BUSY if one[1].startswith("Delete")])
def test_what_is_busy_for_ever_is_left_with_its_reason_and_deleted_by_a_later_recover(
    clock: Clock, tmp_path: Path, kind: str, operation: str, code: str
) -> None:
    with contextlib.closing(Ledger(tmp_path / "ledger.sqlite", "none")) as ledger:
        place = Place(kind, ledger)
        place.lifecycle().inject(place.made)
        usual, began = place.stub.answer_of(CREATES[kind][0], operation), clock.now
        place.says(operation, code, "cannot delete it: something is attached")
        (left,) = place.lifecycle().undo_all()
        assert left.open
        assert 60 <= clock.now - began < 300
        assert only(place)[1].endswith(f"AWS answered {code}: cannot delete it: something is attached")
        place.stub.answers(CREATES[kind][0], operation, usual)
        assert place.lifecycle().undo_all([left]) == []
        assert place.tags is None


def test_the_conflicts_that_are_known_of_are_tried() -> None:
    assert {
        ("parity_alarm", "DeleteAlarms", "ResourceConflict"),
        ("parity_function", "DeleteFunction", "ResourceConflictException"),
        ("parity_queue", "CreateQueue", "QueueDeletedRecently"),
        ("parity_role", "DeleteRole", "DeleteConflict"),
        ("parity_topic", "CreateTopic", "StaleTag"),
        ("parity_topic", "DeleteTopic", "ConcurrentAccess"),
    } <= set(BUSY)


@pytest.mark.parametrize("kind", ["parity_function", "parity_schedule"])
def test_a_role_that_is_not_known_to_the_end_is_busy_and_a_refusal_is_final(
    clock: Clock, kind: str, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", "none")
    place = Place(kind, ledger)
    message = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
    place.says(CREATES[kind][1], "ValidationException", message)
    life = place.lifecycle()
    life.wait = clock.sleep
    with pytest.raises(Busy, match="assume the role"):
        life.inject(place.made)
    assert place.created > 3
    (tried,) = place.lifecycle().undo_all() or [None]
    assert tried is None
    before = place.created
    place.says(CREATES[kind][1], "AccessDeniedException", f"arn:aws:sts::{ACCOUNT}:assumed-role/me is not authorized")
    with pytest.raises(TargetError, match="not authorized"):
        place.lifecycle().inject(place.made)
    assert place.created == before + 1
    ledger.close()


def test_every_kind_is_tried_here() -> None:
    assert set(ARGUMENTS) == set(CREATES) == set(THROWAWAY)
    assert all(issubclass(kind, Throwaway) for kind in THROWAWAY.values())
    assert set(RECOVERABLE) > set(THROWAWAY)


def test_times_are_whole_seconds_only_when_all_are() -> None:
    whole = datetime(2026, 1, 1, tzinfo=UTC)
    assert resolution([whole, whole]) == 1.0
    assert resolution([whole, whole.replace(microsecond=1000)]) == 0.001
