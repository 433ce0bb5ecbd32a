"""The contract: one bounded Schemathesis run an act, strict except for what the fault act allows."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tocsin.actors.attended import attended
from tocsin.actors.base import STOP_WITHIN_S, Child
from tocsin.actors.context import RunContext
from tocsin.actors.contract_order import Order
from tocsin.actors.forks import Forks
from tocsin.actors.identities import Identities
from tocsin.errors import InvalidInput, near_match
from tocsin.masking import mask_document
from tocsin.model.events import Act, ActorDied, ContractFailure, ContractRan
from tocsin.model.synthetic import carries, unmarked
from tocsin.project.cache import user_cache
from tocsin.project.openapi import OpenApiDocument
from tocsin.project.places import project_directory

_CONFIG = """\
# Nothing is remembered from one run to the next: the seed alone decides what is sent.
[cache]
enabled = false

[generation]
database = "none"

# Operations without examples in the document have their turn with the first ones too.
[phases.examples]
fill-missing = true
"""
# `unsupported_method` and the data checks probe the specification rather than the behaviour under a fault: they send
# odd verbs and judge what 4xx is given to nonsense. A drill asks whether callers get what was promised to them.
_CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)
_AUTH_CHECK = ",ignored_auth"
# A slow answer keeps the contract: longer than functions may run that answer people, whose end API Gateway announces.
_REQUEST_TIMEOUT_S = 11
_NETWORK_ERROR = "Network Error"
_LOOK_WALL_S = 0.05


@dataclass(frozen=True)
class Depth:
    """How much a run tries."""

    phases: str
    examples: int
    workers: int = 4
    """operations tested side by side; never two requests of one operation"""
    mode: str = "all"
    max_time_s: int | None = None
    """shared by the operations; after it a run with fuzzing would go on to fuzz"""


BRIEF = Depth("examples,fuzzing", 3)
"""A few seconds."""
DEGRADED = Depth("examples,coverage", 3, workers=10, mode="positive", max_time_s=12)
"""What callers get who do everything right; every operation has its turn, also when each answer takes seconds."""
THOROUGH = Depth("examples,coverage,fuzzing", 20)
"""Also every boundary of every parameter: for a system that is not being broken meanwhile."""


@dataclass(frozen=True)
class _Plan:
    file: Path
    url: str
    """where the paths of the contract begin"""
    accepted: tuple[int, ...]
    depth: Depth
    token: Callable[[], str | None]


@dataclass
class _Seen:
    """What the child has told so far."""

    answers: dict[str, Counter[str]] = field(default_factory=dict)
    """operation -> status -> how many"""
    allowed: set[str] = field(default_factory=set)
    """cases that were answered with a status that the act allows"""
    failed: set[str] = field(default_factory=set)
    failures: dict[tuple[str, str, int | None], ContractFailure] = field(default_factory=dict)

    def hear(self, line: str) -> None:
        """Take in one JSON line; the last one of a killed child may be half a line."""
        try:
            told = json.loads(line)
        except ValueError:
            return
        if "answer" in told:
            self.answers.setdefault(told["operation"], Counter())[told["answer"]] += 1
        elif "degraded" in told:
            self.allowed.add(told["degraded"])
        else:
            self.failed.add(told["case"])
            self._add(ContractFailure.model_validate(told["failure"]))

    @property
    def statuses(self) -> Counter[str]:
        """Status -> how many, of all operations."""
        return sum(self.answers.values(), Counter())

    @property
    def degraded(self) -> int:
        """Degraded answers that were as documented in every other way too."""
        return len(self.allowed - self.failed)

    def _add(self, failure: ContractFailure) -> None:
        """Count a failure; of the same kind of failure the first message is kept."""
        key = (failure.operation, failure.check, failure.status)
        known = self.failures.get(key)
        self.failures[key] = known.model_copy(update={"count": known.count + 1}) if known else failure


class _Run:
    """One child process, a fork of `forks`, and the thread that listens to it."""

    def __init__(self, ctx: RunContext, act: Act, plan: _Plan, forks: Forks) -> None:
        self._ctx = ctx
        self._act = act
        self._plan = plan
        self._forks = forks
        self._report = ctx.directory / f"contract-{act.value}.json"
        self._log = ctx.directory / f"contract-{act.value}.log"
        self._child: Child | None = None
        self._cut: str | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._live, name=f"contract {act.value}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, reason: str) -> None:
        """Cut the run short, if it still goes on, and wait until its result is recorded."""
        with self._lock:
            if not self.is_alive():
                return
            self._cut = self._cut or reason
            child = self._child
        if child is not None:
            child.stop()
        self._thread.join(STOP_WITHIN_S)

    def _live(self) -> None:
        try:
            self._run()
        except BaseException as error:  # also SystemExit, which ends a thread without a word
            detail = f"{type(error).__name__}: {error}"
            self._tell(time.time(), _Seen(), detail)
            self._died(detail)

    def _run(self) -> None:
        started = time.time()
        reading, writing = os.pipe()
        try:
            child = self._start_child(writing)
        finally:
            os.close(writing)
        seen = _Seen()
        with os.fdopen(reading, "r", encoding="utf-8") as lines:
            if child is not None:
                for line in lines:
                    seen.hear(line)
                child.wait()
        self._record(started, seen)

    def _start_child(self, descriptor: int) -> Child | None:
        order = Order(descriptor, self._plan.accepted, self._plan.token())
        while self._cut is None and not self._forks.is_ready(_LOOK_WALL_S):
            pass  # the first run waits for the imports
        config = self._ctx.directory / "contract.toml"
        config.write_text(_CONFIG, encoding="utf-8")
        with self._lock:
            if self._cut is None:
                self._child = Child(
                    self._argv(config),
                    cwd=self._ctx.directory,
                    log=self._log,
                    env={},
                    first_line=order.to_line(),
                    pass_fds=[descriptor],
                    forked_by=self._forks,
                )
            return self._child

    def _argv(self, config: Path) -> list[str]:
        depth = self._plan.depth
        return [
            *("st", "--config-file", str(config)),
            *("run", str(self._plan.file), "--url", self._plan.url, "--checks", self._checks()),
            *("--phases", depth.phases, "--max-examples", str(depth.examples), "--seed", str(self._ctx.seed)),
            *("--mode", depth.mode, *(["--max-time", str(depth.max_time_s)] if depth.max_time_s else [])),
            *("--no-shrink", "--continue-on-failure", "--workers", str(depth.workers)),
            *("--request-timeout", str(_REQUEST_TIMEOUT_S), "--warnings", "off", "--no-color"),
            *("--report", "json", "--report-json-path", str(self._report)),
        ]

    def _checks(self) -> str:
        # It asks again without a token, and a degraded answer to that says nothing about who is let in.
        return _CHECKS if self._plan.accepted else _CHECKS + _AUTH_CHECK

    def _record(self, started: float, seen: _Seen) -> None:
        report = self._read_report()
        detail = self._cut or self._why_incomplete(report, seen)
        self._tell(started, seen, detail, report["operations"]["total"] if report else None)
        if self._cut is None and not report:
            self._died(detail)

    def _tell(self, started: float, seen: _Seen, detail: str, documented: int | None = None) -> None:
        statuses = seen.statuses
        self._ctx.history.record(
            ContractRan(
                at=started,
                ended_at=time.time(),
                act=self._act,
                complete=not detail,
                cases=statuses.total(),
                operations=len(seen.answers),
                documented=documented,
                answers={operation: dict(answers) for operation, answers in seen.answers.items()},
                degraded=seen.degraded,
                statuses=dict(statuses),
                failures=tuple(seen.failures.values()),
                detail=detail,
            )
        )

    def _read_report(self) -> dict[str, Any]:
        """Schemathesis' own summary; empty when it did not live to write it."""
        try:
            report: dict[str, Any] = json.loads(self._report.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        self._report.write_text(json.dumps(mask_document(report), indent=2), encoding="utf-8")
        return report

    def _why_incomplete(self, report: dict[str, Any], seen: _Seen) -> str:
        """Why the run says less than it should; empty when it came to its own end."""
        if not report:
            return f"Schemathesis ended without a report: {self._child.log_tail() if self._child else ''}"
        if report["stop_reason"] not in ("completed", "max_time"):
            return f"Schemathesis stopped early: {report['stop_reason']}"
        # Unanswered requests are failures of the API and told as such; all other errors are the tool's.
        errors = [error["title"] for error in report["errors"] if error["title"] != _NETWORK_ERROR]
        if errors:
            return f"Schemathesis had errors of its own ({', '.join(errors)}), see {self._log.name}"
        total, reached = report["operations"]["selected"], len(seen.answers)
        return "" if reached == total else f"{reached} of {total} operations were tried"

    def _died(self, detail: str) -> None:
        self._ctx.history.record(ActorDied(at=time.time(), actor=f"contract {self._act.value}", detail=detail))


class ContractActor:
    """Tests the contract of the system file against the running system, once an act.

    Outside the fault act every check is strict. Inside it a server error counts as documented degradation when its
    status is in `expect.degraded`; status, media type, headers and body must still be those of the contract.
    All requests carry the token of `contract_as`: generated data is sent by somebody who can do no harm.
    """

    name = "contract"

    def __init__(self, ctx: RunContext, identities: Identities | None = None, depth: Depth = BRIEF) -> None:
        if ctx.system.contract is None:
            raise InvalidInput(f"expected a contract in systems/{ctx.system.system}.yaml, found none")
        self._ctx = ctx
        self._file = ctx.root / ctx.system.contract
        self._identity = _identity(ctx)
        self._identities = identities or Identities(ctx.target, ctx.system)
        self._depth = depth
        self._runs: dict[Act, _Run] = {}
        self._forks: Forks | None = None

    def start_act(self, act: Act) -> None:
        """Begin the run of an act, and return at once; a run of an earlier act that still goes on is ended."""
        self._end_runs()
        if self._forks is not None and not self._forks.is_alive():
            self._end_forks()
        self._forks = self._forks or self._new_forks()
        self._runs[act] = run = _Run(self._ctx, act, self._plan(act), self._forks)
        run.start()

    def is_running(self, act: Act) -> bool:
        """Whether the run of an act still goes on."""
        run = self._runs.get(act)
        return run is not None and run.is_alive()

    def wait(self, act: Act, wall_s: float) -> None:
        """Wait for the end of the run of an act; one that takes longer than `wall_s` is cut short, and says so.

        Raises:
            Interrupted: the drill was asked to end.
        """
        run = self._runs.get(act)
        deadline = time.monotonic() + wall_s
        while run is not None and run.is_alive():
            self._ctx.stop.wait(0.05)
            if time.monotonic() > deadline:
                cut_short = partial(run.stop, f"cut short after {wall_s:g} s")
                attended(cut_short, self._ctx.stop, "end of the contract run")

    def stop(self) -> None:
        """End what still runs; its result is recorded as incomplete."""
        self._end_runs()
        self._end_forks()

    def _end_runs(self) -> None:
        for run in self._runs.values():
            run.stop("the drill went on before it was done")

    def _end_forks(self) -> None:
        if self._forks is not None:
            self._forks.stop()
            self._forks = None

    def _new_forks(self) -> Forks:
        return Forks(
            "tocsin.actors.contract_forks",
            cwd=self._ctx.directory,
            log=self._ctx.directory / "contract.log",
            env={"HYPOTHESIS_STORAGE_DIRECTORY": str(_tables(self._ctx.root))},
        )

    def _plan(self, act: Act) -> _Plan:
        degraded = self._ctx.experiment.extension.expect.degraded
        accepted = degraded.status if degraded is not None and act == Act.FAULT else ()
        url = OpenApiDocument.load(self._file).base_url(self._ctx.base_url)
        return _Plan(self._file, url, accepted, DEGRADED if accepted else self._depth, self._token)

    def _token(self) -> str | None:
        if not self._identity:
            return None
        marks = self._ctx.system.marks("contract")
        user = self._identities.users(self._identity)[0] if marks else None
        if not carries(marks, user):
            raise InvalidInput(unmarked(marks, f"what is sent as '{user}', the user of `contract_as`,"))
        return self._identities.token(self._identity).value


def _tables(root: Path) -> Path:
    """Where Hypothesis keeps its tables of Unicode, which take seconds to make: once for a user, not once a run.

    In the checkout where the user has no cache that can be written to: Hypothesis would make them for every run.
    """
    cache = user_cache()
    if cache is not None:
        with suppress(OSError):
            cache.mkdir(parents=True, exist_ok=True)
            if os.access(cache, os.W_OK):
                return cache / "hypothesis"
    return project_directory(root) / "hypothesis"


def _identity(ctx: RunContext) -> str | None:
    wanted, known = ctx.system.contract_as, ctx.system.identities
    if wanted is not None and wanted not in known:
        raise InvalidInput(
            f"systems/{ctx.system.system}.yaml: expected `contract_as` to be one of its identities, "
            f"found '{wanted}'. {near_match(wanted, known)}"
        )
    return wanted
