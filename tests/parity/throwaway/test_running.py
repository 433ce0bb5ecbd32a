"""Measurements on an account in memory that is worse than the sandbox, and however a run of them ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.parity.throwaway.pretended import Pretended
from tests.stubbed import Error, Request, refused

from tocsin.errors import Interrupted, Refused, ResidueLeft, Unavailable
from tocsin.faults.base import Change
from tocsin.faults.lifecycle import FaultLifecycle, recover
from tocsin.guards.kill_switch import KillSwitch, set_file
from tocsin.model.rules import GuardRules
from tocsin.parity.context import Clock, ParityContext
from tocsin.parity.model import Key, Measured
from tocsin.parity.throwaway import empty_polls, function_conflicts
from tocsin.parity.throwaway.registry import RECOVERABLE
from tocsin.parity.throwaway.running import MEASUREMENTS, Measurement, Thrown, guarded, measure
from tocsin.parity.throwaway.telling import Telling
from tocsin.parity.throwaway.workshop import Budget, NotSeen, Workshop
from tocsin.record.ledger import Ledger


def anything(change: Change, aws: object) -> None:
    """No guard."""


def only(*keys: Key) -> tuple[Measurement, ...]:
    return tuple(one for one in MEASUREMENTS if one.rows[0][0] in keys)


class Place:
    """An account, a ledger, and what was shown."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.account = Pretended()
        self.target = self.account.target
        self.ledger = Ledger(root / "ledger.sqlite", "none")
        self.said: list[str] = []
        self.before = self.account.all

    @property
    def context(self) -> ParityContext:
        return ParityContext(self.target, self.ledger, Clock(wait=lambda wall_s: None), self.said.append)

    def measured(self, *keys: Key) -> Thrown:
        return measure(self.context, anything, measurements=only(*keys))

    def stopping_at(self, line: str) -> ParityContext:
        """The end is asked for when that was shown."""

        def wait(wall_s: float) -> None:
            if any(line in said for said in self.said):
                raise Interrupted("SIGINT")

        return replace(self.context, clock=Clock(wait=wait))

    @property
    def open(self) -> list[str]:
        return [entry.resource for entry in self.ledger.entries(only_open=True)]

    @property
    def as_before(self) -> bool:
        """Whether nothing is open, and just what was there is there."""
        return not self.open and self.account.all == self.before


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.ledger.close()


def row(thrown: Thrown, about: str) -> Measured:
    return next(one for one in thrown.rows if one.about == about)


# --- an account that is worse -------------------------------------------------------------------------------


def polls(place: Place, *, long: bool, empty: int) -> None:
    """Of the polls of that kind, each with such a number comes back empty."""
    asked = Counter[bool]()

    def receive(request: Request) -> Mapping[str, Any]:
        kind = bool(request.get("WaitTimeSeconds"))
        asked[kind] += 1
        gone = kind is long and asked[kind] % empty == 0
        return {} if gone else {"Messages": [{"Body": place.account.sent[0]}]}

    place.account.stub.answers("sqs", "ReceiveMessage", receive)


def test_short_polls_that_come_back_empty_are_counted(place: Place) -> None:
    polls(place, long=False, empty=4)
    thrown = place.measured(Key.EMPTY_POLLS)
    short, long = row(thrown, empty_polls.SHORT), row(thrown, empty_polls.LONG)
    assert (short.here, short.looks) == (0.25, 40)
    assert (long.here, long.holds) == (0.0, True)
    assert place.as_before


def test_a_long_poll_that_comes_back_empty_does_not_hold(place: Place) -> None:
    polls(place, long=True, empty=10)
    long = row(place.measured(Key.EMPTY_POLLS), empty_polls.LONG)
    assert (long.here, long.holds) == (0.1, False)


@pytest.mark.parametrize(("code", "holds"), [("ResourceConflictException", True), ("NewConflictException", False)])
def test_the_code_of_a_conflict_is_named(place: Place, code: str, holds: bool) -> None:
    changes = count(1)

    def the_last_is_too_soon(request: Request) -> Mapping[str, Any]:
        if next(changes) == 3:
            raise Error(code, status=409)
        return {}

    place.account.stub.answers("lambda", "UpdateFunctionConfiguration", the_last_is_too_soon)
    thrown = place.measured(Key.FUNCTION_CONFLICT)
    assert row(thrown, function_conflicts.NEW).here == function_conflicts.TAKEN
    twice = row(thrown, function_conflicts.TWICE)
    assert (twice.here, twice.holds) == (code, holds)
    assert place.as_before


def test_what_cannot_be_made_is_a_row_without_an_answer_and_the_others_go_on(place: Place) -> None:
    place.account.stub.answers("lambda", "CreateFunction", refused("AccessDeniedException", "not you", 403))
    thrown = place.measured(Key.FUNCTION_CONFLICT, Key.EMPTY_POLLS)
    silent = [one for one in thrown.rows if one.key is not Key.EMPTY_POLLS]
    assert [(one.here, one.holds) for one in silent] == [(None, None)] * len(function_conflicts.CONFLICTS)
    assert all("AccessDeniedException: not you" in one.detail for one in silent)
    assert row(thrown, empty_polls.SHORT).holds
    assert (thrown.left, place.as_before) == ((), True)


# --- however it ends ----------------------------------------------------------------------------------------


def test_what_cannot_be_deleted_is_named_and_recover_finishes_it(place: Place) -> None:
    place.account.stub.answers("sqs", "DeleteQueue", refused("AccessDenied", "not you", 403))
    thrown = place.measured(Key.EMPTY_POLLS)
    (left,), (resource,) = thrown.left, place.open
    assert resource in left
    assert "AccessDenied: not you" in left
    assert any(line.startswith(f"NOT deleted: {resource}: ") for line in place.said)
    assert row(thrown, empty_polls.SHORT).holds

    def delete(asked: Request) -> Mapping[str, Any]:
        del place.account.queues[str(asked["QueueUrl"]).split("/")[2]]
        return {}

    place.account.stub.answers("sqs", "DeleteQueue", delete)
    recover(place.target, place.ledger, registry=RECOVERABLE)
    assert place.as_before


@pytest.mark.parametrize("line", ["waiting until queue", "creating role", "creating function"])
def test_a_stop_in_the_middle_deletes_and_verifies(place: Place, line: str) -> None:
    place.account.stub.answers("lambda", "GetFunctionConfiguration", {"State": "Pending"})
    with pytest.raises(Interrupted):
        measure(place.stopping_at(line), anything, measurements=only(Key.FUNCTION_CONFLICT, Key.EMPTY_POLLS))
    assert place.ledger.entries()
    assert place.as_before


def test_a_stop_that_leaves_something_ends_as_residue(place: Place) -> None:
    place.account.stub.answers("sqs", "DeleteQueue", refused("AccessDenied", "not you", 403))
    with pytest.raises(ResidueLeft, match="AccessDenied"):
        measure(place.stopping_at("waiting until queue"), anything, measurements=only(Key.EMPTY_POLLS))
    assert len(place.open) == 1


def test_output_that_goes_away_leaves_nothing_behind(place: Place) -> None:
    lines = count()

    def show(line: str) -> None:
        if next(lines) == 2:
            raise SystemExit(1)

    thrown = measure(replace(place.context, progress=show), anything, measurements=only(Key.EMPTY_POLLS))
    assert (thrown.left, place.as_before, next(lines)) == ((), True, 3)


def test_the_kill_switch_ends_it_before_anything_is_made(place: Place) -> None:
    set_file(place.root, "none", "not now")
    with pytest.raises(Refused, match="not now"):
        measure(place.context, guarded(place.target, KillSwitch(place.root, place.target), None))
    assert place.ledger.entries() == []
    assert place.as_before


def test_a_production_account_wants_consent(place: Place) -> None:
    target = replace(place.target, rules=GuardRules(production=True))
    place.account.stub.attach(target)
    kill_switch = KillSwitch(place.root, target)
    context = replace(place.context, target=target)
    some = only(Key.EMPTY_POLLS)
    with pytest.raises(Refused, match="--yes-production"):
        measure(context, guarded(target, kill_switch, None), measurements=some)
    assert place.ledger.entries() == []
    assert measure(context, guarded(target, kill_switch, target.account), measurements=some).rows[0].holds


def test_a_second_one_is_refused_while_the_first_lasts(place: Place) -> None:
    with place.ledger.lock("somebody"), pytest.raises(Refused, match="somebody"):
        measure(place.context, anything)
    assert place.ledger.entries() == []


# --- the budget ---------------------------------------------------------------------------------------------


def workshop(place: Place, looks: int) -> Workshop:
    lifecycle = FaultLifecycle(place.target, place.ledger, "d", registry=RECOVERABLE)
    return Workshop(place.context, lifecycle, "run", Budget(time.time() + 600, looks), Telling(place.said.append))


def test_an_unanswered_look_is_made_again_and_told_when_none_is_answered(place: Place) -> None:
    answers = iter([Unavailable("no answer"), None, "here"])

    def question() -> str | None:
        answer = next(answers)
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    def never() -> str | None:
        raise Unavailable("no answer at all")

    assert workshop(place, 100).seen("it is here", question, 600) == "here"
    with pytest.raises(NotSeen, match=r"it is here within 0\.5s.*no answer at all"):
        workshop(place, 10**9).seen("it is here", never, 0.5)


def test_a_budget_that_is_spent_ends_every_look(place: Place) -> None:
    shop = workshop(place, 3)
    with pytest.raises(NotSeen, match="no look of the budget"):
        shop.seen("it is here", lambda: None, 1e9)
    with pytest.raises(NotSeen, match="no look of the budget"):
        shop.seen("it is here", lambda: "here", 1e9)
    late = replace(shop, budget=Budget(ends_at=0.0, looks=3))
    with pytest.raises(NotSeen, match="no time of the budget"):
        late.seen("it is here", lambda: "here", 1e9)
