"""GET /healthz."""

from __future__ import annotations

import os

from . import logs
from .api import Request, Response, endpoint
from .database import transaction
from .errors import DependencyUnavailable


@endpoint(public=True)
def healthz(request: Request) -> Response:
    """200 when the database answers, 503 when it does not."""
    version = os.environ.get("APP_VERSION", "unknown")
    try:
        with transaction() as connection:
            connection.run("SELECT 1")
    except DependencyUnavailable as cause:
        logs.error("dependency.unavailable", dependency=cause.dependency, reason=str(cause))
        return Response(503, {"status": "degraded", "db": "unavailable", "version": version})
    return Response(200, {"status": "ok", "db": "ok", "version": version})
