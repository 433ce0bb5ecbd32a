"""One key of the account's own."""

from __future__ import annotations

from tests.faults.stub.clock import Clock
from tests.faults.stub.errors import Asked, StubError

KEY = "arn:aws:kms:eu-west-1:123456789012:key/one"


class Kms:
    """`policy` is empty where it may not be read."""

    def __init__(self, clock: Clock) -> None:
        self.state, self.policy, self.manager = "Enabled", "", "CUSTOMER"

    def describe_key(self, asked: Asked) -> Asked:
        return {"KeyMetadata": {"KeyId": "one", "Arn": KEY, "KeyState": self.state, "KeyManager": self.manager}}

    def get_key_policy(self, asked: Asked) -> Asked:
        if not self.policy:
            raise StubError("AccessDeniedException", "not allowed to kms:GetKeyPolicy")
        assert asked["KeyId"] == KEY
        return {"Policy": self.policy}
