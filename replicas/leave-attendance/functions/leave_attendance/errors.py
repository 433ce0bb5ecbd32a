"""Everything that an endpoint can answer instead of what was asked for."""

from __future__ import annotations


class ApiError(Exception):
    """An answer of the API in its error envelope."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class DependencyUnavailable(Exception):
    """Database, queue, secrets or keys did not answer in time."""

    def __init__(self, dependency: str, reason: str) -> None:
        super().__init__(f"{dependency} is unavailable: {reason}")
        self.dependency = dependency


class ConfigurationError(Exception):
    """The function was deployed without something that it needs."""


def invalid(message: str) -> ApiError:
    """400: the request cannot be understood."""
    return ApiError(400, "VALIDATION_ERROR", message)


def unauthorized(message: str) -> ApiError:
    """401: no valid token."""
    return ApiError(401, "UNAUTHORIZED", message)


def forbidden(message: str) -> ApiError:
    """403: a valid token of somebody who may not."""
    return ApiError(403, "FORBIDDEN", message)


def not_found(message: str) -> ApiError:
    """404: nothing there."""
    return ApiError(404, "NOT_FOUND", message)


def conflict(code: str, message: str) -> ApiError:
    """409: the present state does not allow it."""
    return ApiError(409, code, message)
