"""Reads what people write (systems and experiments) into frozen models, with file and line in every complaint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from tocsin.errors import InvalidInput, near_match
from tocsin.model.experiment import Activity, Experiment, Extension
from tocsin.model.system import System

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
ModelT = TypeVar("ModelT", bound=BaseModel)
Location = tuple[int | str, ...]


@dataclass(frozen=True)
class Document:
    """A YAML document and the line of each of its parts."""

    path: Path
    data: Mapping[str, Any]
    root: yaml.Node

    def line(self, location: Sequence[int | str]) -> int:
        """Line (from 1) of the deepest part of `location` that exists."""
        node, line = self.root, 1
        for part in location:
            child = _child(node, part)
            if child is None:
                continue  # union tags and aliases of models have no place in the file
            key, node = child
            line = (key or node).start_mark.line + 1
        return line

    def invalid(self, message: str, location: Sequence[int | str]) -> InvalidInput:
        """A complaint about one part of this document."""
        return InvalidInput(message, file=self.path, line=self.line(location))


def _child(node: yaml.Node, part: int | str) -> tuple[yaml.Node | None, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return None, node.value[part]
    return None


def read_yaml(path: Path) -> Document:
    """Parse one YAML (or JSON) document that is a mapping.

    Raises:
        InvalidInput: no such file, not YAML, or not a mapping.
    """
    if not path.is_file():
        siblings = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        hint = near_match(path.name, siblings) if siblings else "Check the path."
        raise InvalidInput(f"expected a file, found none. {hint}", file=path)
    try:
        text = path.read_text(encoding="utf-8")
        loader = _Loader(text)
        root = loader.get_single_node()
        data = loader.construct_document(root) if root is not None else None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"expected UTF-8 text: {error.reason}", file=path) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise InvalidInput(f"expected YAML: {problem}", file=path, line=mark.line + 1 if mark else None) from None
    if not isinstance(data, dict) or root is None:
        raise InvalidInput(f"expected a YAML mapping, found {type(data).__name__}", file=path, line=1)
    return Document(path=path, data=data, root=root)


def read_text(path: Path) -> str:
    """The text of a file that the user named.

    Raises:
        InvalidInput: no such file, or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"expected a file: {error.strerror}", file=path) from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"expected UTF-8 text: {error.reason}", file=path) from None


def parse_model(model: type[ModelT], data: Any, document: Document, at: Location = ()) -> ModelT:
    """A model from a part of a document.

    Raises:
        InvalidInput: the first thing that is wrong, with its line and, for an unknown name, the nearest known one.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problem = _most_telling(error)
        location = (*at, *problem["loc"])
        raise document.invalid(_sentence(problem, model), location) from None


def _most_telling(error: ValidationError) -> Any:
    """Of the problems of all members of a union, one of the member that fits best: the longest way into the data."""
    problems = error.errors()
    unknown = [p for p in problems if p["type"] == "extra_forbidden"]
    wrong = [p for p in problems if p["type"] not in ("extra_forbidden", "missing")]
    return (wrong or unknown or problems)[0]


def _sentence(problem: Any, model: type[BaseModel]) -> str:
    place = ".".join(str(part) for part in problem["loc"] if not _is_union_tag(part)) or "document"
    if problem["type"] == "extra_forbidden":
        name = str(problem["loc"][-1])
        return f"unknown name '{name}' in {place}. {near_match(name, _names_at(model, problem['loc'][:-1]))}"
    if problem["type"] == "missing":
        return f"expected '{place}', found nothing"
    message = problem["msg"].removeprefix("Value error, ")
    found = "" if "found" in message or problem["type"] == "value_error" else f", found {problem['input']!r}"
    return f"{place}: {message}{found}"


def _is_union_tag(part: int | str) -> bool:
    return isinstance(part, str) and part[:1].isupper() and part.isidentifier() and not part.isupper()


def _names_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Field names of the model that stands at `location` below `model`."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    node: Any = schema
    for part in location:
        node = _schema_child(node, part, definitions)
    names: set[str] = set()
    for option in _options(node, definitions):
        names |= set(option.get("properties", {}))
    return sorted(names)


def _options(node: Any, definitions: Mapping[str, Any]) -> Iterable[Any]:
    if "$ref" in node:
        yield from _options(definitions[node["$ref"].rsplit("/", 1)[1]], definitions)
        return
    for option in node.get("anyOf", [node]):
        if option is node:
            yield node
        else:
            yield from _options(option, definitions)


def _schema_child(node: Any, part: int | str, definitions: Mapping[str, Any]) -> Any:
    for option in _options(node, definitions):
        if isinstance(part, int) and "items" in option:
            return option["items"]
        if part in option.get("properties", {}):
            return option["properties"][part]
        if isinstance(part, str) and "additionalProperties" in option and not _is_union_tag(part):
            return option["additionalProperties"]
    return node


def system_names(root: Path) -> list[str]:
    """The systems that have a file; what else lies beside them, such as `NAME.rules.yaml`, is none."""
    return sorted(path.stem for path in (root / "systems").glob("*.yaml") if "." not in path.stem)


def load_system(root: Path, name: str) -> System:
    """`systems/<name>.yaml`.

    Raises:
        InvalidInput: no such system, or its file cannot be used.
    """
    directory = root / "systems"
    path = directory / f"{name}.yaml"
    if not path.is_file():
        known = system_names(root)
        raise InvalidInput(f"expected a system, found '{name}'. {near_match(name, known)}", file=directory)
    document = read_yaml(path)
    system = parse_model(System, document.data, document)
    if system.system != name:
        raise document.invalid(f"expected 'system: {name}' as in the file's name, found '{system.system}'", ("system",))
    _check_files(system, document, root)
    return system


def _check_files(system: System, document: Document, root: Path) -> None:
    files = {("contract",): system.contract, ("load",): system.load}
    if system.canaries is not None:
        files[("canaries", "file")] = system.canaries.file  # type: ignore[index]
    for location, name in files.items():
        if name is not None and not (root / name).is_file():
            raise document.invalid(f"expected the file {name}, found none", location)


@dataclass(frozen=True)
class LoadedExperiment:
    """An experiment as Tocsin understands it, and as Chaos Toolkit reads it."""

    experiment: Experiment
    document: Document

    @property
    def raw(self) -> dict[str, Any]:
        """The document for Chaos Toolkit, which must not be able to change ours."""
        copied = yaml.load(yaml.safe_dump(self.document.data), Loader=_Loader)  # noqa: S506 - a safe loader
        return dict(copied)


def load_experiment(path: Path) -> LoadedExperiment:
    """One experiment file: a Chaos Toolkit document with a `tocsin` block.

    Raises:
        InvalidInput: the file cannot be used; what Chaos Toolkit itself demands is checked by `validate`.
    """
    document = read_yaml(path)
    block, at = _tocsin_block(document)
    extension = parse_model(Extension, block, document, at)
    experiment = Experiment(
        path=str(path),
        slug=path.stem,
        title=_text(document, "title"),
        tags=tuple(str(tag) for tag in document.data.get("tags") or ()),
        hypothesis=bool(document.data.get("steady-state-hypothesis")),
        method=_activities(document, "method"),
        rollbacks=_activities(document, "rollbacks"),
        extension=extension,
    )
    return LoadedExperiment(experiment=experiment, document=document)


def _tocsin_block(document: Document) -> tuple[Any, Location]:
    extensions = document.data.get("extensions") or []
    if isinstance(extensions, list):
        for index, block in enumerate(extensions):
            if isinstance(block, dict) and block.get("name") == "tocsin":
                return block, ("extensions", index)
    raise document.invalid(
        "expected a block named 'tocsin' under 'extensions', found none. `tocsin schema` prints what it may say.",
        ("extensions",),
    )


def _text(document: Document, name: str) -> str:
    value = document.data.get(name)
    if not isinstance(value, str) or not value.strip():
        raise document.invalid(f"expected a text as '{name}', found {value!r}", (name,))
    return value


def _activities(document: Document, name: str) -> tuple[Activity, ...]:
    items = document.data.get(name) or []
    if not isinstance(items, list):
        raise document.invalid(f"expected a list of activities as '{name}', found {type(items).__name__}", (name,))
    return tuple(_activity(item, document, (name, index)) for index, item in enumerate(items))


def _activity(item: Any, document: Document, at: Location) -> Activity:
    if not isinstance(item, dict) or not isinstance(item.get("provider"), dict):
        raise document.invalid("expected an activity with 'type', 'name' and 'provider'", at)
    provider = item["provider"]
    data = {
        "name": item.get("name"),
        "type": item.get("type"),
        "provider_type": provider.get("type"),
        "module": provider.get("module"),
        "func": provider.get("func"),
    }
    return parse_model(Activity, data, document, at)


def find_experiments(paths: Sequence[Path]) -> list[Path]:
    """The experiment files among files and directories, sorted within each directory.

    Raises:
        InvalidInput: a path does not exist, or a directory holds no experiment.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in (".yaml", ".yml", ".json") and p.is_file())
            if not inside:
                raise InvalidInput("expected experiments (*.yaml, *.json) in this directory, found none", file=path)
            found.extend(inside)
        else:
            found.append(path)
    return found
