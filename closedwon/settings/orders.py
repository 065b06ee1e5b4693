"""How a record becomes an order: the expressions for the order, its customer and its lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from closedwon.settings.problems import ProblemsError, SettingsProblem, suggest
from closedwon.settings.values import Expression, Section


class CustomerMapping(Section):
    """JMESPath expressions, evaluated on the record, that make the customer."""

    id: Expression
    number: Expression | None = None
    """The number of a customer that the ERP has already: found by it, and never created."""
    name: Expression
    street: Expression | None = None
    city: Expression | None = None
    postal_code: Expression | None = None
    country: Expression | None = None


class Discount(Section):
    """What is taken off a line: a percentage of it, or an amount."""

    percent: Expression | None = None
    """Of quantity times unit price: 0 to 100."""
    amount: Expression | None = None
    """Off the whole line, in the order's currency."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.percent is None) == (self.amount is None):
            raise ValueError("needs exactly one of `percent` and `amount`")
        return self

    @property
    def expression(self) -> str:
        """The one that is set."""
        return self.percent or self.amount or ""


def _discount_kind(value: object) -> str:
    return "percent" if isinstance(value, str) else "table"


_DiscountOrPercent = Annotated[
    Annotated[Expression, Tag("percent")] | Annotated[Discount, Tag("table")], Discriminator(_discount_kind)
]


class LinesMapping(Section):
    """`each` yields the list of lines; the others are evaluated on one line."""

    each: Expression
    product: Expression
    quantity: Expression
    unit_price: Expression | None = None
    """For one unit, net, before the discount. Required without `total`."""
    discount: _DiscountOrPercent | None = None
    """An expression means percent."""
    total: Expression | None = None
    """For the whole line, net, after the discount. It counts where a unit price cannot say it exactly."""
    description: Expression | None = None
    extra: dict[str, Expression] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_what_it_costs(self) -> Self:
        if self.unit_price is None and self.total is None:
            raise ProblemsError([SettingsProblem(("unit_price",), "is missing; map it, or map `total`")])
        if self.unit_price is None and self.discount is not None:
            text = "is taken off a unit price; map `unit_price`, or leave the discount out: `total` includes it"
            raise ProblemsError([SettingsProblem(("discount",), text)])
        return self

    @property
    def discount_table(self) -> Discount | None:
        """The discount, with a plain expression as percent."""
        return Discount(percent=self.discount) if isinstance(self.discount, str) else self.discount

    def on_line(self) -> Iterator[tuple[str, str]]:
        """Yield key and expression of everything that is evaluated on one line."""
        discount = self.discount_table
        for key, value in (
            ("product", self.product),
            ("quantity", self.quantity),
            ("unit_price", self.unit_price),
            ("discount", discount.expression if discount else None),
            ("total", self.total),
            ("description", self.description),
        ):
            if value is not None:
                yield key, value
        yield from ((f"extra.{key}", value) for key, value in self.extra.items())


Unusual = Literal["zero-quantity", "negative-quantity", "negative-total"]


class Lookup(Section):
    """A table that replaces the value of one mapped field, e.g. country names by codes."""

    field: str
    """The order's text field, dotted: `customer.country`, `currency`, `lines.product`, `extra.warehouse`."""
    values: dict[str, str]
    default: str | None = None
    """Used where the record has no value or one that is not in the table; without it such a value needs attention."""


class OrderMapping(Section):
    """How a record (or an event's payload) becomes an order."""

    name: Expression
    currency: Expression
    reference: Expression | None = None
    order_date: Expression | None = None
    delivery_date: Expression | None = None
    total: Expression | None = None
    """The net total that was signed: the sum of the lines must agree with it."""
    customer: CustomerMapping
    lines: LinesMapping
    allow: tuple[Unusual, ...] = ()
    """Unusual signs that are ordered; the others need attention."""
    extra: dict[str, Expression] = Field(default_factory=dict)
    lookups: tuple[Lookup, ...] = ()

    @model_validator(mode="after")
    def _lookups_name_mapped_fields(self) -> Self:
        known = {key for key, _ in self.texts()}
        problems = []
        for place, lookup in enumerate(self.lookups):
            if lookup.field not in known:
                text = f"{lookup.field!r} is not a text field that this route maps; {suggest(lookup.field, known)}"
                problems.append(SettingsProblem(("lookups", place, "field"), text))
            elif lookup.field in {earlier.field for earlier in self.lookups[:place]}:
                problems.append(
                    SettingsProblem(("lookups", place, "field"), "has a table already; put all values into one")
                )
        if problems:
            raise ProblemsError(problems)
        return self

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield key and expression of every mapped field that is a text, and so may have a lookup."""
        for table, prefix, keys in (
            (self, "", ("name", "currency", "reference")),
            (self.customer, "customer.", ("number", "name", "street", "city", "postal_code", "country")),
            (self.lines, "lines.", ("product", "description")),
        ):
            yield from ((prefix + key, value) for key in keys if (value := getattr(table, key)) is not None)
        yield from ((f"lines.extra.{key}", value) for key, value in self.lines.extra.items())
        yield from ((f"extra.{key}", value) for key, value in self.extra.items())

    def on_record(self) -> Iterator[tuple[str, str]]:
        """Yield key and expression of everything that is evaluated on the record itself, not on a line."""
        yield from ((key, value) for key, value in self.texts() if not key.startswith("lines."))
        yield from (("customer.id", self.customer.id), ("lines.each", self.lines.each))
        for key, value in (
            ("order_date", self.order_date),
            ("delivery_date", self.delivery_date),
            ("total", self.total),
        ):
            if value is not None:
                yield key, value
