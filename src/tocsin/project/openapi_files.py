"""The files of one OpenAPI document: the one that is named, and those that its references lead to.

Each is read through the same door as every file that people write, so that what is wrong in any of them is told with
its file and its line. A reference to the network is refused: what a contract says may not depend on who answers there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

from tocsin.errors import Complaints, InvalidInput, shortened
from tocsin.model.toolkit import Location
from tocsin.project.documents import Document, read_document
from tocsin.project.nodes import GENERATED
from tocsin.project.text import is_file

_VALUES = ("const", "default", "enum", "example", "examples")
"""Below these stand values, in which `$ref` is a name as any other."""
_NAMES = ("properties", "patternProperties", "dependentSchemas", "$defs", "schemas")
"""Below these stand names that people chose, such as a property that is called `example`."""


@dataclass(frozen=True)
class _Reference:
    """A `$ref` to somewhere outside of its own file."""

    text: str
    at: Location


def check_files(document: Document) -> None:
    """Read every file that a document refers to, and every file that those refer to.

    Raises:
        InvalidInput: a reference to the network, or to a file that is missing or cannot be read: each with its line.
    """
    complaints, waiting = Complaints(), [document]
    seen = {document.path.resolve()}
    while waiting:
        here = waiting.pop()
        for reference in _references(here.data, (), chosen=False):
            path = complaints.attempt(_file_of, reference, here)
            if path is not None and path.resolve() not in seen:
                seen.add(path.resolve())
                other = complaints.attempt(read_document, path, GENERATED)
                waiting += [other] if other is not None else []
    complaints.tell()


def _references(node: Any, at: Location, *, chosen: bool) -> Iterator[_Reference]:
    """Every reference to another file below a node; `chosen`: the names in it are those of people."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _references(item, (*at, index), chosen=False)
    elif isinstance(node, Mapping):
        for name, value in node.items():
            if chosen or name not in _VALUES:
                yield from _references(value, (*at, name), chosen=not chosen and name in _NAMES)
        reference = node.get("$ref")
        if isinstance(reference, str) and not chosen and urldefrag(reference)[0].strip():
            yield _Reference(reference, (*at, "$ref"))


def _file_of(reference: _Reference, document: Document) -> Path:
    """The file that a reference of a document leads to.

    Raises:
        InvalidInput: it leads to the network, or to no file.
    """
    address, told = urldefrag(reference.text)[0].strip(), shortened(reference.text)
    parts = urlsplit(address)
    if parts.scheme in ("http", "https") or parts.netloc:
        raise document.invalid(
            f"expected a reference to a file, found '{told}'. Copy what is there beside the contract: a verdict may "
            "not depend on what the network answers.",
            reference.at,
        )
    path = document.path.parent / unquote(parts.path)
    if not is_file(path):
        raise InvalidInput(
            f"expected the file {shortened(str(path))} that '{told}' refers to, found none",
            file=document.path,
            line=document.line(reference.at),
        )
    return path
