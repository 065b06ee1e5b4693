"""What is there in the end, asked of the emulator, the ERPs and Temporal, and handed to the oracle."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from closedwon.model import idempotency_key
from tests.property.auditing import findings
from tests.property.oracle import Booked, Content, Found, Line, Wrong, judge, judge_stranger
from tests.property.play import Catalog, Deal, Played
from tests.property.routes import ERPS, OBJECTS
from tests.property.world import Standing, Talk

_AT_A_TIME = 20
_AUDITED = frozenset(Wrong) - {Wrong.NEEDLESS, Wrong.UNENDED}
"""What disagrees between Salesforce, the ERPs and Temporal; the other two are seen in Temporal's list at once."""


@dataclass(frozen=True)
class Verdict:
    """What is wrong about one history."""

    played: Played
    kinds: Counter[Wrong]
    texts: tuple[str, ...]
    unreported: Counter[Wrong]
    """What the audit has no finding about, though there are traces of it."""

    def __str__(self) -> str:
        """The history, and what is wrong."""
        return "\n".join([str(self.played.history), *(f"  WRONG {each}" for each in self.texts)])


@dataclass(frozen=True)
class _End:
    """The books of the ERPs and of Salesforce."""

    by_key: Mapping[str, Sequence[Booked]]
    by_number: Mapping[tuple[str, str], Booked]
    numbers: Mapping[str, str | None]
    standings: Mapping[str, Standing | None]
    findings: Mapping[str, Sequence[str]]
    """Of the audit, by record."""

    def of(self, deal: Deal, key: str) -> Found:
        """What the oracle is to know of a deal."""
        standing = self.standings[deal.record]
        return Found(
            orders=tuple(self.by_key.get(key, ())),
            number=self.numbers.get(deal.record),
            ended=standing is None or standing.rests,
            reason=None if standing is None else standing.reason,
        )


async def verdicts(talk: Talk, catalog: Catalog, played: Sequence[Played]) -> list[Verdict]:
    """Those of the histories whose end is wrong."""
    end = await _end(talk, catalog, played)
    return [each for one in played if (each := _verdict(talk, one, end)).texts]


def _verdict(talk: Talk, played: Played, end: _End) -> Verdict:
    kinds: Counter[Wrong] = Counter()
    unreported: Counter[Wrong] = Counter()
    texts: list[str] = []
    truths = []
    reported = {name: end.findings.get(deal.record, []) for name, deal in played.deals.items()}
    for name, deal in played.deals.items():
        truth = deal.truth(idempotency_key(talk.world.org_id, deal.record))
        truths.append(truth)
        found = end.of(deal, truth.key)
        for wrong in judge(truth, found):
            kinds[wrong] += 1
            unreported[wrong] += wrong in _AUDITED and not reported[name]
            said = ", ".join(reported[name]) or "nothing"
            texts.append(
                f"{wrong.name} {name} {deal.record}: {_shown(found, end.standings[deal.record])}; audit: {said}"
            )
    for made in played.by_hand:
        now = end.by_number.get((made.erp, made.number))
        for wrong in judge_stranger(made, now, truths):
            kinds[wrong] += 1
            unreported[wrong] += not any(reported.values())
            said = ", ".join(itertools.chain(*reported.values())) or "nothing"
            texts.append(
                f"{wrong.name} {made.number} of {made.erp}: now {_order(now) if now else 'gone'}; audit: {said}"
            )
    return Verdict(played, kinds, tuple(texts), +unreported)


async def _end(talk: Talk, catalog: Catalog, played: Sequence[Played]) -> _End:
    accounts = {account: str(number) for number, account in enumerate(catalog.accounts)}
    booked = [order for erp in ERPS for order in [each async for each in _booked(talk, erp, accounts)]]
    by_key: dict[str, list[Booked]] = {}
    for order in booked:
        by_key.setdefault(order.key, []).append(order)
    rows = [
        row
        for each in OBJECTS
        for row in await talk.people.query(f"SELECT Id, ERP_Order_Number__c FROM {each}")  # noqa: S608 - SOQL
    ]
    records = [deal.record for one in played for deal in one.deals.values()]
    standings: dict[str, Standing | None] = {}
    for batch in _batches(records, _AT_A_TIME):
        standings |= zip(batch, await asyncio.gather(*map(talk.standing, batch)), strict=True)
    return _End(
        by_key=by_key,
        by_number={(order.erp, order.number): order for order in booked},
        numbers={row["Id"]: row["ERP_Order_Number__c"] for row in rows},
        standings=standings,
        findings=await findings(talk),
    )


async def _booked(talk: Talk, erp: str, accounts: Mapping[str, str]) -> AsyncIterator[Booked]:
    """All orders of an ERP as it holds them."""
    listed = (await talk.ask_erp(erp, "/_admin/orders"))["orders"]
    for batch in _batches(listed, _AT_A_TIME):
        whole = await asyncio.gather(*(talk.ask_erp(erp, f"/_admin/orders/{row['id']}") for row in batch))
        for row, one in zip(batch, whole, strict=True):
            content = _content(one["request"], accounts)
            yield Booked(erp, row["number"], one["idempotency_key"] or "", one["status"], content)


def _content(request: Mapping[str, Any], accounts: Mapping[str, str]) -> Content:
    customer = request["customer"]["id"]
    return Content(accounts.get(customer, customer), request["currency"], tuple(map(_line, request["lines"])))


def _line(line: Mapping[str, Any]) -> Line:
    quantity, total = Decimal(line["quantity"]), line.get("total")
    return Line(line["product"], quantity, Decimal(total) if total else quantity * Decimal(line["unit_price"]))


def _shown(found: Found, standing: Standing | None) -> str:
    orders = "; ".join(map(_order, found.orders)) or "no order"
    stage = standing.stage if standing else "none"
    return f"{orders}; the record shows {found.number}; workflow {stage} {found.reason or ''}"


def _order(order: Booked) -> str:
    return f"{order.erp} {order.number} {order.status} [{order.content.customer}: {order.content.total}] {order.key}"


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
