"""Which exports a stack may have, and which it must keep.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-stack-exports.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any


def publish(
    exports: MutableMapping[str, Mapping[str, Any]],
    stack_id: str,
    wanted: Mapping[str, Mapping[str, Any]],
    importers: Callable[[str], list[str]],
) -> None:
    """Let a stack have the exports of its template and no others.

    `exports` are those of the account and region: name -> StackId, Name and Value. `importers` answers the names of
    the stacks that import one.

    Raises:
        ValueError: another stack has one of that name, or a stack imports one that is removed or changed. Nothing was
            published.
    """
    for name in wanted:
        owner = str(exports.get(name, {}).get("StackId", stack_id))
        if owner != stack_id:
            raise ValueError(f"Export with name {name} is already exported by stack {owner.split('/')[1]}")
    before = {name: one for name, one in exports.items() if one.get("StackId") == stack_id}
    for name, one in before.items():
        if name in wanted and wanted[name]["Value"] == one["Value"]:
            continue
        if users := importers(name):
            done = "updated" if name in wanted else "deleted"
            raise ValueError(f"Export {name} cannot be {done} as it is in use by {', '.join(users)}")
    for name in before.keys() - wanted.keys():
        exports.pop(name)
