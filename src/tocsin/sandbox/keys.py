"""What opens a sandbox: the keys of its account's root, and the token of its doors. New ones for every sandbox."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Keys:
    """Whoever has them may do everything in the sandbox."""

    account: str
    """the account, and the access key id of its root"""
    secret_access_key: str = field(repr=False)
    token: str = field(repr=False)

    @classmethod
    def new(cls, account: str) -> Keys:
        """Keys that nobody can guess; a secret access key is as long as one of AWS."""
        return cls(account, secrets.token_hex(20), secrets.token_hex(32))
