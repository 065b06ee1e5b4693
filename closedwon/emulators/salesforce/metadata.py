"""Reads the source-format metadata of a project (`force-app`) into the configuration of an org.

It takes custom objects, events and fields, permission sets, outbound messages, and record-triggered flows that publish
an event or send an outbound message; everything else (Apex, layouts, other flows) is ignored.
Source: Metadata API Developer Guide, "CustomObject", "CustomField", "Flow", "Workflow", "PermissionSet".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lxml import etree

from closedwon.emulators.salesforce.config import (
    ORGANIZATION_ID,
    CustomField,
    CustomObject,
    Flow,
    OrgConfig,
    OutboundDefinition,
    PermissionSet,
    Trigger,
)
from closedwon.emulators.salesforce.push.formulas import parse_formula

_NAMESPACE = "{http://soap.sforce.com/2006/04/metadata}"
_TYPES = {
    "Text": "string",
    "TextArea": "textarea",
    "LongTextArea": "textarea",
    "Html": "textarea",
    "Url": "url",
    "Email": "email",
    "Phone": "string",
    "Number": "double",
    "Currency": "currency",
    "Percent": "percent",
    "Checkbox": "boolean",
    "Date": "date",
    "DateTime": "datetime",
    "Picklist": "picklist",
    "MultiselectPicklist": "multipicklist",
    "Lookup": "reference",
    "MasterDetail": "reference",
}
_RIGHTS = {
    "allowRead": "read",
    "allowCreate": "create",
    "allowEdit": "edit",
    "allowDelete": "delete",
    "viewAllRecords": "viewAll",
}
_OPERATORS = {
    "EqualTo": "=",
    "NotEqualTo": "<>",
    "GreaterThan": ">",
    "GreaterThanOrEqualTo": ">=",
    "LessThan": "<",
    "LessThanOrEqualTo": "<=",
}
_AFTER_SAVE = "RecordAfterSave"


def with_metadata(config: OrgConfig, folder: Path) -> OrgConfig:
    """`config` with what a folder of metadata defines; its flows and messages replace those of the default.

    Raises:
        ValueError: the folder or a file of it cannot be read; the text names the file.
    """
    if not folder.is_dir():
        raise ValueError(f"metadata: {folder} is not a folder")
    found: dict[str, list[Any]] = {}
    for kind, read in (
        ("objects", _objects),
        ("custom_fields", _fields),
        ("permission_sets", _permission_sets),
        ("flows", _publishing_flows),
    ):
        found[kind] = list(read(folder))
    found["outbound_messages"] = list(_messages(folder, config.endpoints))
    immediately = {one.name for one in found["objects"] if one.publishes_immediately}
    update = {kind: (*getattr(config, kind), *listed) for kind, listed in found.items() if kind != "flows"}
    return config.model_copy(
        update={
            **update,
            "flows": tuple(found["flows"]),
            "publish_immediately": config.publish_immediately | immediately,
        }
    )


def _files(folder: Path, pattern: str) -> Iterator[tuple[Path, etree._Element]]:
    for path in sorted(folder.rglob(pattern)):
        try:
            yield path, etree.parse(path, etree.XMLParser(resolve_entities=False, no_network=True)).getroot()
        except (etree.XMLSyntaxError, OSError) as error:
            raise ValueError(f"metadata: {path}: {error}") from None


def _text(element: etree._Element, path: str, default: str = "") -> str:
    return element.findtext("/".join(_NAMESPACE + step for step in path.split("/"))) or default


def _all(element: etree._Element, name: str) -> list[etree._Element]:
    return element.findall(_NAMESPACE + name)


def _objects(folder: Path) -> Iterator[CustomObject]:
    for path, root in _files(folder, "objects/*/*.object-meta.xml"):
        name = path.name.removesuffix(".object-meta.xml")
        if name.endswith(("__c", "__e")) and not _text(root, "customSettingsType"):
            immediately = _text(root, "publishBehavior") == "PublishImmediately"
            yield CustomObject(name=name, label=_text(root, "label", name), publishes_immediately=immediately)


def _fields(folder: Path) -> Iterator[CustomField]:
    settings = {
        path.parent.name
        for path, root in _files(folder, "objects/*/*.object-meta.xml")
        if _text(root, "customSettingsType")
    }
    for path, root in _files(folder, "objects/*/fields/*.field-meta.xml"):
        kind = _TYPES.get(_text(root, "type"))
        name = _text(root, "fullName")
        # Formulas, roll-ups and the like have no value here, and standard fields are there already.
        if kind is None or path.parents[1].name in settings or not name.endswith("__c"):
            continue
        values = root.iterfind(f"{_NAMESPACE}valueSet/{_NAMESPACE}valueSetDefinition/{_NAMESPACE}value")
        is_restricted = _text(root, "valueSet/restricted") == "true"
        yield CustomField.model_validate(
            {
                "on": path.parents[1].name,
                "name": name,
                "label": _text(root, "label"),
                "type": kind,
                "length": int(_text(root, "length", "255")),
                "required": _text(root, "required") == "true",
                "external": _text(root, "externalId") == "true",
                "values": tuple(_text(one, "fullName") for one in values) if is_restricted else (),
                "refers_to": _text(root, "referenceTo") or None,
            }
        )


def _permission_sets(folder: Path) -> Iterator[PermissionSet]:
    for path, root in _files(folder, "permissionsets/*.permissionset-meta.xml"):
        objects = {
            _text(one, "object"): frozenset(right for tag, right in _RIGHTS.items() if _text(one, tag) == "true")
            for one in _all(root, "objectPermissions")
        }
        fields = {
            _text(one, "field"): _text(one, "editable") == "true"
            for one in _all(root, "fieldPermissions")
            if _text(one, "readable") == "true"
        }
        yield PermissionSet(name=path.name.split(".")[0], objects=objects, fields=fields)


def _record_flows(folder: Path) -> Iterator[tuple[Path, etree._Element, dict[str, Any]]]:
    """The flows that run after a record was saved, with their entry conditions."""
    for path, root in _files(folder, "flows/*.flow-meta.xml"):
        start = root.find(f"{_NAMESPACE}start")
        if start is None or _text(start, "triggerType") != _AFTER_SAVE:
            continue
        when = _text(start, "recordTriggerType")
        try:
            formula = _text(start, "filterFormula") or _filters(start)
            if formula:
                parse_formula(formula)
        except ValueError as error:
            raise ValueError(f"metadata: {path}: {error}") from None
        if when == "Create":
            formula = f"AND(ISNEW(), {formula})" if formula else "ISNEW()"
        elif when == "Update":
            formula = f"AND(NOT(ISNEW()), {formula})" if formula else "NOT(ISNEW())"
        yield path, root, {"on": _text(start, "object"), "formula": formula or "TRUE"}


def _filters(start: etree._Element) -> str:
    """The entry conditions of a flow that has no formula, as a formula; empty if there are none."""
    if _text(start, "filterLogic", "and").lower() != "and":
        raise ValueError(f"the filter logic {_text(start, 'filterLogic')!r} is not supported; use a formula")
    now, before = [], []
    for one in _all(start, "filters"):
        compare = _OPERATORS.get(_text(one, "operator"))
        if compare is None:
            raise ValueError(f"the operator {_text(one, 'operator')!r} is not supported; use a formula")
        text = one.findtext(f"{_NAMESPACE}value/{_NAMESPACE}stringValue")
        literal = _text(one, "value/booleanValue") or _text(one, "value/numberValue") if text is None else f'"{text}"'
        field = f"{{!$Record.{_text(one, 'field')}}}"
        now.append(f"{field} {compare} {literal}")
        before.append(f"PRIORVALUE({field}) {compare} {literal}")
    if not now:
        return ""
    formula = f"AND({', '.join(now)})"
    if _text(start, "doesRequireRecordChangedToMeetCriteria") == "true":
        return f"AND({formula}, OR(ISNEW(), NOT(AND({', '.join(before)}))))"
    return formula


def _publishing_flows(folder: Path) -> Iterator[Flow]:
    for path, root, entry in _record_flows(folder):
        for create in _all(root, "recordCreates"):
            event = _text(create, "object")
            if event.endswith("__e"):
                name = path.name.removesuffix(".flow-meta.xml")
                is_active = _text(root, "status") == "Active"
                yield Flow(
                    **entry, name=name, active=is_active, publishes=event, assignments=_assignments(path, create)
                )


def _assignments(path: Path, create: etree._Element) -> dict[str, str]:
    found = {}
    for one in _all(create, "inputAssignments"):
        field, source = _text(one, "field"), _text(one, "value/elementReference")
        if source == ORGANIZATION_ID:
            found[field] = ORGANIZATION_ID
        elif source.startswith("$Record."):
            found[field] = source.removeprefix("$Record.")
        else:
            raise ValueError(f"metadata: {path}: {field} is neither a field of the record nor {ORGANIZATION_ID}")
    return found


def _messages(folder: Path, endpoints: Mapping[str, str]) -> Iterator[OutboundDefinition]:
    """The outbound messages that a flow sends, and for which there is an endpoint."""
    sent: dict[str, dict[str, Any]] = {}
    for _, root, entry in _record_flows(folder):
        for action in _all(root, "actionCalls"):
            if _text(action, "actionType") == "outboundMessage" and _text(root, "status") == "Active":
                sent[_text(action, "actionName")] = entry
    for path, root in _files(folder, "workflows/*.workflow-meta.xml"):
        owner = path.name.removesuffix(".workflow-meta.xml")
        for one in _all(root, "outboundMessages"):
            name = _text(one, "fullName")
            if f"{owner}.{name}" in sent and name in endpoints:
                yield OutboundDefinition(
                    **sent[f"{owner}.{name}"],
                    name=name,
                    field="",
                    trigger=Trigger.BECOME,
                    fields=tuple(field.text or "" for field in _all(one, "fields")),
                    endpoint=endpoints[name],
                    include_session_id=_text(one, "includeSessionId") == "true",
                )
