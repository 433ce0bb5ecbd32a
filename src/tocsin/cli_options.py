"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

PATHS = click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
TARGET = click.option(
    "--target", "target_name", default="sandbox", show_default=True, help="`sandbox`, or a target of tocsin.toml."
)
OUT = click.option(
    "--out", type=click.Path(path_type=Path), help="New directory for the reports.  [default: .tocsin/runs/<time>]"
)
SCALE = click.option(
    "--time-scale",
    type=click.FloatRange(min=1, max=600),
    help="How much faster the sandbox's clock runs. Request latency is never scaled.  "
    "[default: 60, or that of the sandbox that runs]",
)
POLICY_FILE = click.Path(path_type=Path, dir_okay=False)
PARTS = click.option(
    "--parts",
    type=click.Choice(["embedded", "containers"]),
    help="Where the sandbox has PostgreSQL, Valkey and Prometheus from: wheels, or images in Docker.  "
    "[default: embedded, or that of the sandbox that runs]",
)


def root_here() -> Path:
    """The checkout around the working directory.

    Raises:
        InvalidInput: the working directory was deleted.
    """
    from tocsin.project.places import find_root, here

    return find_root(here())
