"""Request paths in the log."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from closedwon.intake.origin import Paths

_LONG = "a-route-with-a-name-that-is-longer-than-secrets"
_PATHS = Paths(["won-deals", _LONG, "tryton"])
_SECRET = "xY_kGlUIOpDBBps_dTaXk0_WeTt9FR3-dtw0FPCbWJU"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/outbound/won-deals", "/outbound/won-deals"),
        ("/outbound/won-deals/tombstones", "/outbound/won-deals/tombstones"),
        (f"/outbound/won-deals/{_SECRET}", "/outbound/won-deals/***"),
        (f"/outbound/won-deals/{_SECRET}/tombstones", "/outbound/won-deals/***/tombstones"),
        (f"/outbound/won-deals/{_SECRET[:5]}", "/outbound/won-deals/***"),
        (f"/outbound/won-deals/{_SECRET[:9]}/{_SECRET[9:15]}", "/outbound/won-deals/***/***"),
        (f"/outbound/{_LONG}/{_SECRET}?x={_SECRET}", f"/outbound/{_LONG}/***"),
        (f"/outbound/misspelt/{_SECRET}", "/outbound/misspelt/***"),
        (f"/outbound/{_SECRET}", "/outbound/***"),
        (f"/{_SECRET}", "/***"),
        (f"/x/outbound/won-deals/{_SECRET}", "/x/outbound/won-deals/***"),
        (f"/outbound//won-deals//{_SECRET}", "/outbound/won-deals/***"),
        ("/outbound/x%0Aforged", "/outbound/x%0Aforged"),
        ("/callouts/won-deals/soap?wsdl", "/callouts/won-deals/soap"),
        ("/erp/tryton", "/erp/tryton"),
        ("/", "/"),
    ],
)
def test_possible_secrets_are_masked(path: str, shown: str) -> None:
    """Configured names are shown, and short ones in their place; the query is omitted."""
    assert shown == _PATHS.shown(make_mocked_request("POST", path))
