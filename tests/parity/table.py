"""The table of assumptions in docs/SANDBOX.md: `python -m tests.parity.table` writes it, a test compares it."""

from __future__ import annotations

from pathlib import Path

from tocsin.model.duration import format_duration
from tocsin.parity.assumptions import ASSUMPTIONS
from tocsin.parity.model import Assumption, Told

PAGE = Path(__file__).parents[2] / "docs" / "SANDBOX.md"
BEGIN = "<!-- assumptions: written by `python -m tests.parity.table` -->"
END = "<!-- end of the assumptions -->"
_WHO = {Told.BY_READS: "`parity`", Told.BY_THROWAWAY: "`parity --throwaway`", Told.BY_NOBODY: "nobody"}


def table() -> str:
    """The assumptions in Markdown."""
    heads = ("| assumption | sandbox | limit | used for | measured by |", "|---|---|---|---|---|")
    return "\n".join((*heads, *map(_row, ASSUMPTIONS.values())))


def _row(one: Assumption) -> str:
    taken = f"[{one.sentence}]({one.source})"
    return f"| {taken} | {_shown(one, one.sandbox)} | {_limit(one)} | {one.used} | {_WHO[one.told]} |"


def _limit(assumption: Assumption) -> str:
    return "" if assumption.limit is None else _shown(assumption, assumption.limit)


def _shown(assumption: Assumption, value: float | str) -> str:
    if isinstance(value, str):
        return value
    if assumption.unit == "share":
        return f"{value:.0%}"
    return "at once" if value == 0 else format_duration(value) if value >= 1 else f"{value:g} s"


def page(text: str) -> str:
    """`text` of docs/SANDBOX.md with the table in its place."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert end, f"expected the lines '{BEGIN}' and '{END}' in {PAGE}"
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
