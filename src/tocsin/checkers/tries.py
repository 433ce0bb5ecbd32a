"""Was it tried before, on a machine that did not keep up?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer
from tocsin.checkers.timeline import Timeline
from tocsin.model.verdict import Finding


def check_tries(timeline: Timeline) -> Iterator[Answer]:
    """The verdict is that of the second try; that there was a first one is told."""
    first = timeline.started.first_try
    if first is not None:
        yield Finding(
            kind="tried_again",
            subject=timeline.experiment.slug,
            message=f"This is the second try: this machine did not keep up with the first, {first.drill}, "
            f"whose report is {first.directory}/report.html. {first.because}",
        )
