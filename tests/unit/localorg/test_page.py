"""docs/local-org.md shows settings that the org takes, and names every setting of its pushes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from closedwon.localorg import OrgConfig
from closedwon.localorg.config import CalloutDefinition, OutboundDefinition

_PAGE = Path(__file__).parents[3] / "docs" / "local-org.md"


def test_the_page_shows_settings_that_the_org_takes() -> None:
    """Whoever copies the example has an org that starts, and sees there what can be set."""
    (example,) = re.findall(r"^```toml\n(.*?)^```$", _PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    found = tomllib.loads(example)
    config = OrgConfig.model_validate(found)
    message, _ = found["outbound_messages"]
    (callout,) = found["callouts"]

    assert ("won-deals", "deleted") == tuple(one.name for one in config.outbound_messages)
    assert OutboundDefinition.model_fields.keys() - {"kind"} == message.keys()
    assert CalloutDefinition.model_fields.keys() - OutboundDefinition.model_fields.keys() <= callout.keys()
