"""`closedwon erp certify`: our own adapters pass, and a facade that breaks the contract fails the right check."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import web

from closedwon.certify import CHECKS, TEST_CUSTOMER, TEST_ORG, Outcome, Plan, Report, Verdict, certify, customer_from
from closedwon.certify.check import Check
from closedwon.certify.report import Result
from closedwon.errors import RetryError
from closedwon.localerp.light import Lie, LightErp
from closedwon.localerp.light_faults import Faults
from closedwon.settings import RestErp, TrytonErp
from tests.integration.erp.conftest import tryton_world
from tests.integration.erp.worlds import TrytonProcess, made_by_hand, new_order, new_product, rest_settings

NO_PRODUCT: Final = "CLOSEDWON-NO-SUCH-PRODUCT"
"""The product of the check `unknown-product`: the stub ERP takes every product that it is not to refuse."""

RIGHT_CHECK: Final = {
    Lie.FIND_OTHER: "unknown-key",
    Lie.FIND_STALE: "create",
    Lie.FIND_TWO: "unknown-key",
    Lie.FIND_NO_KEY: "unknown-key",
    Lie.FIND_OTHER_KEY: "unknown-key",
    Lie.FIND_STAMPED: "unknown-key",
    Lie.FIND_LIST: "unknown-key",
    Lie.FIND_OBJECT: "unknown-key",
    Lie.FIND_NULL: "unknown-key",
    Lie.CREATE_OTHER: "create",
    Lie.CREATE_NO_KEY: "create",
    Lie.CREATE_OTHER_KEY: "create",
    Lie.CREATE_STAMPED: "create",
    Lie.CREATE_CANCELLED: "create",
    Lie.CREATE_LIST: "create",
    Lie.CONFIRM_OTHER: "confirm",
    Lie.CONFIRM_NO_KEY: "confirm",
    Lie.CONFIRM_OTHER_KEY: "confirm",
    Lie.CANCEL_OTHER: "cancel",
    Lie.CANCEL_OTHER_KEY: "cancel",
    Lie.CANCEL_UNMOVED: "cancel",
    Lie.AMEND_OTHER: "amend",
    Lie.AMEND_NO_KEY: "amend",
    Lie.NUMBER_OTHER: "number",
    Lie.NUMBER_EMPTY: "number",
    Lie.CLAIM_OTHER: "claim",
    Lie.CLAIM_OTHER_KEY: "claim",
    Lie.MANY_OTHER: "find-many",
    Lie.LISTING_OTHER: "listing",
}
"""The check that is about what the facade answers wrongly."""


def plan(**changes: Any) -> Plan:
    """Products that both ERPs have."""
    return Plan(products=("GC1040", "SL9080")).model_copy(update=changes)


def settings_of(light: LightErp) -> RestErp:
    """The stub ERP, as it would stand in closedwon.toml."""
    return rest_settings(light.url, light.token)


def outcomes(report: Report) -> dict[str, Outcome]:
    """By check."""
    return {result.name: result.outcome for result in report.checks}


def failed(report: Report) -> dict[str, str]:
    """What was seen, by check that has failed."""
    return {result.name: result.facts for result in report.checks if result.outcome is Outcome.FAILED}


async def test_the_stub_erp_is_certified(light: LightErp) -> None:
    """Every check is kept; what was made is cancelled in the end, and nothing else is touched."""
    by_hand = await made_by_hand(light, new_order())
    light.faults.unknown_products = frozenset({NO_PRODUCT})

    report = await certify(settings_of(light), plan(by_hand=by_hand.number))

    assert not failed(report)
    assert (Verdict.CERTIFIED, "certified") == (report.verdict, report.sentence)
    assert [each.name for each in CHECKS] == [result.name for result in report.checks]
    first, *made = light.orders()
    assert (by_hand.number, "confirmed", "adopted") == (first["number"], first["status"], first["origin"])
    assert {"cancelled"} == {order["status"] for order in made}
    assert {str(TEST_ORG)} == {order["idempotency_key"].partition(":")[0] for order in light.orders()}
    assert (len(made), ()) == (report.cancelled, report.left)


@pytest.mark.timeout(300)  # some 25 orders, each of which takes Tryton a second
async def test_a_real_tryton_is_certified(tryton: TrytonProcess) -> None:
    """The adapter for Tryton keeps all of the contract; orders that Tryton processes by itself are named as left."""
    product, _ = await new_product(tryton, account_category=None)

    async with tryton_world(tryton) as world:
        by_hand = await world.by_hand(new_order())

    report = await certify(tryton.settings, plan(products=(product,), by_hand=by_hand.number))

    assert not failed(report)
    assert Verdict.CERTIFIED is report.verdict, report.sentence
    assert report.cancelled > len(CHECKS) / 2


@pytest.mark.parametrize("lie", Lie)
async def test_a_facade_that_answers_wrongly_is_not_safe(light: LightErp, lie: Lie) -> None:
    """The check that is about the wrong answer fails, and orders of others are neither changed nor cancelled."""
    others = [await made_by_hand(light, new_order()) for _ in range(2)]
    light.faults = Faults(lie=lie, unknown_products=frozenset({NO_PRODUCT}))
    before = light.orders()[: len(others)]

    report = await certify(settings_of(light), plan())

    assert Verdict.NOT_SAFE is report.verdict
    assert RIGHT_CHECK[lie] in failed(report), report.sentence
    assert before == light.orders()[: len(others)]


async def test_every_way_of_answering_wrongly_is_tried() -> None:
    """None is left out above."""
    assert set(Lie) == RIGHT_CHECK.keys()


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ({"leaves_out": {"customer"}}, {"customer"}),
        ({"leaves_out": {"lines"}}, {"lines"}),
        ({"leaves_out": {"modified_at"}}, {"modified-at"}),
        ({"leaves_out": {"order_date"}}, {"order-date"}),
        ({"leaves_out": {"origin"}}, {"origin", "reopen", "lost-amend"}),
        ({"leaves_out": {"rounding"}}, {"rounding", "currencies"}),
        ({"leaves_out": {"url"}}, {"link"}),
        ({"no_versions": True}, {"version", "late-confirm", "late-amend", "late-cancel"}),
        ({"no_claims": True}, {"number", "claim", "lost-claim"}),
        ({"unknown_products": []}, {"unknown-product"}),
    ],
    ids=lambda each: "-".join(sorted(each)) if isinstance(each, set) else None,
)
async def test_what_is_not_offered_is_a_restriction(
    light: LightErp, faults: dict[str, Any], expected: set[str]
) -> None:
    """What the contract leaves open does not fail; the report says what Closedwon does without it."""
    light.faults = Faults.model_validate({"unknown_products": [NO_PRODUCT], **faults})

    report = await certify(settings_of(light), plan())

    assert not failed(report)
    assert expected == {name for name, outcome in outcomes(report).items() if outcome is Outcome.NOT_OFFERED}
    assert Verdict.RESTRICTED is report.verdict
    assert all(bool(result.consequence) is (result.outcome is Outcome.NOT_OFFERED) for result in report.checks)


class Facade:
    """A facade before the stub ERP. This one passes everything on."""

    def __init__(self, light: LightErp) -> None:
        self.light = light
        self.in_flight = 0

    def request(self, request: web.Request, headers: dict[str, str], query: dict[str, str]) -> web.Response | None:
        """Change headers or query of a request, or answer it."""

    async def answer(self, _request: web.Request, answer: web.Response) -> web.Response:
        """Change the answer."""
        return answer

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RestErp]:
        """Its settings, as they would stand in closedwon.toml."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._forward)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as self.http:
            yield settings_of(self.light).model_copy(update={"url": f"http://127.0.0.1:{runner.addresses[0][1]}"})
        await runner.cleanup()

    async def _forward(self, request: web.Request) -> web.Response:
        names = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match")
        headers = {name: request.headers[name] for name in names if name in request.headers}
        query = dict(request.query) if "after" in request.query else {}
        if (answer := self.request(request, headers, query)) is not None:
            return answer
        self.in_flight += 1
        try:
            return await self.answer(request, await self.ask(request, headers, query))
        finally:
            self.in_flight -= 1

    async def ask(self, request: web.Request, headers: dict[str, str], query: dict[str, str]) -> web.Response:
        """Ask the stub ERP."""
        url = self.light.url + (request.path if query else request.path_qs)
        body = await request.read()
        async with self.http.request(
            request.method, url, headers=headers, params=query or None, data=body or None
        ) as response:
            return web.Response(status=response.status, body=await response.read(), content_type=response.content_type)


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
        headers["Authorization"] = f"Bearer {self.light.token}"


class BreaksDown(Facade):
    def request(self, request: web.Request, _headers: dict[str, str], _query: dict[str, str]) -> web.Response | None:
        return web.Response(status=500) if is_creation(request) else None


class NeverCancels(Facade):
    def request(self, request: web.Request, _headers: dict[str, str], _query: dict[str, str]) -> web.Response | None:
        return web.Response(status=409) if request.path.endswith("/cancel") else None


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
        async with self.http.post(self.light.url + request.path, headers=headers) as response:
            return web.Response(status=response.status, body=await response.read(), content_type=response.content_type)


class NoDrafts(Facade):
    """A creation makes an order that is binding at once."""

    async def answer(self, request: web.Request, answer: web.Response) -> web.Response:
        if not is_creation(request) or answer.status != 201:
            return answer
        assert isinstance(answer.body, bytes)
        url = f"{self.light.url}/orders/{json.loads(answer.body)['id']}/confirm"
        async with self.http.post(url, headers={"Authorization": request.headers["Authorization"]}) as confirmed:
            return web.Response(status=201, body=await confirmed.read(), content_type="application/json")


def is_creation(request: web.Request) -> bool:
    """Whether it is one."""
    return request.method == "POST" and request.path == "/orders"


async def test_an_erp_without_drafts_is_certified(light: LightErp) -> None:
    """The contract leaves it open whether a creation makes a draft."""
    light.faults.unknown_products = frozenset({NO_PRODUCT})

    async with NoDrafts(light).running() as settings:
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
    light: LightErp, facade: type[Facade], expected: set[str]
) -> None:
    """Faults that are not in single answers: no constraint, no fence, no lock, gaps and mixed-up replies."""
    async with facade(light).running() as settings:
        report = await certify(settings, plan())

    assert Verdict.NOT_SAFE is report.verdict
    assert expected <= failed(report).keys()
    assert len(failed(report)) == len(expected) or facade is NoConstraint, failed(report)


async def test_a_refusal_that_is_a_fault_of_the_server_is_found(light: LightErp) -> None:
    """An unknown product that is answered with 500 would be tried again for 30 days."""
    async with BreaksDown(light).running() as settings:
        report = await certify(settings, plan(), only=["unknown-product"])

    assert {"unknown-product": Outcome.FAILED} == outcomes(report)


async def test_a_dangerous_answer_ends_the_run(light: LightErp) -> None:
    """An ERP that shows orders for unknown keys is asked for nothing more: they could be changed or cancelled."""
    await made_by_hand(light, new_order())
    light.faults.lie = Lie.FIND_STAMPED

    report = await certify(settings_of(light), plan())

    assert ["answers", "unknown-key"] == [result.name for result in report.checks]
    assert report.partial
    assert 1 == len(light.orders())


@pytest.mark.parametrize("name", [each.name for each in CHECKS if each.name != "by-hand"])
async def test_each_check_can_be_run_alone(light: LightErp, name: str) -> None:
    """None depends on the orders of another one."""
    light.faults.unknown_products = frozenset({NO_PRODUCT})
    seen: list[tuple[str | None, bool]] = []

    def on_progress(check: Check | None, result: Result | None) -> None:
        seen.append((check.name if check else None, result is not None))

    report = await certify(settings_of(light), plan(), only=[name], on_progress=on_progress)

    assert {name: Outcome.OK} == outcomes(report)
    assert [(name, False), (name, True), (None, False)] == seen
    assert "certified (not all checks were run)" == report.sentence


async def test_an_order_that_cannot_be_cancelled_is_named(light: LightErp) -> None:
    """What is left in the ERP is a person's to remove."""
    async with NeverCancels(light).running() as settings:
        report = await certify(settings, plan(), only=["create"])

    assert 0 == report.cancelled
    assert [order["number"] for order in light.orders()] == [left.number for left in report.left]


async def test_an_erp_that_is_not_there_is_asked_for_nothing(unused_tcp_port: int) -> None:
    """There is no report on it."""
    with pytest.raises(RetryError):
        await certify(rest_settings(f"http://localhost:{unused_tcp_port}", "token"), plan())


async def test_slow_calls_are_a_restriction(light: LightErp) -> None:
    """A `timeout` below twice the usual time makes every other call one without an answer."""
    light.faults.slow = 0.3
    settings = settings_of(light).model_copy(update={"timeout": settings_of(light).timeout / 60})

    report = await certify(settings, plan(), only=["time"])

    assert {"time": Outcome.NOT_OFFERED} == outcomes(report)
    assert {"find", "create"} == {timing.call for timing in report.timings}


async def test_the_report_is_json_with_stable_keys(light: LightErp) -> None:
    """For programs, such as a pipeline that builds the facade."""
    report = json.loads((await certify(settings_of(light), plan(), only=["origin"])).model_dump_json())

    assert [
        "erp", "kind", "org", "started_at", "timeout_seconds", "checks", "partial", "timings", "cancelled", "left",
        "verdict",
    ] == list(report)  # fmt: skip
    assert ["name", "promise", "outcome", "facts", "consequence", "seconds"] == list(report["checks"][0])
    assert "certified" == report["verdict"]


async def test_a_customer_of_the_erp_can_be_named(light: LightErp) -> None:
    """By its number there: an ERP may make no customers."""
    report = await certify(settings_of(light), plan(customer=customer_from("C-4711")), only=["customer"])

    assert {"customer": Outcome.OK} == outcomes(report)
    assert {"C-4711"} == {order["customer"] for order in light.orders()}


def test_a_customer_is_an_account_id_or_a_number() -> None:
    """An ERP that makes no customers needs one that it has."""
    assert ("0015g00000PqRsT", None) == (
        customer_from("0015g00000PqRsT").id.short,
        customer_from("0015g00000PqRsT").number,
    )
    assert (TEST_CUSTOMER.id, "C-4711") == (customer_from("C-4711").id, customer_from("C-4711").number)


def test_names_of_checks_are_unique_and_promises_are_sentences() -> None:
    """They are printed, and named in `--only`."""
    assert len(CHECKS) == len({each.name for each in CHECKS})
    assert all(each.promise.endswith(".") and each.promise[0].isupper() for each in CHECKS)


def test_both_kinds_of_settings_have_a_credential() -> None:
    """The check `credential` replaces it by name."""
    assert "token" in RestErp.model_fields
    assert "key" in TrytonErp.model_fields


def test_the_page_for_authors_lists_every_check() -> None:
    """With the promise that is printed when it is broken."""
    page = (Path(__file__).parents[3] / "docs" / "erp-rest-contract.md").read_text(encoding="utf-8")

    assert [f"| `{each.name}` | {each.promise} |" for each in CHECKS] == re.findall(
        r"^\| `[a-z-]+` \| [A-Z].*\. \|$", page, re.MULTILINE
    )
    assert str(TEST_ORG) in page
    assert str(TEST_CUSTOMER.id) in page
