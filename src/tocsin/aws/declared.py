"""How a probe or a procedure declares itself, once: its function, what it needs of IAM, and what it changes.

Whoever has to know of it asks the declaration: `tocsin validate` for the function, `tocsin permissions` for what it
needs, the guards and the dry run for what it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tocsin.aws.iam import Arns, Grant
from tocsin.aws.target import Aws

Arguments = Mapping[str, Any]
"""What an experiment passes to an activity."""


@dataclass(frozen=True)
class Declared:
    """A function that Chaos Toolkit calls, under its own name."""

    function: Callable[..., Any]
    grant: Callable[[Arguments, Arns], Grant] | None = None
    """what it needs of IAM with these arguments; None for nothing"""
    key_grants: Callable[[Arguments, Aws], Iterable[Grant]] | None = None
    """what it needs of keys with which the account encrypts what it works on, asked of the account; None for nothing"""
    reads: Callable[[Arguments, Aws], object] | None = None
    """makes once what it reads of AWS, and changes nothing; None where it reads nothing that its grant does not find"""
    changes: Callable[[Arguments, Aws], tuple[str, ...]] | None = None
    """ARNs of what it changes with these arguments, asked of the account; None where it only looks or waits"""

    writes: bool = False
    """whether it may leave data in a system: with some arguments it does, and nobody knows with which"""

    @property
    def name(self) -> str:
        """`func` in an experiment."""
        return self.function.__name__


def by_name(*declared: Declared) -> Mapping[str, Declared]:
    """These activities by the names that experiments use."""
    return {one.name: one for one in declared}
