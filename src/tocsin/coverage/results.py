"""The last verdict on each experiment, among the runs that are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tocsin.errors import InvalidInput
from tocsin.model.verdict import Verdict
from tocsin.project.documents import parse_model, read_document
from tocsin.project.nodes import GENERATED
from tocsin.project.text import is_directory

Latest = Mapping[tuple[str, str], Verdict]
"""(system, slug of the experiment) -> the verdict on its last drill."""


def read_latest(*directories: Path) -> Latest:
    """The last drill of each experiment in any run below these directories.

    A drill that was refused, stopped or killed is left out: it neither proves nor refutes.

    Raises:
        InvalidInput: no such directory, or a `verdict.json` that is none.
    """
    for directory in directories:
        if not is_directory(directory):
            raise InvalidInput("expected a directory with the results of runs, found none", file=directory)
    files = sorted({file.resolve() for directory in directories for file in directory.rglob("verdict.json")})
    return latest(verdict for file in files for verdict in _verdicts(file))


def latest(verdicts: Iterable[Verdict]) -> Latest:
    """Of several drills of an experiment the one that began last, of those that came to their end."""
    told = sorted((v for v in verdicts if _came_to_its_end(v)), key=lambda verdict: verdict.started_at)
    return {(verdict.system, verdict.experiment): verdict for verdict in told}


def _came_to_its_end(verdict: Verdict) -> bool:
    return verdict.stopped is None and not verdict.killed


def _verdicts(file: Path) -> Iterator[Verdict]:
    """One of a drill's own file, all of a run's: beside a run its drills may be missing, and the other way round."""
    try:
        document = read_document(file, GENERATED)
        several = document.data.get("drills")
        if not isinstance(several, list):
            yield parse_model(Verdict, document.data, document)
            return
        for index, drill in enumerate(several):
            yield parse_model(Verdict, drill, document, ("drills", index))
    except InvalidInput as error:
        raise InvalidInput(
            f"expected the verdict of a drill, found something else ({error.problems[0].message}). "
            f"`tocsin report {file.parent}` writes it again from the history",
            file=file,
            line=error.problems[0].line,
        ) from None
