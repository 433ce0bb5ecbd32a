"""Terminals with styles, for what a person watches."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, NoReturn

from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

from tocsin.commands.foreign import own_stream, shown_with
from tocsin.shown import for_ci_log


class PlainConsole(Console):
    """A terminal on which only its own styles act: every piece of text is made harmless on its way out."""

    @property
    def file(self) -> IO[str]:
        """The real stream: what others print goes another way."""
        return own_stream(super().file)

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As `Console.render`."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else for_ci_log(text), style, control)

    def on_broken_pipe(self) -> NoReturn:
        """Whoever read has seen enough: told as by any other file, and not by ending the process as rich does.

        Raises:
            BrokenPipeError: always.
        """
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def plain_console(width: int | None = None, *, soft_wrap: bool = True) -> Console:
    """A terminal that shows text as it is: in an ARN, `:secret:` is no emoji, and `[...]` no markup.

    Args:
        width: columns, where it is not a terminal that says so itself.
        soft_wrap: leave it to the terminal to break long lines.
    """
    return PlainConsole(highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap, width=width)


@contextmanager
def footer(console: Console, shown: Callable[[], RenderableType]) -> Iterator[None]:
    """Keep something below all lines of a terminal, those of others too; elsewhere there are only lines."""
    if not console.is_terminal:
        yield
        return
    # rich would take the lines of others past us, with what they hold.
    live = Live(
        get_renderable=shown, console=console, refresh_per_second=4, transient=True,
        redirect_stdout=False, redirect_stderr=False,
    )  # fmt: skip
    with live, shown_with(lambda text: console.print(Text(text), end="")):
        yield
