"""Bounds the connections of intake, so that idle ones cannot take the files that the process may open.

A further connection replaces one on which no request is under way: first the longest open one that never had an
accepted request, then the longest unused of the others. So a sender that opens connections and sends nothing closes
its own ones.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from closedwon.telemetry.bounded import BoundedLog

_log = logging.getLogger(__name__)

_SHARE_OF_FILES: Final = 2
"""The process opens other files, too: for each connection, there is one more."""

Peer = Any
"""The address and port of the other end: the same below and above TLS."""


class Connections:
    """The open connections of one server."""

    def __init__(self, most: int) -> None:
        """Allow `most` connections, or a half of the files that the process may open."""
        self._log = BoundedLog(_log)
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = most if files == resource.RLIM_INFINITY else min(most, files // _SHARE_OF_FILES)
        self._new: OrderedDict[Peer, asyncio.Transport] = OrderedDict()
        self._used: OrderedDict[Peer, asyncio.Transport] = OrderedDict()
        """Those that had an accepted request."""
        self._busy: dict[Peer, asyncio.Transport] = {}

    def admit(self, transport: Any) -> bool:
        """Count a new connection; return whether there is room, or one has made room."""
        if len(self) >= self._most:
            self._forget_closed()
        if len(self) >= self._most:
            self._log.warning("connections", "there are %d connections: idle ones are closed", self._most)
            idle = self._new or self._used
            if not idle:
                return False
            _, longest = idle.popitem(last=False)
            longest.abort()
        self._new[transport.get_extra_info("peername")] = transport
        return True

    def began(self, peer: Peer) -> None:
        """A request is under way."""
        for idle in (self._new, self._used):
            if peer in idle:
                self._busy[peer] = idle.pop(peer)

    def ended(self, peer: Peer, *, accepted: bool) -> None:
        """The request was answered."""
        transport = self._busy.pop(peer, None)
        if transport is not None:
            (self._used if accepted else self._new)[peer] = transport

    def __len__(self) -> int:
        """The number of connections; some of them may be closed."""
        return len(self._new) + len(self._used) + len(self._busy)

    def _forget_closed(self) -> None:
        for some in (self._new, self._used, self._busy):
            for peer in [peer for peer, transport in some.items() if transport.is_closing()]:
                del some[peer]


class Door(asyncio.Protocol):
    """A connection before anything is read from it."""

    def __init__(self, connections: Connections, serve: Callable[[], asyncio.Protocol]) -> None:
        """`serve` creates the protocol of a connection that is admitted."""
        self._connections = connections
        self._serve = serve

    def connection_made(self, transport: Any) -> None:
        """Hand it on, or close it."""
        if not self._connections.admit(transport):
            transport.abort()
            return
        protocol = self._serve()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
