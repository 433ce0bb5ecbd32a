# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""AWS Secrets Manager: ministack's, found by the Resource Groups Tagging API too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from tocsin.sandbox.metrics import scope_of_arn
from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.world import World


class SecretsManager:
    """The secrets of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        "services.secretsmanager": {
            "_secrets": "",
            "_resolve": "secret_id, use_arn_scope",
            "_find_stage_version": "secret, stage",
        },
        "services.tagging": {"_collect_secretsmanager": ""},
    }
    signed_for = "secretsmanager"

    def adapt(self, world: World) -> None:
        """Nothing is changed."""
        self._ministack = world.ministack
        self._secrets = world.ministack.module("services.secretsmanager")
        self._collect = world.ministack.module("services.tagging")._collect_secretsmanager

    def value(self, arn: str) -> str | None:
        """The text of a secret, by its ARN and as it is now; None where there is none."""
        if arn.count(":") < 6:
            return None
        with self._ministack.scope(scope_of_arn(arn)):
            _, secret = self._secrets._resolve(arn)
            if secret is None or secret.get("DeletedDate"):
                return None
            _, version = self._secrets._find_stage_version(secret, "AWSCURRENT")
        return None if version is None else version.get("SecretString")

    def tags(self) -> Iterable[tuple[str, Sequence[Mapping[str, str]]]]:
        """ARN and tags of every secret."""
        found: Iterable[tuple[str, Sequence[Mapping[str, str]]]] = self._collect()
        return found
