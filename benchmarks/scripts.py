"""Two other ways to carry won deals, to compare with: a plain asyncio script, and a durable script on DBOS.

    python -m benchmarks.scripts naive|keyed|dbos

Each carries what is won and has no number yet, 32 deals at a time, with the same HTTP calls: read the deal, create the
order, confirm it, write its number back. It ends when nothing is left, and writes how many it carried and the seconds.
`naive` gives the ERP no key that outlives it. `keyed` is the same script with the idempotency key of Closedwon. `dbos`
is `keyed` with each call as a step of a workflow in PostgreSQL. Neither notices changes, cancellations or wrong
answers, and an error ends the script.

The environment has ORG_URL, ORG_ID, ORG_CLIENT_ID, ORG_CLIENT_SECRET, ERP_URL, ERP_TOKEN and, for DBOS, DATABASE_URL.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

import aiohttp

_AT_A_TIME: Final = 32
_DATA: Final = "/services/data/v60.0"
_SELECT: Final = (
    "SELECT Name, CurrencyIsoCode, Amount, SystemModstamp, Account.Id, Account.Name, "
    "(SELECT Product2.ProductCode, Quantity, UnitPrice, TotalPrice FROM OpportunityLineItems) FROM Opportunity"
)
_LEFT: Final = "SELECT Id FROM Opportunity WHERE IsWon = true AND ERP_Order_Number__c = null ORDER BY Id LIMIT 2000"
_Carry = Callable[[str], Awaitable[None]]


class Calls:
    """The HTTP calls. An answer that is not a success raises `aiohttp.ClientResponseError`."""

    def __init__(self, org: aiohttp.ClientSession, erp: aiohttp.ClientSession) -> None:
        """Sessions with addresses and tokens."""
        self._org = org
        self._erp = erp

    async def left(self) -> list[str]:
        """The deals that are won and have no number."""
        async with self._org.get(f"{_DATA}/query", params={"q": _LEFT}) as answer:
            return [row["Id"] for row in (await answer.json())["records"]]

    async def read(self, record: str) -> dict[str, Any]:
        """The order of a deal, as the ERP takes it."""
        async with self._org.get(f"{_DATA}/query", params={"q": f"{_SELECT} WHERE Id = '{record}'"}) as answer:
            (deal,) = (await answer.json())["records"]
        return {
            "org": os.environ["ORG_ID"],
            "record": record,
            "name": deal["Name"],
            "customer": {"id": deal["Account"]["Id"], "name": deal["Account"]["Name"]},
            "currency": deal["CurrencyIsoCode"],
            "total": str(deal["Amount"]),
            "modified_at": deal["SystemModstamp"],
            "lines": [
                {
                    "product": line["Product2"]["ProductCode"],
                    "quantity": str(line["Quantity"]),
                    "unit_price": str(line["UnitPrice"]),
                    "total": str(line["TotalPrice"]),
                }
                for line in deal["OpportunityLineItems"]["records"]
            ],
        }

    async def create(self, order: dict[str, Any], key: str) -> str:
        """Create the order, or find the one with this key, and confirm it; its number."""
        headers = {"Idempotency-Key": key}
        async with self._erp.post("/orders", json=order, headers=headers, raise_for_status=False) as answer:
            if answer.status != HTTPStatus.CONFLICT:
                answer.raise_for_status()
                return await self._confirm(await answer.json())
        async with self._erp.get("/orders", params={"idempotency_key": key}) as answer:
            (made,) = (await answer.json())["orders"]
        return await self._confirm(made)

    async def _confirm(self, made: dict[str, Any]) -> str:
        async with self._erp.post(f"/orders/{made['id']}/confirm"):
            return str(made["number"])

    async def write_back(self, record: str, number: str) -> None:
        """Write the number on the deal."""
        body = {"ERP_Order_Number__c": number, "ERP_Order_Status__c": "ordered"}
        async with self._org.patch(f"{_DATA}/sobjects/Opportunity/{record}", json=body):
            pass


def key_of(record: str) -> str:
    """Closedwon's idempotency key."""
    return f"{os.environ['ORG_ID']}:{record}"


async def plain(calls: Calls, *, keyed: bool) -> None:
    """The plain script."""

    async def carry(record: str) -> None:
        key = key_of(record) if keyed else f"{key_of(record)}#{uuid.uuid4()}"
        await calls.write_back(record, await calls.create(await calls.read(record), key))

    await _all(calls, carry)


async def durable(calls: Calls) -> None:
    """The script on DBOS: it takes up again what it had begun, and skips the steps that it had finished."""
    from dbos import DBOS, SetWorkflowID  # noqa: PLC0415 - only this script needs it

    @DBOS.step()
    async def read(record: str) -> dict[str, Any]:
        return await calls.read(record)

    @DBOS.step()
    async def create(order: dict[str, Any], key: str) -> str:
        return await calls.create(order, key)

    @DBOS.step()
    async def write_back(record: str, number: str) -> None:
        await calls.write_back(record, number)

    @DBOS.workflow()
    async def carry(record: str) -> None:
        await write_back(record, await create(await read(record), key_of(record)))

    async def carry_once(record: str) -> None:
        with SetWorkflowID(record):
            await carry(record)

    DBOS(
        config={
            "name": "carry",
            "system_database_url": os.environ["DATABASE_URL"],
            "sys_db_pool_size": _AT_A_TIME,
            "console_log_level": "WARNING",
        }
    )
    DBOS.launch()
    await _all(calls, carry_once)


async def _all(calls: Calls, carry: _Carry) -> None:
    began, carried = time.monotonic(), 0
    while found := await calls.left():
        left = iter(found)

        async def work(left: Any = left) -> None:
            for record in left:
                await carry(record)

        await asyncio.gather(*(work() for _ in range(_AT_A_TIME)))
        carried += len(found)
    print(carried, time.monotonic() - began, flush=True)


async def main(kind: str) -> None:
    """Log in, and carry."""
    url, have = os.environ["ORG_URL"], os.environ.get
    form = {
        "grant_type": "client_credentials",
        "client_id": have("ORG_CLIENT_ID"),
        "client_secret": have("ORG_CLIENT_SECRET"),
    }
    async with aiohttp.request("POST", f"{url}/services/oauth2/token", data=form, raise_for_status=True) as answer:
        token = (await answer.json())["access_token"]
    how: dict[str, Any] = {"raise_for_status": True, "connector": None}
    async with (
        aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {token}"}, **how) as org,
        aiohttp.ClientSession(
            os.environ["ERP_URL"], headers={"Authorization": f"Bearer {os.environ['ERP_TOKEN']}"}, **how
        ) as erp,
    ):
        calls = Calls(org, erp)
        await (durable(calls) if kind == "dbos" else plain(calls, keyed=kind == "keyed"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # DBOS has threads that do not end by themselves
