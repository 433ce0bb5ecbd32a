"""What pytest collects when a target is given: one item an experiment, a canary function, a contract."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tocsin.actors.canary import surroundings
from tocsin.actors.injector import quiet_chaos_toolkit
from tocsin.canary import load_canaries, run_canary
from tocsin.context import RunContext
from tocsin.errors import InvalidInput, TocsinError
from tocsin.loader import load_experiment, load_system, system_names
from tocsin.model.system import System
from tocsin.model.verdict import Outcome, Verdict
from tocsin.project import find_root, runs_directory, work_directory
from tocsin.recovery import start_sandbox
from tocsin.run import RunOptions, run_experiments
from tocsin.smoke import check_contract, undisturbed
from tocsin.targets import SANDBOX, check_target_name
from tocsin.validation import Planner, canary_names

EXPERIMENTS, SYNTHETICS, CONTRACTS = "experiments", "synthetics", "contracts"
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
        check_target_name(self.root, target)
        quiet_chaos_toolkit()
        self.target = target
        self.is_worker = hasattr(config, "workerinput")
        self.has_timeouts = config.pluginmanager.hasplugin("timeout")
        self._runs = runs_directory(self.root) / time.strftime(f"pytest-%Y%m%d-%H%M%S-{os.getpid()}")
        self._stops_sandbox = target == SANDBOX and not self.is_worker and not self._sandbox_systems()
        config.addinivalue_line("markers", "xdist_group(name): items that one worker runs, with --dist loadgroup")

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        """Files in directories named experiments, synthetics and contracts are ours."""
        kind = self._kind(file_path)
        if kind is None or file_path.suffix not in _SUFFIXES[kind]:
            return None
        collector = {EXPERIMENTS: ExperimentFile, SYNTHETICS: CanaryFile, CONTRACTS: ContractFile}[kind]
        return collector.from_parent(parent, path=file_path, session_of=self)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Stop the sandbox if this session started it. With xdist the last one to end, the controller, does it."""
        if self._stops_sandbox and self._sandbox_systems():
            from tocsin.sandbox import control

            control.down(self.root)

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
    def undisturbed(self, system: str, item: pytest.Item) -> Iterator[RunContext]:
        """A look at a healthy system, beside others that also only look."""
        with self._lock(fcntl.LOCK_SH):
            self.start_sandbox(system)
            with undisturbed(system, self.options(item)) as ctx:
                yield ctx

    def options(self, item: pytest.Item) -> RunOptions:
        """How to run an item: with a directory of its own for reports."""
        name = "-".join(part for part in item.nodeid.replace("::", "/").split("/") if part not in ("", ".", ".."))
        return RunOptions(root=self.root, target=self.target, out=self._runs / name)

    def start_sandbox(self, system: str) -> None:
        """Have a sandbox with this system, for the rest of the session."""
        if self.target == SANDBOX and system not in self._sandbox_systems():
            start_sandbox(system, self.root, RunOptions.time_scale, lambda _: None)

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
            raise self.CollectError(str(error)) from None

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
            return str(excinfo.value)
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
        with self.tocsin.alone():
            self.tocsin.start_sandbox(plan.system.system)
            run, out = run_experiments([self._shown_path()], options)
        report = out / self.path.stem / "report.html"
        self.user_properties.append(("report", str(report)))
        if options.stop.is_set():
            pytest.exit(f"{options.stop.reason}; the fault is undone, see {report}")
        verdict = run.drills[0]
        if verdict.exit_code:
            raise NotPassed("\n".join([*_complaints(verdict), f"report: {report}"]))

    def _shown_path(self) -> Path:
        # The report tells how to run it again: from the directory where the user is now.
        here = self.config.invocation_params.dir
        return self.path.relative_to(here) if self.path.is_relative_to(here) else self.path


def _complaints(verdict: Verdict) -> Iterator[str]:
    stopped = f", stopped by the guard '{verdict.stopped}'" if verdict.stopped else ""
    yield f"{verdict.title}: {verdict.outcome.value}{stopped}"
    for entry in verdict.residue:
        yield f"  residue  {entry}: call `tocsin recover`"
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
        function = load_canaries(self.path)[self.canary]
        with self.tocsin.undisturbed(self.system, self) as ctx:
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
            NotPassed: an answer broke the contract, or the run did not come to its end.
        """
        with self.tocsin.undisturbed(self.system, self) as ctx:
            ran = check_contract(ctx)
        if ran is None:
            raise NotPassed("unknown: the contract test recorded no result; see contract-baseline.log in the run")
        told = f"{ran.cases} cases on {ran.operations} operations"
        if ran.failures:
            lines = [f"  {f.operation}: {f.check} x{f.count}: {f.message}" for f in ran.failures]
            raise NotPassed("\n".join([f"{told}, {len(ran.failures)} kinds of failure", *lines]))
        if not ran.complete or not ran.cases:
            raise NotPassed(f"unknown: {told}; {ran.detail or 'nothing was tested'}")
