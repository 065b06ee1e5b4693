"""Session ids of outbound messages: which of them go along with a message, and that they do so sealed.

Salesforce sends none since February 2026, but for what an org's own tools still send. One is a secret, whoever sent it:
it is used against the configured host only (`closedwon.salesforce.rest`), and only where a route says so.
"""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from closedwon.codec import codec
from closedwon.salesforce.outbound import OutboundMessage
from closedwon.settings import Route, Settings

_log = logging.getLogger(__name__)


class Sessions:
    """Takes them out of messages."""

    def __init__(self, settings: Settings) -> None:
        """Ask for keys only where a route uses sessions. Raises `closedwon.codec.KmsError`."""
        self._settings = settings
        self._codec = codec(settings.encryption) if any(map(_uses, settings.routes)) else None

    def sealed(self, route: Route, message: OutboundMessage) -> str | None:
        """Return the message's session id, if the route uses it and all addresses beside it are of the org's host."""
        if self._codec is None or not _uses(route) or message.session is None:
            return None
        told = {_host(url) for url in (message.enterprise_url, message.partner_url) if url}
        if told != {_host(self._settings.org(route.org).url)}:
            _log.warning(
                "a session id to route %s is left alone: the addresses beside it are not the org's", route.name
            )
            return None
        return self._codec.seal(message.session)


def _uses(route: Route) -> bool:
    return route.outbound is not None and route.outbound.session == "use"


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
