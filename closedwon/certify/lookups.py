"""Checks of the other calls: numbers, claims, many keys, listings, credentials, time."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta
from http import HTTPStatus
from typing import Final

from pydantic import SecretStr

from closedwon.certify.bench import Bench, check, later, require_same
from closedwon.certify.check import FailedError, NotOfferedError, require
from closedwon.certify.orders import one_order
from closedwon.certify.report import Timing
from closedwon.erp import ADAPTERS
from closedwon.erp.base import find_or_create
from closedwon.erp.errors import CannotLookUpError, DuplicateError, ErpAuthFailedError, OthersOrderError
from closedwon.erp.http import KEYS_PER_CALL
from closedwon.model.erp import ErpOrder, Origin

_PARALLEL: Final = 50
_PAGE: Final = 2
"""Orders in a page; small, so that a few orders fill several pages."""
_LISTED: Final = 5
"""Orders that three such pages hold."""
_CLOCKS_DIFFER: Final = timedelta(minutes=5)
_BY_NUMBER: Final = "A person is asked about each record that already has an order number."


@check("number", "A look-up by number finds the order of that number, has no effect, and finds nothing for others.")
async def number(bench: Bench) -> str:
    """A facade that ignores the parameter may answer with an empty list; so the answer must repeat the number."""
    order, made = await bench.made()
    if made.number is None:  # some ERPs assign it with the confirmation
        made = (await find_or_create(bench.erp, order)).order
    require(made.number, "a confirmed order has no number")
    assert made.number is not None
    try:
        found = await bench.proxied.find_by_number(made.number)
        unknown = await bench.proxied.find_by_number(f"closedwon-{secrets.token_hex(4)}")
    except CannotLookUpError as error:
        if bench.proxy.statuses[-1] < HTTPStatus.BAD_REQUEST:
            raise FailedError(f"{error}, but answers with a success") from None
        raise NotOfferedError(str(error), _BY_NUMBER) from None
    if found is None or found.id != made.id:
        raise FailedError("another order, or none, is found by the number")
    require_same(made, found, "the look-up by key and the one by number")
    require(unknown is None, "an order is found by a number that no order has")
    require(await bench.shown(made.idempotency_key or "") == made, "the look-up has changed the order")
    return f"order {made.number} found; an unknown number finds nothing"


@check("claim", "A key is stored only with an order that has none or this one; others are refused unchanged.")
async def claim(bench: Bench) -> str:
    """Without an order made by hand, this checks only repetition and refusal."""
    order, made = await bench.made()
    _, other = await bench.made()
    key, newer = order.idempotency_key, later(order, 60).modified_at
    claimed = await bench.erp.claim(made, key, origin=Origin.CREATED, modified_at=newer)
    if claimed is None:
        raise NotOfferedError(
            "the ERP stores no key with an existing order",
            "An order made by hand is taken by its number only, by a person.",
        )
    require_same(claimed, await one_order(bench, order), "the answer and the look-up after it")
    await _refused(bench, other, key)
    return f"repeated for order {claimed.number or claimed.id}, refused for another record's order"


@check("by-hand", "An order that was made by hand is found by its number, and gets a key that finds it.")
async def by_hand(bench: Bench) -> str:
    """The operator names the order (`--by-hand`)."""
    named = bench.plan.by_hand or ""
    found = await bench.erp.find_by_number(named)
    if found is None:
        raise FailedError(f"there is no order {named}")
    if found.idempotency_key is not None:
        raise NotOfferedError(f"order {named} already has a key", "Create another order by hand, and name that one.")
    require(found.origin is None, f"an order without a key has the origin {found.origin}")
    taken, _ = await bench.made()
    await _refused(bench, found, taken.idempotency_key)
    key = bench.unused_key()
    claimed = await bench.erp.claim(found, key, origin=Origin.ADOPTED, modified_at=bench.started_at)
    if claimed is None:
        raise NotOfferedError(
            "the ERP stores no key", "An order made by hand is taken by its number only, by a person."
        )
    now = await bench.shown(key)
    require(now.id == found.id, "another order is found by the key")
    require(now.origin in {None, Origin.ADOPTED}, f"the origin is {now.origin}")
    return f"order {named} has the key {key} now"


@check("find-many", "A look-up of many keys finds each order under its own key, and leaves out unknown keys.")
async def find_many(bench: Bench) -> str:
    """Uses more keys than fit into one call."""
    known = await _known(bench, 2)
    unknown = [bench.unused_key() for _ in range(KEYS_PER_CALL)]
    found = await bench.erp.find_many([*unknown, *known])
    require(found.keys() <= known.keys(), "an order is shown for a key that no order has")
    missing = [key for key in known if [each.id for each in found.get(key, ())] != [known[key].id]]
    require(not missing, f"{len(missing)} of {len(known)} keys show no order, another one, or several")
    return f"{len(known)} of {len(known) + len(unknown)} keys have an order"


@check("listing", "The listing of an org's orders is complete over the borders of pages, each with its key.")
async def listing(bench: Bench) -> str:
    """Reads pages of two orders. Begins a little before the run, because the ERP's clock may differ."""
    known = await _known(bench, _LISTED)
    erp = bench.open(bench.settings, _PAGE)
    listed: dict[str, ErpOrder] = {}
    count = 0
    org = next(iter(bench.keys.values())).org
    async for key, order in erp.orders_since(org, bench.started_at - _CLOCKS_DIFFER):
        count += 1
        listed[key] = order
    missing = [key for key, order in known.items() if key not in listed or listed[key].id != order.id]
    require(not missing, f"{len(missing)} of {len(known)} orders are missing")
    require(count == len(listed), f"{count - len(listed)} orders are listed twice")
    return f"{count} orders in pages of {_PAGE}"


@check("parallel-finds", "Fifty simultaneous look-ups of different keys are each answered with their own order.")
async def parallel_finds(bench: Bench) -> str:
    """Detects a proxy or server that mixes replies up."""
    known = await _known(bench, 2)
    keys = [*known, *(bench.unused_key() for _ in range(_PARALLEL - len(known)))][:_PARALLEL]
    found = await asyncio.gather(*(bench.erp.find(key) for key in keys))
    wrong = [key for key, order in zip(keys, found, strict=True) if (order and order.id) != _id(known.get(key))]
    require(not wrong, f"{len(wrong)} of {len(keys)} answers are about another order, or none")
    return f"{len(keys)} look-ups, {sum(order is not None for order in found)} orders"


@check("credential", "A wrong credential is refused with 401 or 403.")
async def credential(bench: Bench) -> str:
    """Makes one attempt only, so that no account is locked."""
    wrong = SecretStr(f"closedwon-certify-{secrets.token_hex(8)}")
    field = ADAPTERS[bench.settings.kind].credential
    erp = bench.open(bench.settings.model_copy(update={field: wrong}))
    try:
        await erp.find(bench.unused_key())
    except ErpAuthFailedError:
        return "refused"
    raise FailedError("a look-up with a made-up credential is answered")


@check("time", "Calls end well within the `timeout` of the settings.")
async def time(bench: Bench) -> str:
    """Uses the times of all calls of this run."""
    await bench.sample()
    measured = timings(bench)
    facts = ", ".join(f"{each.call} {each.median_seconds:.2f}/{each.p95_seconds:.2f} s" for each in measured)
    limit = bench.settings.timeout.total_seconds()
    slowest = max(each.p95_seconds for each in measured)
    facts = f"{facts} (median/p95); timeout {limit:g} s"
    if slowest > limit / 2:
        raise NotOfferedError(
            facts,
            "Calls may time out and be looked up again: safe, but slow. Set `timeout` to at least "
            f"{3 * slowest:.0f} s.",
        )
    return facts


def timings(bench: Bench) -> list[Timing]:
    """Return median and 95th percentile of the calls so far, by kind."""
    result = []
    for call, seconds in bench.erp.seconds.items():
        ordered = sorted(seconds)
        result.append(
            Timing(
                call=call,
                count=len(ordered),
                median_seconds=round(ordered[len(ordered) // 2], 4),
                p95_seconds=round(ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)], 4),
            )
        )
    return result


async def _known(bench: Bench, at_least: int) -> dict[str, ErpOrder]:
    """Return the orders of this run by key, with one look-up each; create some if there are fewer than `at_least`."""
    known = {}
    for key in list(bench.keys):
        if (found := await bench.erp.find(key)) is not None:
            known[key] = found
    while len(known) < at_least:
        order, made = await bench.made()
        known[order.idempotency_key] = made
    return known


async def _refused(bench: Bench, found: ErpOrder, key: str) -> None:
    """Claim the order with a key of another order; the ERP must refuse and change nothing."""
    try:
        await bench.erp.claim(found, key, origin=Origin.ADOPTED, modified_at=None)
    except (OthersOrderError, DuplicateError):
        now = await bench.erp.find_by_number(found.number) if found.idempotency_key is None and found.number else None
        now = now or (await bench.shown(found.idempotency_key) if found.idempotency_key else found)
        require_same(found, now, "the order before and after a refused claim")
        return
    raise FailedError("a claim with a key that another order has is carried out")


def _id(order: ErpOrder | None) -> str | None:
    return order.id if order else None


ALL = (number, claim, find_many, listing, parallel_finds, credential, time)
