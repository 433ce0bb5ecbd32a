"""The hashes of what an experiment and its system say now."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tocsin.model.definitions import Definitions
from tocsin.model.system import PrometheusAlarm, System
from tocsin.project.documents import LoadedExperiment, read_document

_NO_PART_OF_A_DRILL = {"alarms", "promises", "title", "runbook"}


def definitions_of(root: Path, system: System, loaded: LoadedExperiment) -> Definitions:
    """What a drill of this experiment would be bound to.

    Raises:
        InvalidInput: the Prometheus rules cannot be read.
    """
    judged = sorted(name for name in loaded.experiment.extension.expect.alarms if name in system.alarms)
    return Definitions(
        experiment=_hash_of(loaded.document.data),
        system=_hash_of(system.model_dump(mode="json", exclude=_NO_PART_OF_A_DRILL, exclude_unset=True)),
        alarms={name: _hash_of(_definition(root, system, name)) for name in judged},
    )


def _definition(root: Path, system: System, name: str) -> object:
    alarm = system.alarms[name]
    if not isinstance(alarm, PrometheusAlarm):
        return alarm.cloudwatch.model_dump(mode="json", by_alias=True, exclude_unset=True)
    rules = None if system.prometheus is None else read_document(root / system.prometheus.rules).data
    return {"alert": alarm.prometheus.model_dump(mode="json", exclude_unset=True), "rules": rules}


def _hash_of(written: object) -> str:
    text = json.dumps(written, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
