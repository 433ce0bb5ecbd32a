"""`python -m flight_rescheduler`: the container's command."""

from __future__ import annotations

import os

import uvicorn

from .app import make_app
from .settings import number


def main() -> None:
    """Serve until SIGTERM, then finish what is being answered.

    A stream is never finished: without `GRACEFUL_TIMEOUT_S` the server would wait until every listener has left, and
    be killed.
    """
    graceful = number("GRACEFUL_TIMEOUT_S", "0")
    config = uvicorn.Config(
        make_app(), host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning", access_log=False
    )
    # uvicorn's own option takes whole seconds; what it does with it takes any.
    config.timeout_graceful_shutdown = graceful or None  # type: ignore[assignment]
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
