"""Random histories of deals: what people do to one deal and around it. The seed alone determines a history.

A history is a list of steps about a deal, called `main`, and perhaps a `neighbor`: last year's deal of which it is a
clone, or another customer's. Steps are data; `play` carries them out, and `oracle` decides whether the end is right.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum

from tests.property.oracle import Content, Line
from tests.property.routes import ERPS, ROUTES, RouteOfTheWorld

ACCOUNTS = 6
PRODUCTS = ("GC1040", "GC3020", "SL9080", "SL9060")
_DIFFERENCES = ((), (), ("customer",), ("lines",), ("currency",), ("date",), ("customer", "lines"))
"""In what an order that was made by hand differs from the deal whose record shows its number."""
_MAXIMUM_STEPS = 3
"""The maximum number of steps after the deal was won for the first time."""


class Do(StrEnum):
    """What people do."""

    CREATE = "create"
    WIN = "win"
    REOPEN = "reopen"
    DELETE = "delete"
    UNDELETE = "undelete"
    EDIT = "edit"
    """Other lines, quantities or prices, or another customer."""
    PICK = "pick"
    """Let the record name the other ERP."""
    CLONE = "clone"
    """Make `main` of `neighbor`, with the fields of the write-back that were copied."""
    BY_HAND = "by-hand"
    """Enter an order into the ERP."""
    TYPE = "type"
    """Type a number, or a status, into the record."""
    IN_ERP = "in-erp"
    """Change the order's status in the ERP."""
    FORGE = "forge"
    """Send a message that the org did not send."""
    REPEAT = "repeat"
    """Send a message again that was sent before."""


class Fate(StrEnum):
    """What becomes of the message about a change."""

    NOW = "now"
    TWICE = "twice"
    LATE = "late"
    """It arrives at the end, in any order."""
    LOST = "lost"


@dataclass(frozen=True)
class Step:
    """One thing that happens."""

    do: Do
    deal: str = "main"
    content: Content | None = None
    fate: Fate = Fate.NOW
    waits: bool = True
    """Whether all that follows from it is over before the next step."""
    text: str = ""
    """Which number or status, or which fields are copied."""
    is_from_before: bool = False


@dataclass(frozen=True)
class History:
    """What happens to one deal."""

    seed: int
    number: int
    route: RouteOfTheWorld
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        """One line a step."""
        lines = [f"history {self.number} of seed {self.seed}, route {self.route.name}"]
        for step in self.steps:
            details = [step.do, step.deal, step.text, step.fate if step.fate is not Fate.NOW else ""]
            details.append(_shown(step.content) if step.content else "")
            details.append("from last year" if step.is_from_before else "")
            details.append("" if step.waits else "(does not wait)")
            lines.append("    " + " ".join(filter(None, details)))
        return "\n".join(lines)


def _shown(content: Content) -> str:
    lines = " + ".join(f"{line.quantity} {line.product} {line.total}" for line in content.lines)
    amount = "" if content.amount is None else f" but {content.amount} in all"
    return f"[{content.customer}: {lines} {content.currency}{amount}]"


def history(seed: int, number: int) -> History:
    """The history of this number: the same for the same seed, whatever else is played beside it."""
    chance = random.Random(f"{seed}/{number}")  # noqa: S311 - no secret
    route = chance.choice(ROUTES)
    return History(seed, number, route, tuple(_Author(chance, route).steps()))


class _Author:
    """Makes one history up."""

    def __init__(self, chance: random.Random, route: RouteOfTheWorld) -> None:
        self._chance = chance
        self._route = route
        self._is_flat = route.shape.is_flat
        self._content = self._some_content()
        self._is_won = True
        self._may_type = not route.by_event  # with source `event` nothing of the record is read

    def steps(self) -> Iterator[Step]:
        """The whole history."""
        yield from self._before()
        if not self._is_likely(0.93):  # never won: people looked at it only
            yield Step(Do.FORGE if self._route.push else Do.REPEAT)
            return
        if self._route.push and self._is_likely(0.15):
            yield Step(Do.FORGE)
        yield Step(Do.WIN, fate=self._fate(), waits=self._is_likely(0.8))
        yield from self._after()

    def _before(self) -> Iterator[Step]:
        opening = self._chance.choices(
            ("plain", "by-hand", "neighbor", "clone", "typo", "status"), (50, 15, 8, 15, 4, 8)
        )[0]
        if not self._may_type and opening != "clone":
            opening = "plain"
        if opening in ("neighbor", "clone"):
            yield Step(Do.CREATE, "neighbor", self._some_content() if self._is_likely(0.5) else self._content)
            yield Step(Do.WIN, "neighbor")
        if opening == "clone":
            if self._is_likely(0.4):
                yield Step(Do.REOPEN, "neighbor")  # its order is cancelled where the route says so
            copied = self._chance.choice(("number", "status", "number status", "number status key", "status key"))
            yield Step(Do.CLONE, content=self._content if self._is_likely(0.5) else None, text=copied)
            return
        yield Step(Do.CREATE, content=self._content)
        if opening == "by-hand":
            made, is_from_before = self._made_by_hand()
            yield Step(Do.BY_HAND, content=made, is_from_before=is_from_before)
            yield Step(Do.TYPE, text="number by-hand")
        elif opening == "neighbor":
            yield Step(Do.TYPE, text="number neighbor")
        elif opening == "typo":
            yield Step(Do.TYPE, text="number nothing")
        elif opening == "status":
            yield Step(Do.TYPE, text=self._chance.choice(("status cancelled", "status not needed")))

    def _made_by_hand(self) -> tuple[Content, bool]:
        """An order that agrees with the deal, or differs in one thing."""
        differs = self._chance.choice(_DIFFERENCES)
        return self._changed(replace(self._content, amount=None), *differs), "date" in differs

    def _after(self) -> Iterator[Step]:
        for _ in range(self._chance.choices(range(_MAXIMUM_STEPS + 1), (25, 40, 25, 10))[0]):
            step = self._next()
            yield step
            if step.do is Do.DELETE:
                if self._is_likely(0.4):
                    yield Step(Do.UNDELETE, fate=self._fate())
                return

    def _next(self) -> Step:
        choices = {"lines": 30, "customer": 12, "turn": 30, "repeat": 10, "in-erp": 8, "delete": 6}
        if self._route.erp is None:
            choices["pick"] = 15
        (what,) = self._chance.choices([*choices], [*choices.values()])
        fate, waits = self._fate(), self._is_likely(0.6)
        if what in ("lines", "customer"):
            self._content = self._changed(self._content, what)
            return Step(Do.EDIT, content=self._content, fate=fate, waits=waits)
        if what == "turn":
            self._is_won = not self._is_won
            return Step(Do.WIN if self._is_won else Do.REOPEN, fate=fate, waits=waits)
        if what == "in-erp":
            return Step(Do.IN_ERP, text=self._chance.choice(("processing", "cancelled", "done")))
        if what == "delete" and self._route.push == "callouts":
            fate = Fate.LOST  # a deletion is sent as a tombstone, which that route takes none of
        return Step({"pick": Do.PICK, "delete": Do.DELETE, "repeat": Do.REPEAT}[what], fate=fate, waits=waits)

    def _changed(self, content: Content, *what: str) -> Content:
        if "customer" in what:
            content = replace(content, customer=self._other(content.customer))
        if "currency" in what:
            content = replace(content, currency="USD")
        if "lines" in what:
            content = replace(content, lines=self._other_lines(content.lines), amount=None)
        return content

    def _fate(self) -> Fate:
        (fate,) = self._chance.choices([*Fate], (70, 12, 12, 6))
        return Fate(fate)

    def _some_content(self) -> Content:
        lines = tuple(self._line() for _ in range(self._chance.randint(1, 1 if self._is_flat else 4)))
        content = Content(str(self._chance.randrange(ACCOUNTS)), "EUR", lines)
        if self._is_flat and self._is_likely(0.1):
            return replace(content, amount=content.total - 1)
        return content

    def _line(self, product: str | None = None) -> Line:
        quantity, price = Decimal(self._chance.randint(1, 9)), Decimal(self._chance.randint(100, 99_999)) / 100
        discount = Decimal(0 if self._is_flat else self._chance.choice((0, 0, 0, 5, 10, 33)))
        return sold(product or self._chance.choice(PRODUCTS), quantity, price, discount)

    def _other_lines(self, lines: tuple[Line, ...]) -> tuple[Line, ...]:
        """One line more or less, another price, or another quantity; the total differs, too."""
        one, *others = self._chance.sample(lines, len(lines))
        what = self._chance.choice(("more", "less", "other", "swap"))
        if what == "more" and not self._is_flat:
            return (*lines, self._line())
        if what == "less" and others:
            return tuple(others)
        if what == "swap" and others and others[0].product != one.product:
            swapped = (replace(one, product=others[0].product), replace(others[0], product=one.product))
            return (*swapped, *others[1:])  # the same total, and so the same amount of the deal
        return (self._line(one.product), *others)

    def _other(self, customer: str) -> str:
        return str((int(customer) + self._chance.randrange(1, ACCOUNTS)) % ACCOUNTS)

    def _is_likely(self, probability: float) -> bool:
        return self._chance.random() < probability


@dataclass(frozen=True)
class Sold(Line):
    """A line as people type it: a price for one, and a discount in percent."""

    price: Decimal = Decimal(0)
    discount: Decimal = Decimal(0)


def sold(product: str, quantity: Decimal, price: Decimal, discount: Decimal = Decimal(0)) -> Sold:
    """A line whose total is what Salesforce makes of it: rounded half up."""
    total = (quantity * price * (100 - discount) / 100).quantize(Decimal("0.01"), ROUND_HALF_UP)
    return Sold(product, quantity, total, price, discount)


def erp_of(route: RouteOfTheWorld, picked: int) -> str:
    """Which ERP a deal's orders go to; where its record picks, by the number of times that it picked another one."""
    return route.erp or ERPS[picked % len(ERPS)]
