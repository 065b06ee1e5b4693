"""Back-end ERPs: one adapter per kind of ERP, and the rules that make orders exactly-once for all of them.

If you want to add an adapter, read in this order:

 1. `docs/extend/erp-adapter.md`: what an adapter must do, and how it is tested.
 2. `protocol`: the interface `Erp`, method by method. An adapter is a thin client without retries.
 3. `errors`: which error to raise when. The type decides whether Closedwon retries or asks a person.
 4. `rest`, with `http`: the smallest complete adapter.
 5. `base`: `find_or_create`, which calls your adapter, and why it needs what the interface promises.

The other modules apply to every adapter, so an adapter never implements them itself:

    comparing   whether two orders are the same       adopting    orders that were made by hand
    checking    rejects answers about other orders    resolving   orders that a person has named
    fencing     stops writes of replaced attempts     advancing   from a draft to a confirmed order
    blanking    removes customer data from refusals     contact     whether calls find a connection
    statuses    what an HTTP status means               refusals    how long what has worked is tried again

To add an adapter, change these places (the page above has the details):

 1. `closedwon/settings/systems.py`: a settings class with a `kind` of its own, in the union `ErpSettings`; export it
    from `closedwon.settings`.
 2. `closedwon/settings/extras.py`: the fields that Closedwon sets itself.
 3. This package: the adapter's module, and one entry in `ADAPTERS` below.
 4. `tests/integration/erp/conftest.py`: one more `World`, so that the contract tests run against it.

`closedwon erp certify` and all other code find the adapter through `ADAPTERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from closedwon.erp.base import Erp, checked
from closedwon.erp.contact import Contact, WatchedErp
from closedwon.erp.http import ORDERS_PER_PAGE
from closedwon.erp.rest import RestAdapter
from closedwon.erp.tryton import TrytonAdapter
from closedwon.settings import ErpSettings


class AdapterEntry(NamedTuple):
    """How to use the adapter for one `kind` of `[[erps]]` table."""

    open: Callable[[Any, int], Erp]
    """Takes the settings of that kind and the number of orders in a page of a listing. Must not connect yet."""
    credential: str
    """The setting that holds the credential; `closedwon erp certify` replaces it by a wrong one."""


ADAPTERS: Final[dict[str, AdapterEntry]] = {
    "rest": AdapterEntry(lambda settings, page: RestAdapter(settings, page=page), credential="token"),
    "tryton": AdapterEntry(lambda settings, page: TrytonAdapter(settings, page=page), credential="key"),
}
"""By `kind` of the settings."""


def open_erp(settings: ErpSettings, page: int | None = None, *, contact: Contact | None = None) -> Erp:
    """Make the adapter for one `[[erps]]` table, with its answers checked. It connects at its first call; `close` it.

    `page` is the number of orders in a page of a listing; tests with few orders set it. `contact` learns whether the
    calls find a connection.
    """
    erp = ADAPTERS[settings.kind].open(settings, ORDERS_PER_PAGE if page is None else page)
    return checked(erp if contact is None else WatchedErp(erp, contact))
