"""What every status and every broken connection of an ERP means, by a server that misbehaves in one named way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from closedwon.erp.base import (
    BusyError,
    CannotAmendError,
    CannotLookUpError,
    DuplicateError,
    ErpAuthFailedError,
    RejectedError,
    StaleError,
    TooLateError,
    UnknownError,
    WrongAnswerError,
)
from closedwon.erp.rest import RestAdapter
from closedwon.erp.tryton import TrytonAdapter
from closedwon.errors import AttentionReason, BenignError
from closedwon.model.erp import ErpOrder, ErpStatus, Origin
from closedwon.settings import RestErp, TrytonErp
from tests.integration.erp.worlds import ORG, new_order, rest_settings

KEYLESS = ErpOrder(id="a/1", number="S1", status=ErpStatus.DRAFT, currency="EUR", amount=1, line_count=1)
FOUND = KEYLESS.model_copy(update={"idempotency_key": "key"})


def _facade(url: str) -> RestErp:
    return rest_settings(url, "t").model_copy(update={"name": "facade"})


@asynccontextmanager
async def answering(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A server that gives every request to `handler`; its address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://localhost:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def rest_before(
    body: object = None, *, status: int = 200, headers: dict[str, str] | None = None
) -> AsyncIterator[RestAdapter]:
    """The rest adapter before a server with one answer to everything."""

    async def answer(_request: web.Request) -> web.Response:
        if isinstance(body, str):
            return web.Response(text=body, status=status, headers=headers)
        return web.json_response(body, status=status, headers=headers)

    async with answering(answer) as url:
        erp = RestAdapter(_facade(url))
        yield erp
        await erp.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RejectedError),
        (401, ErpAuthFailedError),
        (403, ErpAuthFailedError),
        (404, RejectedError),
        (408, UnknownError),
        (409, DuplicateError),
        (422, RejectedError),
        (429, BusyError),
        (500, UnknownError),
        (502, UnknownError),
        (503, BusyError),
        (504, UnknownError),
    ],
)
async def test_each_status_has_its_meaning(status: int, error: type[Exception]) -> None:
    """The status alone decides whether to retry, to look the order up, to wait or to ask a person."""
    async with rest_before("<html>some proxy's page</html>", status=status) as erp:
        with pytest.raises(error):
            await erp.create(new_order())


async def test_the_erps_message_is_quoted_for_a_person() -> None:
    """The detail of a problem is quoted, shortened; the rest of the body stays out of logs."""
    problem = {"title": "Unprocessable", "detail": "Credit limit exceeded. " + "x" * 1000, "customer": "Edge"}
    async with rest_before(problem, status=422) as erp:
        with pytest.raises(RejectedError, match="Credit limit exceeded") as caught:
            await erp.create(new_order())

    assert len(str(caught.value)) < 400
    assert "Edge" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("120", timedelta(seconds=120)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", timedelta(0)),
        ("soon", None),
        ("1000000000000", timedelta(days=1)),
        ("9" * 5000, timedelta(days=1)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", timedelta(days=1)),
    ],
)
async def test_retry_after_in_every_form(header: str, expected: timedelta | None) -> None:
    """Seconds and dates are followed, up to a day; other values are ignored."""
    async with rest_before({}, status=429, headers={"Retry-After": header}) as erp:
        with pytest.raises(BenignError) as caught:
            await erp.find("key")

    assert expected == caught.value.retry_after


async def test_a_redirect_is_not_followed() -> None:
    """A redirected POST would become a GET: the address in the settings must be the ERP's own."""
    async with rest_before("", status=302, headers={"Location": "/login"}) as erp:
        with pytest.raises(RejectedError) as caught:
            await erp.create(new_order())

    assert AttentionReason.CONFIGURATION is caught.value.reason


async def test_a_page_instead_of_json_is_not_a_success() -> None:
    """A 200 that cannot be parsed says nothing about the order."""
    async with rest_before("<html>please log in</html>") as erp:
        with pytest.raises(UnknownError):
            await erp.create(new_order())


async def test_a_page_for_a_look_up_is_a_setting() -> None:
    """A login page at the ERP's address is held for a person after a while, not asked again for a month."""
    async with rest_before("<html>please log in</html>") as erp:
        with pytest.raises(RejectedError, match="not valid JSON") as caught:
            await erp.find("key")

    assert AttentionReason.CONFIGURATION is caught.value.reason
    assert "ERP facade" in caught.value.hint


_ENDLESS = FOUND.model_dump(mode="json") | {"number": "L" * 501}


@pytest.mark.parametrize("body", [{}, {"orders": {}}, [], {"orders": [{"id": "1"}]}, {"orders": [_ENDLESS]}])
async def test_an_answer_off_the_contract_names_the_field(body: object) -> None:
    """A facade that breaks the contract is a configuration error; the message names the field to correct."""
    async with rest_before(body) as erp:
        with pytest.raises(RejectedError, match="does not follow the contract in the field") as caught:
            await erp.find("key")

    assert AttentionReason.CONFIGURATION is caught.value.reason


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"orders": [KEYLESS.model_dump(mode="json")]}, "idempotency_key"),
        ({"orders": [], "next": "in-a-circle"}, "next"),
    ],
)
async def test_a_listing_off_the_contract_names_the_field(body: object, field: str) -> None:
    """For a facade that lists orders without keys, or the same page again, the message names the field to correct."""
    async with rest_before(body) as erp:
        with pytest.raises(RejectedError, match=f"in the field {field}"):
            _ = [each async for each in erp.orders_since(ORG, datetime.now(UTC))]


async def test_a_wrong_address_is_a_setting() -> None:
    """If the contract's paths do not exist, the hint says to check the address in the settings."""
    async with rest_before({"title": "Not Found"}, status=404) as erp:
        with pytest.raises(RejectedError) as caught:
            await erp.find("key")

    assert AttentionReason.CONFIGURATION is caught.value.reason
    assert "erps[facade]" in caught.value.hint


async def test_fields_beyond_the_contract_do_no_harm() -> None:
    """A facade may answer more than the contract asks for."""
    async with rest_before({"orders": [{**FOUND.model_dump(mode="json"), "warehouse": "A"}]}) as erp:
        assert FOUND == await erp.find("key")


async def test_ids_are_safe_in_paths() -> None:
    """An ERP's id may contain a slash."""
    seen: list[str] = []

    async def confirm(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        return web.json_response(FOUND.model_dump(mode="json"))

    async with answering(confirm) as url:
        erp = RestAdapter(_facade(url))
        await erp.advance(FOUND)
        await erp.close()

    assert ["/orders/a%2F1/confirm"] == seen


async def test_a_conflict_on_cancelling_means_too_late() -> None:
    """409 on cancelling means that the ERP works on the order already."""
    async with rest_before({}, status=409) as erp:
        with pytest.raises(TooLateError, match="S1"):
            await erp.cancel(FOUND, modified_at=None)


async def test_a_connection_cut_in_an_answer_is_unknown() -> None:
    """Half an answer does not count as an answer."""

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"orders"')
        assert request.transport is not None
        request.transport.abort()
        return response

    async with answering(half) as url:
        erp = RestAdapter(_facade(url))
        with pytest.raises(UnknownError):
            await erp.find("key")
        await erp.close()


@pytest.mark.parametrize("write", ["create", "amend", "cancel"])
async def test_a_write_is_sent_once(write: str) -> None:
    """The client never repeats a write by itself, on a kept connection neither: whether to is decided after a look."""
    received: list[str] = []

    async def answer_looks_and_cut_writes(request: web.Request) -> web.Response:
        received.append(request.method)
        if request.method != "GET":
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"orders": []})

    async with answering(answer_looks_and_cut_writes) as url:
        erp = RestAdapter(_facade(url))
        await erp.find("key")
        with pytest.raises(UnknownError):
            await {
                "create": lambda: erp.create(new_order()),
                "amend": lambda: erp.amend(FOUND, new_order()),
                "cancel": lambda: erp.cancel(FOUND, modified_at=None),
            }[write]()
        await erp.close()

    assert 2 == len(received)


@pytest.mark.parametrize(
    ("known", "expected"),
    [({}, "lacks the module .*8.2.1.* external_id"), ({"external_id": {}}, "old version of .*8.2.1.* external_origin")],
)
async def test_tryton_without_our_module_names_what_to_install(known: dict[str, Any], expected: str) -> None:
    """Without the module's fields Tryton answers a bare 500; a person reads which version to install."""

    async def plain_tryton(request: web.Request) -> web.Response:
        if request.path.endswith("/fields_get"):
            return web.json_response(known)
        return web.Response(status=500, text="<html>'external_id'</html>")

    async with answering(plain_tryton) as url:
        erp = TrytonAdapter(TrytonErp(kind="tryton", name="tryton", url=f"{url}/erp", key=SecretStr("k")))
        with pytest.raises(RejectedError, match=expected) as caught:
            await erp.find("key")
        await erp.close()

    assert AttentionReason.CONFIGURATION is caught.value.reason
    assert "deploy/tryton" in caught.value.hint


async def test_a_confirm_may_take_a_minute() -> None:
    """Tryton gets sixty seconds whatever the settings say, for confirming makes invoice and shipment."""
    answered = asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        await answered.wait()
        return web.json_response([])

    async with answering(slow) as url:
        settings = TrytonErp(
            kind="tryton", name="tryton", url=f"{url}/erp", key=SecretStr("k"), timeout=timedelta(milliseconds=20)
        )
        erp = TrytonAdapter(settings)
        find = asyncio.create_task(erp.find("key"))
        done, _ = await asyncio.wait({find}, timeout=0.2)
        answered.set()
        assert not done
        assert await find is None
        await erp.close()


@asynccontextmanager
async def rest_that_only_looks(body: object = None, *, status: int = 404) -> AsyncIterator[RestAdapter]:
    """The rest adapter before a facade that looks up by key, and answers everything else with `status`."""

    async def answer(request: web.Request) -> web.Response:
        looks = request.method == "GET" and "idempotency_key" in request.query
        return web.json_response({"orders": []} if looks else body, status=200 if looks else status)

    async with answering(answer) as url:
        erp = RestAdapter(_facade(url))
        yield erp
        await erp.close()


@pytest.mark.parametrize("status", [404, 405, 410, 501])
async def test_a_facade_that_changes_no_orders_leads_to_a_person(status: int) -> None:
    """Changing an order is optional in the contract; a facade without it causes one error and no retry."""
    async with rest_that_only_looks({"title": "no"}, status=status) as erp:
        with pytest.raises(CannotAmendError, match="the facade cannot change order S1") as caught:
            await erp.amend(FOUND, new_order())

    assert AttentionReason.AMOUNT_DIFFERS is caught.value.reason


@pytest.mark.parametrize(
    ("status", "body"), [(404, {}), (405, {}), (501, {}), (400, {}), (422, {}), (200, {"orders": []})]
)
async def test_a_facade_that_cannot_look_up_a_number_is_known_as_such(status: int, body: object) -> None:
    """An empty list of a facade that ignores the parameter does not mean that the order does not exist."""
    async with rest_that_only_looks(body, status=status) as erp:
        with pytest.raises(CannotLookUpError):
            await erp.find_by_number("S1")


@pytest.mark.parametrize(
    "call",
    [
        lambda erp: erp.amend(FOUND, new_order()),
        lambda erp: erp.find_by_number("S1"),
        lambda erp: erp.claim(FOUND, "key", origin=Origin.ADOPTED, modified_at=None),
    ],
    ids=["amend", "find_by_number", "claim"],
)
async def test_a_proxy_that_answers_404_to_everything_does_not_hide_what_the_facade_offers(
    call: Callable[[RestAdapter], Awaitable[object]],
) -> None:
    """A call counts as not offered only if the look-up that every facade offers is answered meanwhile."""
    async with rest_before({"title": "no"}, status=404) as erp:
        with pytest.raises(RejectedError) as caught:
            await call(erp)

    assert AttentionReason.CONFIGURATION is caught.value.reason


async def test_a_facade_that_comes_back_is_asked_again_for_what_it_offers() -> None:
    """404 to the change, an answer to the look-up: the change is sent once more before it counts as not offered."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.method)
        if len(asked) == 1:
            return web.Response(status=404)
        return web.json_response({"orders": []} if request.method == "GET" else FOUND.model_dump(mode="json"))

    async with answering(answer) as url:
        erp = RestAdapter(_facade(url))
        assert FOUND == await erp.amend(FOUND, new_order())
        await erp.close()

    assert ["PUT", "GET", "PUT"] == asked


@pytest.mark.parametrize(("status", "may_have_happened"), [(429, False), (503, True)])
async def test_a_gateway_may_be_busy_with_a_request_that_it_has_passed_on(status: int, may_have_happened: bool) -> None:  # noqa: FBT001
    """429 is a refusal; 503 is also what a gateway answers when the ERP behind it has dropped the connection."""
    async with rest_before({}, status=status) as erp:
        with pytest.raises(BusyError) as caught:
            await erp.create(new_order())

    assert may_have_happened is caught.value.may_have_happened


async def test_a_write_names_the_version_that_was_looked_at() -> None:
    """Each write to an order with a version carries it, and 412 says that nothing was written."""
    seen: list[tuple[str, str | None]] = []

    async def changed_meanwhile(request: web.Request) -> web.Response:
        seen.append((request.path, request.headers.get("If-Match")))
        return web.json_response({}, status=412)

    found = FOUND.model_copy(update={"id": "1", "version": "v7"})
    async with answering(changed_meanwhile) as url:
        erp = RestAdapter(_facade(url))
        for write in (
            erp.advance(found),
            erp.amend(found, new_order()),
            erp.cancel(found, modified_at=None),
            erp.claim(found, "key", origin=Origin.ADOPTED, modified_at=None),
        ):
            with pytest.raises(StaleError):
                await write
        with pytest.raises(StaleError):
            await erp.advance(FOUND.model_copy(update={"id": "2"}))
        await erp.close()

    paths = [f"/orders/1{action}" for action in ("/confirm", "", "/cancel", "/claim")]
    assert [*((path, '"v7"') for path in paths), ("/orders/2/confirm", None)] == seen


async def test_a_facade_that_forgets_the_filter_is_found_by_config_check() -> None:
    """It answers a question about a key that no order has with an order."""
    async with rest_before({"orders": [FOUND.model_dump(mode="json")]}) as erp:
        with pytest.raises(WrongAnswerError, match="has an order for a key that no order has"):
            await erp.check()
