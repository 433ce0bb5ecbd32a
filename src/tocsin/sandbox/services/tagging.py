# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""The Resource Groups Tagging API: it finds what the services have tagged, and nothing of other regions.

https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/supported-services.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import ClassVar

from tocsin.sandbox.service import ReliedOn, Tagged
from tocsin.sandbox.world import World


class Tagging:
    """The tagging API of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {"services.tagging": {"_COLLECTORS": "", "_get_resources": "data"}}

    def adapt(self, world: World) -> None:
        """Let it find the resources of every service that has tags."""
        self._ministack = world.ministack
        tagged = [one for one in world.services.values() if isinstance(one, Tagged)]
        collectors = {one.signed_for: partial(self._of_this_region, one) for one in tagged}
        world.ministack.module("services.tagging")._COLLECTORS |= collectors

    def _of_this_region(self, service: Tagged) -> Iterator[tuple[str, Sequence[Mapping[str, str]]]]:
        """ministack keeps the tags of all regions of an account together."""
        _, region = self._ministack.current_scope()
        yield from ((arn, tags) for arn, tags in service.tags() if arn.split(":")[3:4] == [region])
