"""What `closedwon org certify` acknowledges in the place of intake."""

from __future__ import annotations

import json
from typing import Final

import aiohttp
import pytest

from closedwon.certify.org.listener import Listener, Own
from closedwon.emulators.ports import free_port
from closedwon.ids import OrgId, RecordId
from closedwon.settings import Intake, Route
from tests.support import sfdx
from tests.support.intake import soap_message, tombstones

_ORG: Final = OrgId("00D000000000001EAA")
_OURS: Final = RecordId("006000000000001AAA")
_THEIRS: Final = RecordId("006000000000002AAA")
_TOMBSTONE: Final = {"object": "Deleted_Record__c", "record_id": "Record_Id__c"}
_ROUTE: Final = Route.model_validate(
    {**sfdx.route(), "org": "test", "outbound": {"tombstone": _TOMBSTONE}, "callouts": None}
)
_OWN: Final = Own(_ORG, _ROUTE, {_OURS})


def _call(org: str, *records: str) -> bytes:
    return json.dumps({"org": org, "records": [{"recordId": one, "id": one} for one in records]}).encode()


_OTHER_ORG: Final = "00D5g000004Kx1XEAS"


@pytest.mark.parametrize(
    ("path", "ours", "others"),
    [
        (
            "/outbound/won-deals",
            soap_message(_ORG, [_OURS]),
            [
                soap_message(_ORG, [_THEIRS]),
                soap_message(_ORG, [_OURS, _THEIRS]),
                soap_message(_OTHER_ORG, [_OURS]),
                _OURS.encode(),
            ],
        ),
        (
            "/outbound/won-deals/tombstones",
            tombstones(_ORG, [_OURS]),
            [tombstones(_ORG, [_OURS, _THEIRS]), tombstones(_OTHER_ORG, [_OURS]), soap_message(_ORG, [_OURS])],
        ),
        (
            "/callouts/won-deals",
            _call(_ORG, _OURS),
            [_call(_ORG, _OURS, _THEIRS), _call(_OTHER_ORG, _OURS), _OURS.encode()],
        ),
    ],
    ids=["message", "tombstone", "callout"],
)
async def test_what_is_not_about_a_test_deal_is_sent_again(path: str, ours: bytes, others: list[bytes]) -> None:
    """The messages of other people's deals wait for intake: acknowledged here, their orders would be lost."""
    port = free_port()
    async with (
        Listener.running(Intake(port=port, host="127.0.0.1"), _OWN) as listener,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers={"Content-Type": "application/json"}) as http,
    ):
        for body in others:
            async with http.post(path, data=body) as response:
                assert 503 == response.status
        assert None is await listener.wait(lambda _: True, 0)

        async with http.post(path, data=ours) as response:
            assert response.ok
        assert await listener.wait(lambda one: one.names(_OURS), 20)
