"""Leave: balances, requests and decisions."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from pg8000.native import Connection

from . import calendar_sync
from .api import Request, Response, date_of, endpoint, text_of
from .database import transaction
from .errors import ApiError, conflict, forbidden, invalid, not_found

STATUSES = ("PENDING", "APPROVED", "REJECTED", "CANCELLED")
MAX_REASON = 500

COLUMNS = "id, user_id, leave_type, start_date, end_date, days, reason, status"


@endpoint()
def balance(request: Request) -> Response:
    """GET /api/v1/leave/balance: one's own, or anybody's for ADMIN."""
    user = request.subject() or request.user.id
    year = request.query_int("year", datetime.now(UTC).year, 1970, 9998)
    with transaction() as connection:
        rows = connection.run(
            """
            SELECT policy.leave_type, policy.days_per_year, coalesce(balance.used, 0)
            FROM app_users
            CROSS JOIN leave_policies policy
            LEFT JOIN leave_balances balance
              ON balance.user_id = app_users.id AND balance.leave_type = policy.leave_type
             AND balance.year = :year
            WHERE app_users.id = :user
            ORDER BY policy.leave_type
            """,
            year=year,
            user=user,
        )
    if not rows:
        raise not_found("There is no such employee.")
    balances = [
        {"type": kind, "entitled": entitled, "used": used, "remaining": entitled - used}
        for kind, entitled, used in rows
    ]
    return Response(200, {"userId": user, "year": year, "balances": balances})


@endpoint()
def list_requests(request: Request) -> Response:
    """GET /api/v1/leave/requests: one's own, or everybody's for ADMIN; newest first."""
    page = request.page()
    status = request.query("status")
    if status is not None and status not in STATUSES:
        raise invalid(f"status is one of {', '.join(STATUSES)}.")
    user = request.subject()
    if user is None and not request.user.is_admin:
        user = request.user.id
    conditions = {
        "user_id = :user": user,
        "status = :status": status,
        "end_date >= :start": request.query_date("from"),
        "start_date <= :end": request.query_date("to"),
    }
    used = {text: value for text, value in conditions.items() if value is not None}
    where = f"WHERE {' AND '.join(used)}" if used else ""
    arguments = {text.rsplit(":", 1)[1]: value for text, value in used.items()}
    with transaction() as connection:
        # The texts above are all that goes into the statement; values travel as parameters.
        rows = connection.run(
            f"SELECT {COLUMNS} FROM leave_requests {where} "  # noqa: S608
            "ORDER BY created_at DESC, id LIMIT :size OFFSET :skip",
            size=page.size,
            skip=page.offset,
            **arguments,
        )
        ((total,),) = connection.run(
            f"SELECT count(*) FROM leave_requests {where}",  # noqa: S608
            **arguments,
        )
    items = [_document(row) for row in rows]
    return Response(200, {"items": items, "page": page.number, "pageSize": page.size, "total": total})


@endpoint()
def create_request(request: Request) -> Response:
    """POST /api/v1/leave/requests: a new PENDING request that overlaps no other of the same employee."""
    body = request.json()
    kind = body.get("type")
    start = date_of("startDate", body.get("startDate"))
    end = date_of("endDate", body.get("endDate"))
    reason = text_of("reason", body.get("reason"), MAX_REASON)
    if not isinstance(kind, str):
        raise invalid("type is required.")
    if end < start:
        raise invalid("endDate is before startDate.")
    if start.year != end.year:
        raise invalid("A request lies within one year.")
    days = working_days(start, end)
    if days == 0:
        raise invalid("The request contains no working day.")
    with transaction() as connection:
        _lock_employee(connection, request.user.id)
        _check_overlap(connection, request.user.id, start, end)
        _check_balance(connection, request.user.id, kind, start.year, days)
        ((request_id,),) = connection.run(
            """
            INSERT INTO leave_requests (user_id, leave_type, start_date, end_date, days, reason)
            VALUES (:user, :kind, :start, :end, :days, :reason) RETURNING id
            """,
            user=request.user.id,
            kind=kind,
            start=start,
            end=end,
            days=days,
            reason=reason,
        )
    return Response(201, {"id": str(request_id), "status": "PENDING", "days": days})


@endpoint()
def update_request(request: Request) -> Response:
    """PATCH /api/v1/leave/requests/{id}: ADMIN approves or rejects, the owner (or ADMIN) cancels."""
    request_id = request.path_uuid("id")
    action = request.json().get("action")
    if action not in ("APPROVE", "REJECT", "CANCEL"):
        raise invalid("action is one of APPROVE, REJECT, CANCEL.")
    if action != "CANCEL" and not request.user.is_admin:
        raise forbidden("Only ADMIN may decide.")
    with transaction() as connection:
        current = _lock_request(connection, request_id)
        if action == "CANCEL" and current["userId"] != request.user.id and not request.user.is_admin:
            raise forbidden("Only its owner may cancel a request.")
        status = _decide(connection, current, action)
        connection.run(
            """
            UPDATE leave_requests SET status = :status, decided_by = :user, updated_at = now() WHERE id = :id
            """,
            status=status,
            user=request.user.id,
            id=request_id,
        )
        if status == "APPROVED":
            # Before the commit: an approval without its calendar event must not be.
            calendar_sync.queue_leave(current)
    return Response(200, {"id": request_id, "status": status})


def working_days(start: date, end: date) -> int:
    """Mondays to Fridays from `start` to `end`, both included."""
    days = (end - start).days + 1
    weeks, rest = divmod(days, 7)
    return weeks * 5 + sum((start + timedelta(days=offset)).weekday() < 5 for offset in range(rest))


def _lock_employee(connection: Connection, user: str) -> None:
    """Let the requests of one employee through one after another, so that two cannot overlap unseen."""
    if not connection.run("SELECT 1 FROM app_users WHERE id = :user FOR NO KEY UPDATE", user=user):
        raise forbidden("The user is not an employee.")


def _check_overlap(connection: Connection, user: str, start: date, end: date) -> None:
    overlapping = connection.run(
        """
        SELECT 1 FROM leave_requests
        WHERE user_id = :user AND status IN ('PENDING', 'APPROVED') AND start_date <= :end AND end_date >= :start
        LIMIT 1
        """,
        user=user,
        start=start,
        end=end,
    )
    if overlapping:
        raise conflict("LEAVE_OVERLAP", "There is leave in this time already.")


def _check_balance(connection: Connection, user: str, kind: str, year: int, days: int) -> None:
    rows = connection.run(
        """
        SELECT policy.days_per_year - coalesce(balance.used, 0)
        FROM leave_policies policy
        LEFT JOIN leave_balances balance
          ON balance.leave_type = policy.leave_type AND balance.user_id = :user AND balance.year = :year
        WHERE policy.leave_type = :kind
        """,
        user=user,
        year=year,
        kind=kind,
    )
    if not rows:
        raise invalid("There is no such type of leave.")
    if rows[0][0] < days:
        raise ApiError(422, "INSUFFICIENT_BALANCE", f"{days} days asked for, {rows[0][0]} left.")


def _lock_request(connection: Connection, request_id: str) -> dict[str, Any]:
    rows = connection.run(
        f"SELECT {COLUMNS} FROM leave_requests WHERE id = :id FOR UPDATE",  # noqa: S608
        id=request_id,
    )
    if not rows:
        raise not_found("There is no such request.")
    return _document(rows[0])


def _decide(connection: Connection, current: dict[str, Any], action: str) -> str:
    """The next status; moves the days that go with it."""
    status = current["status"]
    if status != "PENDING" and not (action == "CANCEL" and status == "APPROVED"):
        raise conflict("INVALID_STATE", f"The request is {status} already.")
    if action == "REJECT":
        return "REJECTED"
    if action == "CANCEL":
        if status == "APPROVED":
            _use(connection, current, -current["days"])
        return "CANCELLED"
    _lock_employee(connection, current["userId"])
    year = date.fromisoformat(current["startDate"]).year
    _check_balance(connection, current["userId"], current["type"], year, current["days"])
    _use(connection, current, current["days"])
    return "APPROVED"


def _use(connection: Connection, request: dict[str, Any], days: int) -> None:
    """Count days as taken, or as not taken when negative."""
    key = {
        "user": request["userId"],
        "year": date.fromisoformat(request["startDate"]).year,
        "kind": request["type"],
    }
    connection.run(
        """
        INSERT INTO leave_balances (user_id, year, leave_type) VALUES (:user, :year, :kind)
        ON CONFLICT DO NOTHING
        """,
        **key,
    )
    connection.run(
        """
        UPDATE leave_balances SET used = used + :days
        WHERE user_id = :user AND year = :year AND leave_type = :kind
        """,
        days=days,
        **key,
    )


def _document(row: list[Any]) -> dict[str, Any]:
    request_id, user, kind, start, end, days, reason, status = row
    return {
        "id": str(request_id),
        "userId": str(user),
        "type": kind,
        "startDate": start.isoformat(),
        "endDate": end.isoformat(),
        "days": days,
        "reason": reason,
        "status": status,
    }
