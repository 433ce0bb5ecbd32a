"""Probes for steady-state hypotheses: plain Chaos Toolkit functions that work in a drill and under `chaos run`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from tocsin.alarms.deploy import DESCRIBE_GRANT
from tocsin.alarms.states import read_states
from tocsin.errors import InvalidInput, NotFound, TargetError, near_match
from tocsin.faults.session import target_of
from tocsin.iam import Arns, Grant
from tocsin.loader import load_system
from tocsin.project import find_root
from tocsin.resolve import http_api_grant, resolve_base_url, resolve_system

Configuration = Mapping[str, Any]


def endpoint_status(system: str, path: str, timeout_s: float = 10.0, configuration: Configuration | None = None) -> int:
    """Status code of an unauthenticated GET.

    Raises:
        TargetError: no answer within `timeout_s`.
    """
    loaded = load_system(find_root(Path.cwd()), system)
    url = resolve_base_url(loaded.endpoint, target_of(configuration)) + path
    try:
        return httpx.get(url, timeout=timeout_s).status_code
    except httpx.HTTPError as error:
        raise TargetError(f"expected an answer from {path}, found {type(error).__name__}: {error}") from error


def alarm_state(system: str, alarm: str, configuration: Configuration | None = None) -> str:
    """State of an alarm of the system file: OK, ALARM or INSUFFICIENT_DATA.

    Raises:
        InvalidInput: the system file has no such alarm.
        NotFound: the target has no such alarm.
    """
    loaded = load_system(find_root(Path.cwd()), system)
    if alarm not in loaded.alarms:
        raise InvalidInput(f"expected an alarm of {system}, found '{alarm}'. {near_match(alarm, loaded.alarms)}")
    target = target_of(configuration)
    # Only the URL of a Prometheus may have to be looked up: CloudWatch is asked by names that are written down.
    resolved = loaded if alarm in loaded.cloudwatch_alarms else resolve_system(loaded, target)
    states = read_states(resolved, [alarm], target)
    if alarm not in states:
        raise NotFound(f"expected the alarm {alarm} of {system} in the target, found none of its name")
    return states[alarm]


GRANTS: Mapping[str, Callable[[Mapping[str, Any], Arns], Grant]] = {
    "alarm_state": lambda arguments, arns: DESCRIBE_GRANT,
    "endpoint_status": lambda arguments, arns: http_api_grant(arns),
}
"""What each probe needs of IAM with these arguments."""

__all__ = ["alarm_state", "endpoint_status"]
