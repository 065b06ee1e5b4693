"""Carries out the steps of a history in a world, and records what happened for the oracle."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from closedwon.ids import RecordId
from closedwon.model.orders import idempotency_key
from tests.property.histories import Do, Fate, History, Sold, Step, erp_of
from tests.property.messages import Messenger
from tests.property.oracle import ByHand, Content, Fact, State, Truth
from tests.property.routes import ERPS, KEY_FIELD, RouteOfTheWorld, Shape
from tests.property.world import API, Talk

_MAXIMUM_WAIT = 30.0
"""Seconds that a step waits for its effects. The history then goes on; the oracle only looks at the end."""
_POLLS = (0.1, 0.1, 0.2, 0.3, 0.5)
_FIELDS = {"number": "ERP_Order_Number__c", "status": "ERP_Order_Status__c", "key": KEY_FIELD}
_NO_NUMBER = "L999999"


_SWEPT = frozenset({Do.WIN, Do.REOPEN, Do.DELETE})
"""A sweep makes up for a lost message about these: it finds missing and superfluous orders."""


@dataclass
class Deal:
    """One record and what happened to it."""

    record: RecordId
    name: str
    route: RouteOfTheWorld
    states: list[State]
    facts: set[Fact] = field(default_factory=set)
    typed: set[str] = field(default_factory=set)
    picked: int = 0
    held: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """Messages that arrive at the end."""
    first: Callable[[], Awaitable[None]] | None = None
    """The first message, to be sent again."""
    unsent: list[Do] = field(default_factory=list)
    """What was done to it since the last message was sent, or put off."""
    messages: int = 0

    def truth(self, key: str) -> Truth:
        """For the oracle."""
        return Truth(key, self.route.policies, tuple(self.states), frozenset(self.facts), frozenset(self.typed))


@dataclass
class Played:
    """What came of a history."""

    history: History
    deals: dict[str, Deal]
    by_hand: list[ByHand]


class Player:
    """Plays one history."""

    def __init__(self, talk: Talk, catalog: Catalog, history: History) -> None:
        self._talk = talk
        self._catalog = catalog
        self._history = history
        self._route = history.route
        self._shape = history.route.shape
        self._deals: dict[str, Deal] = {}
        self._by_hand: list[ByHand] = []
        self._messenger = Messenger(talk)
        self._chance = random.Random(f"play {history.seed}/{history.number}")  # noqa: S311 - no secret

    async def play(self) -> Played:
        """All steps, then what was not sent yet."""
        for step in self._history.steps:
            await self._do(step)
        for deal in self._deals.values():
            if not _SWEPT.issuperset(deal.unsent) and self._can_notify(deal):
                await self._notify(deal, Fate.NOW)
            self._chance.shuffle(deal.held)
            for deliver in deal.held:
                await deliver()
        return Played(self._history, self._deals, self._by_hand)

    async def _do(self, step: Step) -> None:
        deal = self._deals.get(step.deal)
        before = await self._talk.workflow_state(deal.record) if deal and step.waits and step.fate in _AT_ONCE else None
        match step.do:
            case Do.CREATE | Do.CLONE:
                await self._create(step)
                return
            case Do.BY_HAND:
                await self._enter(step)
                return
        assert deal is not None
        match step.do:
            case Do.TYPE:
                await self._type(deal, step.text)
                return
            case Do.IN_ERP:
                await self._in_erp(deal, step.text)
                return
            case Do.FORGE:
                await self._forge(deal)
                return
            case Do.REPEAT:
                if deal.first is None:
                    await self._notify(deal, Fate.NOW)
                else:
                    await deal.first()
                return
            case _:
                await self._change(deal, step)
        await self._notify(deal, step.fate)
        if step.waits and step.fate in _AT_ONCE:
            await self._until_over(deal.record, None if before is None else before.mark)

    # What people do in Salesforce

    async def _create(self, step: Step) -> None:
        content, copied = step.content, {}
        if step.do is Do.CLONE:
            neighbor = self._deals["neighbor"]
            content = content or neighbor.states[-1].content
            fields = [_FIELDS[each] for each in step.text.split()]
            (row,) = await self._talk.people.query(
                f"SELECT {', '.join(fields)} FROM {self._shape.object} WHERE Id = '{neighbor.record}'"  # noqa: S608 - SOQL
            )
            copied = {name: row[name] for name in fields if row[name]}
        assert content is not None
        name = f"{self._history.seed}/{self._history.number}/{step.deal}"
        body = {"Route__c": self._route.name, "Erp__c": ERPS[0], **self._shape.open, **self._shape.always}
        body |= {**named(self._shape, name), **self._fields_of(content), **copied}
        lines = self._line_requests(content, "@{r0.id}")
        created, *_ = await self._talk.composite([post(self._shape.object, body), *lines])
        deal = Deal(
            RecordId(created["id"]), name, self._route, [State(won=False, content=content, erp=erp_of(self._route, 0))]
        )
        self._deals[step.deal] = deal
        if _FIELDS["number"] in copied:
            deal.facts.add(Fact.NUMBER_TYPED)
            deal.typed.add(copied[_FIELDS["number"]])
        if _FIELDS["status"] in copied:
            deal.facts.add(Fact.STATUS_TYPED)

    async def _change(self, deal: Deal, step: Step) -> None:
        last = deal.states[-1]
        content, won = last.content, last.won
        if step.do is Do.DELETE:
            await self._talk.delete(self._shape.object, deal.record)
            deal.states.append(State(won=won, content=content, deleted=True, erp=last.erp))
            deal.unsent.append(step.do)
            return
        if step.do is Do.UNDELETE:
            await self._talk.people.admin("POST", "undelete", {"object": self._shape.object, "record": deal.record})
            deal.states.append(State(won=won, content=content, erp=last.erp))
            deal.unsent.append(step.do)
            return
        requests: list[dict[str, Any]] = []
        fields: dict[str, Any] = {}
        match step.do:
            case Do.WIN | Do.REOPEN:
                won = step.do is Do.WIN
                fields |= self._shape.won if won else self._shape.open
            case Do.PICK:
                deal.picked += 1
                deal.facts.add(Fact.ERP_PICKED_AGAIN)
                fields["Erp__c"] = erp_of(self._route, deal.picked)
            case Do.EDIT:
                assert step.content is not None
                content = step.content
                fields |= self._fields_of(content)
                if content.lines != last.content.lines:
                    requests = await self._replace_lines(deal, content)
        await self._talk.composite([patch(self._shape.object, deal.record, fields), *requests])
        deal.states.append(State(won=won, content=content, erp=erp_of(self._route, deal.picked)))
        deal.unsent.append(step.do)

    async def _replace_lines(self, deal: Deal, content: Content) -> list[dict[str, Any]]:
        if self._shape.is_flat:
            return []
        soql = f"SELECT Id FROM OpportunityLineItem WHERE OpportunityId = '{deal.record}'"  # noqa: S608 - SOQL
        old = [delete("OpportunityLineItem", row["Id"]) for row in await self._talk.people.query(soql)]
        return [*self._line_requests(content, deal.record), *old]

    def _fields_of(self, content: Content) -> dict[str, Any]:
        fields: dict[str, Any] = {self._shape.customer: self._catalog.accounts[int(content.customer)]}
        if self._shape.is_flat:
            (line,) = _typed(content)
            fields |= {"Product__c": line.product, "Quantity__c": float(line.quantity), "Price__c": float(line.price)}
            fields[self._shape.amount] = float(content.total)
        return fields

    def _line_requests(self, content: Content, opportunity: str) -> list[dict[str, Any]]:
        if self._shape.is_flat:
            return []
        return [
            post(
                "OpportunityLineItem",
                {
                    "OpportunityId": opportunity,
                    "Product2Id": self._catalog.products[line.product],
                    "Quantity": float(line.quantity),
                    "UnitPrice": float(line.price),
                    **({"Discount": float(line.discount)} if line.discount else {}),
                    "SortOrder": place,
                },
            )
            for place, line in enumerate(_typed(content))
        ]

    async def _type(self, deal: Deal, text: str) -> None:
        what, _, value = text.partition(" ")
        if what == "status":
            deal.facts.add(Fact.STATUS_TYPED)
            await self._talk.composite([patch(self._shape.object, deal.record, {_FIELDS["status"]: value})])
            return
        if value == "by-hand":
            number = self._by_hand[-1].number
        elif value == "neighbor":
            number = await self._number_of(self._deals["neighbor"])
        else:
            number = _NO_NUMBER
        deal.facts.add(Fact.NUMBER_TYPED)
        deal.typed.add(number)
        await self._talk.composite([patch(self._shape.object, deal.record, {_FIELDS["number"]: number})])

    async def _number_of(self, deal: Deal) -> str:
        soql = f"SELECT {_FIELDS['number']} FROM {self._shape.object} WHERE Id = '{deal.record}'"  # noqa: S608 - SOQL
        (row,) = await self._talk.people.query(soql)
        return row[_FIELDS["number"]] or _NO_NUMBER

    # What people do in the ERP

    async def _enter(self, step: Step) -> None:
        assert step.content is not None
        erp, content = erp_of(self._route, 0), step.content
        day = date.today().isoformat()  # noqa: DTZ011 - a day as people type it
        if step.is_from_before:
            day = f"{int(day[:4]) - 1}-03-01"
        body = {
            "org": self._talk.world.org_id,
            "record": self._deals["main"].record,
            "name": "entered by hand",
            "customer": {"id": self._catalog.accounts[int(content.customer)], "name": "Somebody"},
            "currency": content.currency,
            "lines": [
                {
                    "product": line.product,
                    "quantity": str(line.quantity),
                    "unit_price": str(line.price * (100 - line.discount) / 100),
                    "total": str(line.total),
                }
                for line in _typed(content)
            ],
            "order_date": day,
        }
        made = await self._talk.ask_erp(erp, "/_admin/orders", json=body)
        self._by_hand.append(ByHand(erp, made["number"], made["status"], content, step.is_from_before))

    async def _in_erp(self, deal: Deal, status: str) -> None:
        key = idempotency_key(self._talk.world.org_id, deal.record)
        for erp in ERPS:
            for order in await self._talk.erp_orders(erp, key):
                if order["status"] == "cancelled":
                    continue
                deal.facts.add(Fact.ERP_CANCELLED if status == "cancelled" else Fact.ERP_PROCESSED)
                await self._talk.ask_erp(erp, f"/_admin/orders/{order['id']}", json={"status": status})
                self._by_hand = [
                    ByHand(one.erp, one.number, status, one.content, one.is_from_before)
                    if (one.erp, one.number) == (erp, order["number"])
                    else one
                    for one in self._by_hand
                ]

    # Messages

    def _can_notify(self, deal: Deal) -> bool:
        """Whether its route takes a message about it: callouts have none about a deleted record."""
        return not (deal.states[-1].deleted and self._route.push == "callouts")

    async def _notify(self, deal: Deal, fate: Fate) -> None:
        if fate is Fate.LOST:
            return
        deliver = await self._message(deal)
        deal.unsent.clear()
        deal.first = deal.first or deliver
        if fate is Fate.LATE:
            deal.held.append(deliver)
            return
        await deliver()
        if fate is Fate.TWICE:
            await deliver()

    async def _message(self, deal: Deal) -> Callable[[], Awaitable[None]]:
        """A message about the deal as it is now, ready to be delivered at any time."""
        deal.messages += 1
        if not self._route.push:
            return lambda: self._talk.publish(self._route.event, {"Record__c": deal.record})
        name = f"{deal.name}/{deal.messages}"
        if deal.states[-1].deleted:
            at = datetime.now(UTC)
            return lambda: self._messenger.bury(self._route, deal.record, name, at)
        row = await self._row(deal)
        return lambda: self._messenger.deliver(self._route, deal.record, name, row)

    async def _row(self, deal: Deal) -> dict[str, Any]:
        soql = f"SELECT {self._shape.select} FROM {self._shape.object} WHERE Id = '{deal.record}'"  # noqa: S608 - SOQL
        (row,) = await self._talk.people.query(soql)
        return row

    async def _forge(self, deal: Deal) -> None:
        """Send what anyone can send who knows the IDs."""
        await self._messenger.forge(self._route, deal.record, deal.name, await self._row(deal))

    # Waiting

    async def _until_over(self, record: RecordId, before: tuple[str | None, int] | None) -> None:
        """Wait until the workflow has handled the change and rests, at most for `_MAXIMUM_WAIT`."""
        until = time.monotonic() + _MAXIMUM_WAIT
        polls = 0
        while time.monotonic() < until:
            await asyncio.sleep(_POLLS[min(polls, len(_POLLS) - 1)])
            polls += 1
            state = await self._talk.workflow_state(record)
            if state is not None and state.rests and state.mark != before:
                return


_AT_ONCE = (Fate.NOW, Fate.TWICE)


@dataclass(frozen=True)
class Catalog:
    """Accounts and products of the org."""

    accounts: tuple[str, ...]
    products: Mapping[str, str]


def _typed(content: Content) -> list[Sold]:
    return [line for line in content.lines if isinstance(line, Sold)]


def named(shape: Shape, name: str) -> dict[str, Any]:
    """The fields by which a new record gets its name."""
    if shape.object == "Opportunity":
        return {"Name": name, "CloseDate": date.today().isoformat()}  # noqa: DTZ011 - a day as people type it
    return {"Object__c": name}


def post(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a composite request that makes a record."""
    return {"method": "POST", "url": f"{API}/sobjects/{kind}", "body": dict(body)}


def patch(kind: str, record: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """One that changes a record."""
    return {"method": "PATCH", "url": f"{API}/sobjects/{kind}/{record}", "body": dict(body)}


def delete(kind: str, record: str) -> dict[str, Any]:
    """One that deletes a record."""
    return {"method": "DELETE", "url": f"{API}/sobjects/{kind}/{record}"}
