"""What the parts of deploy/salesforce say about each other: a manifest deploys only what refers to what is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.support import sfdx
from tests.support.sfdx import DEFAULT, PACKAGE

_MANIFESTS: Final = sorted((PACKAGE / "manifest").glob("*.xml"))
_STANDARD_FIELD: Final = re.compile(r"\.[A-Z][A-Za-z0-9]*$")


def _with_base(path: Path) -> set[tuple[str, str]]:
    return sfdx.manifest(path) | sfdx.manifest(PACKAGE / "manifest" / "base.xml")


def _granted(name: str) -> set[tuple[str, str]]:
    """Everything of ours that a permission set grants a right on."""
    rights = sfdx.root(f"permissionsets/{name}.permissionset-meta.xml")
    named = {("ApexClass", one) for one in sfdx.texts(rights, "classAccesses/apexClass")}
    named |= {("ApexPage", one) for one in sfdx.texts(rights, "pageAccesses/apexPage")}
    named |= {("CustomObject", one) for one in sfdx.texts(rights, "objectPermissions/object") if "__" in one}
    named |= {
        ("CustomField", one) for one in sfdx.texts(rights, "fieldPermissions/field") if not _STANDARD_FIELD.search(one)
    }
    principals = sfdx.texts(rights, "externalCredentialPrincipalAccesses/externalCredentialPrincipal")
    return named | {("ExternalCredential", one.partition("-")[0]) for one in principals}


@pytest.mark.parametrize("path", _MANIFESTS, ids=lambda path: path.stem)
def test_a_permission_set_grants_only_what_is_deployed_with_it(path: Path) -> None:
    """Salesforce refuses a permission set that names an object, a field or a class which the org does not have."""
    for kind, name in sfdx.manifest(path):
        if kind == "PermissionSet":
            assert set() == _granted(name) - _with_base(path)


def test_the_permission_sets_grant_something_of_ours() -> None:
    """The test above would pass for names that it does not see."""
    assert {"CustomField", "CustomObject"} == {kind for kind, _ in _granted("Closedwon_Integration")}
    assert {"ApexClass", "ApexPage", "ExternalCredential"} == {kind for kind, _ in _granted("Closedwon_Caller")}


@pytest.mark.parametrize("path", _MANIFESTS, ids=lambda path: path.stem)
def test_a_flow_has_its_event_its_message_and_a_test_that_wins_a_deal(path: Path) -> None:
    """Production deploys an active flow only if a test runs it, and refuses one that names what is not there."""
    flows = {name for kind, name in sfdx.manifest(path) if kind == "Flow"}
    members = _with_base(path)
    for name in flows:
        flow = sfdx.root(f"flows/{name}.flow-meta.xml")
        published = sfdx.texts(flow, "recordCreates/object")
        assert {("CustomObject", one) for one in published} <= members
        for action in sfdx.texts(flow, "actionCalls/actionName"):
            owner, _, message = action.partition(".")
            assert ("Workflow", owner) in members
            workflow = sfdx.root(f"workflows/{owner}.workflow-meta.xml")
            assert message in sfdx.texts(workflow, "outboundMessages/fullName")
    tests = [source for name, source in sfdx.apex().items() if ("ApexClass", name) in sfdx.manifest(path)]

    assert not flows or any("@IsTest\nprivate" in one and "ClosedwonTestDeals.win(" in one for one in tests)


def test_only_the_manifest_that_needs_tombstones_deploys_them() -> None:
    """Every other one would fail, or change the org, for an object that nothing uses."""
    having = {path.stem for path in _MANIFESTS if ("CustomObject", "Deleted_Record__c") in sfdx.manifest(path)}

    assert {"outbound-message"} == having


@pytest.mark.parametrize("path", sorted((DEFAULT / "objects").rglob("*.object-meta.xml")), ids=lambda path: path.stem)
def test_no_object_names_a_feature_that_an_org_may_lack(path: Path) -> None:
    """`externalSharingModel` fails where external org-wide defaults are off; "Protected" only works in a package."""
    text = path.read_text(encoding="utf-8")

    assert "externalSharingModel" not in text
    assert "<visibility>Protected" not in text


def test_each_claimed_permission_has_a_test_as_that_user() -> None:
    """A test as an administrator shows nothing about rights."""
    apex = sfdx.apex()
    as_users = {name for name, source in apex.items() if "System.runAs(" in source and name.endswith("Test")}

    assert {
        "ClosedwonCalloutTest",
        "ClosedwonControllerTest",
        "ClosedwonEventsTest",
        "ClosedwonFlowTest",
        "ClosedwonPermissionsTest",
        "ClosedwonTombstonesTest",
    } == as_users
    granted = set(re.findall(r"ClosedwonTestUsers\.with\('(\w+)'\)", "".join(apex.values())))
    sets = {path.name.split(".")[0] for path in (DEFAULT / "permissionsets").iterdir()}
    assert sets == granted
