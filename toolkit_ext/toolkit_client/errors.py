"""Errors that both sides of the wire share.

The service raises them in its domain functions and writes them as
``{"error": {"code", "status", "message", "hint"}}``; the client reads that body and raises the same class again.

::

    ToolkitError
    ├── InvalidRequest       400  the request can never work as it is
    ├── NotSignedIn          401  no identity, or one that has ended
    ├── PermissionDenied     403  you may see the thing, but not do that to it
    ├── NotFound             404  no such thing, or none that you may see
    ├── Conflict             409  the thing's present state does not allow it
    ├── TooLarge             413  the request is larger than the service reads
    ├── ServiceUnavailable   503  a part of the system does not answer; trying again may help
    ├── InsufficientStorage  507  the disk is full, or the account's quota is reached; what was acknowledged stays
    └── InternalError        500  our fault
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "Conflict",
    "Gone",
    "InsufficientStorage",
    "InternalError",
    "InvalidRequest",
    "NotFound",
    "NotSignedIn",
    "PermissionDenied",
    "ServiceUnavailable",
    "TooLarge",
    "ToolkitError",
    "error_from_body",
]


class ToolkitError(Exception):
    """What happened (`message`, with the why) and what to do next (`hint`)."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def body(self) -> dict[str, Any]:
        """The error as it goes over the wire."""
        return {"error": {"code": self.code, "status": self.status, "message": self.message, "hint": self.hint}}


class InvalidRequest(ToolkitError):
    status, code, exit_code = 400, "invalid_request", 2


class NotSignedIn(ToolkitError):
    status, code, exit_code = 401, "not_signed_in", 3


class PermissionDenied(ToolkitError):
    status, code, exit_code = 403, "permission_denied", 4


class NotFound(ToolkitError):
    status, code, exit_code = 404, "not_found", 5


class Conflict(ToolkitError):
    status, code = 409, "conflict"


class Gone(ToolkitError):
    status, code, exit_code = 410, "gone", 5


class TooLarge(ToolkitError):
    status, code = 413, "too_large"


class ServiceUnavailable(ToolkitError):
    status, code = 503, "unavailable"


class InsufficientStorage(ToolkitError):
    status, code = 507, "insufficient_storage"


class InternalError(ToolkitError):
    status, code = 500, "internal_error"


_BY_STATUS: dict[int, type[ToolkitError]] = {
    cls.status: cls
    for cls in (
        InvalidRequest,
        NotSignedIn,
        PermissionDenied,
        NotFound,
        Conflict,
        Gone,
        TooLarge,
        ServiceUnavailable,
        InsufficientStorage,
        InternalError,
    )
}


def error_from_body(status: int, body: object) -> ToolkitError:
    """The error that a response stands for; `body` is its decoded JSON, or anything else for a foreign answer."""
    detail = body.get("error") if isinstance(body, dict) else None
    if not isinstance(detail, dict):
        detail = {"message": f"the server answered with HTTP status {status}", "hint": ""}
    known = _BY_STATUS.get(status)
    if known is None:
        known = InvalidRequest if 400 <= status < 500 else ServiceUnavailable if status in (502, 504) else InternalError
    return known(str(detail.get("message", "")), str(detail.get("hint", "") or ""))
