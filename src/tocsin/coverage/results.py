"""The last verdict on each experiment, among the runs that are kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tocsin.errors import InvalidInput
from tocsin.model.verdict import Verdict

Latest = Mapping[tuple[str, str], Verdict]
"""(system, slug of the experiment) -> the verdict on its last drill."""


def read_latest(directory: Path) -> Latest:
    """The last drill of each experiment in any run below `directory`.

    A drill that was refused or stopped is left out: it neither proves nor refutes.

    Raises:
        InvalidInput: no such directory, or a `verdict.json` that is none.
    """
    if not directory.is_dir():
        raise InvalidInput("expected a directory with the results of runs, found none", file=directory)
    return latest(verdict for file in sorted(directory.rglob("verdict.json")) for verdict in _verdicts(file))


def latest(verdicts: Iterable[Verdict]) -> Latest:
    """Of several drills of an experiment the one that began last."""
    told = sorted((v for v in verdicts if v.stopped is None), key=lambda verdict: verdict.started_at)
    return {(verdict.system, verdict.experiment): verdict for verdict in told}


def _verdicts(file: Path) -> Iterator[Verdict]:
    """One of a drill's own file, all of a run's: beside a run its drills may be missing, and the other way round."""
    try:
        document: Any = json.loads(file.read_text(encoding="utf-8"))
        yield from [Verdict.model_validate(drill) for drill in document.get("drills", [document])]
    except (OSError, AttributeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInput(
            f"expected the verdict of a drill, found something else ({reason}). `tocsin report {file.parent}` writes "
            "it again from the history",
            file=file,
        ) from None
