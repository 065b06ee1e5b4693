"""Session ids of outbound messages: passed on with a notification, sealed, if the route uses them.

Since February 2026 Salesforce sends none; an org's own tools may still do. A session id is a secret, regardless of its
sender: it is used with the configured host only (`closedwon.salesforce.api.rest`), and only if a route says so.
"""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from closedwon.encryption.codec import codec
from closedwon.salesforce.push.outbound import OutboundMessage
from closedwon.settings import Route, Settings

_log = logging.getLogger(__name__)


class Sessions:
    """Takes session ids from messages."""

    def __init__(self, settings: Settings) -> None:
        """Loads keys only if a route uses sessions. Raises `closedwon.encryption.codec.KmsError`."""
        self._settings = settings
        self._codec = codec(settings.encryption) if any(map(_uses, settings.routes)) else None

    def sealed(self, route: Route, message: OutboundMessage) -> str | None:
        """Return the session id, sealed, if the route uses it and the message's URLs name the org's host."""
        if self._codec is None or not _uses(route) or message.session is None:
            return None
        hosts = {_host(url) for url in (message.enterprise_url, message.partner_url) if url}
        if hosts != {_host(self._settings.org(route.org).url)}:
            _log.warning("a session id for route %s is ignored: the URLs in the message are not the org's", route.name)
            return None
        return self._codec.seal(message.session)


def _uses(route: Route) -> bool:
    return route.outbound is not None and route.outbound.session == "use"


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
