"""What of a policy nobody here can evaluate: it is refused by its name, where AWS would evaluate it or refuse it too.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

_IF_EXISTS = "ifexists"
_SETS = ("forallvalues:", "foranyvalue:")
_VARIABLE = re.compile(r"\$\{[^}]*\}")
_WITH_VARIABLES = ("Resource", "NotResource", "Condition")


def not_evaluated(document: Any, operators: Collection[str]) -> str | None:
    """The first part of a policy that is not evaluated, in words; None when all of it is.

    `operators` are the condition operators that are known, in lower case, without `IfExists` and the prefixes of sets.
    """
    for statement in _statements(document):
        for operator in statement.get("Condition") or {}:
            if not _known(str(operator), operators):
                return f"the condition operator '{operator}'"
        for element in _WITH_VARIABLES:
            if (found := _VARIABLE.search(json.dumps(statement.get(element)))) is not None:
                return f"the policy variable '{found[0]}' in {element}"
    return None


def _known(operator: str, operators: Collection[str]) -> bool:
    name = operator.lower()
    if name == "null":
        return True
    name = name.removesuffix(_IF_EXISTS)
    for prefix in _SETS:
        name = name.removeprefix(prefix)
    return name in operators


def _statements(document: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError:
            return  # whoever takes it refuses it
    found = document.get("Statement") if isinstance(document, Mapping) else None
    yield from (one for one in ([found] if isinstance(found, Mapping) else found or ()) if isinstance(one, Mapping))
