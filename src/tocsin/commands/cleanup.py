"""`tocsin cleanup`: removes what drills wrote into a system, by the procedures that its file names."""

from __future__ import annotations

from tocsin.actors.canaries import surroundings
from tocsin.canary import Canary, run_canary
from tocsin.commands.smoke import Tell, undisturbed
from tocsin.drill.options import RunOptions
from tocsin.errors import InvalidInput
from tocsin.model.system import System
from tocsin.project.documents import load_system
from tocsin.project.python_files import import_python
from tocsin.project.synthetic import functions_of


def run_cleanup(name: str, options: RunOptions, tell: Tell) -> int:
    """Call every clean-up of the system's `test_data` once, in the order of the file, and say what goes by itself.

    Returns:
        0 all were done, 1 one of them failed.

    Raises:
        InvalidInput: no such system, or it names nothing to clean up; a function is not there.
        Refused: the credentials are of another account.
        TargetError: the target does not answer.
    """
    system = load_system(options.root, name)
    if system.test_data is None or not system.test_data.kinds:
        raise InvalidInput(
            f"expected systems/{name}.yaml to name what drills write, found no kind of it. Add it under `test_data`."
        )
    procedures = _procedures(system, options)
    good = True
    with undisturbed(name, options, writers=()) as ctx:
        around = surroundings(ctx, removing=True)
        for which, procedure in procedures.items():
            ctx.stop.wait(0)
            run = run_canary(which, procedure, around)
            ctx.history.record(run)
            good = good and run.ok_after_retry
            tell(f"{which} {'done' if run.ok_after_retry else f'failed: {run.detail}'}", run.ok_after_retry)
    for kind, said in system.test_data.kinds.items():
        if said.expires is not None:
            tell(f"{kind} go by themselves: {said.expires}", True)
    return 0 if good else 1


def _procedures(system: System, options: RunOptions) -> dict[str, Canary]:
    """The functions, by what the system file calls them; each once, whatever it cleans up."""
    assert system.test_data is not None
    found: dict[str, Canary] = {}
    for kind in system.test_data.kinds.values():
        if kind.cleanup is None or kind.cleanup in found:
            continue
        file, _, function = kind.cleanup.rpartition(":")
        if function not in functions_of(options.root / file):
            raise InvalidInput(f"expected the function '{function}', found none of that name", file=options.root / file)
        module = import_python(options.root / file, f"tocsin_cleanup_{len(found)}")
        found[kind.cleanup] = getattr(module, function)
    return found
