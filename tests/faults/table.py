"""Every fault against every documented error of every call it makes, once and for ever; what becomes of it.

`python -m tests.faults.table` tries them all and writes docs/FAULT_ERRORS.md; with `--check` it only compares. A test
tries some of them in every run, by a fixed rule.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.faults.stub.account import ARMED, FAST, SCALE, TIMEOUT, Omission, StubAws, StubTarget, documented
from tests.faults.stub.bench import FaultBench, QuickLedger
from tests.faults.stub.clock import Clock
from tests.faults.stub.faults import ARGUMENTS, LEFT_OUT, furnish
from tests.faults.stub.snapshot import snapshot

from tocsin.aws.error_codes import NOT_FOUND
from tocsin.errors import TocsinError

PAGE = Path(__file__).parents[2] / "docs" / "FAULT_ERRORS.md"
LOST = "(done without an answer)"
"""AWS does what it was asked for, and its answer does not come."""
WITHOUT = "without "
"""An answer that lacks a member which no model requires."""
BEFORE, INJECTION, UNDO = "before", "injection", "undo"
ARMED_FAULT = "rds_proxy_throttle with a schedule"
FAULTS: Mapping[str, tuple[str, StubTarget]] = {
    **{kind: (kind, FAST) for kind in ARGUMENTS},
    ARMED_FAULT: ("rds_proxy_throttle", ARMED),
}
"""As the table calls them -> kind, and where."""
_ONCE, _FOR_EVER = "once", "for ever"


@dataclass(frozen=True, order=True)
class Case:
    """A call of a fault that fails: from its `skip`-th in that act on, once or for ever."""

    fault: str
    act: str
    call: str
    code: str
    times: str
    skip: int = 0

    @property
    def lacks(self) -> str:
        """The member that its answer lacks; empty where it is an error."""
        return self.code.removeprefix(WITHOUT) if self.code.startswith(WITHOUT) else ""

    def __str__(self) -> str:
        return f"{self.fault}: {self.call} answers {self.code} {self.times} at {self.act} (after {self.skip})"


class Broken(Exception):
    """A promise that was not kept."""


class Trial:
    """One fault on an account of its own, and what is done with it."""

    def __init__(self, patch: pytest.MonkeyPatch, ledger: QuickLedger, fault: str) -> None:
        ledger.empty()
        self.stub = StubAws(Clock(patch, SCALE))
        self.stub.install(patch)
        furnish(self.stub)
        self.kind, target = FAULTS[fault]
        self.life = FaultBench(self.stub, ledger, target)
        self.before = snapshot(self.stub)

    def run(self, case: Case | None = None) -> dict[str, Counter[str]]:
        """A whole life; the calls of each act."""
        calls: dict[str, Counter[str]] = {}
        asked = 0

        def over(act: str, following: str) -> None:
            nonlocal asked
            calls[act], asked = Counter(self.stub.asked[asked:]), len(self.stub.asked)
            if case is not None and case.act == following:
                self._fails(case)

        self.life.lifecycle.permit = lambda change, aws: over(BEFORE, INJECTION)
        if case is not None and case.act == BEFORE:
            self._fails(case)
        try:
            self.life.inject(self.kind, **ARGUMENTS[self.kind])
        except TocsinError as error:
            _check_words(str(error))
        over(INJECTION if BEFORE in calls else BEFORE, UNDO)
        self.life.lifecycle.undo_all()
        over(UNDO, "")
        return calls

    def _fails(self, case: Case) -> None:
        if case.lacks:
            self.stub.omissions.append(Omission(case.call, case.lacks, 1 if case.times == _ONCE else float("inf")))
            return
        code, done = (TIMEOUT, True) if case.code == LOST else (case.code, False)
        times = 1 if case.times == _ONCE else float("inf")
        self.stub.fails(case.call, code, times=times, after=case.skip).done = done

    @property
    def as_before(self) -> bool:
        """Whether the account is as it was, when everything that is on its way has arrived."""
        self.stub.clock.sleep(600 / SCALE)
        return snapshot(self.stub) == self.before


def outcome(case: Case, ledger: QuickLedger) -> str:
    """What became of a case: `not injected`, `undone`, `left`, or `believed`.

    Raises:
        Broken: a promise was not kept.
    """
    with pytest.MonkeyPatch.context() as patch:
        trial = Trial(patch, ledger, case.fault)
        try:
            trial.run(case)
        finally:
            opened = trial.life.open
            whole = ledger.entries()
        if not whole:
            return _same(trial, "not injected", "changed without a ledger entry")
        if not opened:
            if (_says_gone(case) or _says_none(case)) and not trial.as_before:
                return "believed"
            return _same(trial, "undone", "called verified, and it is not as before")
        for entry in opened:
            _check_words(trial.life.reasons(entry))
        trial.stub.failures.clear()
        trial.stub.omissions.clear()
        left = trial.life.process().undo_all(opened)
        if left:
            raise Broken(f"not mended by a later recover: {trial.life.reasons(left[0])}")
        return _same(trial, "left", "called verified by recover, and it is not as before")


def _same(trial: Trial, what: str, otherwise: str) -> str:
    if not trial.as_before:
        now = snapshot(trial.stub)
        told = [f"{name}: {now[name]!r}, was {value!r}" for name, value in trial.before.items() if now[name] != value]
        raise Broken(f"{otherwise}: {'; '.join(told)}")
    return what


def _says_gone(case: Case) -> bool:
    """AWS says that what is asked for is not there."""
    return any(mark in case.code for mark in NOT_FOUND)


_POOL = "TargetGroups[].ConnectionPoolConfig"
SAYS_NONE: Mapping[tuple[str, str], str] = {
    ("elbv2:DescribeTargetHealth", "TargetHealthDescriptions[].Target.AvailabilityZone"): "of no zone of its own",
    ("elbv2:DescribeTargetHealth", "TargetHealthDescriptions[].Target.QuicServerId"): "not of QUIC",
    ("lambda:GetFunctionConfiguration", "Environment"): "no variables",
    ("lambda:GetFunctionConfiguration", "Environment.Variables"): "no variables",
    ("lambda:GetFunction", "Code.SourceKMSKeyArn"): "encrypted with a key of Lambda's",
    ("rds:DescribeDBProxyTargetGroups", f"{_POOL}.InitQuery"): "none",
    ("rds:DescribeDBProxyTargetGroups", f"{_POOL}.SessionPinningFilters"): "none",
}
"""Members whose absence before the fault is itself what AWS answers where there is no such thing: what it means.

Nobody can tell it from one that was left out. Afterwards everybody can: it was there before.
"""


SOMEBODY_ELSES: Mapping[tuple[str, str], str] = {
    ("sqs:ReceiveMessage", "Messages[].MessageAttributes"): "a message without a mark",
    ("fis:ListExperiments", "experiments[].tags"): "an experiment without tags",
    ("fis:ListExperimentTemplates", "experimentTemplates[].tags"): "a template without tags",
}
"""Members by which we know what is ours, and that others do without."""


def _says_none(case: Case) -> bool:
    place = (case.call, case.lacks)
    return place in SOMEBODY_ELSES or (case.act == BEFORE and place in SAYS_NONE)


def _check_words(text: str) -> None:
    """Whether a person can read why."""
    if len(text.split()) < 4 or "Error(" in text:
        raise Broken(f"not in words: {text!r}")


# --- the cases ----------------------------------------------------------------------------------------------


def cases(ledger: QuickLedger) -> Iterator[Case]:
    """All of them, of one fault after the other."""
    for fault in FAULTS:
        with pytest.MonkeyPatch.context() as patch:
            trial = Trial(patch, ledger, fault)
            calls = trial.run()
        for act in (BEFORE, INJECTION, UNDO):
            for call, count in sorted(calls.get(act, {}).items()):
                for code in (*documented(*call.split(":")), LOST):
                    yield Case(fault, act, call, code, _FOR_EVER)
                    for skip in range(min(count, 3)):
                        yield Case(fault, act, call, code, _ONCE, skip)
                for member in sorted(trial.stub.optional.get(call, ())):
                    yield Case(fault, act, call, WITHOUT + member, _FOR_EVER)
                    yield Case(fault, act, call, WITHOUT + member, _ONCE)


def some(everything: Iterable[Case]) -> list[Case]:
    """By a fixed rule: of each call of each act one error once and one for ever, another one for each call."""
    found: dict[tuple[str, ...], Case] = {}
    for case in sorted(everything, key=lambda one: zlib.crc32(str(one).encode())):
        found.setdefault((case.fault, case.act, case.call, case.times), case)
    return sorted(found.values())


# --- the page -----------------------------------------------------------------------------------------------


def page(outcomes: Mapping[Case, str]) -> str:
    """docs/FAULT_ERRORS.md."""
    lines = [_HEAD]
    for fault in FAULTS:
        lines += ["", f"## {fault}", "", "| when | call | once | for ever |", "|---|---|---|---|"]
        rows = dict.fromkeys((case.act, case.call) for case in outcomes if case.fault == fault)
        for act, call in rows:
            of_call = {
                one: what for one, what in outcomes.items() if (one.fault, one.act, one.call) == (fault, act, call)
            }
            cells = [_cell({one: what for one, what in of_call.items() if one.times == times}) for times in TIMES]
            lines.append(f"| {act} | `{call}` | {cells[0]} | {cells[1]} |")
    lines += ["", "## Left out", "", *(f"- `{kind}`: {why}." for kind, why in LEFT_OUT.items()), ""]
    return "\n".join(lines)


TIMES = (_ONCE, _FOR_EVER)


def _cell(outcomes: Mapping[Case, str]) -> str:
    """What became of it, most cases first; which errors, but for those of the most."""
    groups: dict[str, list[str]] = {}
    for case, what in outcomes.items():
        groups.setdefault(what, []).append(case.code if case.skip == 0 else f"{case.code} ({case.skip + 1})")
    ordered = sorted(groups, key=lambda what: (-len(groups[what]), what))
    return "; ".join(
        f"{what} {len(groups[what])}{'' if number == 0 else ': ' + ', '.join(groups[what])}"
        for number, what in enumerate(ordered)
    )


def rows(text: str) -> dict[tuple[str, str, str], tuple[str, str]]:
    """Cells of a page, by fault, act and call."""
    found: dict[tuple[str, str, str], tuple[str, str]] = {}
    fault = ""
    for line in text.splitlines():
        if line.startswith("## "):
            fault = line.removeprefix("## ")
        elif fault and line.startswith("| ") and "`" in line:
            act, call, once, for_ever = (cell.strip() for cell in line.strip("|").split("|"))
            found[fault, act, call.strip("`")] = (once, for_ever)
    return found


def count(cell: str) -> int:
    """How many errors a cell is about."""
    return sum(int(group.partition(": ")[0].rsplit(" ", 1)[1]) for group in cell.split("; "))


def told(text: str, case: Case) -> str:
    """What a page says became of a case; empty where it does not know it."""
    cells = rows(text).get((case.fault, case.act, case.call), ("", ""))
    name = case.code if case.skip == 0 else f"{case.code} ({case.skip + 1})"
    first, *others = cells[TIMES.index(case.times)].split("; ")
    for group in others:
        what, _, named = group.partition(": ")
        if name in named.split(", "):
            return what.rstrip("0123456789 ")
    return first.rstrip("0123456789 ")


_HEAD = """# Faults and the errors of AWS

Each fault of Tocsin against each error that AWS documents for each call it makes: the errors of the operation in
botocore's model, those that all services share, no answer at all, an answer that is lost after the deed, and one that
lacks a member which the model does not require (`without Targets[].Port`). Once (at
the first call of that act, the second, the third), and for ever. Written by `make faults`; a test tries some of them in
every run, and compares.

| outcome | meaning |
|---|---|
| not injected | nothing was changed, and there is no ledger entry |
| undone | the drill's own undo put everything back, and the account is as before |
| left | the drill ended with its entry open and the reason in words; `tocsin recover` put everything back later |
| believed | AWS said that what is asked for does not exist, or left out what it leaves out where there is none, \
although there was: nobody can know better |

*before* is what is read before the ledger entry, *injection* everything until the effect is seen, *undo* the rest with
its verification. The number behind an outcome says for how many errors; they are named where they are the fewer. No
case ends with a traceback, with an entry called verified that is not, or with a reason that is no sentence: the command
would fail."""


def main() -> int:
    """Try all, and write or compare the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare the page")
    parser.add_argument("--fault", help="only this one, and print what it says")
    options = parser.parse_args()
    found: dict[Case, str] = {}
    broken = []
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        ledger = QuickLedger(Path(name))
        for case in [one for one in cases(ledger) if options.fault in (None, one.fault)]:
            try:
                found[case] = outcome(case, ledger)
            except Exception as error:  # each is told, with its case
                broken.append(case)
                sys.stdout.write(f"BROKEN {case}: {error!r}\n")
    sys.stdout.write(f"{len(found)} cases in {time.perf_counter() - started:.0f} s, {len(broken)} broken\n")
    if broken or options.fault:
        sys.stdout.write(page(found) if options.fault else "")
        return 1 if broken else 0
    if options.check:
        return 0 if PAGE.read_text() == page(found) else 1
    PAGE.write_text(page(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
