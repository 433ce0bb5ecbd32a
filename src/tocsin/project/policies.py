"""A policy that somebody wrote, or that `tocsin permissions` printed: for `tocsin sandbox up --policy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from tocsin.errors import InvalidInput
from tocsin.model.base import Model
from tocsin.project.documents import Document, parse_model
from tocsin.project.json_nodes import read_json
from tocsin.project.nodes import WRITTEN
from tocsin.project.text import read_text


def _one_or_several(kind: type) -> BeforeValidator:
    """IAM takes one without the brackets of a list, too."""
    return BeforeValidator(lambda value: [value] if isinstance(value, kind) else value)


Names = Annotated[tuple[str, ...], _one_or_several(str)]


class _Statement(Model):
    Sid: str | None = None
    Effect: Literal["Allow", "Deny"]
    Action: Names | None = None
    NotAction: Names | None = None
    Resource: Names | None = None
    NotResource: Names | None = None
    Condition: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_what_and_on_what(self) -> _Statement:
        for name in ("Action", "Resource"):
            found = [one for one in (name, f"Not{name}") if getattr(self, one) is not None]
            if len(found) != 1:
                raise ValueError(f"expected either '{name}' or 'Not{name}', found {' and '.join(found) or 'neither'}")
        return self


class _Policy(Model):
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html, without principals."""

    Version: Literal["2012-10-17", "2008-10-17"] | None = None
    Id: str | None = None
    Statement: Annotated[tuple[_Statement, ...], _one_or_several(dict)]


def read_policy(path: Path) -> str:
    """The text of an IAM policy: a JSON object with statements. Whether its actions exist is not looked at.

    Raises:
        InvalidInput: the file cannot be read, or is no policy of a user: everything that is wrong, with its line.
    """
    text = read_text(path, WRITTEN.size)
    document, place = read_json(text, path, WRITTEN)
    if not isinstance(document, dict) or not document.get("Statement"):
        raise InvalidInput(
            "expected an IAM policy, found JSON without a Statement. `tocsin permissions PATHS` prints one.",
            file=path,
            line=place.line,
        )
    parse_model(_Policy, document, Document(path, document, place))
    return text
