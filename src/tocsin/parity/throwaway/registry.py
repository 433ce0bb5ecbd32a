"""Every kind of throwaway resource: one line each."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping

from tocsin.faults.base import AnyFault
from tocsin.faults.registry import FAULTS
from tocsin.parity.throwaway.kinds.alarm import ParityAlarm
from tocsin.parity.throwaway.kinds.base import Throwaway
from tocsin.parity.throwaway.kinds.function import ParityFunction
from tocsin.parity.throwaway.kinds.messaging import ParityQueue, ParityTopic
from tocsin.parity.throwaway.kinds.role import ParityRole
from tocsin.parity.throwaway.kinds.schedule import ParitySchedule

THROWAWAY: Mapping[str, type[Throwaway]] = {
    one.kind: one for one in (ParityAlarm, ParityFunction, ParityQueue, ParityRole, ParitySchedule, ParityTopic)
}
RECOVERABLE: Mapping[str, type[AnyFault]] = ChainMap(FAULTS, {**THROWAWAY})
"""Whatever may stand in a ledger. Only faults may stand in an experiment."""
