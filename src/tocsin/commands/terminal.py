"""The one way out to terminals and CI logs: whatever is told, nothing of it acts there. With more styles: `console`."""

from __future__ import annotations

import sys

import click

from tocsin.commands.foreign import own_stream
from tocsin.shown import for_ci_log


def say(text: object = "", *, err: bool = False, nl: bool = True, colour: str | None = None) -> None:
    """Print a text, `err` to standard error; in a colour only where it is a terminal that shows it."""
    shown = for_ci_log(str(text))
    click.echo(
        click.style(shown, fg=colour) if colour else shown, file=own_stream(sys.stderr if err else sys.stdout), nl=nl
    )
