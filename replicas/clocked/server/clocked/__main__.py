"""`python -m clocked`: the container's command."""

from __future__ import annotations

import logging

import uvicorn

from clocked.app import make_app
from clocked.settings import Settings


def main() -> None:
    """Serve until SIGTERM, then finish what is being answered."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = Settings.from_environment()
    uvicorn.run(
        make_app(settings),
        host="127.0.0.1",
        port=settings.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
