"""The one base of all models: frozen, strict about names it does not know, and without numbers that are none."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A frozen value. An unknown field is an error, so that a typing mistake is never silently ignored.

    Infinity and NaN are refused, also as a text (`"inf"`): nothing can be waited, offered or judged by them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)
