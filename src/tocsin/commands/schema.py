"""`tocsin schema`: JSON Schemas of the files that people write, for their editors."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from tocsin.model.experiment import Extension
from tocsin.model.system import System
from tocsin.model.toolkit import ExperimentFile
from tocsin.project.targets import ProjectFile

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_OURS = {"required": ["name"], "properties": {"name": {"const": "tocsin"}}}


def schema(what: str) -> dict[str, Any]:
    """The schema of a whole file (`experiment`, `system`, `target`), or of the `tocsin` block (`block`).

    What lies between two parts of a file, or between files, no schema says: `tocsin validate` does.
    """
    if what == "experiment":
        return {"$schema": _DIALECT, **_experiment()}
    models: dict[str, type[BaseModel]] = {"system": System, "target": ProjectFile, "block": Extension}
    return {"$schema": _DIALECT, **models[what].model_json_schema(by_alias=True)}


def _experiment() -> dict[str, Any]:
    references, shared = models_json_schema(
        [(ExperimentFile, "validation"), (Extension, "validation")], by_alias=True, ref_template="#/$defs/{model}"
    )
    definitions = dict(shared["$defs"])
    root = dict(definitions.pop("ExperimentFile"))
    block = references[Extension, "validation"]
    extensions = {
        "type": "array",
        "items": {"if": _OURS, "then": block, "else": {"type": "object", "required": ["name"]}},
        "contains": _OURS,
        "minContains": 1,
        "maxContains": 1,
    }
    root["properties"] = {**root["properties"], "extensions": extensions}
    root["required"] = [*root["required"], "extensions"]
    return {**root, "$defs": definitions}
