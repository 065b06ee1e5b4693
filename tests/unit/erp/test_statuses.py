"""The table of what an ERP's answer means, walked line by line with both adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from closedwon.erp.errors import (
    BusyError,
    DuplicateError,
    ErpAuthFailedError,
    RejectedError,
    TooLargeForErpError,
    UnknownError,
    UnreachableError,
    concerns_erp,
)
from closedwon.erp.http import HttpClient
from closedwon.erp.protocol import Erp
from closedwon.erp.rest import RestAdapter
from closedwon.erp.statuses import TABLE, Meaning, Row, row_of
from closedwon.erp.tryton import TrytonAdapter
from closedwon.errors import AttentionError, RetryError
from closedwon.settings import RestErp, TrytonErp
from tests.integration.erp.worlds import new_order

_ERRORS = {
    Meaning.ACCEPTED: None,
    Meaning.REFUSED: None,
    Meaning.NOT_OFFERED: None,
    Meaning.UNKNOWN: UnknownError,
    Meaning.WAIT: BusyError,
    Meaning.TOO_LARGE: TooLargeForErpError,
    Meaning.CREDENTIAL: ErpAuthFailedError,
    Meaning.RIGHT: ErpAuthFailedError,
    Meaning.MISFIT: RejectedError,
}
_UNMARKED = {304, *range(100, 200)}
"""Statuses that no server may send with a body, or as an answer."""


class _Server:
    """Answers everything with one status."""

    def __init__(self) -> None:
        self.status = 200
        self.url = ""

    async def answer(self, _request: web.Request) -> web.Response:
        return web.Response(status=self.status, text="<html>a page</html>", headers={"Location": "/elsewhere"})


@asynccontextmanager
async def _serving() -> AsyncIterator[_Server]:
    there = _Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", there.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    there.url = f"http://localhost:{runner.addresses[0][1]}"
    try:
        yield there
    finally:
        await runner.cleanup()


async def _outcome(call: Any) -> Exception | None:
    try:
        await call
    except Exception as error:  # noqa: BLE001 - it is what is looked at
        return error
    return None


def test_every_status_has_one_line() -> None:
    """From 200 to 599 without a hole or an overlap, each with its reason."""
    assert [200, *(row.last + 1 for row in TABLE[:-1])] == [row.first for row in TABLE]
    assert 599 == TABLE[-1].last
    assert all(row.why for row in TABLE)


async def test_each_line_means_what_it_says() -> None:
    """A request that is answered with each status ends as the table says; what the adapter decides is returned."""
    async with _serving() as server:
        http = HttpClient(erp="x", url=server.url, token=SecretStr("t"), setting="erps[x].token", timeout=_TIMEOUT)
        for row in TABLE:
            for status in {row.first, row.last} - _UNMARKED:
                server.status = status
                error = await _outcome(http.call("POST", "/orders", body={}))
                expected = _ERRORS[row.meaning]
                if row.meaning is Meaning.ACCEPTED and status != 204:
                    expected = UnknownError  # a page is not an answer
                assert expected is None if error is None else isinstance(error, expected or ()), (status, error)
                if isinstance(error, AttentionError):
                    assert row.reason == error.reason
                    assert (row.meaning is not Meaning.TOO_LARGE) == concerns_erp(error)
        await http.close()


_TIMEOUT = RestErp(kind="rest", name="x", url="http://localhost", token=SecretStr("t")).timeout


@pytest.mark.parametrize("kind", ["rest", "tryton"])
async def test_no_status_means_that_there_is_no_order(kind: str) -> None:
    """Whatever a proxy or a facade answers to a look-up, it is an error, and never "no such order"."""
    async with _serving() as server:
        erp = _adapter(kind, server.url)
        for status in {edge for row in TABLE for edge in (row.first, row.last)} - _UNMARKED:
            server.status = status
            error = await _outcome(erp.find("key"))
            assert isinstance(error, RetryError | AttentionError), (status, error)
        await erp.close()


@pytest.mark.parametrize(("status", "error"), [(409, DuplicateError), (412, RejectedError), (404, RejectedError)])
async def test_the_contract_decides_about_the_rest(status: int, error: type[Exception]) -> None:
    """The JSON contract gives a creation that is refused, or not offered, its meaning."""
    async with _serving() as server:
        erp = _adapter("rest", server.url)
        server.status = status
        assert isinstance(await _outcome(erp.create(new_order())), error)
        await erp.close()


def test_an_unknown_status_is_a_fault_of_the_server() -> None:
    """It may have happened: looked at and tried again."""
    assert Row(777, 777, Meaning.UNKNOWN, "not a status of HTTP") == row_of(777)


async def test_a_refused_connection_sent_nothing() -> None:
    """The adapter says so by the error's type."""
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    erp = _adapter("rest", f"http://localhost:{port}")
    assert isinstance(await _outcome(erp.find("key")), UnreachableError)
    await erp.close()


def _adapter(kind: str, url: str) -> Erp:
    if kind == "rest":
        return RestAdapter(RestErp(kind="rest", name="x", url=url, token=SecretStr("t")))
    return TrytonAdapter(TrytonErp(kind="tryton", name="x", url=f"{url}/db", key=SecretStr("k")))
