"""The ERP side of an order, on a task queue of its own: find or create, cancel."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeGuard

from pydantic import AwareDatetime
from temporalio import activity

from activities.attempts import Attempt, Prove, ask_temporal
from activities.failures import as_failures, to_its_end
from activities.holds import Holds
from closedwon.erp.base import (
    AmountDiffersError,
    CannotLookUpError,
    CustomerDiffersError,
    Erp,
    Handoff,
    OnRecord,
    OnStep,
    RejectedError,
    UnknownOrderError,
    amend_to,
    cancel_order,
    checked,
    fenced,
    find_or_create,
    no_step,
)
from closedwon.erp.comparing import other_customer
from closedwon.erp.resolving import by_number_alone, take_named
from closedwon.errors import AttentionError, AttentionReason, BenignError
from closedwon.model import Changed, ErpOrder, ErpStatus, Frozen, Order
from closedwon.telemetry import Metrics


class CreateOrder(Frozen):
    """The order to create, and in which configured ERP."""

    erp: str
    order: Order
    other_erps: tuple[str, ...] = ()
    """ERPs that must not have it already: each has a unique key of its own, but together they have none."""
    number: str | None = None
    """What Salesforce's record says that its order is called: perhaps one that was made by hand."""
    number_is_proven: bool = False
    """Closedwon wrote that number itself, as the record's key field proves."""
    unproven_status: str | None = None
    """The record says that its order was declined, and nothing proves that this is about this record: a person is
    asked if the ERP has no order under the record's key."""
    changed: Changed = "attention"
    """What to do about one that the ERP has with another total, currency or other lines."""
    reopen: bool = False
    """Take up again what was cancelled."""
    remembers: bool = False
    """Notifications may arrive out of order (`source = "event"`): inform the ERP of the newest one even if nothing else
    changed. One more call, only then."""
    unanswered_at: AwareDatetime | None = None
    """When an attempt in one of `other_erps` was given up without an answer: it may still be at work in there."""
    check_since: AwareDatetime | None = None
    """The order is compared once more because a write got no answer then; not before the in-doubt time is over."""


class ErpResult(Frozen):
    """What came of `create_order` and `cancel_order`."""

    order: ErpOrder | None
    """As the ERP has it now; None: there was nothing to cancel, and there will be nothing."""
    kept: bool = False
    """The notification is older than what the ERP's order was made of: the order was left as it is."""
    in_doubt_since: AwareDatetime | None = None
    """When the newest attempt was given up whose write may still take effect; None: there is none."""


class CancelOrder(Frozen):
    """The order to cancel, by its idempotency key. `erp` None: any of them may have it."""

    erp: str | None
    idempotency_key: str
    unanswered_at: AwareDatetime | None = None
    """When an attempt to have the order made was given up without an answer: it may still be at work in there."""
    by_policy: bool = False
    """The record no longer qualifies or was deleted. A policy cancels only what Closedwon made. False: a person's
    command, which cancels whatever bears the key."""
    modified_at: AwareDatetime | None = None
    """When the record was so in Salesforce; a policy leaves an order that was made of something newer."""
    check_since: AwareDatetime | None = None
    """As in `CreateOrder`."""


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
    """What the record asks for now; None: it cannot be read, so nothing is compared."""
    accept_differences: bool = False
    """A person has seen the differences, and takes the order for the record's."""


class Resolved(Frozen):
    """What came of it: the order, or why it was not taken. Nothing was changed in the ERP unless `order` is set."""

    order: ErpOrder | None = None
    rival: ErpOrder | None = None
    """The ERP has this order under the record's key already."""
    differences: str | None = None
    """A sentence: how the order differs from what the record asks for."""
    keyless: bool = False
    """The ERP does not store the record's key with `order`: it is known by its number only."""
    in_doubt_since: AwareDatetime | None = None
    """As in `ErpResult`."""


class ErpActivities:
    """Activities over the configured ERPs, by name."""

    def __init__(
        self,
        erps: Mapping[str, Erp],
        metrics: Metrics,
        *,
        on_step: OnStep = no_step,
        prove: Prove = ask_temporal,
        holds: Holds | None = None,
    ) -> None:
        """Take the open adapters; `on_step` lets a test strike at a named moment, `prove` do without Temporal."""
        self._erps = {name: checked(erp) for name, erp in erps.items()}
        self._metrics = metrics
        self._on_step = on_step
        self._prove = prove
        self._holds = holds or Holds()

    @activity.defn
    async def create_order(self, request: CreateOrder) -> ErpResult:
        """Find the order by its idempotency key or create it; return it as the ERP has it, confirmed or beyond."""
        attempt = Attempt(self._prove)
        with as_failures(attempt), self._timed(request.erp):
            self._holds.check_erp(request.erp, request.order.org)
            handoff = await to_its_end(self._create(request, attempt))
            return ErpResult(order=handoff.order, kept=handoff.kept, in_doubt_since=attempt.in_doubt_since)

    @activity.defn
    async def cancel_order(self, request: CancelOrder) -> ErpResult:
        """Cancel the order if the ERP has it."""
        attempt = Attempt(self._prove)
        with as_failures(attempt):
            result = await to_its_end(self._cancel(request, attempt))
            return result.model_copy(update={"in_doubt_since": attempt.in_doubt_since})

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

        The key is looked at before, and again behind: an attempt to create that is not known of any more, but under way
        in the ERP, meets its constraint, or is seen as the rival that it is.
        """
        attempt = Attempt(self._prove)
        with as_failures(attempt):
            resolved = await to_its_end(self._resolve(request, attempt))
            return resolved.model_copy(update={"in_doubt_since": attempt.in_doubt_since})

    async def _find(self, request: CancelOrder) -> ErpOrder | None:
        found: ErpOrder | None = None
        for name in self._names(request):
            with self._timed(name):
                order = await self._erp(name).find(request.idempotency_key)
            if found is None or _lives(order):
                found = order
        return found

    async def _resolve(self, request: ResolveOrder, attempt: Attempt) -> Resolved:
        before = await self._find(request)
        if _lives(before):
            return Resolved(order=before) if before.number == request.number else Resolved(rival=before)
        resolved = await self._take(request, attempt)
        if resolved.order is None:
            return resolved
        behind = await self._find(request)
        if _lives(behind) and behind.id != resolved.order.id:
            return Resolved(rival=behind)
        return resolved

    async def _take(self, request: ResolveOrder, attempt: Attempt) -> Resolved:
        """Look in each ERP for the number, compare, and claim the first order that bears it."""
        refusal: UnknownOrderError | None = None
        can_say = True
        accept = request.accept_differences
        for name in self._names(request):
            erp = fenced(self._erp(name), attempt)
            try:
                with self._timed(name):
                    taken = await take_named(
                        erp, request.number, request.idempotency_key, request.order, accept_differences=accept
                    )
            except UnknownOrderError as error:
                refusal = error
            except CannotLookUpError:
                can_say = False
            else:
                return Resolved(order=taken.order, differences=taken.differences, keyless=taken.keyless)
        if refusal is not None and can_say:
            raise refusal
        if not accept:
            return Resolved(differences=f"No ERP shows order {request.number}, so nothing of it can be compared")
        # No constraint keeps what is still under way from becoming a second order.
        self._wait_until_settled(request.unanswered_at, self._names(request))
        return Resolved(order=by_number_alone(request.number), keyless=True)

    def _names(self, request: CancelOrder) -> list[str]:
        return [request.erp] if request.erp else list(self._erps)

    async def _create(self, request: CreateOrder, attempt: Attempt) -> Handoff:
        number = request.number
        for name in request.other_erps:
            found = await self._erp(name).find(request.order.idempotency_key)
            if found is not None and found.number == number:
                number = None  # that ERP's number: in another one it may be anybody's
            if found is not None and found.status is not ErpStatus.CANCELLED:
                raise RejectedError(
                    f"The route now picks ERP {request.erp}, but ERP {name} has order {found.number or found.id} of "
                    "this record",
                    cure=f"Cancel that order in {name}, or let the record pick {name} again; then send `retry`.",
                )
        self._wait_until_settled(request.unanswered_at, request.other_erps)
        self._wait_until_settled(request.check_since, (request.erp,))
        said = OnRecord(
            number=number,
            number_is_proven=request.number_is_proven,
            unproven_status=request.unproven_status,
            is_only=not request.other_erps,
        )
        return await self._hand_over(request, said, attempt)

    async def _hand_over(self, request: CreateOrder, said: OnRecord, attempt: Attempt) -> Handoff:
        erp, order = self._erp(request.erp), request.order
        how: dict[str, Any] = {
            "said": said,
            "remembers": request.remembers,
            "guard": attempt,
            "on_step": self._on_step,
        }
        amends = request.changed == "amend"
        try:
            if amends or request.reopen:
                return await amend_to(erp, order, amends=amends, reopen=request.reopen, **how)
            return await find_or_create(erp, order, **how)
        except AmountDiffersError as error:
            if request.changed != "ignore" or error.is_new:
                raise
            found = error.found or await erp.find(order.idempotency_key)
            if found is None or not found.status.exists_as_order:
                raise
            if other_customer(found, order):  # content may differ, the customer never
                raise CustomerDiffersError(found) from None
            return Handoff(order=found, adopted=True)

    async def _cancel(self, request: CancelOrder, attempt: Attempt) -> ErpResult:
        self._wait_until_settled(request.check_since, self._names(request))
        result = ErpResult(order=None)
        has_lived = False
        for name in self._names(request):  # one that is cancelled already may have made way for one in another ERP
            with self._timed(name):
                done = await cancel_order(
                    self._erp(name),
                    request.idempotency_key,
                    by_policy=request.by_policy,
                    modified_at=request.modified_at,
                    guard=attempt,
                    on_step=self._on_step,
                )
            has_lived = has_lived or done.has_lived
            if done.order is not None and not result.kept:
                result = ErpResult(order=done.order, kept=done.kept)
        if not has_lived:
            self._wait_until_settled(request.unanswered_at, self._names(request))
        return result

    def _wait_until_settled(self, unanswered_at: datetime | None, erps: Iterable[str]) -> None:
        """Raise `NotSettledError` while an attempt that got no answer may still have an effect in one of the ERPs."""
        if unanswered_at is None:
            return
        info = activity.info()
        until = unanswered_at + max((self._erp(name).settle for name in erps), default=timedelta(0))
        left = until - info.current_attempt_scheduled_time
        if left > timedelta(0):
            raise NotSettledError(
                "An earlier write to the ERP got no answer and may still take effect: "
                f"the ERP is asked again until {until:%H:%M:%S} UTC",
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
