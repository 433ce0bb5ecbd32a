"""What pytest collects when a target is given: one item an experiment, a canary function, a contract."""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tocsin.actors.canaries import surroundings
from tocsin.actors.context import RunContext, StopRequest
from tocsin.actors.injector import quiet_chaos_toolkit
from tocsin.canary import load_canaries, run_canary
from tocsin.checkers.contract import uncovered
from tocsin.commands.foreign import foreign_streams
from tocsin.commands.modes import private_files
from tocsin.commands.run import run_experiments
from tocsin.commands.session import start_sandbox
from tocsin.commands.signals import signals_to
from tocsin.commands.smoke import check_contract, undisturbed
from tocsin.drill.options import RunOptions
from tocsin.drill.plan import Planner, canary_names
from tocsin.errors import InvalidInput, TocsinError
from tocsin.model.synthetic import Writer
from tocsin.model.system import System
from tocsin.model.verdict import Outcome, Verdict
from tocsin.project.documents import load_experiment, load_system, system_names
from tocsin.project.places import find_root, runs_directory, work_directory
from tocsin.project.proxies import spare_loopback
from tocsin.project.targets import SANDBOX, check_target_name
from tocsin.report.words import what_now
from tocsin.shown import for_ci_log

EXPERIMENTS, SYNTHETICS, CONTRACTS = "experiments", "synthetics", "contracts"
_STARTER = "TOCSIN_PYTEST_SESSION"
_SUFFIXES = {
    EXPERIMENTS: (".yaml", ".yml", ".json"),
    SYNTHETICS: (".py",),
    CONTRACTS: (".yaml", ".yml", ".json"),
}


class NotPassed(Exception):
    """What an item has to say, in full: shown without a traceback, because it is not about the harness."""


class TocsinSession:
    """One pytest session on one target: finds the files, keeps drills apart, stops the sandbox that it started."""

    def __init__(self, config: pytest.Config, target: str) -> None:
        self.root = find_root(config.invocation_params.dir)
        spare_loopback()
        check_target_name(self.root, target)
        quiet_chaos_toolkit()
        self.target = target
        self.is_worker = hasattr(config, "workerinput")
        self.has_timeouts = config.pluginmanager.hasplugin("timeout")
        self.interrupted: str | None = None
        """Who asked for the end of the session, in words; what comes after it is not run."""
        self._runs = runs_directory(self.root) / time.strftime(f"pytest-%Y%m%d-%H%M%S-{os.getpid()}")
        # Inherited by the workers of xdist: a sandbox that any of them starts is this session's.
        self._starter = os.environ.setdefault(_STARTER, uuid.uuid4().hex)
        config.addinivalue_line("markers", "xdist_group(name): items that one worker runs, with --dist loadgroup")

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        """Files in directories named experiments, synthetics and contracts are ours."""
        kind = self._kind(file_path)
        if kind is None or file_path.suffix not in _SUFFIXES[kind]:
            return None
        collector = {EXPERIMENTS: ExperimentFile, SYNTHETICS: CanaryFile, CONTRACTS: ContractFile}[kind]
        return collector.from_parent(parent, path=file_path, session_of=self)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """After a signal nothing begins any more; each drill, canary and contract that was asked for says so.

        Raises:
            NotPassed: it is one of them.
        """
        if self.interrupted is None:
            return
        if isinstance(item, TocsinItem):
            raise NotPassed(f"{item.name}: unknown (interrupted): not run: {self.interrupted}")
        pytest.skip(f"not run: {self.interrupted}")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Stop the sandbox if this session started it. With xdist the last one to end, the controller, does it."""
        if self.interrupted is not None:
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        if self.target == SANDBOX and not self.is_worker and self._sandbox_systems():
            from tocsin.sandbox import control

            control.down(self.root, self._starter)

    def systems(self, file: Path, attribute: str) -> list[System]:
        """The systems whose file names this one as their canaries or contract.

        Raises:
            InvalidInput: none does, or a system file cannot be read.
        """
        names = system_names(self.root)
        found = [
            system
            for system in (load_system(self.root, name) for name in names)
            if _names(system, attribute, self.root, file)
        ]
        if not found:
            raise InvalidInput(
                f"expected a systems/*.yaml below {self.root} that names this file under `{attribute}`, found none",
                file=file,
            )
        return found

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While a drill breaks the target, nothing else of any pytest process runs on it."""
        with self._lock(fcntl.LOCK_EX):
            yield

    @contextmanager
    def undisturbed(self, system: str, item: pytest.Item, writer: Writer) -> Iterator[RunContext]:
        """A look at a healthy system, beside others that also only look.

        Raises:
            Refused: nobody said what becomes of what `writer`, or its synthetic users, would leave in an account.
        """
        with self._lock(fcntl.LOCK_SH):
            self.start_sandbox(system)
            options = self.options(item)
            try:
                with foreign_streams(), undisturbed(system, options, ("identities", writer)) as ctx:
                    yield ctx
            finally:
                self.heed(options.stop)

    def heed(self, stop: StopRequest) -> None:
        """What one item was asked to, all are."""
        if stop.is_set():
            self.interrupted = self.interrupted or str(stop.reason)

    def options(self, item: pytest.Item) -> RunOptions:
        """How to run an item: with a directory of its own for reports."""
        name = "-".join(part for part in item.nodeid.replace("::", "/").split("/") if part not in ("", ".", ".."))
        return RunOptions(root=self.root, target=self.target, out=self._runs / name)

    def start_sandbox(self, system: str) -> None:
        """Have a sandbox with this system, for the rest of the session."""
        if self.target == SANDBOX and system not in self._sandbox_systems():
            start_sandbox(system, self.root, None, lambda _: None, starter=self._starter)

    def _sandbox_systems(self) -> tuple[str, ...]:
        from tocsin.sandbox import control

        state = control.status(self.root)
        return state.systems if state else ()

    def _kind(self, file: Path) -> str | None:
        inside = file.relative_to(self.root) if file.is_relative_to(self.root) else file
        return next((part for part in reversed(inside.parts[:-1]) if part in _SUFFIXES), None)

    @contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        path = work_directory(self.root) / f"pytest-{self.target}.lock"
        with private_files():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w") as file:
                fcntl.flock(file, kind)
                yield


def _names(system: System, attribute: str, root: Path, file: Path) -> bool:
    named = getattr(system, attribute)
    named = getattr(named, "file", named)
    return named is not None and (root / named).resolve() == file.resolve()


class TocsinFile(pytest.File):
    """A file of ours; what is wrong with it is told in one message."""

    def __init__(self, *, session_of: TocsinSession, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.tocsin = session_of

    def collect(self) -> Iterable[pytest.Item]:
        """The items of the file.

        Raises:
            CollectError: the file cannot be used.
        """
        try:
            return list(self.items())
        except InvalidInput as error:
            raise self.CollectError(for_ci_log(str(error))) from None

    def items(self) -> Iterator[pytest.Item]:
        """The items of the file; raises InvalidInput."""
        raise NotImplementedError


class TocsinItem(pytest.Item):
    """Runs on the target."""

    def __init__(self, *, session_of: TocsinSession, system: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.tocsin = session_of
        self.system = system
        self.extra_keyword_matches.add(system)
        self.add_marker(pytest.mark.xdist_group(f"tocsin-{session_of.target}"))
        if session_of.has_timeouts:
            # A drill ends by its own deadlines; one that is shot in the fault act leaves a broken system behind.
            self.add_marker(pytest.mark.timeout(0))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Our own words for our own errors, a traceback for bugs."""
        if isinstance(excinfo.value, NotPassed | TocsinError):
            return for_ci_log(str(excinfo.value))
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the item is, for headings."""
        return self.path, None, self.name


class ExperimentFile(TocsinFile):
    """One experiment."""

    def items(self) -> Iterator[pytest.Item]:
        """One item, also of a file that cannot be used: it is then one failed test with a message."""
        yield ExperimentItem.from_parent(self, name=self.path.stem, session_of=self.tocsin, system="")


class ExperimentItem(TocsinItem):
    """A drill; its tags can be chosen with `-k`."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        try:
            experiment = load_experiment(self.path).experiment
        except InvalidInput:
            return
        self.extra_keyword_matches.update((*experiment.tags, experiment.extension.system))

    def runtest(self) -> None:
        """Drill.

        Raises:
            NotPassed: an expectation was not met, could not be judged, or the drill was refused.
            TocsinError: the file cannot be used, or the target cannot be reached.
        """
        plan = Planner(self.tocsin.root).plan(self.path)
        options = self.tocsin.options(self)
        try:
            with foreign_streams(), signals_to(options.stop), self.tocsin.alone():
                self.tocsin.start_sandbox(plan.system.system)
                run, out = run_experiments([self._shown_path()], options)
        finally:
            self.tocsin.heed(options.stop)
        verdict = run.drills[0]
        told = list(_complaints(verdict))
        if verdict.has_report:
            report = out / self.path.stem / "report.html"
            self.user_properties.append(("report", str(report)))
            told.append(f"report: {report}")
        if verdict.exit_code:
            raise NotPassed("\n".join(told))

    def _shown_path(self) -> Path:
        # The report tells how to run it again: from the directory where the user is now.
        here = self.config.invocation_params.dir
        return self.path.relative_to(here) if self.path.is_relative_to(here) else self.path


def _complaints(verdict: Verdict) -> Iterator[str]:
    stopped = f", stopped by the guard '{verdict.stopped}'" if verdict.stopped else ""
    yield f"{verdict.title}: {verdict.outcome.value}{stopped}"
    for entry in verdict.residue:
        yield f"  residue  {entry}: {' '.join(what_now([entry]))}"
    for judgement in verdict.judgements:
        if judgement.outcome is not Outcome.PASS:
            told = f"{judgement.id} ({judgement.reason.value}): {judgement.message}"
            yield f"  {judgement.outcome.value:<8} {told}"


class CanaryFile(TocsinFile):
    """Canaries of one or more systems."""

    def items(self) -> Iterator[pytest.Item]:
        """One item a function `canary_*` and system; found without importing the file."""
        systems = self.tocsin.systems(self.path, "canaries")
        for system in systems:
            for canary in canary_names(self.tocsin.root, system):
                name = f"canary_{canary}" if len(systems) == 1 else f"canary_{canary}[{system.system}]"
                yield CanaryItem.from_parent(
                    self, name=name, session_of=self.tocsin, system=system.system, canary=canary
                )


class CanaryItem(TocsinItem):
    """One user journey."""

    def __init__(self, *, canary: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.canary = canary

    def runtest(self) -> None:
        """Run it, once more if it fails.

        Raises:
            NotPassed: it failed twice, or is broken itself.
        """
        with self.tocsin.undisturbed(self.system, self, "canaries") as ctx:
            function = load_canaries(self.path)[self.canary]
            ran = run_canary(self.canary, function, surroundings(ctx))
            ctx.history.record(ran)
        if not ran.ok:
            self.user_properties.append(("first_attempt", ran.detail))
        if ran.broken or not ran.ok_after_retry:
            raise NotPassed(f"{self.name}: {ran.detail}")


class ContractFile(TocsinFile):
    """The contract of one or more systems."""

    def items(self) -> Iterator[pytest.Item]:
        """One item a system."""
        for system in self.tocsin.systems(self.path, "contract"):
            yield ContractItem.from_parent(self, name=system.system, session_of=self.tocsin, system=system.system)


class ContractItem(TocsinItem):
    """A strict contract test of the healthy system."""

    def runtest(self) -> None:
        """Run Schemathesis.

        Raises:
            NotPassed: an answer broke the contract, or the run did not come to its end, or tried too little of it.
        """
        with self.tocsin.undisturbed(self.system, self, "contract") as ctx:
            ran = check_contract(ctx)
        if ran is None:
            raise NotPassed("unknown: the contract test recorded no result; see contract-baseline.log in the run")
        told = f"{ran.cases} cases on {ran.operations} operations"
        if ran.failures:
            lines = [f"  {f.operation}: {f.check} x{f.count}: {f.message}" for f in ran.failures]
            raise NotPassed("\n".join([f"{told}, {len(ran.failures)} kinds of failure", *lines]))
        short = uncovered(ran) if ran.complete else ran.detail
        if short:
            raise NotPassed(f"unknown: {told}; {short}")
