"""Numbers that people write are numbers: infinity and NaN are none, however they are written."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from tocsin.model import experiment, rules, system, third_party
from tocsin.model.base import Model

WRITTEN = (experiment, rules, system, third_party)


def _has_float(annotation: Any) -> bool:
    return annotation is float or any(_has_float(inner) for inner in get_args(annotation))


def _float_fields() -> Iterator[tuple[type[Model], str]]:
    for module in WRITTEN:
        for _, model in inspect.getmembers(module, inspect.isclass):
            if issubclass(model, Model) and model.__module__ == module.__name__:
                fields: dict[str, FieldInfo] = model.model_fields
                yield from ((model, info.alias or name) for name, info in fields.items() if _has_float(info.annotation))


FIELDS = list(_float_fields())


def _refused(model: type[Model], field: str, value: object) -> bool:
    try:
        model.model_validate({field: value})
    except ValidationError as error:
        return any(problem["loc"][:1] == (field,) for problem in error.errors())
    return False


def test_the_fields_are_found() -> None:
    found = {f"{model.__name__}.{field}" for model, field in FIELDS}
    assert {"WrongAnswer.delay_s", "LoadPlan.arrivals_per_s", "Objectives.p95_ms", "MetricAlarm.Threshold"} <= found


@pytest.mark.parametrize(("model", "field"), FIELDS, ids=lambda value: getattr(value, "__name__", value))
def test_what_is_no_number_is_refused(model: type[Model], field: str) -> None:
    assert not all(_refused(model, field, well) for well in ("1", "1s"))
    odd = ("inf", "-inf", "Infinity", "nan", "1e400", "-1e400", float("inf"), float("-inf"), float("nan"))
    assert [value for value in odd if not _refused(model, field, value)] == []
