"""How wrong this machine's clock is, compared with that of an org's servers.

Asked without a login, because a wrong clock is one reason why logins by JWT are refused.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from closedwon.network.failures import NetworkError
from closedwon.network.http import Http
from closedwon.settings import Org

SKEW: Final = timedelta(seconds=30)
"""From there on it is reported: JWT logins and signed callouts stop working at some minutes."""


async def clock_ahead(org: Org) -> timedelta | None:
    """By how much our clock is ahead, negative if it is behind, to the second; None if the org does not answer.

    Costs no API call.
    """
    try:
        async with Http(timeout=org.timeout) as http:
            theirs = parsedate_to_datetime((await http.call("HEAD", f"{org.url}/services/data")).headers["Date"])
    except (NetworkError, KeyError, ValueError):
        return None
    return datetime.now(UTC) - theirs.astimezone(UTC)
