"""Attendance: clocking in and out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pg8000.native import Connection

from .api import Request, Response, endpoint, text_of
from .database import transaction
from .errors import conflict, forbidden, invalid
from .settings import enabled

MAX_KEY = 200


@endpoint()
def list_logs(request: Request) -> Response:
    """GET /api/v1/attendance: one's own logs, or those of `user_id` for ADMIN; newest first."""
    page = request.page()
    user = request.subject() or request.user.id
    with transaction() as connection:
        rows = connection.run(
            """
            SELECT id, user_id, clock_in_at, clock_out_at, duration_minutes, status FROM attendance_logs
            WHERE user_id = :user ORDER BY clock_in_at DESC LIMIT :size OFFSET :skip
            """,
            user=user,
            size=page.size,
            skip=page.offset,
        )
        ((total,),) = connection.run("SELECT count(*) FROM attendance_logs WHERE user_id = :user", user=user)
    items = [_document(row) for row in rows]
    return Response(200, {"items": items, "page": page.number, "pageSize": page.size, "total": total})


@endpoint()
def clock_in(request: Request) -> Response:
    """POST /api/v1/attendance/clock-in: open a log; the same Idempotency-Key again gets the same answer."""
    latitude, longitude = _position(request.json())
    key = text_of("Idempotency-Key", request.headers.get("idempotency-key"), MAX_KEY)
    with transaction() as connection:
        if not connection.run("SELECT 1 FROM app_users WHERE id = :user", user=request.user.id):
            raise forbidden("The user is not an employee.")
        # Waits for a concurrent clock-in of the same employee, then inserts nothing.
        rows = connection.run(
            """
            INSERT INTO attendance_logs (user_id, latitude, longitude, idempotency_key)
            VALUES (:user, :latitude, :longitude, :key) ON CONFLICT DO NOTHING RETURNING id, clock_in_at
            """,
            user=request.user.id,
            latitude=latitude,
            longitude=longitude,
            key=key,
        ) or _earlier(connection, request.user.id, key)
    if not rows:
        raise conflict("ALREADY_CLOCKED_IN", "There is an open log already.")
    ((log_id, clock_in_at),) = rows
    return Response(201, {"id": str(log_id), "clockInAt": _time(clock_in_at), "status": "OPEN"})


@endpoint()
def clock_out(request: Request) -> Response:
    """POST /api/v1/attendance/clock-out: close the open log and compute its duration."""
    with transaction() as connection:
        rows = connection.run(
            """
            UPDATE attendance_logs
            SET status = 'CLOSED',
                clock_out_at = clock_timestamp(),
                duration_minutes = floor(extract(epoch FROM clock_timestamp() - clock_in_at) / 60)
            WHERE user_id = :user AND status = 'OPEN'
            RETURNING id, user_id, clock_in_at, clock_out_at, duration_minutes, status
            """,
            user=request.user.id,
        )
    if not rows:
        raise conflict("NO_OPEN_LOG", "There is no open log.")
    return Response(200, _document(rows[0]))


def _earlier(connection: Connection, user: str, key: str | None) -> list[Any]:
    if key is None:
        return []
    found: list[Any] = connection.run(
        "SELECT id, clock_in_at FROM attendance_logs WHERE user_id = :user AND idempotency_key = :key",
        user=user,
        key=key,
    )
    return found


def _position(body: dict[str, Any]) -> tuple[float | None, float | None]:
    latitude = _degrees("lat", body.get("lat"), 90)
    longitude = _degrees("lng", body.get("lng"), 180)
    if (latitude is None) != (longitude is None):
        raise invalid("lat and lng come together.")
    if latitude is None and enabled("GEO_VALIDATION_ENABLED"):
        raise invalid("lat and lng are required.")
    return latitude, longitude


def _degrees(name: str, value: object, limit: int) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -limit <= value <= limit:
        raise invalid(f"{name} is a number from -{limit} to {limit}.")
    return float(value)


def _document(row: list[Any]) -> dict[str, Any]:
    log_id, user, clock_in_at, clock_out_at, duration_minutes, status = row
    return {
        "id": str(log_id),
        "userId": str(user),
        "clockInAt": _time(clock_in_at),
        "clockOutAt": None if clock_out_at is None else _time(clock_out_at),
        "durationMinutes": duration_minutes,
        "status": status,
    }


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
