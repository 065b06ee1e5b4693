"""What a sender may take of intake before it has proven anything, and what an org may take after that.

Nothing here depends on what an unproven sender claims. Its cost is bounded by channel and by address, so a flood on one
channel or from one address leaves room for all others:

- **bodies** that are being read. Who comes when an address has its share replaces the oldest one of that address: an
  honest body arrives within milliseconds, one that never comes is the oldest. So both can come from one address.
- **work** (parsing, Temporal), which begins only when the body is there.
- **records**: a leaky bucket per channel and org for proven senders. Others pay from one per channel and address,
  and never from an org's: to name an org costs nothing.
- **records that this process has not seen before**, of an org, from unproven senders: each costs calls to Salesforce.

"Proven" means that path secret, certificate or signature belong to the route (`closedwon.settings.exposure`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from typing import Final, NamedTuple

from aiohttp import web

from closedwon.ids import OrgId, RecordId
from closedwon.intake.delivery import MessageRefusedError
from closedwon.settings import Intake

_BURST_SECONDS: Final = 10
"""Seconds' worth of records that may come at once."""
_UNPROVEN_SHARE: Final = 0.25
"""What one unproven address may send in comparison with a proven org."""
_ADDRESS_SHARE: Final = 0.5
"""What one address may take of what all unproven senders share."""
_BYTES_PER_RECORD: Final = 4 * 1024
"""A larger body counts as more records: to parse a megabyte takes a tenth of a second, also if it holds none."""
_SMALL: Final = 64 * 1024
"""Bytes that are read from a sender of much garbage: honest callouts from its address have fewer."""
_SHORT_ID: Final = 15
"""Characters of a Salesforce id in its short form, with which its long form begins."""
_HOUR: Final = timedelta(hours=1).total_seconds()
_MOST_BUCKETS: Final = 10_000
_MOST_KNOWN: Final = 100_000
"""Records; about 20 MB."""
_SITE: Final = 64
"""Bits of an IPv6 address that one sender does not choose; it owns the other ones."""


class Caller(NamedTuple):
    """Who sends a request, as far as it is known before its body is read."""

    channel: str
    """The first segment of its path."""
    address: str
    """Its IPv4 address, or the network of its IPv6 address."""
    is_proven: bool = False


CALLER: Final = web.RequestKey("caller", Caller)
"""Where a request keeps its `Caller`."""


def sender(address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> str:
    """Return what counts as one sender."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _SITE), strict=False))
    return str(address)


class Buckets:
    """Leaky buckets by key. What is charged may exceed the capacity once; then the bucket has no room for longer."""

    def __init__(self, per_second: float, capacity: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds. A bucket always has room for its first charge."""
        self._per_second = per_second
        self._capacity = max(1.0, capacity)
        self._clock = clock
        self._levels: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def has_room(self, key: Hashable) -> bool:
        """Whether something may be charged now."""
        return self._level(key) + 1 <= self._capacity

    def charge(self, key: Hashable, cost: float) -> None:
        """Charge, whether there is room or not."""
        self._levels[key] = (self._level(key) + cost, self._clock())
        self._levels.move_to_end(key)
        if len(self._levels) > _MOST_BUCKETS:
            self._levels.popitem(last=False)

    def _level(self, key: Hashable) -> float:
        now = self._clock()
        level, then = self._levels.get(key, (0.0, now))
        return max(0.0, level - (now - then) * self._per_second)


class _Body(NamedTuple):
    """A body that is being read."""

    address: str
    timeout: asyncio.Timeout


class Limits:
    """The limits of one server."""

    def __init__(self, intake: Intake, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds."""
        rate, hourly = intake.records_per_second, intake.unproven_records_per_hour
        self._most = intake.concurrent_requests
        self._most_of_address = max(1, int(self._most * _ADDRESS_SHARE))
        self._largest = intake.largest_body
        self._bodies: dict[tuple[str, bool], list[_Body]] = {}
        self._work: Counter[Hashable] = Counter()
        self._orgs = Buckets(rate, rate * _BURST_SECONDS, clock)
        unproven = rate * _UNPROVEN_SHARE
        self._addresses = Buckets(unproven, unproven * _BURST_SECONDS, clock)
        self._garbage = Buckets(unproven, unproven * _BURST_SECONDS, clock)
        self._new = Buckets(hourly / _HOUR, hourly, clock)
        share = hourly * _ADDRESS_SHARE
        self._new_of_address = Buckets(share / _HOUR, share, clock)
        self._known: OrderedDict[tuple[OrgId, RecordId], None] = OrderedDict()

    @contextmanager
    def reading(self, caller: Caller, timeout: asyncio.Timeout) -> Iterator[None]:
        """Count a body while it is read. `timeout` is that of the block; it ends early for the body that is replaced.

        The body that gives way is the oldest of the same address; else, where the channel has no room, the oldest of
        the address that has most of them.
        """
        bodies = self._bodies.setdefault((caller.channel, caller.is_proven), [])
        counts = Counter(body.address for body in bodies)
        if not caller.is_proven and counts[caller.address] >= self._most_of_address:
            _give_way(bodies, caller.address)
        elif len(bodies) >= self._most:
            _give_way(bodies, counts.most_common(1)[0][0])
        body = _Body(caller.address, timeout)
        bodies.append(body)
        try:
            yield
        finally:
            if body in bodies:
                bodies.remove(body)

    @contextmanager
    def working(self, caller: Caller) -> Iterator[None]:
        """Count a request while it is worked on. Raises `MessageRefusedError` if there are too many."""
        keys: dict[Hashable, int] = {(caller.channel, caller.is_proven): self._most}
        if not caller.is_proven:
            keys[caller] = self._most_of_address
        if any(self._work[key] >= most for key, most in keys.items()):
            raise busy()
        self._work.update(keys.keys())
        try:
            yield
        finally:
            for key in keys:
                self._work[key] -= 1
                if not self._work[key]:
                    del self._work[key]

    def largest_body(self, caller: Caller) -> int:
        """The bytes that a body may have: few, if what its sender sent lately has proven nothing."""
        spent = not caller.is_proven and not self._garbage.has_room((caller.channel, caller.address))
        return min(self._largest, _SMALL) if spent else self._largest

    def check(self, caller: Caller, org: str, body: bytes = b"") -> None:
        """Raise `MessageRefusedError` if the sender must wait. Call this before a body is parsed.

        After much garbage from an address, a body that does not even name the org is not parsed.
        """
        if caller.is_proven:
            has_room, who = self._orgs.has_room((caller.channel, org)), f"org {org}"
        else:
            key, who = (caller.channel, caller.address), "this unproven sender"
            is_plausible = org[:_SHORT_ID].encode() in body
            has_room = self._addresses.has_room(key) and (is_plausible or self._garbage.has_room(key))
        if not has_room:
            raise MessageRefusedError(
                HTTPStatus.TOO_MANY_REQUESTS, "rate", f"{who} sends more than `intake.records_per_second` allows"
            )

    def charge(self, caller: Caller, org: str, records: int, size: int = 0) -> None:
        """Charge a request of this number of records, or of this number of bytes if that is more."""
        cost = max(1, records, size // _BYTES_PER_RECORD)
        if caller.is_proven:
            self._orgs.charge((caller.channel, org), cost)
        else:
            self._addresses.charge((caller.channel, caller.address), cost)

    def charge_garbage(self, caller: Caller, size: int) -> None:
        """Charge an address for a body that is not a message of the org, or is not signed by it."""
        self._garbage.charge((caller.channel, caller.address), max(1, size // _BYTES_PER_RECORD))

    def admit_new(self, caller: Caller, org: OrgId, records: Sequence[RecordId]) -> None:
        """Charge the records that this process has not seen, if nothing proves their org.

        Raises `MessageRefusedError` if there were too many, and then counts none.
        """
        if caller.is_proven:
            return
        new = {(org, record) for record in records} - self._known.keys()
        if not new:
            return
        mine = (org, caller.address)
        if not (self._new.has_room(org) and self._new_of_address.has_room(mine)):
            raise MessageRefusedError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "new-records",
                "nothing proves where these messages come from, and they name more new records than "
                "`intake.unproven_records_per_hour` allows; send again later, or prove the sender "
                "(`routes.outbound.path_secrets`)",
            )
        self._new.charge(org, len(new))
        self._new_of_address.charge(mine, len(new))
        self._known.update(dict.fromkeys(new))
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)


def busy() -> MessageRefusedError:
    """A request for which there is no room at the moment."""
    return MessageRefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "too many requests at once; send again")


def _give_way(bodies: list[_Body], address: str) -> None:
    oldest = next(body for body in bodies if body.address == address)
    bodies.remove(oldest)
    oldest.timeout.reschedule(asyncio.get_running_loop().time())
