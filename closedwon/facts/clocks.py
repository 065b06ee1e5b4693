"""How wrong this machine's clock is, compared with that of an org's servers.

Asked without a login, because a wrong clock is one reason why logins by JWT are refused.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

from closedwon.salesforce.api.auth import is_local
from closedwon.settings import Org

SKEW: Final = timedelta(seconds=30)
"""From there on it is reported: JWT logins and signed callouts stop working at some minutes."""


async def clock_ahead(org: Org) -> timedelta | None:
    """By how much our clock is ahead, negative if it is behind, to the second; None if the org does not answer.

    Costs no API call.
    """
    timeout = aiohttp.ClientTimeout(total=org.timeout.total_seconds())
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=not is_local(org)) as session,
            session.head(f"{org.url}/services/data", allow_redirects=False) as response,
        ):
            theirs = parsedate_to_datetime(response.headers["Date"])
    except (aiohttp.ClientError, TimeoutError, KeyError, ValueError):
        return None
    return datetime.now(UTC) - theirs.astimezone(UTC)
