"""`tocsin smoke`: after a deploy, without breaking anything."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from tocsin.actors.canaries import CanaryActor
from tocsin.actors.context import RunContext
from tocsin.actors.contract import THOROUGH, ContractActor
from tocsin.alarms.states import read_states
from tocsin.aws.lookups import resolve_base_url, resolve_system
from tocsin.checkers.contract import uncovered
from tocsin.commands.run import HISTORY
from tocsin.commands.session import new_directory, running_target
from tocsin.commands.signals import signals_to
from tocsin.drill.options import RunOptions
from tocsin.guards.admission import check_identity
from tocsin.guards.synthetic import check_test_data
from tocsin.model.events import Act, ContractRan
from tocsin.model.experiment import Expect, Experiment, Extension, RecoveryTarget
from tocsin.model.synthetic import Writer
from tocsin.model.system import System
from tocsin.project.documents import load_system
from tocsin.project.targets import in_region
from tocsin.record.history import History

Tell = Callable[[str, bool], None]
_CONTRACT_WALL_S = 120.0
_WRITERS: tuple[Writer, ...] = ("identities", "canaries", "contract")


def run_smoke(name: str, options: RunOptions, tell: Tell) -> int:
    """Every canary once, the contract strictly, and no alarm may ring.

    Returns:
        0 all well, 1 something failed, 3 something could not be looked at, or there is nothing to look at.

    Raises:
        InvalidInput: no such system.
        Refused: the system file does not say what becomes of what would be written to the account.
        TargetError: the target does not answer.
    """
    with undisturbed(name, options, _WRITERS) as ctx:
        results = [*_canaries(ctx, tell), *_contract(ctx, tell), *_alarms(ctx, ctx.system, tell)]
    if not results:
        tell(f"nothing was looked at: the system '{name}' has no canaries, no contract and no alarms", False)
    if False in results:
        return 1
    return 3 if None in results or not results else 0


@contextmanager
def undisturbed(name: str, options: RunOptions, writers: Collection[Writer]) -> Iterator[RunContext]:
    """What canaries and contract tests need to look at a system that nobody is breaking meanwhile.

    `writers`: by which parts of a drill something may come to be in it, as far as it has them; none where what is done
    only removes.

    Raises:
        InvalidInput: no such system.
        Refused: the credentials are of another account; or the system file does not say what becomes of what one of
            the writers would leave in the account.
        TargetError: the target does not answer.
    """
    system = load_system(options.root, name)
    directory = new_directory(options)
    with signals_to(options.stop), running_target({name}, options) as target:
        target = in_region(target, system)
        check_identity(target)
        check_test_data(target, system, [one for one in system.writers(load=False) if one in writers])
        resolved = resolve_system(system, target)
        history = History(directory / HISTORY)
        try:
            yield RunContext(
                drill=f"smoke-{uuid.uuid4().hex[:8]}",
                root=options.root,
                directory=directory,
                experiment=_nothing_broken(name),
                system=resolved,
                target=target,
                history=history,
                base_url=resolve_base_url(resolved.endpoint, target),
                seed=options.seed or 0,
                stop=options.stop,
            )
        finally:
            history.close()


def _nothing_broken(system: str) -> Experiment:
    expect = Expect(gap="nothing is broken", recovery=RecoveryTarget(within=60.0))
    return Experiment(
        path="",
        slug="smoke",
        title="Smoke test",
        method=(),
        rollbacks=(),
        extension=Extension(system=system, expect=expect),
    )


def _canaries(ctx: RunContext, tell: Tell) -> Iterator[bool | None]:
    if ctx.system.canaries is None:
        return
    actor = CanaryActor(ctx)
    for run in actor.run_once():
        ctx.history.record(run)
        note = "" if run.ok else f" (after a retry: {run.detail})" if run.ok_after_retry else f": {run.detail}"
        result = "passes" if run.ok_after_retry else "fails"
        tell(f"canary {run.canary:<16} {result} in {run.ms:.0f} ms{note}", run.ok_after_retry)
        yield None if run.broken else run.ok_after_retry


def _contract(ctx: RunContext, tell: Tell) -> Iterator[bool | None]:
    if ctx.system.contract is None:
        return
    ran = check_contract(ctx)
    if ran is None:
        tell("contract: the run recorded no result", False)
        yield None
        return
    counts = f"{ran.cases} cases on {ran.operations} operations, {len(ran.failures)} failures"
    short = uncovered(ran) if ran.complete else f"incomplete: {ran.detail}"
    tell(f"contract: {counts}{'; ' if short else ''}{short}", not short and not ran.failures)
    for failure in ran.failures:
        tell(f"  {failure.operation}: {failure.check}: {failure.message}", False)
    yield False if ran.complete and ran.failures else None if short else True


def check_contract(ctx: RunContext) -> ContractRan | None:
    """One thorough and strict contract run; None when it did not even record that it ended.

    Raises:
        Interrupted: the end was asked for.
    """
    seen: list[ContractRan] = []
    ctx.history.listen(lambda event: seen.append(event) if isinstance(event, ContractRan) else None, "contract")
    actor = ContractActor(ctx, depth=THOROUGH)
    try:
        actor.start_act(Act.BASELINE)
        actor.wait(Act.BASELINE, _CONTRACT_WALL_S)
    finally:
        actor.stop()
    return seen[0] if seen else None


def _alarms(ctx: RunContext, system: System, tell: Tell) -> Iterator[bool]:
    if not system.alarms:
        return
    states = read_states(system, system.alarms, ctx.target)
    ringing = [name for name, state in states.items() if state == "ALARM"]
    missing = [name for name in system.alarms if name not in states]
    for name in ringing:
        tell(f"alarm {name} rings", False)
    for name in missing:
        tell(f"alarm {name} does not exist in this target", False)
    if not ringing and not missing:
        tell(f"{len(states)} alarms exist and none rings", True)
    yield not ringing and not missing
