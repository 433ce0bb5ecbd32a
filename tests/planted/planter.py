"""The sandbox of the shelf: `python -P planter.py`. It has a door that spoils what the API keeps whole.

No protocol of CloudWatch takes an alarm that nobody can evaluate. An account may have one all the same: CloudWatch says
so of it, with the `EvaluationState` EVALUATION_ERROR.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from tocsin.sandbox import daemon
from tocsin.sandbox.service import Door, ReliedOn
from tocsin.sandbox.services.catalogue import SERVICES
from tocsin.sandbox.world import World


class Planter:
    """Changes records behind the back of the API."""

    RELIED_ON: ClassVar[ReliedOn] = {"services.cloudwatch": {"_alarms": ""}}

    def adapt(self, world: World) -> None:
        self._world = world

    def doors(self) -> Mapping[str, Door]:
        return {"spoil-alarm": self._spoil_alarm}

    async def _spoil_alarm(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change fields of an alarm's record; it was not evaluated since."""
        ministack = self._world.ministack
        with ministack.scope((self._world.account, self._world.region)):
            record = ministack.module("services.cloudwatch")._alarms[request["alarm"]]
            born = {"StateValue": "INSUFFICIENT_DATA", "AlarmConfigurationUpdatedTimestamp": time.time()}
            record.update(request["fields"], **born)
        return {}


if __name__ == "__main__":
    daemon.main((*SERVICES, Planter))
