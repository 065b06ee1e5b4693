"""REST requests and responses as plain values, and the paths and versions of the REST API.

Used by the web application and all modules of `api`. No HTTP library, no state.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from closedwon.emulators.salesforce.errors import ApiError, not_found

NEWEST, OLDEST = 67, 31
"""API versions: older ones than 31.0 are retired, 67.0 is Summer '26."""
_PATH = re.compile(r"^/services/data/v(\d+)\.0(/.*)?$")


@dataclass(frozen=True)
class ApiRequest:
    """A REST request. `path` is below the version (`/sobjects/Account`), without a trailing slash."""

    method: str
    path: str
    version: str
    user: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    origin: str = ""
    """The org's own URL, as the caller knows it."""

    @property
    def base(self) -> str:
        """The URL path of the version."""
        return f"/services/data/v{self.version}"

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises JSON_PARSER_ERROR."""
        try:
            parsed = json.loads(self.body or b"{}")
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            place = f"at [line:{getattr(error, 'lineno', 1)}, column:{getattr(error, 'colno', 1)}]"
            raise ApiError("JSON_PARSER_ERROR", f"Unexpected character {place}") from None
        if not isinstance(parsed, dict):
            raise ApiError("JSON_PARSER_ERROR", "The HTTP entity body is required to be a JSON object")
        return parsed


@dataclass(frozen=True)
class ApiResponse:
    """A REST response. `body` None is an empty body, a text is CSV, anything else is JSON."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def split_path(path: str) -> tuple[str, str]:
    """Version and the path below it. Raises `ApiError` for retired and unknown versions."""
    match = _PATH.match(path)
    if match is None:
        raise not_found()
    number = int(match.group(1))
    if number < OLDEST:
        raise ApiError("UNSUPPORTED_API_VERSION", f"The requested API version v{number}.0 is retired")
    if number > NEWEST:
        raise not_found()
    return f"{number}.0", (match.group(2) or "/").rstrip("/") or "/"


def versions() -> list[dict[str, str]]:
    """The body of `/services/data/`."""
    seasons = {0: "Spring", 1: "Summer", 2: "Winter"}
    return [
        {
            "label": f"{seasons[number % 3]} '{(number + 12) // 3 + (seasons[number % 3] == 'Winter')}",
            "url": f"/services/data/v{number}.0",
            "version": f"{number}.0",
        }
        for number in range(OLDEST, NEWEST + 1)
    ]
