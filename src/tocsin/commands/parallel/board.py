"""What a person sees of drills side by side: the lines of all, and on a terminal a table of those that run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.table import Table

from tocsin.commands.console import footer
from tocsin.commands.progress import Progress
from tocsin.commands.streams import Aside
from tocsin.model.events import DrillEnded, DrillStarted, Event


class Board:
    """One row a drill that runs; each line begins with the name of its drill."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._drills: dict[str, Progress] = {}
        self._running: list[str] = []
        self._aside: Aside[tuple[Progress, Event]] = Aside(lambda seen: seen[0].see(seen[1]))

    def watch(self, slug: str) -> Callable[[Event], None]:
        """Who hears the events of that drill."""
        with self._lock:
            drill = self._drills.setdefault(slug, Progress(self._console, slug))

        def see(event: Event) -> None:
            self._aside.see((drill, event))
            with self._lock:
                if isinstance(event, DrillStarted) and slug not in self._running:
                    self._running.append(slug)
                elif isinstance(event, DrillEnded) and slug in self._running:
                    self._running.remove(slug)

        return see

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Keep the table on the terminal while the run lasts."""
        with footer(self._console, self.table):
            yield

    def table(self) -> Group:
        """The drills that run now."""
        table = Table.grid(padding=(0, 1))
        with self._lock:
            running = {slug: self._drills[slug] for slug in self._running}
        for slug, drill in running.items():
            table.add_row(f"  {slug}", drill.footer())
        return Group(table)

    def close(self) -> None:
        """Show what is left."""
        self._aside.close()
