"""Takes out of what is told whatever must not be shown: secrets, in every form in which they are written down.

By value, where it is known in this process (`known`): what an experiment declares, what AWS returned for a secret, what
somebody signed in with. And by how it looks, or by the name of its field (`shapes`, `names`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tocsin.masking.known import HIDDEN, KnownSecrets
from tocsin.masking.names import is_secret_name
from tocsin.masking.shapes import hide_shapes

__all__ = ["HIDDEN", "KNOWN", "KnownSecrets", "mask", "mask_all", "mask_document"]

KNOWN = KnownSecrets()
"""What this process knows. One for all: an error does not know which drill it will be told in."""


def mask(text: str) -> str:
    """The text without the secrets that it repeats."""
    return hide_shapes(KNOWN.hide(text))


def mask_all(value: Any) -> Any:
    """The same for every text of a JSON value; names of fields stay, unless they are secrets themselves."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {KNOWN.hide(name) if isinstance(name, str) else name: mask_all(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask_all(item) for item in value]
    return value


def mask_document(value: Any) -> Any:
    """As `mask_all`, and every value under the name of a secret: for documents whose fields are not ours."""
    if isinstance(value, Mapping):
        return {
            KNOWN.hide(name): HIDDEN if _is_secret(name, item) else mask_document(item) for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask_document(item) for item in value]
    return mask_all(value)


def _is_secret(name: str, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    return bool(value) and is_secret_name(name) and not str(value).startswith("${")
