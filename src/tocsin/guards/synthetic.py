"""The guard that asks whether a system file says what becomes of what a drill writes to an account."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tocsin.aws.target import Target
from tocsin.errors import Refused
from tocsin.model.synthetic import SyntheticData, Writer
from tocsin.model.system import System

_NAMED = 3
"""Activities that are named: whoever sees these looks for the others."""


def check_test_data(target: Target, system: System, writers: Iterable[Writer], activities: Sequence[str] = ()) -> str:
    """Whether it is told of these parts, on an account of AWS: an emulator is thrown away with all that is in it.

    Whoever makes data in a system asks this first: a drill in its preflight, others by `commands.smoke.undisturbed`.
    `activities`: those that may write, with their places, where they are among the writers.

    Raises:
        Refused: it is not.
    """
    if not target.is_account:
        return "no account: what is written goes with the emulator"
    untold = untold_writers(system, writers, activities)
    if untold:
        raise Refused(
            "test-data",
            f"expected systems/{system.system}.yaml to say what becomes of what {untold} would write to "
            f"account {target.account}, found nothing. Say under `test_data` by which tenant or tag it is told "
            "from the data of people, how it is counted apart and what removes it; or, with `reads_only`, that "
            "nothing is written.",
        )
    kinds = ", ".join(system.test_data.kinds) if system.test_data is not None else ""
    return f"{kinds} are told apart and removed" if kinds else "nothing is written"


def untold_writers(system: System, writers: Iterable[Writer], activities: Sequence[str] = ()) -> str:
    """Those of these parts of whose data the system file says nothing, in words; else empty."""
    said = system.test_data or SyntheticData()
    return " and ".join(_named(one, activities) for one in said.untold(writers))


def _named(writer: Writer, activities: Sequence[str]) -> str:
    if writer != "activities" or not activities:
        return writer
    more = f"; {len(activities) - _NAMED} more" if len(activities) > _NAMED else ""
    return f"{writer} ({'; '.join(activities[:_NAMED])}{more})"
