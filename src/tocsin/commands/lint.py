"""`tocsin lint`: a system's Prometheus rules, read before anything breaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx

from tocsin.alarms.engine import load_problems
from tocsin.alarms.exposition import parse_exposition
from tocsin.alarms.lint import Page, lint_rules
from tocsin.alarms.prometheus import RuleFile, read_rules
from tocsin.alarms.promql import names_read, reads_of
from tocsin.errors import Complaints, InvalidInput, TargetError
from tocsin.project.documents import load_system
from tocsin.project.proxies import is_loopback
from tocsin.project.text import MIB, read_text

_TIMEOUT_S = 10.0
_PAGE_BYTES = 64 * MIB


def lint_lines(root: Path, name: str, metrics: str | None) -> Iterator[str]:
    """One line for each complaint about the rules of a system.

    Args:
        root: the project.
        name: the system.
        metrics: file or URL of a page of `/metrics` of the healthy system, if there is one.

    Raises:
        InvalidInput: no such system, it has no rules, or the page is none.
        TargetError: the page cannot be fetched.
    """
    system = load_system(root, name)
    if system.prometheus is None:
        raise InvalidInput(
            "expected `prometheus` with a rules file, found none: there is nothing to lint",
            file=root / "systems" / f"{name}.yaml",
        )
    path = root / system.prometheus.rules
    rules, document = read_rules(path)
    wrong = Complaints()
    wrong.extend(load_problems(path, rules, document))
    wrong.tell()
    page = None if metrics is None else _page(metrics, rules)
    for complaint in lint_rules(rules, system.objectives, page):
        yield f"{system.prometheus.rules}: {complaint.alert or 'all rules'}: {complaint.message} [{complaint.kind}]"


def _page(place: str, rules: RuleFile) -> Page:
    try:
        found = (read for _, rule in rules.placed for read in reads_of(rule.expr))
        return parse_exposition(_read(place), names_read(found), {})
    except ValueError as error:
        raise InvalidInput(f"expected a page of /metrics, found something else: {error}", file=place) from None


def _read(place: str) -> str:
    if not place.startswith(("http://", "https://")):
        return read_text(Path(place), _PAGE_BYTES)
    try:
        return httpx.get(place, timeout=_TIMEOUT_S, trust_env=not is_loopback(place)).raise_for_status().text
    except httpx.HTTPError as error:
        raise TargetError(f"expected a page of /metrics at {place}, found: {error}") from error
