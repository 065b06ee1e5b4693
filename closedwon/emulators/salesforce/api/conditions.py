"""Conditional requests: dates for every row, entity tags for Account rows only.

Source: REST API Developer Guide, "Conditional Requests". HTTP dates have whole seconds.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from closedwon.emulators.salesforce.data.schema import SObject
from closedwon.emulators.salesforce.errors import ApiError

_TAGGED = "Account"


def entity_tag(owner: SObject, modified_ms: int) -> str | None:
    """The ETag of a row; None for objects that have none."""
    if owner.name != _TAGGED:
        return None
    digest = hashlib.sha256(str(modified_ms).encode()).digest()[:16]
    return f'"{base64.b64encode(digest).decode()}-gzip"'


def is_unchanged(owner: SObject, headers: Mapping[str, str], modified_ms: int) -> bool:
    """Whether a conditional read is answered with 304."""
    tag = headers.get("If-None-Match")
    if tag and entity_tag(owner, modified_ms) is not None:
        return tag == entity_tag(owner, modified_ms)
    since = headers.get("If-Modified-Since")
    return bool(since) and modified_ms // 1000 <= _http_date(str(since))


def require_unchanged(owner: SObject, headers: Mapping[str, str], modified_ms: int) -> None:
    """Raise the 412 of a conditional write whose row has changed."""
    tag, own = headers.get("If-Match"), entity_tag(owner, modified_ms)
    since = headers.get("If-Unmodified-Since")
    if (tag and own and tag != own) or (since and modified_ms // 1000 > _http_date(since)):
        raise ApiError("PRECONDITION_FAILED", "One or more conditions provided in the request were not met.")


def _http_date(text: str) -> float:
    try:
        return parsedate_to_datetime(text).timestamp()
    except ValueError:
        raise ApiError("INVALID_HTTP_HEADER", "a date header is not an HTTP date") from None
