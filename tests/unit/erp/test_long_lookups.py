"""Look-ups for many values: each request line stays below the 4 kB that gunicorn accepts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from pydantic import SecretStr

from closedwon.erp.http import HttpClient, value_batches
from closedwon.erp.rest import RestAdapter
from closedwon.erp.tryton_api import TrytonApi
from closedwon.erp.tryton_lookups import LookUps
from closedwon.settings import RestErp

_GUNICORN = 4094
_CODES = [f"WINDOW-FRAME-OAK-{number:04d}" for number in range(300)]


@asynccontextmanager
async def _lines(answer: object) -> AsyncIterator[tuple[str, list[int]]]:
    """A server with one answer, and the lengths of the lines that were asked."""
    asked: list[int] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(len(f"{request.method} {request.raw_path} HTTP/1.1"))
        return web.json_response(answer)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://localhost:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("codes", [_CODES, ["门" * 80 + str(number) for number in range(300)]], ids=["latin", "cjk"])
async def test_p8_an_order_of_300_products_is_looked_up_in_batches(codes: list[str]) -> None:
    """Each product once, in whatever script its code is."""
    products = [{"id": 1, "code": code, "salable": True, "sale_uom": 1, "account_category": None} for code in codes]
    async with _lines(products) as (url, asked):
        http = HttpClient(
            erp="x", url=f"{url}/database", token=SecretStr("t"), setting="erps[x].key", timeout=_SETTINGS.timeout
        )
        look_ups = LookUps(TrytonApi("x", http), clock=lambda: 0)
        assert set(codes) == (await look_ups.products(codes, 1)).keys()
        await http.close()
    assert max(asked) < _GUNICORN


@pytest.mark.parametrize("key", ["00D5g000000AbCdEAK:0065g{:011d}", "门" * 80 + "{}"], ids=["ours", "cjk"])
async def test_p8_many_keys_are_looked_up_in_batches(key: str) -> None:
    """The JSON contract, also with keys that are longer than ours."""
    async with _lines({"orders": []}) as (url, asked):
        erp = RestAdapter(_SETTINGS.model_copy(update={"url": url}))
        assert {} == await erp.find_many([key.format(number) for number in range(300)])
        await erp.close()
    assert max(asked) < _GUNICORN


def test_a_value_that_fits_into_no_batch_is_asked_alone() -> None:
    """It is left to the server to refuse it."""
    assert [["long"], ["short"]] == list(
        value_batches(["short", "long", "long"], {"long": 10_000, "short": 1}.__getitem__)
    )


_SETTINGS = RestErp(kind="rest", name="x", url="http://localhost", token=SecretStr("t"))
