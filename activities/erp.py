"""The ERP side of an order, on a task queue of its own: find or create, cancel."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeGuard

from pydantic import AwareDatetime
from temporalio import activity

from activities.failures import as_failures, to_its_end
from closedwon.erp.base import (
    AmountDiffersError,
    Erp,
    OnStep,
    RejectedError,
    UnknownError,
    UnknownOrderError,
    amend_to,
    find_or_create,
    no_step,
)
from closedwon.errors import AttentionError, AttentionReason, BenignError
from closedwon.model import Changed, ErpOrder, ErpStatus, Frozen, Order
from closedwon.telemetry import Metrics

_NO_CURRENCY: Final = "XXX"
"""ISO 4217 for none: of an order that was taken by its number alone, the amount is not known."""


class CreateOrder(Frozen):
    """The order to create, and in which configured ERP."""

    erp: str
    order: Order
    other_erps: tuple[str, ...] = ()
    """ERPs that must not have it already: each has a unique key of its own, but together they have none."""
    number: str | None = None
    """What Salesforce's record says that its order is called: perhaps one that was made by hand."""
    changed: Changed = "attention"
    """What to do about one that the ERP has with another total, currency or other lines."""
    reopen: bool = False
    """Take up again what was cancelled."""
    unanswered_at: AwareDatetime | None = None
    """When an attempt in one of `other_erps` was given up without an answer: it may still be at work in there."""
    number_is_proven: bool = False
    unproven_status: str | None = None
    check_since: AwareDatetime | None = None


class CancelOrder(Frozen):
    """The order to cancel, by its idempotency key. `erp` None: any of them may have it."""

    erp: str | None
    idempotency_key: str
    unanswered_at: AwareDatetime | None = None
    """When an attempt to have the order made was given up without an answer: it may still be at work in there."""
    by_policy: bool = False
    modified_at: AwareDatetime | None = None
    check_since: AwareDatetime | None = None


class ErpResult(Frozen):
    """What came of a write."""

    order: ErpOrder | None = None
    kept: bool = False
    in_doubt_since: AwareDatetime | None = None


class FindOrders(Frozen):
    """Which orders to look up in an ERP, by their idempotency keys."""

    erp: str
    keys: tuple[str, ...]


class KnownOrder(Frozen):
    """What a sweep needs to know of an order in the ERP."""

    number: str | None
    cancelled: bool


class FindOrder(CancelOrder):
    """The order to look for; `erp` as above."""


class FollowOrder(CancelOrder):
    """The order to watch; `erp` as above."""

    known: ErpOrder


class NothingNewError(BenignError):
    """The order is as it was. The next attempt is the next look: attempts cost no history."""


class NotSettledError(BenignError):
    """There is no order, but there may still be one: an attempt to have it made got no answer, a moment ago."""


class ResolveOrder(CancelOrder):
    """The order that people call `number` and that shall be the record's; `erp` as above."""

    number: str
    order: Order | None = None
    accept_differences: bool = False


class Resolved(Frozen):
    """What came of it: the order, or a `rival`, which the ERP has under the record's key already."""

    order: ErpOrder | None = None
    rival: ErpOrder | None = None
    differences: str | None = None
    in_doubt_since: AwareDatetime | None = None
    keyless: bool = False


class ErpActivities:
    """Activities over the configured ERPs, by name."""

    def __init__(self, erps: Mapping[str, Erp], metrics: Metrics, *, on_step: OnStep = no_step) -> None:
        """Take the open adapters; `on_step` lets a test strike at a named moment."""
        self._erps = erps
        self._metrics = metrics
        self._on_step = on_step

    @activity.defn
    async def create_order(self, request: CreateOrder) -> ErpResult:
        """Find the order by its idempotency key or create it; return it as the ERP has it, confirmed or beyond."""
        with as_failures(), self._timed(request.erp):
            return ErpResult(order=await to_its_end(self._create(request)))

    @activity.defn
    async def cancel_order(self, request: CancelOrder) -> ErpResult:
        """Cancel the order if the ERP has it; None says that there is nothing to cancel, and will be nothing."""
        with as_failures():
            return ErpResult(order=await to_its_end(self._cancel(request)))

    @activity.defn
    async def find_orders(self, request: FindOrders) -> dict[str, list[KnownOrder]]:
        """Look many orders up; a key that the ERP does not know is left out."""
        with as_failures(), self._timed(request.erp):
            found = await to_its_end(self._erp(request.erp).find_many(request.keys))
            return {
                key: [KnownOrder(number=one.number, cancelled=one.status is ErpStatus.CANCELLED) for one in orders]
                for key, orders in found.items()
            }

    @activity.defn
    async def find_order(self, request: FindOrder) -> ErpOrder | None:
        """Look for the order; one that lives comes before one that was cancelled."""
        with as_failures():
            found = await to_its_end(self._find(request))
            if not _lives(found):
                self._wait_until_settled(request.unanswered_at, self._names(request))
            return found

    @activity.defn
    async def follow_order(self, request: FollowOrder) -> ErpOrder | None:
        """Look at the order once an attempt; end when number, status or link have changed, or it is not there."""
        with as_failures():
            found = await to_its_end(self._find(request))
            if found is not None and _told(found) == _told(request.known):
                raise NothingNewError(f"The order is still {found.status}; it is looked at again at the next attempt")
            return found

    @activity.defn
    async def resolve_order(self, request: ResolveOrder) -> Resolved:
        """Make the order that people call `number` the record's one; where an ERP cannot look, take the number.

        The key is looked at before, and again behind: an attempt to create that nobody knows of any more, under way in
        the ERP all the same, meets its constraint, or is seen as the rival that it is.
        """
        with as_failures():
            return await to_its_end(self._resolve(request))

    async def _find(self, request: CancelOrder) -> ErpOrder | None:
        found: ErpOrder | None = None
        for name in self._names(request):
            with self._timed(name):
                order = await self._erp(name).find(request.idempotency_key)
            if found is None or _lives(order):
                found = order
        return found

    async def _resolve(self, request: ResolveOrder) -> Resolved:
        before = await self._find(request)
        if _lives(before):
            return Resolved(order=before) if before.number == request.number else Resolved(rival=before)
        order = await self._claim(request)
        if order.status is ErpStatus.CANCELLED:
            raise UnknownOrderError(f"ERP order {request.number} has been cancelled in the ERP")
        behind = await self._find(request)
        if _lives(behind) and behind.id != order.id:
            return Resolved(rival=behind)
        return Resolved(order=order)

    async def _claim(self, request: ResolveOrder) -> ErpOrder:
        refusal: UnknownOrderError | None = None
        can_say = True
        for name in self._names(request):
            try:
                with self._timed(name):
                    order = await self._erp(name).claim(request.number, request.idempotency_key)
            except UnknownOrderError as error:
                refusal = error
            else:
                if order is not None:
                    return order
                can_say = False
        if refusal is not None and can_say:
            raise refusal
        # No constraint keeps what is still under way from becoming a second order.
        self._wait_until_settled(request.unanswered_at, self._names(request))
        return ErpOrder(
            id=request.number,
            number=request.number,
            status=ErpStatus.CONFIRMED,
            currency=_NO_CURRENCY,
            amount=Decimal(0),
            line_count=0,
        )

    def _names(self, request: CancelOrder) -> list[str]:
        return [request.erp] if request.erp else list(self._erps)

    async def _create(self, request: CreateOrder) -> ErpOrder:
        known_as = request.number
        for name in request.other_erps:
            found = await self._erp(name).find(request.order.idempotency_key)
            if found is not None and found.number == known_as:
                known_as = None  # that ERP's number: in another one it may be anybody's
            if found is not None and found.status is not ErpStatus.CANCELLED:
                raise RejectedError(
                    f"The route now picks ERP {request.erp}, but ERP {name} has order {found.number or found.id} of "
                    "this record",
                    cure=f"Cancel that order in {name}, or let the record pick {name} again; then send `retry`.",
                )
        self._wait_until_settled(request.unanswered_at, request.other_erps)
        erp = self._erp(request.erp)
        how: dict[str, Any] = {"known_as": known_as, "is_only": not request.other_erps, "on_step": self._on_step}
        try:
            if request.changed == "amend" or request.reopen:
                handoff = await amend_to(erp, request.order, reopen=request.reopen, **how)
            else:
                handoff = await find_or_create(erp, request.order, **how)
        except AmountDiffersError as error:
            if request.changed != "ignore" or not error.found.status.exists_as_order:
                raise
            return error.found
        return handoff.order

    async def _cancel(self, request: CancelOrder) -> ErpOrder | None:
        cancelled: ErpOrder | None = None
        has_lived = False
        for name in self._names(request):  # one that is cancelled already may have made way for one in another ERP
            with self._timed(name):
                erp = self._erp(name)
                found = await erp.find(request.idempotency_key)
                if _lives(found):
                    has_lived = True
                    found = await erp.cancel(found)
                    if _lives(found):
                        raise UnknownError(f"ERP order {found.number or found.id} is still {found.status} after that")
            cancelled = found or cancelled
        if not has_lived:
            self._wait_until_settled(request.unanswered_at, self._names(request))
        return cancelled

    def _wait_until_settled(self, unanswered_at: datetime | None, erps: Iterable[str]) -> None:
        """Raise `NotSettledError` while an attempt that got no answer may still have an effect in one of the ERPs."""
        if unanswered_at is None:
            return
        info = activity.info()
        until = unanswered_at + max((self._erp(name).settle for name in erps), default=timedelta(0))
        left = until - info.current_attempt_scheduled_time
        if left > timedelta(0):
            raise NotSettledError(
                "No order is there, but an attempt to have it made got no answer and may still be at work in the ERP: "
                f"looked for again until {until:%H:%M:%S} UTC",
                retry_after=min(left, timedelta(seconds=2 ** min(info.attempt, 6))),
            )

    @contextmanager
    def _timed(self, erp: str) -> Iterator[None]:
        """Record how long the hand-over took, and the kind of error that ended it."""
        began = time.monotonic()
        outcome = "ok"
        try:
            yield
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            took = timedelta(seconds=time.monotonic() - began)
            self._metrics.erp_latency.record(took, {"erp": erp, "outcome": outcome})

    def _erp(self, name: str) -> Erp:
        try:
            return self._erps[name]
        except KeyError:
            raise AttentionError(
                f"This worker has no ERP named {name!r}",
                reason=AttentionReason.CONFIGURATION,
                cure="Add it to `erps` in closedwon.toml, restart the worker, then send `retry`.",
            ) from None


def _lives(order: ErpOrder | None) -> TypeGuard[ErpOrder]:
    return order is not None and order.status is not ErpStatus.CANCELLED


def _told(order: ErpOrder) -> tuple[str | None, str, str | None]:
    """What Salesforce is told of an order."""
    return order.number, order.status, order.url
