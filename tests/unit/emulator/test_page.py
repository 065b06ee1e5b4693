"""docs/salesforce-emulator.md shows valid settings of the org, and names every setting of its pushes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from closedwon.emulators.salesforce import OrgConfig
from closedwon.emulators.salesforce.config import CalloutDefinition, OutboundDefinition

_PAGE = Path(__file__).parents[3] / "docs" / "salesforce-emulator.md"


def test_the_page_shows_valid_settings() -> None:
    """The examples start an org, and every setting of a push is documented."""
    example, by_metadata = re.findall(
        r"^```toml\n(.*?)^```$", _PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    found = tomllib.loads(example)
    config = OrgConfig.model_validate(found)
    message, _ = found["outbound_messages"]
    (callout,) = found["callouts"]

    assert OrgConfig.model_validate(tomllib.loads(by_metadata)).metadata is not None
    assert ("won-deals", "deleted") == tuple(one.name for one in config.outbound_messages)
    assert OutboundDefinition.model_fields.keys() - {"kind"} == message.keys()
    assert CalloutDefinition.model_fields.keys() - OutboundDefinition.model_fields.keys() <= callout.keys()
