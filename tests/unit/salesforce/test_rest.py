"""Reading and writing back, with REST servers that each have one defect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from closedwon.errors import DoubtfulError
from closedwon.salesforce.api.auth import TokenSource
from closedwon.salesforce.api.quota import Usage
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.salesforce.errors import (
    ConfigurationError,
    LockedError,
    RecordGoneError,
    SalesforceAuthFailedError,
    ThrottledError,
    UnavailableError,
    ValidationError,
)
from tests.support.salesforce import Logins, org_at, serving
from tests.unit.salesforce.resting import DATA, SELECT, Rest, first_time, record_ids, refused


async def test_a_hundred_concurrent_reads_need_one_call() -> None:
    """Concurrent reads of the same kind share a query; each gets its own record, with exact numbers."""
    rest = Rest()
    ids = record_ids(100)
    async with rest.client() as client:
        records = await asyncio.gather(*(client.read("Opportunity", SELECT, record_id) for record_id in ids))

        assert [f"Deal {record_id}" for record_id in ids] == [record["Name"] for record in records if record]
        assert records[0] is not None
        assert Decimal("0.1") == records[0]["Amount"]
        assert 1 == len(rest.soql) == client.calls
        assert Usage(18, 5000) == client.usage
    assert rest.soql[0].startswith(
        "SELECT Id, Name, (SELECT Id FROM OpportunityLineItems) FROM Opportunity WHERE Id IN ("
    )


@pytest.mark.parametrize("select", ["Id, Name", "Name,\n  ID", "Opportunity.Id, Name"])
async def test_a_selected_id_is_not_added(select: str) -> None:
    """SOQL rejects a list that names a field twice."""
    rest = Rest()
    async with rest.client() as client:
        await client.read("Opportunity", select, record_ids(1)[0])

    assert rest.soql[0].startswith(f"SELECT {select} FROM")


async def test_numbers_are_exact_and_the_clock_is_salesforces() -> None:
    """A JSON number is rounded to 15 digits, a text is kept; `now` continues from the Date of the last response."""
    (record_id,) = record_ids(1)
    numbers = '"A": 16.009999999999998, "B": "0.30000000000000004"'
    body = f'{{"done": true, "records": [{{"Id": "{record_id}", {numbers}}}]}}'
    date = {"Date": "Tue, 03 Nov 2026 09:00:00 GMT"}
    rest = Rest(on_query=lambda _: web.Response(text=body, content_type="application/json", headers=date))
    async with rest.client() as client:
        before = client.now()
        found = await client.read("Opportunity", SELECT, record_id)
        after = client.now()

    assert found is not None
    assert (Decimal("16.01"), "0.30000000000000004") == (found["A"], found["B"])
    assert timedelta(0) <= after - datetime(2026, 11, 3, 9, 0, tzinfo=UTC) < timedelta(seconds=30)
    assert abs(before - datetime.now(UTC)) < timedelta(seconds=30)


async def test_an_invisible_record_is_none() -> None:
    """A record that is missing in the response counts as not existing; the other records are not affected."""
    visible, hidden = record_ids(2)
    only = {"totalSize": 1, "done": True, "records": [{"Id": visible}]}
    async with Rest(on_query=lambda _: web.json_response(only)).client() as client:
        found = await asyncio.gather(
            client.read("Opportunity", "Id", visible), client.read("Opportunity", "Id", hidden)
        )

    assert ({"Id": visible}, None) == tuple(found)


async def test_all_pages_are_read() -> None:
    """A query, and each child query, is read to its last page."""
    first, second = record_ids(2)
    child = {"totalSize": 3, "done": False, "nextRecordsUrl": f"{DATA}/query/child-1", "records": [{"Id": "a"}]}
    pages = {
        "top": {"done": True, "records": [{"Id": second, "Lines": None}]},
        "child-1": {"done": False, "nextRecordsUrl": f"{DATA}/query/child-2", "records": [{"Id": "b"}]},
        "child-2": {"done": True, "records": [{"Id": "c"}]},
    }
    start = {"done": False, "nextRecordsUrl": f"{DATA}/query/top", "records": [{"Id": first, "Lines": child}]}

    async def page(request: web.Request) -> web.Response:
        return web.json_response(pages[request.match_info["name"]])

    async def query(_: web.Request) -> web.Response:
        return web.json_response(start)

    handlers = {f"GET {DATA}/query/": query, f"GET {DATA}/query/{{name}}": page, **Logins().handlers}
    async with serving(handlers) as url:
        client = SalesforceClient(org_at(url), TokenSource(org_at(url)))
        one, two = await asyncio.gather(*(client.read("Opportunity", "Id", record_id) for record_id in (first, second)))
        await client.close()

    assert {"totalSize": 3, "done": True, "records": [{"Id": "a"}, {"Id": "b"}, {"Id": "c"}]} == (one or {})["Lines"]
    assert {"Id": second, "Lines": None} == two


_TWO = [{"Id": "a"}, {"Id": "b"}]


@pytest.mark.parametrize(
    "cut",
    [
        {"totalSize": 2, "done": True, "records": [{"Id": "deal"}]},
        {"totalSize": 1, "done": False, "records": [{"Id": "deal"}]},
        {"done": False, "records": [{"Id": "deal"}]},
        {"records": [{"Id": "deal", "Lines": {"totalSize": 3, "done": True, "records": _TWO}}]},
        {"records": [{"Id": "deal", "Lines": {"totalSize": 3, "done": False, "records": _TWO}}]},
        {"records": [{"Id": "deal", "Lines": {"totalSize": 2, "done": False, "records": _TWO}}]},
        {"records": [{"Id": "deal", "Lines": {"totalSize": 2, "done": True}}]},
        {"records": [{"Id": "deal", "Lines": {"done": True, "records": [{"Parts": {"totalSize": 1, "records": []}}]}}]},
    ],
)
async def test_a_cut_list_is_an_error(cut: dict[str, Any]) -> None:
    """The list states its number of rows. With an error, no deal is ordered in part or counts as deleted."""
    (record_id,) = record_ids(1)
    whole = cut | {"records": [row | {"Id": record_id} for row in cut["records"]]}
    async with Rest(on_query=lambda _: web.json_response(whole)).client() as client:
        with pytest.raises(UnavailableError):
            await client.read("Opportunity", "Id", record_id)


async def test_results_in_another_order_are_an_error() -> None:
    """The failure of one record must not be reported as the failure of another."""
    first, second = record_ids(2)
    failed = {"id": first, "success": False, "errors": [{"statusCode": "INVALID_FIELD", "message": "no"}]}
    swapped = [{"id": second, "success": True, "errors": []}, failed]
    rest = Rest(on_collection=lambda records: web.json_response(swapped) if len(records) > 1 else None)
    async with rest.client() as client:
        updates = (client.update("Opportunity", record_id, {"Name": "x"}) for record_id in (first, second))
        errors = await asyncio.gather(*updates, return_exceptions=True)

    assert [UnavailableError, UnavailableError] == [type(error) for error in errors]


async def test_a_wrong_field_name_is_a_configuration_error() -> None:
    """Each waiting caller gets an error with Salesforce's code and text."""
    answer = refused(400, "INVALID_FIELD", "No such column 'Nmae' on entity 'Opportunity'.")
    async with Rest(on_query=first_time(lambda: answer)).client() as client:
        errors = await asyncio.gather(
            *(client.read("Opportunity", "Nmae", record_id) for record_id in record_ids(3)), return_exceptions=True
        )

    assert all(isinstance(error, ConfigurationError) for error in errors)
    assert "INVALID_FIELD: No such column 'Nmae'" in str(errors[0])
    assert 3 == len({id(error) for error in errors})


async def test_a_query_that_is_too_large_is_split() -> None:
    """After a time-out, smaller queries are sent; only a record that is too large by itself fails."""
    heavy = record_ids(8)[2]

    def too_large(soql: str) -> web.Response | None:
        return refused(400, "QUERY_TIMEOUT") if heavy in soql or soql.count("'") > 8 else None

    rest = Rest(on_query=too_large)
    async with rest.client() as client:
        results = await asyncio.gather(
            *(client.read("Opportunity", "Id", record_id) for record_id in record_ids(8)), return_exceptions=True
        )

    assert [heavy] == [
        record_id for record_id, result in zip(record_ids(8), results, strict=True) if isinstance(result, DoubtfulError)
    ]
    assert 7 == sum(isinstance(result, dict) for result in results)


async def test_an_expired_token_is_replaced_once_and_the_call_repeated() -> None:
    """A 401 INVALID_SESSION_ID leads to one login for all calls in progress, and no caller sees an error."""
    rest = Rest()
    async with rest.client() as client:

        def expired(_: str) -> web.Response | None:
            return refused(401, "INVALID_SESSION_ID") if rest.tokens[-1] == "00D!token-1" else None

        rest._on_query = expired
        selects = ("Id", "Name", "Amount", "StageName")  # four separate calls
        await asyncio.gather(*(client.read("Opportunity", select, record_ids(1)[0]) for select in selects))

    assert 2 == len(rest.logins.requests)
    assert 8 == len(rest.tokens)


async def test_a_persistent_401_leads_to_two_logins() -> None:
    """If a fresh token is rejected as well, a person must act; there were two logins, not four."""
    rest = Rest(on_query=lambda _: refused(401, "INVALID_SESSION_ID"))
    async with rest.client() as client:
        with pytest.raises(SalesforceAuthFailedError, match="so was a fresh token"):
            await client.read("Opportunity", "Id", record_ids(1)[0])

    assert 2 == len(rest.logins.requests)


async def test_concurrent_updates_need_one_call() -> None:
    """Concurrent write-backs are sent as one collection, each with its own values."""
    rest = Rest()
    ids = record_ids(200)
    async with rest.client() as client:
        await asyncio.gather(
            *(client.update("Opportunity", record_id, {"N__c": str(n)}) for n, record_id in enumerate(ids))
        )

        assert 1 == client.calls
    assert [
        {"attributes": {"type": "Opportunity"}, "id": record_id, "N__c": str(n)} for n, record_id in enumerate(ids)
    ] == rest.collections[0]


async def test_each_update_gets_its_own_outcome() -> None:
    """In one collection some records may succeed and others fail, each for its own reason."""
    errors = [
        [],
        [{"statusCode": "UNABLE_TO_LOCK_ROW", "message": "unable to obtain exclusive access", "fields": []}],
        [{"statusCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "message": "Not on Sundays", "fields": ["N__c"]}],
        [{"statusCode": "ENTITY_IS_DELETED", "message": "entity is deleted", "fields": []}],
        [{"statusCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded.", "fields": []}],
    ]
    by_id = dict(zip(record_ids(5), errors, strict=True))

    def outcomes_of(records: list[dict[str, Any]]) -> web.Response:
        found = [by_id[record["id"]] for record in records]
        return web.json_response([{"success": not one, "errors": one} for one in found])

    async with Rest(on_collection=outcomes_of).client() as client:
        outcomes = await asyncio.gather(
            *(client.update("Opportunity", record_id, {"N__c": "1"}) for record_id in record_ids(5)),
            return_exceptions=True,
        )

    kinds = [type(outcome) for outcome in outcomes]
    assert [type(None), LockedError, ValidationError, RecordGoneError, ThrottledError] == kinds
    assert "Not on Sundays" in str(outcomes[2])


async def test_two_updates_of_one_record_keep_their_order() -> None:
    """The second update of a record waits for the next collection."""
    rest = Rest()
    record_id, other = record_ids(2)
    async with rest.client() as client:
        await asyncio.gather(
            client.update("Opportunity", record_id, {"N__c": "first"}),
            client.update("Opportunity", record_id, {"N__c": "second"}),
            client.update("Opportunity", other, {"N__c": "other"}),
        )

    assert [["first", "other"], ["second"]] == [[record["N__c"] for record in batch] for batch in rest.collections]


async def test_an_unknown_field_does_not_affect_other_updates() -> None:
    """Salesforce rejects a whole collection for one unknown field; routes with other fields are not affected."""

    def unknown(records: list[dict[str, Any]]) -> web.Response | None:
        return refused(400, "INVALID_FIELD", "No such column 'Typo__c'") if "Typo__c" in records[0] else None

    good, bad = record_ids(2)
    async with Rest(on_collection=unknown).client() as client:
        outcomes = await asyncio.gather(
            client.update("Opportunity", good, {"N__c": "1"}),
            client.update("Opportunity", bad, {"Typo__c": "1"}),
            return_exceptions=True,
        )

    assert outcomes[0] is None
    assert isinstance(outcomes[1], ConfigurationError)


async def test_a_value_of_a_wrong_type_does_not_affect_other_updates() -> None:
    """A collection that Salesforce cannot parse is split until the bad record is alone."""

    def wrong_type(records: list[dict[str, Any]]) -> web.Response | None:
        return refused(400, "JSON_PARSER_ERROR") if any(record["N__c"] == "bad" for record in records) else None

    rest = Rest(on_collection=wrong_type)
    async with rest.client() as client:
        outcomes = await asyncio.gather(
            *(
                client.update("Opportunity", record_id, {"N__c": "bad" if n == 20 else "good"})
                for n, record_id in enumerate(record_ids(50))
            ),
            return_exceptions=True,
        )

    assert [20] == [n for n, outcome in enumerate(outcomes) if isinstance(outcome, ConfigurationError)]
    assert 49 == sum(outcome is None for outcome in outcomes)


async def test_a_value_that_is_not_json_fails_its_own_caller() -> None:
    """A programming error of one caller never reaches the request that others share."""
    rest = Rest()
    good, bad = record_ids(2)
    async with rest.client() as client:
        outcomes = await asyncio.gather(
            client.update("Opportunity", good, {"N__c": "1"}),
            client.update("Opportunity", bad, {"N__c": Decimal(1)}),  # type: ignore[dict-item]
            return_exceptions=True,
        )

    assert outcomes[0] is None
    assert isinstance(outcomes[1], TypeError)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=502, text="<html>Bad Gateway</html>", content_type="text/html"),
        lambda: web.Response(status=503),
        lambda: web.Response(status=200, text="<html>Maintenance</html>", content_type="text/html"),
        lambda: web.json_response([]),
        lambda: web.json_response({"no": "records"}),
    ],
)
async def test_a_server_error_leaves_the_outcome_unknown(answer: Callable[[], web.Response]) -> None:
    """HTML from the edge, an empty or a strange response does not show the outcome, so the call is retried."""
    rest = Rest(on_query=first_time(answer), on_collection=first_time(answer))
    async with rest.client() as client:
        with pytest.raises(UnavailableError):
            await client.read("Opportunity", "Id", record_ids(1)[0])
        with pytest.raises(UnavailableError):
            await client.update("Opportunity", record_ids(1)[0], {"N__c": "1"})


async def test_a_silent_server_times_out() -> None:
    """simple-salesforce would wait indefinitely; each of our calls ends after the org's time-out."""

    async def silent(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving({f"GET {DATA}/query/": silent, **Logins().handlers}) as url:
        org = org_at(url, timeout=0.2)
        client = SalesforceClient(org, TokenSource(org))
        with pytest.raises(UnavailableError, match="no whole answer within"):
            await client.read("Opportunity", "Id", record_ids(1)[0])
        await client.close()


async def test_a_refused_connection_is_retried_later() -> None:
    """A refused connection is a temporary failure."""
    record_id = record_ids(1)[0]
    async with serving(Rest().handlers) as url:
        client = SalesforceClient(org_at(url), TokenSource(org_at(url)))
        await client.read("Opportunity", "Id", record_id)
    with pytest.raises(UnavailableError):
        await client.read("Opportunity", "Id", record_id)
    await client.close()


async def test_the_token_does_not_follow_a_redirect() -> None:
    """A redirect is a configuration error; nothing is sent to the other address."""
    seen: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        return web.json_response({"done": True, "records": []})

    async with serving({f"GET {DATA}/query/": elsewhere}) as other:

        def redirect() -> web.Response:
            return web.Response(status=302, headers={"Location": f"{other}{DATA}/query/"})

        async with Rest(on_query=first_time(redirect)).client() as client:
            with pytest.raises(ConfigurationError, match="redirects"):
                await client.read("Opportunity", "Id", record_ids(1)[0])

    assert [] == seen


async def test_a_netrc_file_does_not_replace_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library `requests` would prefer a password from .netrc to our token."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    rest = Rest()
    async with rest.client() as client:
        client._session.trust_env = True
        await client.read("Opportunity", "Id", record_ids(1)[0])

    assert ["00D!token-1"] == rest.tokens


def test_no_secret_is_shown() -> None:
    """The `repr` of a client contains neither token nor secret."""
    org = org_at("https://acme.my.salesforce.com", secret="geheim")

    assert "geheim" not in repr(SalesforceClient(org, TokenSource(org)))


async def test_a_session_of_another_org_is_not_sent() -> None:
    """A session id has its org before the `!`; sending another org's would disclose it."""
    rest = Rest()
    async with rest.client() as client:
        for session in ("00D000000000002!AQ.secret", "00D000000000001!AQ.ours"):
            await client.read("Opportunity", SELECT, record_ids(1)[0], session=SecretStr(session))

    assert ["00D!token-1", "00D000000000001!AQ.ours"] == rest.tokens
