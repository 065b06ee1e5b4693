"""An independent SOAP tool reads the contracts from the running server and calls by them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from typing import Any

import pytest
import requests
import zeep
from pydantic import SecretStr
from zeep.transports import Transport

from closedwon.ids import RecordId
from tests.support.handoff import handoff
from tests.support.intake import intake

_KEY = "a key that both ends know, made for one test"
_URL = "https://example.my.salesforce.com/services/Soap/c/67.0"


class _Signing(Transport):
    """Sends like Apex: with a signature of the tool's output."""

    def post(self, address: str, message: bytes, headers: dict[str, str]) -> requests.Response:
        """Sign and send."""
        timestamp = str(int(time.time()))
        digest = hmac.new(_KEY.encode(), f"{timestamp}.".encode() + message, hashlib.sha256).hexdigest()
        signature = {"X-Closedwon-Timestamp": timestamp, "X-Closedwon-Signature": f"v1={digest}"}
        answer: requests.Response = super().post(  # type: ignore[no-untyped-call]
            address, message, {**headers, **signature}
        )
        return answer


def _notify(address: str, org: str, records: list[str]) -> Any:
    client: Any = zeep.Client(f"{address}/outbound/won-0?wsdl")  # type: ignore[no-untyped-call]
    deal = client.get_type("{urn:sobject.enterprise.soap.sforce.com}Opportunity")
    with client.transport.session:
        return client.service.notifications(
            OrganizationId=org,
            ActionId="04k000000000001AAA",
            SessionId=None,
            EnterpriseUrl=_URL,
            PartnerUrl=_URL,
            Notification=[
                {"Id": f"04l00000000000{place}", "sObject": deal(Id=record, Name="Roof", Amount=1.5)}
                for place, record in enumerate(records)
            ],
        )


def _submit(address: str, org: str, records: list[str]) -> Any:
    url = f"{address}/callouts/won-0/soap?wsdl"
    client: Any = zeep.Client(url, transport=_Signing())  # type: ignore[no-untyped-call]
    with client.transport.session:
        return client.service.submit(org=org, records=[{"recordId": record, "id": record} for record in records])


async def test_zeep_calls_by_the_contracts_that_are_served() -> None:
    """Outbound message and callout: its calls by the served WSDL are accepted, and it understands answer and fault."""
    records = ["006000000000001AAA", "006000000000002AAA"]
    async with (
        handoff(events=(), outbound={}, callouts={"keys": [SecretStr(_KEY)]}) as world,
        intake(world) as address,
    ):
        org = str(world.org.org_id)
        acknowledged = await asyncio.to_thread(_notify, address, org, records)
        begun = [await world.has_begun(RecordId(record)) for record in records]
        accepted = await asyncio.to_thread(_submit, address, org, records)
        with pytest.raises(zeep.exceptions.Fault, match="is not a Salesforce id"):
            await asyncio.to_thread(_notify, address, org, ["006000000000001AAB"])
        with pytest.raises(zeep.exceptions.Fault, match="is not the org"):
            await asyncio.to_thread(_submit, address, "00D000000000009", records)

        assert acknowledged is True
        assert [True, True] == begun
        assert records == [one.recordId for one in accepted]
        assert [f"order:{record}@{org}" for record in records] == [one.workflowId for one in accepted]
