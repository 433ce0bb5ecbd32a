"""Probes for steady-state hypotheses: plain Chaos Toolkit functions that work in a drill and under `chaos run`.

provider: {type: python, module: tocsin.probes, func: alarm_state, arguments: {...}}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tocsin.aws.declared import by_name
from tocsin.probes.dashboards import DASHBOARD_DATA
from tocsin.probes.postgres import POSTGRES_VALUE, ROWS_RESTORED
from tocsin.probes.system import ALARM_STATE, ENDPOINT_STATUS

PROBES = by_name(ALARM_STATE, DASHBOARD_DATA, ENDPOINT_STATUS, POSTGRES_VALUE, ROWS_RESTORED)
"""Every probe there is. Each is a function of this package: Chaos Toolkit looks for it here."""

globals().update({name: probe.function for name, probe in PROBES.items()})
__all__ = [*PROBES]

if TYPE_CHECKING:

    def __getattr__(name: str) -> Callable[..., Any]: ...
