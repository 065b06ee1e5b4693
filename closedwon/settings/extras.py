"""Names that free fields (`order.extra`, `order.lines.extra`) must not have: Closedwon sets these itself.

A free field of such a name would replace what is mapped, or be replaced by it, silently.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from closedwon.settings.problems import SettingsProblem

if TYPE_CHECKING:
    from closedwon.settings.routes import Route

_CONTRACT_ORDER: Final = frozenset(
    [
        "org",
        "record",
        "idempotency_key",
        "name",
        "customer",
        "currency",
        "lines",
        "total",
        "reference",
        "order_date",
        "delivery_date",
        "extra",
        "created_at",
        "modified_at",
        "origin",
        "id",
        "number",
        "status",
        "amount",
        "line_count",
        "url",
        "rounding",
        "version",
    ]
)
"""What `docs/erp-rest-contract.md` calls its own fields; no adapter can pass them on."""
_CONTRACT_LINE: Final = frozenset(
    ["product", "quantity", "unit_price", "list_price", "discount_percent", "total", "amount", "description", "extra"]
)
_ORDER: Final[Mapping[str, frozenset[str]]] = {
    "rest": _CONTRACT_ORDER,
    "tryton": _CONTRACT_ORDER
    | frozenset(
        [
            "party",
            "company",
            "sale_date",
            "shipping_date",
            "description",
            "state",
            "external_id",
            "external_origin",
            "external_modified_at",
            "external_version",
            "untaxed_amount",
            "tax_amount",
            "total_amount",
        ]
    ),
}
_LINE: Final[Mapping[str, frozenset[str]]] = {
    "rest": _CONTRACT_LINE,
    "tryton": _CONTRACT_LINE | frozenset(["id", "sale", "type", "unit", "taxes", "currency", "sequence"]),
}


def reserved_names(place: int, route: Route, kinds: Iterable[str]) -> Iterator[SettingsProblem]:
    """Yield a problem for each free field of a route whose name an ERP of these kinds does not leave free."""
    of = [*kinds]
    order = _CONTRACT_ORDER.union(*(_ORDER.get(kind, _CONTRACT_ORDER) for kind in of))
    line = _CONTRACT_LINE.union(*(_LINE.get(kind, _CONTRACT_LINE) for kind in of))
    for keys, names, taken in (
        (("order", "extra"), route.order.extra, order),
        (("order", "lines", "extra"), route.order.lines.extra, line),
    ):
        for name in names:
            if name in taken:
                text = "is a name that Closedwon sets itself; map it by its own key, or choose another name"
                yield SettingsProblem(("routes", place, *keys, name), text)
