"""A row cites the page that says why it was asked: of what is no call of AWS, none of AWS."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.drill.test_writing import drill, experiment, probe, python

from tocsin.commands.parity import Looked, show
from tocsin.errors import TargetError, Unavailable
from tocsin.model.toolkit import ExperimentFile
from tocsin.parity.activity_reads import Question
from tocsin.parity.answers import Answers
from tocsin.parity.context import ParityContext
from tocsin.parity.model import Key, Measured, ParityReport
from tocsin.parity.reads import Surroundings, _probe, _read

TOOLKIT_PAGE = "https://chaostoolkit.org/reference/api/experiment/"
NOBODY = {"type": "http", "url": "http://127.0.0.1:1/", "timeout": 1}


def shown(*rows: Measured) -> list[str]:
    """The lines that `tocsin parity` shows of rows that do not hold."""
    report = ParityReport(target="t", account="1", region="r", at=0.0, version="1", systems=(), rows=rows)
    text = io.StringIO()
    show(Looked(report, Path("parity.json"), ()), Console(file=text, width=1000))
    return [line.rstrip() for line in text.getvalue().splitlines() if line.startswith(f"{Key.ANSWERED}: about: ")]


def row(source: str | None) -> Measured:
    return Measured(key=Key.ANSWERED, about="about", here=None, holds=None, detail="no answer.", source=source)


def test_a_source_of_its_own_is_cited_instead_of_that_of_the_assumption() -> None:
    of_the_assumption, own, none = shown(row(None), row(TOOLKIT_PAGE), row(""))
    assert of_the_assumption.startswith("answered: about: no answer. https://docs.aws.amazon.com/")
    assert own == f"answered: about: no answer. {TOOLKIT_PAGE}"
    assert none == "answered: about: no answer."


def asked(root: Path, toolkit: ExperimentFile, *, known_to_read: bool) -> Measured:
    """The row of the only probe of an experiment, which is not answered."""
    with drill(root, toolkit) as (ctx, ledger, injector):
        around = Surroundings(ParityContext(ctx.target, ledger), root, ctx.history, ctx.stop)
        (activity,) = toolkit.activities("steady-state-hypothesis")
        question = Question("probe orders", activity, of_hypothesis=True, known_to_read=known_to_read, asked="")
        (found,) = _probe(around, Answers(ctx.target), question, injector)
    return found


@pytest.mark.parametrize(
    ("provider", "known_to_read"), [(NOBODY, True), (python("chaosaws.ecs.probes", "describe_service"), False)]
)
def test_a_probe_cites_the_page_of_probes(tmp_path: Path, provider: dict[str, Any], known_to_read: bool) -> None:
    found = asked(tmp_path, experiment(probes=[probe(provider)]), known_to_read=known_to_read)
    assert (found.holds, found.source) == (None, TOOLKIT_PAGE)


@pytest.mark.parametrize("error", [TargetError("Prometheus says no"), Unavailable("Prometheus is away")])
def test_what_is_no_call_of_aws_cites_none_of_its_pages(tmp_path: Path, error: TargetError) -> None:
    def refuses() -> None:
        raise error

    question: Callable[[], object] = refuses
    with drill(tmp_path, experiment()) as (ctx, ledger, _):
        around = Surroundings(ParityContext(ctx.target, ledger), tmp_path, ctx.history, ctx.stop)
        (found,) = _read(around, Answers(ctx.target), "alerts", question)
    assert found.source == ""
