"""Reads what people write (systems and experiments) into frozen models, with file and line in every complaint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tocsin.errors import Complaints, InvalidInput, InvalidInputs, near_match, shortened
from tocsin.model.experiment import Experiment, Extension, PlannedActivity
from tocsin.model.system import System
from tocsin.model.toolkit import ExperimentFile, Location
from tocsin.project.json_nodes import read_json
from tocsin.project.mistakes import mistakes
from tocsin.project.nodes import WRITTEN, Limits, Place, kind_of
from tocsin.project.text import is_directory, is_file, read_text
from tocsin.project.toml_nodes import read_toml
from tocsin.project.yaml_nodes import read_yaml

ModelT = TypeVar("ModelT", bound=BaseModel)
AS_WRITTEN = {"written": True}
"""Context of validation: the values come from a file of a person, who writes a duration with its unit."""
_READERS = {".json": read_json, ".toml": read_toml}


@dataclass(frozen=True)
class Document:
    """A file that is a mapping, and the line of each of its parts."""

    path: Path
    data: Mapping[str, Any]
    places: Place

    def line(self, location: Sequence[int | str]) -> int:
        """Line (from 1) of the deepest part of `location` that exists."""
        place, line = self.places, 1
        for part in location:
            child = place.child(part)
            if child is not None:  # else a part that only models know, or one that is missing
                line, place = child
        return line

    def invalid(self, message: str, location: Sequence[int | str]) -> InvalidInput:
        """A complaint about one part of this document."""
        return InvalidInput(message, file=self.path, line=self.line(location))


def read_document(path: Path, limits: Limits = WRITTEN, *, texts: bool = False) -> Document:
    """Read one YAML file, or a `.json` or `.toml` file, that is a mapping.

    Args:
        path: the file.
        limits: what it may hold at most.
        texts: read numbers, and true and false, of YAML as the texts that are written there.

    Raises:
        InvalidInput: no such file, it cannot be read or parsed, goes beyond the limits, says a name twice, or is not a
            mapping.
    """
    text = read_text(path, limits.size)
    other = _READERS.get(path.suffix)
    data, places = read_yaml(text, path, limits, texts=texts) if other is None else other(text, path, limits)
    if not isinstance(data, dict):
        raise InvalidInput(f"expected a mapping of names to values, found {kind_of(data)}", file=path, line=1)
    return Document(path=path, data=data, places=places)


def parse_model(model: type[ModelT], data: Any, document: Document, at: Location = ()) -> ModelT:
    """A model from a part of a document.

    Raises:
        InvalidInput: everything that is wrong, each with its line and, for an unknown name, the nearest known one.
    """
    try:
        return model.model_validate(data, context=AS_WRITTEN)
    except ValidationError as error:
        told, more = mistakes(error, model, data)
        problems = [document.invalid(message, (*at, *location)) for location, message in told]
        problems.sort(key=lambda problem: problem.line or 0)
        if more:
            problems.append(document.invalid(f"and {more} mistakes more in this file", at))
        raise (InvalidInputs(problems) if len(problems) > 1 else problems[0]) from None


def refuse_empty(document: Document) -> None:
    """Refuse a name, or a dash of a list, with nothing behind it: what was there was lost, or is still to come.

    Raises:
        InvalidInput: each of them, with its line. A `null` that is written is not refused here.
    """
    complaints = Complaints()
    waiting: list[tuple[int, str, Place]] = [(1, "", document.places)]
    while waiting:
        line, name, place = waiting.pop()
        if place.empty and name:
            complaints.add(
                InvalidInput(
                    f"expected a value after '{name}', found nothing. Write it, or take the line out.",
                    file=document.path,
                    line=line,
                )
            )
        inner = [(at, f"{shortened(key)}:", child) for key, (at, child) in (place.names or {}).items()]
        inner += [(item.line, "-", item) for item in place.items or ()]
        waiting.extend(reversed(inner))
    complaints.tell()


def system_names(root: Path) -> list[str]:
    """The systems that have a file; what else lies beside them, such as `NAME.rules.yaml`, is none."""
    return sorted(path.stem for path in (root / "systems").glob("*.yaml") if "." not in path.stem)


def load_system(root: Path, name: str) -> System:
    """`systems/<name>.yaml`.

    Raises:
        InvalidInput: no such system, or its file cannot be used: everything that is wrong with it.
    """
    return read_system(root, name)[0]


def read_system(root: Path, name: str) -> tuple[System, Document]:
    """`systems/<name>.yaml`, with its lines; as `load_system`."""
    directory = root / "systems"
    path = directory / f"{name}.yaml"
    known = system_names(root)
    if name not in known:
        raise InvalidInput(f"expected a system, found '{shortened(name)}'. {near_match(name, known)}", file=directory)
    document, complaints = read_document(path), Complaints()
    complaints.attempt(refuse_empty, document)
    empty = complaints.problems
    system = complaints.attempt(parse_model, System, document.data, document)
    if system is not None:
        complaints.attempt(_check_name, system, document)
    complaints.attempt(_check_files, document, root)
    _tell_without_follow_ups(complaints, empty)
    assert system is not None
    return system, document


def _check_name(system: System, document: Document) -> None:
    name = document.path.stem
    if system.system != name:
        raise document.invalid(f"expected 'system: {name}' as in the file's name, found '{system.system}'", ("system",))


def files_named(document: Document, root: Path) -> dict[Location, Path]:
    """The files that a system's file names, each with the place of its name, also where that file is wrong."""
    named: dict[Location, Path] = {}
    for location in (("contract",), ("messages", "document"), ("load",), ("canaries", "file"), ("prometheus", "rules")):
        value: Any = document.data
        for part in location:
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, str):
            named[location] = root / value
    return named


def _check_files(document: Document, root: Path) -> None:
    complaints = Complaints()
    for location, path in files_named(document, root).items():
        if not is_file(path):
            name = path.relative_to(root) if path.is_relative_to(root) else path
            complaints.add(document.invalid(f"expected the file {shortened(str(name))}, found none", location))
    complaints.tell()


def _tell_without_follow_ups(complaints: Complaints, empty: Sequence[InvalidInput]) -> None:
    """End here when something was wrong; what else is said of a line on which a value is lost follows from that."""
    lines = {problem.line for problem in empty}
    told = Complaints()
    told.extend(one for one in complaints.problems if one in empty or one.line not in lines)
    told.tell()


@dataclass(frozen=True)
class LoadedExperiment:
    """An experiment as Tocsin understands it, and as Chaos Toolkit reads it."""

    experiment: Experiment
    toolkit: ExperimentFile
    document: Document


def load_experiment(path: Path) -> LoadedExperiment:
    """One experiment file: a Chaos Toolkit document with a `tocsin` block.

    Raises:
        InvalidInput: the file cannot be used; what Chaos Toolkit itself demands is checked by `validate`.
    """
    document, complaints = read_document(path), Complaints()
    complaints.attempt(refuse_empty, document)
    empty = complaints.problems
    toolkit = complaints.attempt(_toolkit, document)
    extension = complaints.attempt(_extension, document)
    _tell_without_follow_ups(complaints, empty)
    assert toolkit is not None
    assert extension is not None
    experiment = Experiment(
        path=str(path),
        slug=path.stem,
        title=toolkit.title,
        tags=toolkit.tags,
        hypothesis=toolkit.hypothesis is not None,
        method=tuple(PlannedActivity.of(activity) for activity in toolkit.activities("method")),
        rollbacks=tuple(PlannedActivity.of(activity) for activity in toolkit.activities("rollbacks")),
        extension=extension,
    )
    return LoadedExperiment(experiment=experiment, toolkit=toolkit, document=document)


def _toolkit(document: Document) -> ExperimentFile:
    toolkit, complaints = parse_model(ExperimentFile, document.data, document), Complaints()
    complaints.extend(document.invalid(problem, where) for where, problem in toolkit.problems())
    complaints.tell()
    return toolkit


def _extension(document: Document) -> Extension | None:
    """The one block named `tocsin`; None where there is none because `extensions` are wrong, as `_toolkit` tells."""
    extensions = document.data.get("extensions")
    blocks = extensions if isinstance(extensions, list) else []
    ours = [index for index, block in enumerate(blocks) if isinstance(block, dict) and block.get("name") == "tocsin"]
    if not ours:
        if not (extensions is None or (isinstance(extensions, list) and all(isinstance(one, dict) for one in blocks))):
            return None
        raise document.invalid(
            "expected a block named 'tocsin' under 'extensions', found none. `tocsin schema block` prints what it may "
            "say.",
            ("extensions",),
        )
    if len(ours) > 1:
        first = document.line(("extensions", ours[0]))
        raise document.invalid(
            f"expected one block named 'tocsin', found a second: the first is on line {first}", ("extensions", ours[1])
        )
    return parse_model(Extension, blocks[ours[0]], document, ("extensions", ours[0]))


def find_experiments(paths: Sequence[Path]) -> list[Path]:
    """The experiment files among files and directories, sorted within each directory.

    Raises:
        InvalidInput: a path does not exist, or a directory holds no experiment.
    """
    found: list[Path] = []
    for path in paths:
        if is_directory(path):
            inside = sorted(p for p in path.rglob("*") if p.suffix in (".yaml", ".yml", ".json") and p.is_file())
            if not inside:
                raise InvalidInput("expected experiments (*.yaml, *.json) in this directory, found none", file=path)
            found.extend(inside)
        else:
            found.append(path)
    return found
