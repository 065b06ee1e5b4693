"""apex-ls, where it is installed, checks the types of all Apex in deploy/salesforce.

It knows the platform of Summer '24 (API 61.0). What is newer is named here, and looked up in the Apex Reference Guide.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.support.sfdx import DEFAULT, PACKAGE
from tests.support.tools import APEX_CHECK, needs_apex_check

_NEWER: Final = {
    ("ClosedwonEvents.cls", "No matching method found for 'publishWithAccessLevel' on 'System.EventBus'"),
    ("ClosedwonEvents.cls", "Unknown field 'EventUuid' on SObject 'Schema.Order_Requested__e'"),
}
"""`EventBus.publishWithAccessLevel(events, callback, accessLevel)` is of API 67.0; apex-ls lacks the system fields of
platform events."""
_PLANTED: Final = """public class ClosedwonPlanted {
    static Decimal sum(Opportunity deal) {
        return ClosedwonDeals.noSuchMethod(deal);
    }
}
"""

pytestmark = [pytest.mark.slow, needs_apex_check]


def test_apex_has_no_error_of_types(tmp_path: Path) -> None:
    """Of all classes only the planted one is wrong, which shows that the others are checked."""
    project = tmp_path / "project"
    shutil.copytree(PACKAGE, project)
    classes = project / DEFAULT.relative_to(PACKAGE) / "classes"
    (classes / "ClosedwonPlanted.cls").write_text(_PLANTED, encoding="utf-8")
    shutil.copy(classes / "ClosedwonDeals.cls-meta.xml", classes / "ClosedwonPlanted.cls-meta.xml")
    done = subprocess.run(
        [APEX_CHECK or "", "--nocache", "--format", "json", "--workspace", str(project)],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )

    files = json.loads(done.stdout)["files"]
    found = {
        (Path(file["path"]).name, message["message"].partition(" taking arguments")[0])
        for file in files
        for message in file["messages"]
    }
    planted = ("ClosedwonPlanted.cls", "No matching method found for 'noSuchMethod' on 'ClosedwonDeals'")
    assert {planted, *_NEWER} == found
