"""`closedwon org certify`: against a faultless emulator every check passes, and each is seen to fail once."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import SecretStr

from closedwon.certify.org import CHECKS, OrgPlan, OrgReport, UnfitOrgError, certify
from closedwon.certify.org.bench import OrgBench
from closedwon.certify.org.listener import Listener, Own
from closedwon.certify.report import CheckOutcome, Verdict
from closedwon.emulators.ports import free_port
from closedwon.emulators.salesforce.config import (
    ORDER_REQUESTED,
    CalloutDefinition,
    OrgConfig,
    OutboundDefinition,
    Rights,
    Trigger,
)
from closedwon.emulators.salesforce.server import SalesforceEmulator
from closedwon.ids import OrgId, RecordId
from closedwon.salesforce.errors import ConfigurationError, RecordGoneError
from closedwon.settings import Intake, Route
from tests.support import sfdx
from tests.support.intake import Authority, soap_message
from tests.support.salesforce import org_at
from tests.support.waiting import until

_SECRET: Final = "c2VjcmV0-of-one-test_4fGz81QwLmNpX7Yh"
_KEY: Final = "a key that both ends know, made for one test"
_ORG: Final = OrgId("00D000000000001EAA")
_OURS: Final = RecordId("006000000000001AAA")
_SHORT: Final = timedelta(seconds=1.5)
"""How long a check waits for what never comes."""


def _route(**changes: Any) -> Route:
    return Route.model_validate(
        sfdx.route()
        | {
            "org": "test",
            "outbound": {
                "path_secrets": [SecretStr(_SECRET)],
                "tombstone": {"object": "Deleted_Record__c", "record_id": "Record_Id__c"},
            },
            "callouts": {"keys": [SecretStr(_KEY)]},
        }
        | changes
    )


def _own() -> Own:
    return Own(_ORG, _route(), {_OURS})


def _config(endpoint: str, **changes: Any) -> OrgConfig:
    """An org with the package deployed, and a salesperson without a right on the event."""
    outbound = f"{endpoint}/outbound/won-deals/{_SECRET}"
    fields = {
        "rights": Rights(salesperson_publishes=False),
        "outbound_messages": (
            OutboundDefinition(name="won", field="IsWon", becomes=True, endpoint=outbound),
            OutboundDefinition(
                name="deleted",
                on="Deleted_Record__c",
                trigger=Trigger.CREATE,
                field="",
                fields=("Id", "Record_Id__c", "SystemModstamp"),
                endpoint=f"{outbound}/tombstones",
            ),
        ),
        "callouts": (
            CalloutDefinition(
                name="callout", field="IsWon", becomes=True, endpoint=f"{endpoint}/callouts/won-deals", key=_KEY
            ),
        ),
    }
    return OrgConfig.model_validate(fields | changes)


@pytest.fixture(scope="module")
def port() -> int:
    """Where intake would listen."""
    return free_port()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """`[intake.tls]`, and what the org needs to call such an intake."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder, "authority")
    certificate, key, _ = authority.issue("intake")
    shown, its_key, fingerprint = authority.issue("the-org")
    both = folder / "client.pem"
    both.write_bytes(shown.read_bytes() + its_key.read_bytes())
    return {
        "tls": {"certificate": certificate, "key": key, "client_ca": authority.file},
        "fingerprint": fingerprint,
        "client": both,
        "trusted": authority.file,
    }


@asynccontextmanager
async def _org(config: OrgConfig) -> AsyncIterator[SalesforceEmulator]:
    async with SalesforceEmulator.running(config=config) as org:
        yield org


def _plan(org: SalesforceEmulator, intake: Intake | None, route: Route, wait: timedelta) -> OrgPlan:
    settings = org_at(org.url, org_id=org.org_id, client_id=org.client_id, secret=org.client_secret)
    return OrgPlan(
        settings, route, intake, SecretStr(org.oauth.issue(org.sales_user)), wait=wait, pause=timedelta(milliseconds=10)
    )


def _outcomes(report: OrgReport) -> dict[str, CheckOutcome]:
    return {one.name: one.outcome for one in report.checks}


def _facts(report: OrgReport) -> str:
    return "\n".join(f"{one.name}: {one.facts}" for one in report.checks)


def _leaves_nothing(org: SalesforceEmulator) -> bool:
    """Whether no record of a run is left."""
    deals = org.query("SELECT Id FROM Opportunity WHERE Name LIKE 'Closedwon certification%'")
    return [] == deals == org.query("SELECT Id FROM Deleted_Record__c")


async def test_an_org_with_the_package_is_certified(port: int, tls: dict[str, Any]) -> None:
    """Every check passes, over TLS, with a client certificate; nothing is left."""
    config = _config(f"https://localhost:{port}", client_certificate=tls["client"], trusted_certificates=tls["trusted"])
    intake = Intake.model_validate({"port": port, "host": "localhost", "tls": tls["tls"]})
    route = _route(outbound={**_route().outbound.model_dump(), "client_fingerprints": [tls["fingerprint"]]})  # type: ignore[union-attr]
    async with _org(config) as org:
        report = await certify(_plan(org, intake, route, timedelta(seconds=50)))

        assert {each.name: CheckOutcome.OK for each in CHECKS} == _outcomes(report), _facts(report)
        assert _leaves_nothing(org)
    assert (Verdict.CERTIFIED, "certified", False) == (report.verdict, report.sentence, report.partial)
    assert () == report.left
    assert "sandbox, deals are won by sales@" in report.about
    assert "the-org with the fingerprint" in _facts(report)


def _with_flow(**changes: Any) -> dict[str, Any]:
    return {"flows": (ORDER_REQUESTED.model_copy(update=changes),)}


def _lacking(**rights: Any) -> dict[str, Any]:
    return {"rights": Rights(salesperson_publishes=False, **rights)}


Arm = Callable[[SalesforceEmulator], object]
_FAILURES: Final[dict[str, tuple[dict[str, Any], Arm | None, str]]] = {
    "login": ({}, lambda org: org.faults.rest_error("API_DISABLED_FOR_ORG", times=9, status=403), "API_DISABLED"),
    "limits": (_lacking(reads_limits=False), None, "FUNCTIONALITY_NOT_ENABLED"),
    "flow-active": (_with_flow(active=False), None, "not active: Closedwon_Publish_Order_Requested"),
    "event": (_with_flow(active=False), None, "no event about the deal came on /event/Order_Requested__e"),
    "minimal-user": (_with_flow(user_mode=True), None, "no event about the deal came"),
    "replay": ({}, lambda org: org.faults.forget_positions(), "cannot be read from replay id"),
    "read": ({}, None, "INVALID_FIELD"),
    "write-back": (
        _lacking(read_only_fields=frozenset({"Opportunity.ERP_Order_Link__c"})),
        None,
        "INVALID_FIELD_FOR_INSERT_UPDATE",
    ),
    "deleted": (_lacking(finds_deleted=False), None, "does not find it after it was deleted"),
    "outbound": ({"outbound_messages": ()}, None, "nothing about the deal came to /outbound/won-deals"),
    "outbound-certificate": ({}, None, "without a client certificate"),
    "tombstone": (
        {"tombstones_of": frozenset()},
        None,
        "nothing about the deletion, with the deal in Record_Id__c, came",
    ),
    "callout": ({}, None, "its signature is refused"),
}
"""What the org lacks, or which fault it has, and what the check reports."""


@pytest.mark.parametrize("name", [each.name for each in CHECKS])
async def test_each_check_fails_where_its_promise_is_broken(name: str, port: int, tls: dict[str, Any]) -> None:
    """And says what that means; the deals are deleted."""
    changes, arm, seen = _FAILURES[name]
    endpoint, intake = f"http://localhost:{port}", Intake(port=port, host="localhost")
    route = _route()
    if name == "outbound-certificate":
        endpoint, changes = f"https://localhost:{port}", {"trusted_certificates": tls["trusted"]}
        intake = Intake.model_validate({"port": port, "host": "localhost", "tls": tls["tls"]})
    if name == "read":
        route = _route(select=f"Missing__c, {route.select}")
    if name == "callout":
        route = _route(callouts={"keys": [SecretStr("another key, which the org does not have")]})
    async with _org(_config(endpoint, **changes)) as org:
        plan = _plan(org, intake, route, _SHORT if "came" in seen else timedelta(seconds=50))

        def start(*progress: object) -> None:
            if progress[1] is None and progress[0] is not None and arm is not None:
                arm(org)
            elif progress[0] is None:
                org.faults.clear()

        report = await certify(plan, only=[name], on_progress=start)

        assert {name: CheckOutcome.FAILED} == _outcomes(report)
        assert seen in report.checks[0].facts
        assert report.checks[0].consequence == next(each.if_failed for each in CHECKS if each.name == name)
        assert Verdict.NOT_SAFE is report.verdict
        assert _leaves_nothing(org)


async def test_a_message_with_another_path_secret_fails_the_check(port: int) -> None:
    """And the report shows neither secret."""
    own = {**sfdx.route(), "org": "test", "callouts": None}
    secret = "another-secret-segment-of-one-test_4fGz81Qw"
    route = Route.model_validate(own | {"outbound": {"path_secrets": [SecretStr(secret)]}})
    async with _org(_config(f"http://localhost:{port}")) as org:
        plan = _plan(org, Intake(port=port, host="localhost"), route, timedelta(seconds=50))
        report = await certify(plan, only=["outbound"])

    assert "its path has another path secret" == report.checks[0].facts
    assert not any(one in report.model_dump_json() for one in (_SECRET, secret))


async def test_a_taken_port_is_named(port: int) -> None:
    """Intake still runs: the check says what to do."""
    async with _org(_config(f"http://localhost:{port}")) as org:
        taken = int(org.url.rpartition(":")[2])
        report = await certify(
            _plan(org, Intake(port=taken, host="127.0.0.1"), _route(), timedelta(seconds=50)), only=["outbound"]
        )

        assert "stop intake first" in report.checks[0].facts
        assert _leaves_nothing(org)


@pytest.mark.parametrize("form", ["rfc9440", "pem"])
async def test_a_certificate_that_a_proxy_forwards_is_seen(port: int, tls: dict[str, Any], form: str) -> None:
    """In both forms that intake reads."""
    pem = tls["client"].read_bytes().partition(b"-----BEGIN PRIVATE")[0]
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    header = {"rfc9440": f":{b64encode(der).decode()}:", "pem": quote(pem)}[form]
    intake = Intake.model_validate({"port": port, "proxies": ["127.0.0.1"], "forwarded_certificate": {}})
    async with Listener.running(intake, _own()) as listener, aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{port}/outbound/won-deals"
        async with http.post(url, data=soap_message(_ORG, [_OURS]), headers={"Client-Cert": header}) as response:
            assert 200 == response.status
        found = await listener.wait(lambda one: one.names(_OURS), 20)

    assert found is not None
    assert der == found.certificate


async def test_what_settings_do_not_name_is_not_offered(port: int) -> None:
    """A route with events only is not blamed for the other channels; an administrator shows nothing about others."""
    del port
    route = _route(outbound=None, callouts=None)
    names = ["minimal-user", "outbound", "outbound-certificate", "tombstone", "callout"]
    async with _org(OrgConfig()) as org:
        report = await certify(_plan(org, None, route, timedelta(seconds=50)), only=names)

    assert dict.fromkeys(names, CheckOutcome.NOT_OFFERED) == _outcomes(report)
    assert all(one.consequence for one in report.checks)


async def test_an_interrupted_run_deletes_its_deals() -> None:
    """Ctrl-C ends the checks and not the cleaning."""
    async with _org(OrgConfig(flows=())) as org:
        plan = _plan(org, None, _route(outbound=None, callouts=None), timedelta(seconds=50))
        task = asyncio.create_task(certify(plan, only=["event"]))
        won = "SELECT Id FROM Opportunity WHERE IsWon = true"
        await until(lambda: org.query(won))
        task.cancel()
        report = await task

        assert (True, True, 1, ()) == (report.interrupted, report.partial, report.deleted, report.left)
        assert _leaves_nothing(org)


@pytest.mark.parametrize("times", [1, 2])
async def test_only_a_second_interruption_ends_the_cleaning(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Also if the first comes while the deals are being deleted."""
    began, may_go_on, delete = asyncio.Event(), asyncio.Event(), OrgBench.delete

    async def slow(bench: OrgBench, object_name: str, record: RecordId) -> None:
        began.set()
        await may_go_on.wait()
        await delete(bench, object_name, record)

    monkeypatch.setattr(OrgBench, "delete", slow)
    async with _org(OrgConfig()) as org:
        plan = _plan(org, None, _route(outbound=None, callouts=None), _SHORT)
        task = asyncio.create_task(certify(plan, only=["read"]))
        await began.wait()
        for _ in range(times):
            task.cancel()
            await until(lambda: task.done() or not task.cancelling())
        may_go_on.set()
        if times > 1:
            with pytest.raises(asyncio.CancelledError):
                await task
            return
        report = await task

        assert (True, 1, ()) == (report.interrupted, report.deleted, report.left)
        assert _leaves_nothing(org)


async def test_what_cannot_be_deleted_is_named() -> None:
    """With its id and the reason."""
    async with _org(OrgConfig()) as org:
        plan = _plan(org, None, _route(outbound=None, callouts=None), timedelta(seconds=50))

        def refuse(*progress: object) -> None:
            if progress == (None, None):
                org.faults.record_error("INSUFFICIENT_ACCESS_OR_READONLY", times=1)

        report = await certify(plan, only=["read"], on_progress=refuse)

        (left,) = report.left
        (deal,) = org.query("SELECT Id FROM Opportunity WHERE Name LIKE 'Closedwon certification%'")
    assert ("Opportunity", deal["Id"], 0) == (left.object, left.id, report.deleted)
    assert "INSUFFICIENT_ACCESS" in left.why


def _buried(**changes: str) -> Route:
    outbound = {"tombstone": {"object": "Deleted_Record__c", "record_id": "join('', [Record_Id__c])", **changes}}
    return _route(outbound=outbound, callouts=None)


@pytest.mark.parametrize("may_delete", [True, False])
async def test_tombstones_that_the_person_may_not_read_are_found(
    monkeypatch: pytest.MonkeyPatch, *, may_delete: bool
) -> None:
    """The integration user looks for them; the record's id is an expression. What is left is named."""
    as_person, delete_as_person = OrgBench.query, OrgBench.delete

    async def query(bench: OrgBench, soql: str) -> list[dict[str, Any]]:
        if "Deleted_Record__c" in soql:
            raise ConfigurationError("INVALID_TYPE: sObject type 'Deleted_Record__c' is not supported", hint="")
        return await as_person(bench, soql)

    async def delete(bench: OrgBench, object_name: str, record: RecordId) -> None:
        if object_name == "Deleted_Record__c" and not may_delete:
            raise RecordGoneError("NOT_FOUND", hint="")  # to a user without any right on it, it does not exist
        await delete_as_person(bench, object_name, record)

    monkeypatch.setattr(OrgBench, "query", query)
    monkeypatch.setattr(OrgBench, "delete", delete)
    async with _org(OrgConfig()) as org:
        report = await certify(_plan(org, None, _buried(), _SHORT), only=["deleted"])

        there = [one["Id"] for one in org.query("SELECT Id FROM Deleted_Record__c")]
    assert (1, may_delete) == (report.deleted, not there)
    assert there == [one.id for one in report.left]


async def test_tombstones_that_neither_user_may_read_are_reported() -> None:
    """With the reason: they are left."""
    async with _org(OrgConfig()) as org:
        report = await certify(_plan(org, None, _buried(object="Missing__c"), _SHORT), only=["deleted"])

    (left,) = report.left
    assert ("Missing__c", 1) == (left.object, report.deleted)
    assert "could not be looked for" in left.why
    assert "INVALID_TYPE" in left.why


async def test_no_deal_is_won_in_a_production_org() -> None:
    """The org itself says what it is; nothing is created."""
    async with _org(OrgConfig()) as org:
        row = org.store.get("Organization", org.org_id)
        assert row is not None
        org.store.put("Organization", {**row, "IsSandbox": 0, "OrganizationType": "Enterprise Edition"})
        plan = _plan(org, None, _route(outbound=None, callouts=None), _SHORT)

        with pytest.raises(UnfitOrgError, match="is a production org"):
            await certify(plan)
        with pytest.raises(UnfitOrgError, match="does not accept the person's token"):
            await certify(plan._replace(person=SecretStr("wrong")))
        assert [] == org.query("SELECT Id FROM Opportunity")


def test_the_page_lists_every_check_and_key() -> None:
    """With the promise that is printed when it is broken."""
    page = (Path(__file__).parents[3] / "docs" / "org-certify.md").read_text(encoding="utf-8")

    assert [f"| `{each.name}` | {each.promise} |" for each in CHECKS] == re.findall(
        r"^\| `[a-z-]+` \| [A-Z].*\. \|$", page, re.MULTILINE
    )
    keys = re.search(r"Its keys are (.*)\.", page)
    assert keys is not None
    assert [*OrgReport.model_fields, "verdict"] == re.findall(r"`(\w+)`", keys[1])
