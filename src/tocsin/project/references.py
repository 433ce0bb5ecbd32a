"""Parts of a document, and what a `$ref` in it leads to: in its own file or in another, always with file and line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

from tocsin.errors import InvalidInput, shortened
from tocsin.model.toolkit import Location
from tocsin.project.documents import Document, read_document
from tocsin.project.nodes import GENERATED
from tocsin.project.text import is_file


@dataclass(frozen=True)
class Part:
    """One value of a document, and where it stands."""

    document: Document
    at: Location
    value: Any

    @property
    def place(self) -> tuple[Path, Location]:
        """What tells it from every other part."""
        return self.document.path.resolve(), self.at

    def child(self, name: str | int) -> Part:
        """A part of it, which must be there."""
        return Part(self.document, (*self.at, name), self.value[name])

    def get(self, name: str) -> Part | None:
        """A part of it, if it is there."""
        there = isinstance(self.value, Mapping) and self.value.get(name) is not None
        return self.child(name) if there else None

    def invalid(self, message: str, *below: str | int) -> InvalidInput:
        """A complaint about it, or about what is below it."""
        return self.document.invalid(message, (*self.at, *below))


class Files:
    """The files of one contract, each read once through the door of everything that people write."""

    def __init__(self) -> None:
        self._read: dict[Path, Document] = {}

    def document(self, path: Path) -> Document:
        """One of them.

        Raises:
            InvalidInput: it cannot be read.
        """
        key = path.resolve()
        if key not in self._read:
            self._read[key] = read_document(path, GENERATED)
        return self._read[key]

    def resolved(self, part: Part) -> Part:
        """What a part is, or what its `$ref` leads to, through as many references as there are.

        Raises:
            InvalidInput: a reference to the network, to what is not there, or back to itself.
        """
        seen = {part.place}
        while isinstance(part.value, Mapping) and "$ref" in part.value:
            target = self._target(part)
            if target.place in seen:
                told = shortened(str(part.value["$ref"]))
                raise part.invalid(
                    f"expected a reference to a value, found '{told}', which leads back to itself", "$ref"
                )
            seen.add(target.place)
            part = target
        return part

    def _target(self, part: Part) -> Part:
        reference = part.value["$ref"]
        if not isinstance(reference, str):
            raise part.invalid("expected a reference such as '#/components/messages/NAME'", "$ref")
        address, fragment = urldefrag(reference.strip())
        document = self._other(part, address) if address else part.document
        found = Part(document, (), document.data)
        for name in _names(unquote(fragment)):
            key = _key(found.value, name)
            if key is None:
                raise part.invalid(
                    f"expected '{shortened(reference)}' to lead to a value, found no '{shortened(name)}' there", "$ref"
                )
            found = found.child(key)
        return found

    def _other(self, part: Part, address: str) -> Document:
        parts, told = urlsplit(address), shortened(address)
        if parts.scheme or parts.netloc:
            raise part.invalid(
                f"expected a reference to a file, found '{told}'. Copy what is there beside the contract: a verdict "
                "may not depend on what the network answers.",
                "$ref",
            )
        path = part.document.path.parent / unquote(parts.path)
        if not is_file(path):
            raise part.invalid(f"expected the file '{told}' beside this one, found none", "$ref")
        return self.document(path)


def _names(fragment: str) -> list[str]:
    """The names of a JSON pointer (RFC 6901)."""
    return [name.replace("~1", "/").replace("~0", "~") for name in fragment.strip("/").split("/")] if fragment else []


def _key(value: Any, name: str) -> str | int | None:
    if isinstance(value, Mapping):
        return name if name in value else None
    if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
        return int(name)
    return None
