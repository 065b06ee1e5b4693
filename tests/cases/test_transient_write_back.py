"""Case P7: a value that one field refuses keeps no other value from the record, on a real Salesforce emulator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from temporalio.common import MetricMeter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.salesforce import SalesforceActivities
from closedwon.emulators.erp.stub import StubErp
from closedwon.emulators.salesforce import OrgConfig, SalesforceEmulator, ValidationRule
from closedwon.emulators.salesforce.config import CustomField
from closedwon.ids import RecordId
from closedwon.model.erp import ErpOrder, ErpStatus
from closedwon.model.records import WriteBack
from closedwon.salesforce.api.rest import SalesforceClient
from closedwon.telemetry.metrics import Metrics
from tests.integration.salesforce.test_org_records import client_of
from tests.support.handoff import settings_for

FIELDS = {
    "number": "ERP_Order_Number__c",
    "status": "ERP_Order_Status__c",
    "link": "ERP_Order_Link__c",
    "error": "Short_Error__c",
    "key": "ERP_Order_Key__c",
}
SHORT = CustomField(on="Opportunity", name="Short_Error__c", length=255)
ORDER = ErpOrder(id="1", number="SO-1", status=ErpStatus.CONFIRMED, currency="EUR", amount=Decimal(1), line_count=1)


class Written(NamedTuple):
    """One deal, and the activity that writes to it."""

    org: SalesforceEmulator
    client: SalesforceClient
    activities: SalesforceActivities
    deal: RecordId

    async def write(self, **request: Any) -> None:
        """Run the activity once."""
        of_deal = {"org": self.org.org_id, "route": "won-0", "record": self.deal}
        await ActivityEnvironment().run(self.activities.write_back, WriteBack.model_validate({**of_deal, **request}))

    def shown(self, *keys: str) -> list[Any]:
        """What the record says."""
        record = self.org.get("Opportunity", self.deal)
        return [record[FIELDS[key]] for key in keys]


@asynccontextmanager
async def written(*rules: ValidationRule, fields: Sequence[CustomField] = (SHORT,)) -> AsyncIterator[Written]:
    """A running org with one won deal."""
    config = OrgConfig(custom_fields=tuple(fields), validation_rules=rules)
    async with SalesforceEmulator.running(config=config) as org, StubErp.running() as erp:
        settings = settings_for([org], erp, write_back=FIELDS)
        client = client_of(settings.orgs[0])
        activities = SalesforceActivities(settings, {org.org_id: client}, Metrics(MetricMeter.noop))
        org.seed(1)
        (deal,) = org.win_next(1)
        try:
            yield Written(org, client, activities, deal)
        finally:
            await client.close()


@pytest.mark.parametrize("is_described", [True, False])
async def test_p7_a_long_error_is_cut_to_its_field(*, is_described: bool) -> None:
    """Status and error are on the record, whether or not the worker has described the object before."""
    async with written() as world:
        if is_described:
            await world.client.describe("Opportunity")
        await world.write(status="needs attention", error="Prüfung: " + "x" * 300)
        status, error = world.shown("status", "error")

    assert ("needs attention", 255) == (status, len(error))
    assert error.startswith("Prüfung: xxx")
    assert error.endswith("x…")


async def test_p7_a_refused_field_keeps_no_other_from_the_record() -> None:
    """Number and status are there; a person is asked about the field."""
    rule = ValidationRule(
        on="Opportunity", when="ERP_Order_Link__c != null", message="Kein Verweis", field="ERP_Order_Link__c"
    )
    async with written(rule) as world:
        with pytest.raises(ApplicationError, match="on ERP_Order_Link__c: Kein Verweis") as raised:
            await world.write(order=ORDER.model_copy(update={"url": "https://erp.example.com/1"}))

        assert raised.value.non_retryable
        assert ["SO-1", "confirmed", None] == world.shown("number", "status", "link")
        assert [f"{world.org.org_id}:{world.deal}"] == world.shown("key")


async def test_p7_without_its_number_an_order_has_no_key_on_the_record() -> None:
    """A number that is too long is not cut, and the key would prove another one that a person types in."""
    async with written() as world:
        await world.client.describe("Opportunity")
        with pytest.raises(ApplicationError, match="STRING_TOO_LONG on ERP_Order_Number__c"):
            await world.write(order=ORDER.model_copy(update={"number": "9" * 100}))

        assert [None, "confirmed", None] == world.shown("number", "status", "key")
