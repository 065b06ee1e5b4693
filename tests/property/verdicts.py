"""The end state of every deal, read from the emulator, the ERPs and Temporal, and what the oracle says about it."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from closedwon.model.orders import idempotency_key
from tests.property.auditing import findings
from tests.property.oracle import Content, Found, FoundOrder, Line, Wrong, compare, compare_stranger, may_be_found
from tests.property.play import Catalog, Deal, Played
from tests.property.routes import ERPS, OBJECTS
from tests.property.world import Talk, WorkflowState

_AT_A_TIME = 20
_AUDITED = frozenset(Wrong) - {Wrong.NEEDLESS, Wrong.UNENDED}
"""What the audit must report: disagreements of Salesforce, ERPs and Temporal. Temporal's list shows the other two."""


@dataclass(frozen=True)
class Verdict:
    """What is wrong about one history."""

    played: Played
    kinds: Counter[Wrong]
    texts: tuple[str, ...]
    unreported: Counter[Wrong]
    """Faults that the audit did not report although its three systems show them."""
    needless: Mapping[str, Sequence[str]]
    """Findings by deal that nothing explains: the deal is right, and no person is asked about it."""

    def __str__(self) -> str:
        """The history, what is wrong, and the needless findings."""
        needless = (f"  FOUND {name}: {', '.join(kinds)}" for name, kinds in self.needless.items())
        return "\n".join([str(self.played.history), *(f"  WRONG {each}" for each in self.texts), *needless])


@dataclass(frozen=True)
class _End:
    """The records of the ERPs, Salesforce and Temporal."""

    by_key: Mapping[str, Sequence[FoundOrder]]
    by_number: Mapping[tuple[str, str], FoundOrder]
    numbers: Mapping[str, str | None]
    states: Mapping[str, WorkflowState | None]
    findings: Mapping[str, Sequence[str]]
    """Of the audit, by record."""

    def of(self, deal: Deal, key: str) -> Found:
        """The end state of one deal, as the oracle takes it."""
        state = self.states[deal.record]
        return Found(
            orders=tuple(self.by_key.get(key, ())),
            number=self.numbers.get(deal.record),
            ended=state is None or state.rests,
            reason=None if state is None else state.reason,
        )


async def verdicts(talk: Talk, catalog: Catalog, played: Sequence[Played]) -> list[Verdict]:
    """One for each history."""
    end = await _end(talk, catalog, played)
    return [_verdict(talk, one, end) for one in played]


def _verdict(talk: Talk, played: Played, end: _End) -> Verdict:
    kinds: Counter[Wrong] = Counter()
    unreported: Counter[Wrong] = Counter()
    texts: list[str] = []
    needless: dict[str, Sequence[str]] = {}
    truths = []
    reported = {name: end.findings.get(deal.record, []) for name, deal in played.deals.items()}
    for name, deal in played.deals.items():
        truth = deal.truth(idempotency_key(talk.world.org_id, deal.record))
        truths.append(truth)
        found = end.of(deal, truth.key)
        faults = [*compare(truth, found)]
        unexplained = [kind for kind in reported[name] if kind not in may_be_found(truth)]
        if unexplained and not faults and found.reason is None:
            needless[name] = unexplained
        for wrong in faults:
            kinds[wrong] += 1
            unreported[wrong] += wrong in _AUDITED and not reported[name]
            reports = ", ".join(reported[name]) or "nothing"
            texts.append(
                f"{wrong.name} {name} {deal.record}: {_shown(found, end.states[deal.record])}; audit: {reports}"
            )
    for made in played.by_hand:
        now = end.by_number.get((made.erp, made.number))
        for wrong in compare_stranger(made, now, truths):
            kinds[wrong] += 1
            unreported[wrong] += not any(reported.values())
            reports = ", ".join(itertools.chain(*reported.values())) or "nothing"
            texts.append(
                f"{wrong.name} {made.number} of {made.erp}: now {_order(now) if now else 'gone'}; audit: {reports}"
            )
    return Verdict(played, kinds, tuple(texts), +unreported, {} if kinds else needless)


async def _end(talk: Talk, catalog: Catalog, played: Sequence[Played]) -> _End:
    accounts = {account: str(number) for number, account in enumerate(catalog.accounts)}
    found_orders = [order for erp in ERPS for order in [each async for each in _orders_of(talk, erp, accounts)]]
    by_key: dict[str, list[FoundOrder]] = {}
    for order in found_orders:
        by_key.setdefault(order.key, []).append(order)
    rows = [
        row
        for each in OBJECTS
        for row in await talk.people.query(f"SELECT Id, ERP_Order_Number__c FROM {each}")  # noqa: S608 - SOQL
    ]
    records = [deal.record for one in played for deal in one.deals.values()]
    states: dict[str, WorkflowState | None] = {}
    for batch in _batches(records, _AT_A_TIME):
        states |= zip(batch, await asyncio.gather(*map(talk.workflow_state, batch)), strict=True)
    return _End(
        by_key=by_key,
        by_number={(order.erp, order.number): order for order in found_orders},
        numbers={row["Id"]: row["ERP_Order_Number__c"] for row in rows},
        states=states,
        findings=await findings(talk),
    )


async def _orders_of(talk: Talk, erp: str, accounts: Mapping[str, str]) -> AsyncIterator[FoundOrder]:
    """Every order of an ERP with its content."""
    listed = (await talk.ask_erp(erp, "/_admin/orders"))["orders"]
    for batch in _batches(listed, _AT_A_TIME):
        whole = await asyncio.gather(*(talk.ask_erp(erp, f"/_admin/orders/{row['id']}") for row in batch))
        for row, one in zip(batch, whole, strict=True):
            content = _content(one["request"], accounts)
            yield FoundOrder(erp, row["number"], one["idempotency_key"] or "", one["status"], content)


def _content(request: Mapping[str, Any], accounts: Mapping[str, str]) -> Content:
    customer = request["customer"]["id"]
    return Content(accounts.get(customer, customer), request["currency"], tuple(map(_line, request["lines"])))


def _line(line: Mapping[str, Any]) -> Line:
    quantity, total = Decimal(line["quantity"]), line.get("total")
    return Line(line["product"], quantity, Decimal(total) if total else quantity * Decimal(line["unit_price"]))


def _shown(found: Found, state: WorkflowState | None) -> str:
    orders = "; ".join(map(_order, found.orders)) or "no order"
    stage = state.stage if state else "none"
    return f"{orders}; the record shows {found.number}; workflow {stage} {found.reason or ''}"


def _order(order: FoundOrder) -> str:
    return f"{order.erp} {order.number} {order.status} [{order.content.customer}: {order.content.total}] {order.key}"


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
