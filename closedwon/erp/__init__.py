"""Back-end ERPs: the protocol (`base`), one adapter a file, and the one place that chooses among them."""

from __future__ import annotations

from closedwon.erp.base import Erp, checked
from closedwon.erp.rest import RestAdapter
from closedwon.erp.tryton import TrytonAdapter
from closedwon.settings import RestErp, TrytonErp


def open_erp(settings: TrytonErp | RestErp) -> Erp:
    """Make the adapter for one `[[erps]]` table, its answers checked. It connects at its first call; `close` it."""
    return checked(RestAdapter(settings) if isinstance(settings, RestErp) else TrytonAdapter(settings))
