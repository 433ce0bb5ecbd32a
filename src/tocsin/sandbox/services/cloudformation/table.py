"""The types of resources that stacks make by requests to the sandbox's own API, one line each.

Of all other types ministack's own provisioners write into its stores; a type that it has not is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.sandbox.services.cloudformation import functions, messages, others
from tocsin.sandbox.services.cloudformation.resources import ResourceType

TABLE: Mapping[str, ResourceType] = {kind.name: kind for kind in (*functions.TYPES, *messages.TYPES, *others.TYPES)}
