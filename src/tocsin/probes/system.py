"""Probes of what a system file describes: its endpoint and its alarms."""

from __future__ import annotations

import httpx

from tocsin.alarms.states import read_states
from tocsin.aws.cloudwatch import DESCRIBE_GRANT
from tocsin.aws.declared import Declared
from tocsin.aws.lookups import base_url_of, endpoint_grant, resolve_system
from tocsin.errors import InvalidInput, NotFound, TargetError, near_match
from tocsin.faults.session import Configuration, target_of
from tocsin.project.documents import load_system
from tocsin.project.places import find_root, here
from tocsin.project.proxies import is_loopback


def endpoint_status(system: str, path: str, timeout_s: float = 10.0, configuration: Configuration | None = None) -> int:
    """Status code of an unauthenticated GET.

    Raises:
        TargetError: no answer within `timeout_s`.
    """
    loaded = load_system(find_root(here()), system)
    url = base_url_of(loaded, target_of(configuration)) + path
    try:
        return httpx.get(url, timeout=timeout_s, trust_env=not is_loopback(url)).status_code
    except httpx.HTTPError as error:
        raise TargetError(f"expected an answer from {path}, found {type(error).__name__}: {error}") from error


def alarm_state(system: str, alarm: str, configuration: Configuration | None = None) -> str:
    """State of an alarm of the system file: OK, ALARM or INSUFFICIENT_DATA.

    Raises:
        InvalidInput: the system file has no such alarm.
        NotFound: the target has no such alarm.
    """
    loaded = load_system(find_root(here()), system)
    if alarm not in loaded.alarms:
        raise InvalidInput(f"expected an alarm of {system}, found '{alarm}'. {near_match(alarm, loaded.alarms)}")
    target = target_of(configuration)
    # Only the URL of a Prometheus may have to be looked up: CloudWatch is asked by names that are written down.
    resolved = loaded if alarm in loaded.cloudwatch_alarms else resolve_system(loaded, target)
    states = read_states(resolved, [alarm], target)
    if alarm not in states:
        raise NotFound(f"expected the alarm {alarm} of {system} in the target, found none of its name")
    return states[alarm]


ALARM_STATE = Declared(alarm_state, grant=lambda arguments, arns: DESCRIBE_GRANT)
ENDPOINT_STATUS = Declared(endpoint_status, grant=lambda arguments, arns: endpoint_grant(arns))
