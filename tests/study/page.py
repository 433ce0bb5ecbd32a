"""Where the page of the study keeps its tables, between two marks each."""

from __future__ import annotations

from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "ANSWERS.md"


def write(name: str, text: str) -> None:
    """Put a table between its marks."""
    page, (begin, end) = DOCUMENT.read_text(encoding="utf-8"), _marks(name)
    before, after = page[: page.index(begin) + len(begin)], page[page.index(end) :]
    DOCUMENT.write_text(f"{before}\n{text}\n{after}", encoding="utf-8")


def told(name: str) -> str:
    """The table that the page holds."""
    page, (begin, end) = DOCUMENT.read_text(encoding="utf-8"), _marks(name)
    return page[page.index(begin) + len(begin) : page.index(end)].strip()


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- make study, {name}: begin -->", f"<!-- make study, {name}: end -->"
