"""A facade with a fault of its own fails the check that is about that fault."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from closedwon.certify import (
    CheckOutcome,
    Verdict,
    certify,
)
from closedwon.emulators.erp.stub import Lie, StubErp
from tests.integration.erp.certify_cases import NO_PRODUCT, Facade, failed, outcomes, plan, settings_of
from tests.integration.erp.worlds import made_by_hand, new_order


class IgnoresVersions(Facade):
    def request(self, _request: web.Request, headers: dict[str, str], _query: dict[str, str]) -> None:
        headers.pop("If-Match", None)


class NoConstraint(Facade):
    """Each creation gets a key of its own in the ERP."""

    count = 0

    def request(self, request: web.Request, headers: dict[str, str], _query: dict[str, str]) -> None:
        if is_creation(request):
            self.count += 1
            headers["Idempotency-Key"] += f"#{self.count}"


class LetsAnyoneIn(Facade):
    def request(self, _request: web.Request, headers: dict[str, str], _query: dict[str, str]) -> None:
        headers["Authorization"] = f"Bearer {self.stub.token}"


class BreaksDown(Facade):
    def request(self, request: web.Request, _headers: dict[str, str], _query: dict[str, str]) -> web.Response | None:
        return web.Response(status=500) if is_creation(request) else None


class SkipsAtPageBorders(Facade):
    def request(self, _request: web.Request, _headers: dict[str, str], query: dict[str, str]) -> None:
        if "after" in query:
            query["after"] = str(int(query["after"]) + 1)


class MixesUpAnswers(Facade):
    """Under load, an answer goes to another request, too."""

    last: web.Response | None = None

    async def answer(self, request: web.Request, answer: web.Response) -> web.Response:
        last, self.last = self.last, answer
        if last is not None and self.in_flight > 20 and request.method == "GET":
            return web.Response(body=last.body, content_type="application/json")
        return answer


class ForgetsTimes(Facade):
    """A cancellation does not store when it was decided."""

    async def ask(self, request: web.Request, headers: dict[str, str], query: dict[str, str]) -> web.Response:
        if not request.path.endswith("/cancel"):
            return await super().ask(request, headers, query)
        async with self.http.post(self.stub.url + request.path, headers=headers) as response:
            return web.Response(status=response.status, body=await response.read(), content_type=response.content_type)


class NoDrafts(Facade):
    """A creation makes an order that is binding at once."""

    async def answer(self, request: web.Request, answer: web.Response) -> web.Response:
        if not is_creation(request) or answer.status != 201:
            return answer
        assert isinstance(answer.body, bytes)
        url = f"{self.stub.url}/orders/{json.loads(answer.body)['id']}/confirm"
        async with self.http.post(url, headers={"Authorization": request.headers["Authorization"]}) as confirmed:
            return web.Response(status=201, body=await confirmed.read(), content_type="application/json")


def is_creation(request: web.Request) -> bool:
    """Whether it is one."""
    return request.method == "POST" and request.path == "/orders"


async def test_an_erp_without_drafts_is_certified(stub: StubErp) -> None:
    """The contract leaves it open whether a creation makes a draft."""
    stub.faults.unknown_products = frozenset({NO_PRODUCT})

    async with NoDrafts(stub).running() as settings:
        report = await certify(settings, plan())

    assert "certified" == report.sentence, failed(report)


@pytest.mark.parametrize(
    ("facade", "expected"),
    [
        (IgnoresVersions, {"version", "late-amend", "late-cancel"}),
        (NoConstraint, {"duplicate", "unique-key", "callers", "lost-create", "late-create"}),
        (ForgetsTimes, {"cancel"}),
        (LetsAnyoneIn, {"credential"}),
        (SkipsAtPageBorders, {"listing"}),
        (MixesUpAnswers, {"parallel-finds"}),
    ],
    ids=lambda each: each.__name__ if isinstance(each, type) else None,
)
async def test_a_facade_with_a_fault_of_its_own_is_not_safe(
    stub: StubErp, facade: type[Facade], expected: set[str]
) -> None:
    """Faults beyond single answers: no constraint, no version check, no credential check, gaps and mixed-up replies."""
    async with facade(stub).running() as settings:
        report = await certify(settings, plan())

    assert Verdict.NOT_SAFE is report.verdict
    assert expected <= failed(report).keys()
    assert len(failed(report)) == len(expected) or facade is NoConstraint, failed(report)


async def test_a_refusal_that_is_a_fault_of_the_server_is_found(stub: StubErp) -> None:
    """An unknown product that is answered with 500 would be tried again for 30 days."""
    async with BreaksDown(stub).running() as settings:
        report = await certify(settings, plan(), only=["unknown-product"])

    assert {"unknown-product": CheckOutcome.FAILED} == outcomes(report)


async def test_a_dangerous_answer_ends_the_run(stub: StubErp) -> None:
    """If an ERP shows orders for unknown keys, the run ends, because it could change or cancel them."""
    await made_by_hand(stub, new_order())
    stub.faults.lie = Lie.FIND_STAMPED

    report = await certify(settings_of(stub), plan())

    assert ["answers", "unknown-key"] == [result.name for result in report.checks]
    assert report.partial
    assert 1 == len(stub.orders())
