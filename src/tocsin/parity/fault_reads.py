"""Every read that one fault makes in its life, made once, by its own code."""

from __future__ import annotations

import time

from tocsin.aws.target import Aws, Target
from tocsin.errors import Refused
from tocsin.faults.base import AnyFault

_NO_ENTRY = "parity"
"""In the place of the ledger entry for which a fault makes things: nothing of it is there."""
_ENDS_AFTER_S = 3600.0
"""Production seconds after which a fault that ends by itself would do so."""
_FELT_S = 60.0


def read_as(fault: AnyFault, target: Target) -> None:
    """Read what the fault reads before it breaks anything, and what it will read of its own things and of its harm.

    Raises:
        Refused: it would not be injected from this state, because it would change nothing or could not be undone.
        TargetError: a read was not answered, or not as the fault needs it.
    """
    expires_at = time.time() + _ENDS_AFTER_S / target.scale
    aws = Aws(target, entry="", expires_at=expires_at)
    prior = fault.observe(aws, None)
    fault.check_bites(aws)
    fault.arns(aws)
    if target.dead_man_role and not fault.expires:
        fault.dead_man(aws, prior)
    fault.look_ahead(Aws(target, entry=_NO_ENTRY, expires_at=expires_at), prior)
    fault.felt(aws, time.time() - _FELT_S)
    if fault.broken(prior) == prior:
        raise Refused("undo", "nothing would change: it is as broken already")
