"""The errors of the Salesforce emulator: Salesforce's error codes with their HTTP statuses.

Codes and statuses: REST API Developer Guide, "Status Codes and Error Responses". REST responses have the list
`[{message, errorCode, fields?}]`; results of collections have `{statusCode, message, fields}`.
"""

from __future__ import annotations

from typing import Any

_STATUS = {
    "INVALID_SESSION_ID": 401,
    "INSUFFICIENT_ACCESS_OR_READONLY": 403,
    "REQUEST_LIMIT_EXCEEDED": 403,
    "NOT_FOUND": 404,
    "ENTITY_IS_DELETED": 404,
    "METHOD_NOT_ALLOWED": 405,
    "UNSUPPORTED_API_VERSION": 410,
    "PRECONDITION_FAILED": 412,
    "URI_TOO_LONG": 414,
    "UNKNOWN_EXCEPTION": 500,
    "SERVER_UNAVAILABLE": 503,
}


class ApiError(Exception):
    """An error response. `fields` names the wrong fields; `None` omits the key from REST responses."""

    def __init__(
        self, code: str, message: str, *, fields: tuple[str, ...] | None = None, status: int | None = None
    ) -> None:
        """`code` and `message` are Salesforce's own. Without `status`, it follows from the code."""
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.fields = fields
        self.status = status or _STATUS.get(code, 400)

    def rest_body(self) -> list[dict[str, Any]]:
        """The body of a REST response."""
        entry: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        if self.fields is not None:
            entry["fields"] = list(self.fields)
        return [entry]

    def save_result(self) -> dict[str, Any]:
        """One entry in the response to a collection."""
        error = {"statusCode": self.code, "message": self.message, "fields": list(self.fields or ())}
        return {"success": False, "errors": [error]}


def not_found() -> ApiError:
    """The error for every path and record that does not exist."""
    return ApiError("NOT_FOUND", "The requested resource does not exist")


def session_invalid() -> ApiError:
    """The error for a missing, expired or revoked token."""
    return ApiError("INVALID_SESSION_ID", "Session expired or invalid")
