"""The report of parity that is kept for a target, beside its ledger: preflight and forecasts read it."""

from __future__ import annotations

import os
from pathlib import Path

from tocsin.errors import InvalidInput
from tocsin.parity.model import ParityReport
from tocsin.project.documents import parse_model, read_document
from tocsin.project.nodes import GENERATED
from tocsin.project.places import parity_path
from tocsin.project.text import is_file


def keep(root: Path, report: ParityReport) -> tuple[str, ...]:
    """Keep a report until there is a newer one. What only throwaway resources tell is kept from the last that had them.

    Returns:
        What went wrong, in words: the one that was kept is damaged and gives way to this one, or this one could not be
        kept. What was found is told all the same.
    """
    file = parity_path(root, report.target)
    before, damage = kept_of(root, report.target, report.account, report.region)
    troubles = (damage,) if damage else ()
    if before is not None and report.throwaway_at is None:
        looked_at = {row.key for row in report.rows}
        rows = (*report.rows, *(row for row in before.rows if row.key not in looked_at))
        report = report.model_copy(update={"rows": rows, "throwaway_at": before.throwaway_at})
    return troubles + write_whole(file, as_json(report))


def write_whole(file: Path, text: str) -> tuple[str, ...]:
    """Write a file, which is there as a whole or as it was before; why it could not be written, in words."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_text(text, encoding="utf-8")
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        return (f"{file}: expected to write what was found, found that it cannot be: {error.strerror}. Free the place",)
    return ()


def as_json(report: ParityReport) -> str:
    """The text of `parity.json`."""
    return f"{report.model_dump_json(indent=2)}\n"


def kept_of(root: Path, target: str, account: str | None, region: str) -> tuple[ParityReport | None, str]:
    """As `read_kept`, for whoever goes on without it: where the file is damaged none, and that in words, else empty."""
    try:
        return read_kept(root, target, account, region), ""
    except InvalidInput as error:
        file, found = parity_path(root, target), str(error).splitlines()[0]
        move = f"`tocsin parity --target {target} --throwaway` measures again"
        return None, f"{file} is damaged, so what it held of this target is not used: {found.rstrip('.')}. {move}"


def read_kept(root: Path, target: str, account: str | None, region: str) -> ParityReport | None:
    """The report that is kept of a target; None where there is none, or it is of another account or region.

    Raises:
        InvalidInput: the file is none.
    """
    file = parity_path(root, target)
    if not is_file(file):
        return None
    document = read_document(file, GENERATED)
    report = parse_model(ParityReport, document.data, document)
    return report if (report.account, report.region) == (account, region) else None
