"""`closedwon erp certify`: our own adapters pass, and a facade that breaks the contract fails the right check."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final, get_args

import pytest
from aiohttp import web

from closedwon.certify import (
    CHECKS,
    TEST_CUSTOMER,
    TEST_ORG,
    CheckOutcome,
    Verdict,
    certify,
    customer_from,
)
from closedwon.certify.check import CertificationCheck
from closedwon.certify.report import Result
from closedwon.emulators.erp.stub import Lie, StubErp
from closedwon.emulators.erp.stub_faults import ErpFaults
from closedwon.erp import ADAPTERS
from closedwon.errors import RetryError
from closedwon.settings import ErpSettings
from tests.integration.erp.certify_cases import NO_PRODUCT, Facade, failed, outcomes, plan, settings_of
from tests.integration.erp.conftest import tryton_world
from tests.integration.erp.worlds import TrytonProcess, made_by_hand, new_order, new_product, rest_settings

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


async def test_the_stub_erp_is_certified(stub: StubErp) -> None:
    """Every check is kept; what was made is cancelled in the end, and nothing else is touched."""
    by_hand = await made_by_hand(stub, new_order())
    stub.faults.unknown_products = frozenset({NO_PRODUCT})

    report = await certify(settings_of(stub), plan(by_hand=by_hand.number))

    assert not failed(report)
    assert (Verdict.CERTIFIED, "certified") == (report.verdict, report.sentence)
    assert [each.name for each in CHECKS] == [result.name for result in report.checks]
    first, *made = stub.orders()
    assert (by_hand.number, "confirmed", "adopted") == (first["number"], first["status"], first["origin"])
    assert {"cancelled"} == {order["status"] for order in made}
    assert {str(TEST_ORG)} == {order["idempotency_key"].partition(":")[0] for order in stub.orders()}
    assert (len(made), ()) == (report.cancelled, report.left)


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
async def test_a_facade_that_answers_wrongly_is_not_safe(stub: StubErp, lie: Lie) -> None:
    """The check that is about the wrong answer fails, and orders of others are neither changed nor cancelled."""
    others = [await made_by_hand(stub, new_order()) for _ in range(2)]
    stub.faults = ErpFaults(lie=lie, unknown_products=frozenset({NO_PRODUCT}))
    before = stub.orders()[: len(others)]

    report = await certify(settings_of(stub), plan())

    assert Verdict.NOT_SAFE is report.verdict
    assert RIGHT_CHECK[lie] in failed(report), report.sentence
    assert before == stub.orders()[: len(others)]


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
        ({"leaves_out": {"reference"}}, {"terms"}),
        ({"leaves_out": {"delivery_date"}}, {"terms"}),
        ({"leaves_out": {"origin"}}, {"origin", "reopen", "lost-amend"}),
        ({"leaves_out": {"rounding"}}, {"rounding", "currencies"}),
        ({"leaves_out": {"url"}}, {"link"}),
        ({"no_versions": True}, {"version", "late-confirm", "late-amend", "late-cancel"}),
        ({"no_claims": True}, {"number", "claim", "lost-claim"}),
        ({"unknown_products": []}, {"unknown-product"}),
    ],
    ids=lambda each: "-".join(sorted(each)) if isinstance(each, set) else None,
)
async def test_what_is_not_offered_is_a_restriction(stub: StubErp, faults: dict[str, Any], expected: set[str]) -> None:
    """What the contract leaves open does not fail; the report says what Closedwon does without it."""
    stub.faults = ErpFaults.model_validate({"unknown_products": [NO_PRODUCT], **faults})

    report = await certify(settings_of(stub), plan())

    assert not failed(report)
    assert expected == {name for name, outcome in outcomes(report).items() if outcome is CheckOutcome.NOT_OFFERED}
    assert Verdict.RESTRICTED is report.verdict
    assert all(bool(result.consequence) is (result.outcome is CheckOutcome.NOT_OFFERED) for result in report.checks)


class NeverCancels(Facade):
    def request(self, request: web.Request, _headers: dict[str, str], _query: dict[str, str]) -> web.Response | None:
        return web.Response(status=409) if request.path.endswith("/cancel") else None


@pytest.mark.parametrize("name", [each.name for each in CHECKS if each.name != "by-hand"])
async def test_each_check_can_be_run_alone(stub: StubErp, name: str) -> None:
    """None depends on the orders of another one."""
    stub.faults.unknown_products = frozenset({NO_PRODUCT})
    seen: list[tuple[str | None, bool]] = []

    def on_progress(check: CertificationCheck[Any] | None, result: Result | None) -> None:
        seen.append((check.name if check else None, result is not None))

    report = await certify(settings_of(stub), plan(), only=[name], on_progress=on_progress)

    assert {name: CheckOutcome.OK} == outcomes(report)
    assert [(name, False), (name, True), (None, False)] == seen
    assert "certified (not all checks were run)" == report.sentence


async def test_an_order_that_cannot_be_cancelled_is_named(stub: StubErp) -> None:
    """A person must remove the orders that are left."""
    async with NeverCancels(stub).running() as settings:
        report = await certify(settings, plan(), only=["create"])

    assert 0 == report.cancelled
    assert [order["number"] for order in stub.orders()] == [left.number for left in report.left]


async def test_an_unreachable_erp_gets_no_report(unused_tcp_port: int) -> None:
    """The error is raised, and no check runs."""
    with pytest.raises(RetryError):
        await certify(rest_settings(f"http://localhost:{unused_tcp_port}", "token"), plan())


async def test_slow_calls_are_a_restriction(stub: StubErp) -> None:
    """A `timeout` below twice the usual time makes every other call one without an answer."""
    stub.faults.slow = 0.3
    settings = settings_of(stub).model_copy(update={"timeout": settings_of(stub).timeout / 60})

    report = await certify(settings, plan(), only=["time"])

    assert {"time": CheckOutcome.NOT_OFFERED} == outcomes(report)
    assert {"find", "create"} == {timing.call for timing in report.timings}


async def test_the_report_is_json_with_stable_keys(stub: StubErp) -> None:
    """For programs, such as a pipeline that builds the facade."""
    report = json.loads((await certify(settings_of(stub), plan(), only=["origin"])).model_dump_json())

    assert [
        "started_at", "checks", "partial", "erp", "kind", "org", "timeout_seconds", "timings", "cancelled", "left",
        "verdict",
    ] == list(report)  # fmt: skip
    assert ["name", "promise", "outcome", "facts", "consequence", "seconds"] == list(report["checks"][0])
    assert "certified" == report["verdict"]


async def test_a_customer_of_the_erp_can_be_named(stub: StubErp) -> None:
    """By its number in the ERP, because an ERP may not create customers."""
    report = await certify(settings_of(stub), plan(customer=customer_from("C-4711")), only=["customer"])

    assert {"customer": CheckOutcome.OK} == outcomes(report)
    assert {"C-4711"} == {order["customer"] for order in stub.orders()}


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


def test_every_kind_of_settings_has_an_adapter_with_its_credential() -> None:
    """The check `credential` replaces that setting by a wrong one."""
    kinds = {get_args(each.model_fields["kind"].annotation)[0]: each for each in get_args(get_args(ErpSettings)[0])}

    assert ADAPTERS.keys() == kinds.keys()
    assert all(ADAPTERS[kind].credential in settings.model_fields for kind, settings in kinds.items())


def test_the_page_for_authors_lists_every_check() -> None:
    """With the promise that is printed when it is broken."""
    page = (Path(__file__).parents[3] / "docs" / "erp-certify.md").read_text(encoding="utf-8")

    assert [f"| `{each.name}` | {each.promise} |" for each in CHECKS] == re.findall(
        r"^\| `[a-z-]+` \| [A-Z].*\. \|$", page, re.MULTILINE
    )
    assert str(TEST_ORG) in page
    assert str(TEST_CUSTOMER.id) in page
