"""The metadata for a Salesforce org: well-formed, in its place, and of the same names as all the rest."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest
from lxml import etree

from closedwon.localorg.config import ORDER_REQUESTED, OrgConfig
from closedwon.localorg.schema import Schema

_PACKAGE: Final = Path(__file__).parents[3] / "deploy" / "salesforce"
_DEFAULT: Final = _PACKAGE / "force-app" / "main" / "default"
_NS: Final = "{http://soap.sforce.com/2006/04/metadata}"
_KINDS: Final = {
    "object": ("CustomObject", r"objects/(?P<name>\w+)/(?P=name)"),
    "field": ("CustomField", r"objects/\w+/fields/\w+__c"),
    "flow": ("Flow", r"flows/\w+"),
    "permissionset": ("PermissionSet", r"permissionsets/\w+"),
}
"""Suffix in source format: root element, and the place below `force-app/main/default`."""
_FILES: Final = sorted(_DEFAULT.rglob("*.xml"))


def _root(path: Path) -> etree._Element:
    return etree.parse(path).getroot()


def _texts(root: etree._Element, path: str) -> set[str]:
    return {found.text or "" for found in root.iterfind("/".join(f"{_NS}{step}" for step in path.split("/")))}


def _fields(object_name: str) -> set[str]:
    return {path.name.split(".")[0] for path in (_DEFAULT / "objects" / object_name / "fields").iterdir()}


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.name)
def test_every_file_is_well_formed_and_in_its_place(path: Path) -> None:
    """The Salesforce CLI finds a component by its folder and its suffix."""
    place = path.relative_to(_DEFAULT).as_posix()
    found = re.fullmatch(r"(.+)\.(\w+)-meta\.xml", place)
    assert found is not None
    kind, pattern = _KINDS[found[2]]

    assert f"{_NS}{kind}" == _root(path).tag
    assert re.fullmatch(pattern, found[1])
    if kind == "CustomField":
        assert {path.name.split(".")[0]} == _texts(_root(path), "fullName")


def test_nothing_but_metadata_lies_there() -> None:
    """A stray file would fail the deployment."""
    assert _FILES == sorted(path for path in _DEFAULT.rglob("*") if path.is_file())
    project = json.loads((_PACKAGE / "sfdx-project.json").read_text(encoding="utf-8"))
    assert ["force-app"] == [folder["path"] for folder in project["packageDirectories"]]


@pytest.mark.parametrize("object_name", ["Opportunity", "Order_Requested__e"])
def test_the_fields_are_those_of_the_local_org(object_name: str) -> None:
    """What is developed against is what is deployed."""
    described = Schema(OrgConfig()).find(object_name)
    assert described is not None
    custom = {field.name for field in described.fields if field.name.endswith("__c")}

    assert custom == _fields(object_name)


def test_the_example_configuration_names_only_fields_that_are_there() -> None:
    """Whoever copies the example and deploys the package has a configuration that fits."""
    example = (_PACKAGE.parents[1] / "closedwon.example.toml").read_text(encoding="utf-8")
    used = "\n".join(line for line in example.splitlines() if not line.lstrip().startswith("#"))
    named = set(re.findall(r"\b\w+__[ce]\b", used))

    assert named
    assert named <= _fields("Opportunity") | _fields("Order_Requested__e") | {"Order_Requested__e"}


def test_the_flow_publishes_what_the_local_orgs_flow_publishes() -> None:
    """All but the payload, which a flow cannot write."""
    flow = _root(_DEFAULT / "flows" / "Closedwon_Publish_Order_Requested.flow-meta.xml")

    assert {"Active"} == _texts(flow, "status")
    assert {ORDER_REQUESTED.publishes} == _texts(flow, "recordCreates/object")
    assert {"true"} == _texts(flow, "start/doesRequireRecordChangedToMeetCriteria")
    assert set(ORDER_REQUESTED.assignments) - {"Payload__c"} == _texts(flow, "recordCreates/inputAssignments/field")
    assert _texts(flow, "recordCreates/name") == _texts(flow, "start/connector/targetReference")


def test_the_integration_user_may_do_what_it_must_and_no_more() -> None:
    """It writes the four fields; it sends no outbound messages, so that a write-back cannot loop."""
    rights = _root(_DEFAULT / "permissionsets" / "Closedwon_Integration.permissionset-meta.xml")
    editable = {
        permission.findtext(f"{_NS}field")
        for permission in rights.iterfind(f"{_NS}fieldPermissions")
        if permission.findtext(f"{_NS}editable") == "true"
    }

    assert {f"Opportunity.{name}" for name in _fields("Opportunity") if name.startswith("ERP_")} == editable
    assert {"ApiEnabled"} == _texts(rights, "userPermissions/name")
    assert {"false"} == _texts(rights, "objectPermissions/modifyAllRecords")
    assert {"Opportunity"} == {
        permission.findtext(f"{_NS}object")
        for permission in rights.iterfind(f"{_NS}objectPermissions")
        if permission.findtext(f"{_NS}allowEdit") == "true"
    }
