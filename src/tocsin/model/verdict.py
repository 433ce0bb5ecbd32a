"""What the judges say."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from tocsin.model.base import Model
from tocsin.model.definitions import Definitions
from tocsin.model.events import NO_ENTRY


class Outcome(StrEnum):
    """Three verdicts; of several, fail > unknown > pass."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    UNKNOWN = "unknown"


def merge(outcomes: Iterable[Outcome]) -> Outcome:
    """Fail dominates, then unknown; nothing at all is unknown (Jepsen's rule, with absence never a pass)."""
    found = set(outcomes)
    if Outcome.FAIL in found:
        return Outcome.FAIL
    if Outcome.UNKNOWN in found or not found:
        return Outcome.UNKNOWN
    return Outcome.PASS


class Reason(StrEnum):
    """Why an expectation was judged as it was."""

    AS_EXPECTED = "as_expected"
    # fail
    DID_NOT_RING = "did_not_ring"
    RANG_LATE = "rang_late"
    RANG_BUT_QUIET = "rang_but_quiet"
    NOT_NOTIFIED = "not_notified"
    NOTIFIED_LATE = "notified_late"
    DID_NOT_CLEAR = "did_not_clear"
    RANG_AGAIN = "rang_again"
    FLAPPED = "flapped"
    CANARY_BLIND = "canary_blind"
    CANARY_FAILED = "canary_failed"
    CONTRACT_BROKEN = "contract_broken"
    TOO_MANY_ERRORS = "too_many_errors"
    TOO_SLOW = "too_slow"
    UNDOCUMENTED_ANSWER = "undocumented_answer"
    NOT_RECOVERED = "not_recovered"
    HYPOTHESIS_NOT_MET = "hypothesis_not_met"
    ACTIVITY_FAILED = "activity_failed"
    WORK_LOST = "work_lost"
    WORK_DUPLICATED = "work_duplicated"
    NOT_ROLLED_BACK = "not_rolled_back"
    UNDO_FAILED = "undo_failed"
    RESIDUE = "residue"
    NOT_BLIND = "not_blind"
    GAP_REFUTED = "gap_refuted"
    # unknown
    NO_EFFECT = "no_effect"
    NO_EVIDENCE = "no_evidence"
    NOBODY_HURT = "nobody_hurt"
    NO_TRAFFIC = "no_traffic"
    NO_DATA = "no_data"
    NOT_WATCHED = "not_watched"
    NOT_EVALUATED = "not_evaluated"
    RANG_BEFORE_FAULT = "rang_before_fault"
    SET_BY_HAND = "set_by_hand"
    DEFINITION_CHANGED = "definition_changed"
    NOT_AS_DOCUMENTED = "not_as_documented"
    LOAD_INVALID = "load_invalid"
    TOO_FEW_ANSWERS = "too_few_answers"
    MACHINE_BUSY = "machine_busy"
    ACTOR_DIED = "actor_died"
    CHECKER_CRASHED = "checker_crashed"
    WINDOW_CUT = "window_cut"
    CLOCK_JUMPED = "clock_jumped"
    DRIFTED = "drifted"
    INFEASIBLE = "infeasible"
    REFUSED = "refused"
    INTERRUPTED = "interrupted"
    HISTORY_BROKEN = "history_broken"


CHANGE = "change "
"""How what a statement or a procedure of the method left begins: it is in no ledger."""
OWED = "rollback "
"""How a rollback begins that a drill owes: it is in the ledger, and no fault."""


def is_entry(left: str) -> bool:
    """Whether one of the things that a drill left is an entry of its ledger, which `tocsin recover` undoes."""
    return not left.startswith((NO_ENTRY, CHANGE, OWED))


class Judgement(Model):
    """The verdict on one expectation."""

    id: str = Field(description="stable, unique in a drill: `must:api-5xx`, `quiet:calendar-dlq`, `undo`, ...")
    question: str = Field(description="what was asked, in words: `api-5xx rings within 11m`")
    outcome: Outcome
    reason: Reason
    message: str = Field(description="what was expected and what was seen; with times")
    measured: dict[str, float] = Field(
        default_factory=dict, description="figures behind it, in production seconds or counts"
    )


class Finding(Model):
    """Something the drill teaches that is not a failure of the drill: a blind alarm, a gap, a drift."""

    kind: str = Field(description="`gap`, `blind_alarm`, `definition_drift`, ...")
    subject: str
    message: str


class Detection(Model):
    """Time to detect in stages, in production seconds after the injection was requested; None: not seen."""

    alarm: str
    requested_at: float = Field(description="wall-clock epoch seconds")
    accepted_s: float | None = None
    effective_s: float | None = None
    breached_s: float | None = None
    alarm_s: float | None = None
    notified_s: float | None = None
    cleared_s: float | None = Field(default=None, description="after the undo was verified")
    within_s: float = Field(description="the deadline")
    typical_s: float | None = Field(default=None, description="estimate of preflight for AWS, after the injection")
    worst_s: float | None = Field(default=None, description="estimate of preflight for AWS, after the injection")


class Verdict(Model):
    """The verdict on one drill, made from its history alone."""

    drill: str = Field(description="its unique id; empty where there is no history of it")
    experiment: str = Field(description="slug")
    title: str
    path: str
    system: str
    target: str
    scale: float
    tags: tuple[str, ...] = Field(default=(), description="of its file, and `long` where it is")
    started_at: float
    ended_at: float
    outcome: Outcome
    stopped: str | None = Field(default=None, description="guard that stopped the drill, or `interrupted`")
    residue: tuple[str, ...] = Field(default=(), description="what was left, or not seen to be gone: see `is_entry`")
    judgements: tuple[Judgement, ...]
    findings: tuple[Finding, ...] = ()
    detections: tuple[Detection, ...] = ()
    time_to_roll_back_s: float | None = Field(
        default=None, description="undo requested to undo verified, production seconds"
    )
    time_to_recover_s: float | None = Field(
        default=None, description="undo requested to everything as before, production seconds"
    )
    not_observed: tuple[str, ...] = Field(default=(), description="what this drill did not look at, or could not see")
    command: str = ""
    definitions: Definitions | None = Field(
        default=None, description="hashes of what the drill is bound to; absent where an older version drilled"
    )

    @model_serializer(mode="wrap")
    def _as_an_older_version_wrote_it(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        if self.definitions is None:
            written.pop("definitions", None)
        if not self.tags:
            written.pop("tags", None)
        return written

    @property
    def has_report(self) -> bool:
        """Whether there is a history, and a page that is made from it."""
        return bool(self.drill)

    @property
    def killed(self) -> bool:
        """Whether the drill ended without a word: its history is cut, and nobody stopped it."""
        cut = any(found.id == "drill" and found.reason is Reason.WINDOW_CUT for found in self.judgements)
        return cut and self.stopped is None

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 3 unknown, 4 refused or stopped by a guard, 5 residue left."""
        if self.residue:
            return 5
        if self.stopped is not None:
            return 4
        return {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.UNKNOWN: 3}[self.outcome]


class RunVerdict(Model):
    """The verdict on one `tocsin run`: all its drills."""

    schema_version: int = 1
    version: str
    started_at: float
    ended_at: float
    outcome: Outcome
    exit_code: int
    drills: tuple[Verdict, ...]
