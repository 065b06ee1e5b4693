"""The ERP side of an order, on a task queue of its own: find or create, cancel."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from typing import TypeGuard

from temporalio import activity

from activities.attempts import Attempt, Prove, ask_temporal
from activities.failures import errors_as_failures
from activities.heartbeats import run_to_completion
from activities.holds import Holds
from activities.passing import RefusalsOfErp, not_here
from closedwon.erp.base import (
    AmountDiffersError,
    CannotLookUpError,
    CustomerDiffersError,
    Erp,
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
from closedwon.erp.resolving import by_number_alone, look_up_named, only_candidate, take_found
from closedwon.errors import AttentionError, AttentionReason, BenignError
from closedwon.model.erp import ErpOrder, ErpStatus
from closedwon.model.erp_calls import (
    CancelOrder,
    CreateOrder,
    ErpResult,
    FindOrder,
    FindOrders,
    FollowOrder,
    Handoff,
    KeyedRequest,
    KnownOrder,
    Resolved,
    ResolveOrder,
)
from closedwon.telemetry.metrics import Metrics


class NothingNewError(BenignError):
    """The order is as it was. The next attempt is the next look: attempts cost no history."""


class NoNumberYetError(BenignError):
    """The order is confirmed, and the ERP has not numbered it yet."""


class NotSettledError(BenignError):
    """There is no order, but there may still be one: an attempt to have it made got no answer, a moment ago."""


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
        self._refusals = RefusalsOfErp(self._holds)
        self._without_number: dict[str, float] = {}
        """By idempotency key: when this worker first saw that order without a number, by the monotonic clock."""

    @activity.defn
    async def create_order(self, request: CreateOrder) -> ErpResult:
        """Find the order by its idempotency key or create it; return it as the ERP has it, confirmed or beyond."""
        attempt = Attempt(self._prove)
        with errors_as_failures(attempt), self._timed(request.erp):
            self._holds.check_erp(request.erp, request.order.org)
            handoff = await run_to_completion(self._create(request, attempt))
            if request.needs_number and not handoff.kept:
                self._wait_for_number(request, handoff.order)
            return ErpResult(order=handoff.order, kept=handoff.kept, in_doubt_since=attempt.in_doubt_since)

    @activity.defn
    async def cancel_order(self, request: CancelOrder) -> ErpResult:
        """Cancel the order if the ERP has it."""
        attempt = Attempt(self._prove)
        with errors_as_failures(attempt):
            result = await run_to_completion(self._cancel(request, attempt))
            return result.model_copy(update={"in_doubt_since": attempt.in_doubt_since})

    @activity.defn
    async def find_orders(self, request: FindOrders) -> dict[str, list[KnownOrder]]:
        """Look many orders up; a key that the ERP does not know is left out.

        An ERP that is not known here may have another name by now: then all of ours are asked.
        """
        with errors_as_failures(), self._timed(request.erp):
            found = await run_to_completion(self._find_many(request))
            return {
                key: [KnownOrder(number=one.number, cancelled=one.status is ErpStatus.CANCELLED) for one in orders]
                for key, orders in found.items()
            }

    @activity.defn
    async def find_order(self, request: FindOrder) -> ErpOrder | None:
        """Look for the order; one that is not cancelled comes first."""
        with errors_as_failures():
            self._wait_while_in_doubt(request.check_since, self._names(request.erp))
            found = await run_to_completion(self._find(request))
            self._check_renamed(request, found, has_order=request.has_order)
            if not _is_active(found):
                self._wait_while_in_doubt(request.unanswered_at, self._names(request.erp))
            return found

    @activity.defn
    async def follow_order(self, request: FollowOrder) -> ErpOrder | None:
        """Look at the order once an attempt; end when number, status or link have changed, or it is not there."""
        with errors_as_failures():
            found = await run_to_completion(self._find(request))
            self._check_renamed(request, found, has_order=True)
            if found is not None and _shown(found) == _shown(request.known):
                raise NothingNewError(f"The order is still {found.status}; it is looked at again at the next attempt")
            return found

    @activity.defn
    async def resolve_order(self, request: ResolveOrder) -> Resolved:
        """Make the order that people call `number` the record's one; where an ERP cannot look, take the number.

        The key is looked at before, and again behind: an attempt to create that is not known of any more, but under way
        in the ERP, meets its constraint, or is seen as the rival that it is.
        """
        attempt = Attempt(self._prove)
        with errors_as_failures(attempt):
            resolved = await run_to_completion(self._resolve(request, attempt))
            return resolved.model_copy(update={"in_doubt_since": attempt.in_doubt_since})

    async def _find_many(self, request: FindOrders) -> dict[str, list[ErpOrder]]:
        found: dict[str, list[ErpOrder]] = {}
        for name in self._names(request.erp):
            async with self._refusals.passing(name):
                orders = await self._erp(name).find_many(request.keys)
            for key, those in orders.items():
                found.setdefault(key, []).extend(those)
        return found

    async def _find(self, request: KeyedRequest) -> ErpOrder | None:
        found: ErpOrder | None = None
        for name in self._names(request.erp):
            async with self._calling(name):
                order = await self._erp(name).find(request.idempotency_key)
            if found is None or _is_active(order):
                found = order
        return found

    async def _resolve(self, request: ResolveOrder, attempt: Attempt) -> Resolved:
        before = await self._find(request)
        if _is_active(before):
            return Resolved(order=before) if before.number == request.number else Resolved(rival=before)
        resolved = await self._take(request, attempt)
        if resolved.order is None:
            return resolved
        behind = await self._find(request)
        if _is_active(behind) and behind.id != resolved.order.id:
            return Resolved(rival=behind)
        return resolved

    async def _take(self, request: ResolveOrder, attempt: Attempt) -> Resolved:
        """Look for the number in all ERPs that may have it, and only then claim the order that can be the one."""
        refusal: UnknownOrderError | None = None
        can_say = True
        accept = request.accept_differences
        shown: dict[str, ErpOrder] = {}
        fencing = {name: fenced(self._erp(name), attempt) for name in self._names(request.erp)}
        for name, erp in fencing.items():
            try:
                async with self._calling(name):
                    shown[name] = await look_up_named(erp, request.number, request.idempotency_key)
            except UnknownOrderError as error:
                refusal = error
            except CannotLookUpError:
                can_say = False
        if shown:
            name = only_candidate(shown, request.number, request.order)
            async with self._calling(name):
                taken = await take_found(
                    fencing[name], shown[name], request.idempotency_key, request.order, accept_differences=accept
                )
            return Resolved(order=taken.order, differences=taken.differences, keyless=taken.keyless)
        if refusal is not None and can_say:
            raise refusal
        if not accept:
            return Resolved(differences=f"No ERP shows order {request.number}, so nothing of it can be compared")
        # No constraint keeps what is still under way from becoming a second order.
        self._wait_while_in_doubt(request.unanswered_at, self._names(request.erp))
        return Resolved(order=by_number_alone(request.number), keyless=True)

    def _names(self, erp: str | None) -> list[str]:
        """The ERPs that may have an order: the one that a request names, or all if it names none, or an unknown one.

        The latter may have another name by now; see `_check_renamed`.
        """
        return [erp] if erp in self._erps else list(self._erps)

    def _check_renamed(self, request: KeyedRequest, found: ErpOrder | None, *, has_order: bool) -> None:
        """Raise what `not_here` returns if an order that was made is in none of our ERPs, and its own one is unknown.

        An ERP that has another name by now is asked with all the others, and the order is found there by its key.
        """
        if has_order and found is None and request.erp is not None and request.erp not in self._erps:
            raise not_here("ERP", request.erp, "erps", otherwise="; the order of this record was made in that ERP")

    async def _create(self, request: CreateOrder, attempt: Attempt) -> Handoff:
        number = request.number
        for name in request.other_erps:
            async with self._refusals.passing(name):
                found = await self._erp(name).find(request.order.idempotency_key)
            if found is not None and found.number == number:
                number = None  # that ERP's number: in another ERP it may be any order's
            if found is not None and found.status is not ErpStatus.CANCELLED:
                raise RejectedError(
                    f"The route now picks ERP {request.erp}, but ERP {name} has order {found.number or found.id} of "
                    "this record",
                    hint=f"Cancel that order in {name}, or let the record pick {name} again; then send `retry`.",
                )
        self._wait_while_in_doubt(request.unanswered_at, request.other_erps)
        self._wait_while_in_doubt(request.check_since, (request.erp,))
        said = OnRecord(
            number=number,
            number_is_proven=request.number_is_proven,
            unproven_status=request.unproven_status,
            single_erp=not request.other_erps,
        )
        async with self._refusals.passing(request.erp):
            return await self._hand_over(request, said, attempt)

    async def _hand_over(self, request: CreateOrder, said: OnRecord, attempt: Attempt) -> Handoff:
        erp, order = self._erp(request.erp), request.order
        has_agreed = request.has_agreed or (request.may_be_earlier and attempt.in_doubt_since is None)
        amends = request.on_changed == "amend"
        try:
            if amends or request.reopen:
                return await amend_to(
                    erp,
                    order,
                    amends=amends,
                    reopen=request.reopen,
                    said=said,
                    remembers=request.remembers,
                    is_read=request.is_read,
                    guard=attempt,
                    on_step=self._on_step,
                )
            return await find_or_create(
                erp,
                order,
                said=said,
                remembers=request.remembers,
                is_read=request.is_read,
                guard=attempt,
                on_step=self._on_step,
            )
        except AmountDiffersError as error:
            if request.on_changed != "ignore" or error.is_new or not has_agreed:
                raise
            found = error.found or await erp.find(order.idempotency_key)
            if found is None or not found.status.exists_as_order:
                raise
            if other_customer(found, order):  # content may differ, the customer never
                raise CustomerDiffersError(found) from None
            return Handoff(order=found, adopted=True)

    async def _cancel(self, request: CancelOrder, attempt: Attempt) -> ErpResult:
        self._wait_while_in_doubt(request.check_since, self._names(request.erp))
        result = ErpResult(order=None)
        has_lived = False
        for name in self._names(request.erp):  # one that is cancelled already may have made way for one in another ERP
            async with self._calling(name):
                done = await cancel_order(
                    self._erp(name),
                    request.idempotency_key,
                    by_policy=request.by_policy,
                    modified_at=request.modified_at,
                    remembers=request.remembers,
                    is_read=request.is_read,
                    is_deleted=request.is_deleted,
                    guard=attempt,
                    on_step=self._on_step,
                )
            has_lived = has_lived or done.has_lived
            if done.order is not None and not result.kept:
                result = ErpResult(order=done.order, kept=done.kept)
        self._check_renamed(request, result.order, has_order=request.has_order)
        is_ours = not result.kept and (has_lived or attempt.in_doubt_since is not None)
        result = result.model_copy(update={"has_lived": is_ours})
        if not has_lived:
            self._wait_while_in_doubt(request.unanswered_at, self._names(request.erp))
        return result

    def _wait_while_in_doubt(self, unanswered_at: datetime | None, erps: Iterable[str]) -> None:
        """Raise `NotSettledError` while an attempt that got no answer may still have an effect in one of the ERPs."""
        if unanswered_at is None:
            return
        info = activity.info()
        until = unanswered_at + max((self._erp(name).in_doubt_for for name in erps), default=timedelta(0))
        left = until - info.current_attempt_scheduled_time
        if left > timedelta(0):
            raise NotSettledError(
                "An earlier write to the ERP got no answer and may still take effect: "
                f"the ERP is asked again until {until:%H:%M:%S} UTC",
                retry_after=min(left, timedelta(seconds=2 ** min(info.attempt, 6))),
            )

    def _wait_for_number(self, request: CreateOrder, order: ErpOrder) -> None:
        """Raise `NoNumberYetError` for a while, then an `AttentionError`, for an order that has no number to write."""
        key, now = request.order.idempotency_key, time.monotonic()
        if order.number is not None:
            self._without_number.pop(key, None)
            return
        since = self._without_number.setdefault(key, now)
        left = self._erp(request.erp).in_doubt_for - timedelta(seconds=now - since)
        if left > timedelta(0):
            raise NoNumberYetError(
                f"ERP order {order.id} is {order.status} and has no number yet: it is looked at again",
                retry_after=min(left, timedelta(seconds=2 ** min(activity.info().attempt, 6))),
            )
        del self._without_number[key]
        raise AttentionError(
            f"ERP order {order.id} is {order.status}, but {request.erp} answers without its number, which the route "
            "writes back",
            reason=AttentionReason.ERP_ANSWER_WRONG,
            hint="Let the ERP number the order, or its facade answer with the `id` as `number`; then send `retry`. Or "
            "remove `write_back.number` from the route.",
        )

    @asynccontextmanager
    async def _calling(self, erp: str) -> AsyncIterator[None]:
        async with self._refusals.passing(erp):
            with self._timed(erp):
                yield

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
            raise not_here("ERP", name, "erps") from None


def _is_active(order: ErpOrder | None) -> TypeGuard[ErpOrder]:
    return order is not None and order.status is not ErpStatus.CANCELLED


def _shown(order: ErpOrder) -> tuple[str | None, str, str | None]:
    """What is written to Salesforce about an order."""
    return order.number, order.status, order.url
