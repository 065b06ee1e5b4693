"""Back-end ERPs: the protocol (`base`), one adapter a file, and the one place that chooses among them."""

from __future__ import annotations

from closedwon.erp.base import Erp, checked
from closedwon.erp.http import ORDERS_PER_PAGE
from closedwon.erp.rest import RestAdapter
from closedwon.erp.tryton import TrytonAdapter
from closedwon.settings import RestErp, TrytonErp


def open_erp(settings: TrytonErp | RestErp, page: int | None = None) -> Erp:
    """Make the adapter for one `[[erps]]` table, its answers checked. It connects at its first call; `close` it.

    `page` is the number of orders in a page of a listing, for those who test with few orders.
    """
    size = ORDERS_PER_PAGE if page is None else page
    return checked(
        RestAdapter(settings, page=size) if isinstance(settings, RestErp) else TrytonAdapter(settings, page=size)
    )
