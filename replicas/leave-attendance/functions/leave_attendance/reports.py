"""Reports for ADMIN."""

from __future__ import annotations

from .api import Request, Response, endpoint
from .database import transaction
from .errors import invalid


@endpoint(admin_only=True)
def leave_summary(request: Request) -> Response:
    """GET /api/v1/reports/leave-summary: requests and days by type and status, between two dates."""
    start, end = request.query_date("from"), request.query_date("to")
    if start is not None and end is not None and end < start:
        raise invalid("to is before from.")
    with transaction() as connection:
        rows = connection.run(
            """
            SELECT leave_type, status, count(*), sum(days), count(DISTINCT user_id) FROM leave_requests
            WHERE end_date >= coalesce(CAST(:start AS date), '-infinity')
              AND start_date <= coalesce(CAST(:end AS date), 'infinity')
            GROUP BY leave_type, status ORDER BY leave_type, status
            """,
            start=start,
            end=end,
        )
    items = [
        {"type": kind, "status": status, "requests": count, "days": days, "employees": employees}
        for kind, status, count, days, employees in rows
    ]
    return Response(
        200,
        {
            "from": None if start is None else start.isoformat(),
            "to": None if end is None else end.isoformat(),
            "items": items,
        },
    )
