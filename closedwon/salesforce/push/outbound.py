"""Outbound messages: what Salesforce posts to us, and our answers. Pure protocol: bytes in, frozen models out.

A message holds up to 100 notifications of one outbound message definition, so of one object, and gets one answer for
all of them. Source: SOAP API Developer Guide, "Understanding the Outbound Messaging WSDL" and "Understanding
Notifications"; field and element forms from captured messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Self, TypeVar

from lxml import etree
from pydantic import SecretStr

from closedwon.errors import ClosedwonError
from closedwon.ids import InvalidIdError, OrgId, RecordId
from closedwon.model.base import Frozen
from closedwon.salesforce.push import soap
from closedwon.salesforce.push.soap import MEDIA_TYPE, FaultCode, SoapError, fault

__all__ = ["MEDIA_TYPE", "OutboundMessage", "OutboundMessageError", "OutboundNotification", "ack", "fault", "parse"]

OUTBOUND: Final = "http://soap.sforce.com/2005/09/outbound"
SOBJECT: Final = "urn:sobject.enterprise.soap.sforce.com"

MOST_NOTIFICATIONS: Final = 100
"""Per message, by the WSDL."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,254}")
"""An API name; the longest have a namespace prefix and a suffix."""
_NIL: Final = f"{{{soap.XSI}}}nil"
_TYPE: Final = f"{{{soap.XSI}}}type"


_Id = TypeVar("_Id", bound=RecordId)


class OutboundMessageError(ClosedwonError):
    """A message that can never be accepted. Its text is for the faultstring and contains no field value."""

    def __init__(self, message: str, *, notification_ids: tuple[str, ...] = (), code: FaultCode = "Client") -> None:
        """`notification_ids`: those that can be read. `code`: the code of the fault."""
        super().__init__(message)
        self.notification_ids = notification_ids
        self.code = code

    @classmethod
    def of(cls, error: SoapError) -> Self:
        """Convert the error of an envelope, whose notifications are unknown."""
        return cls(str(error), code=error.code)


class OutboundNotification(Frozen):
    """The notification of one record. When Salesforce sends it again, `id` is the same, but fields may have changed."""

    id: RecordId
    record: RecordId | None
    """None if the record was deleted before delivery; then there are no fields either."""
    fields: dict[str, str | None] | None
    """As received, with `Id` in its long form; empty and `xsi:nil` are None, null fields may be missing."""


class OutboundMessage(Frozen):
    """One delivery."""

    org: OrgId
    session: SecretStr | None
    enterprise_url: str | None
    partner_url: str | None
    object: str | None
    """API name. None if no notification names its type; it is then the object of the endpoint."""
    notifications: tuple[OutboundNotification, ...]


def parse(body: bytes, charset: str | None = None) -> OutboundMessage:
    """Read one delivery. `charset` is that of the HTTP header; a byte order mark overrides it.

    Raises `OutboundMessageError`: the message is accepted or rejected as a whole.
    """
    try:
        root = soap.read_envelope(body, charset)
    except SoapError as error:
        raise OutboundMessageError.of(error) from None
    if root.tag != _outbound("notifications"):
        raise OutboundMessageError(f"The Body does not contain the element notifications of {OUTBOUND}.")
    elements = root.findall(_outbound("Notification"))
    try:
        return _message(root, elements)
    except OutboundMessageError as error:
        error.notification_ids = tuple(_readable_ids(elements))
        raise


def ack(accepted: bool) -> bytes:  # noqa: FBT001 - the content of the answer
    """Answer for all notifications of a message: accepted, or (False) to be sent again."""
    value = "true" if accepted else "false"
    return soap.envelope(f'<notificationsResponse xmlns="{OUTBOUND}"><Ack>{value}</Ack></notificationsResponse>')


def _message(root: etree._Element, elements: list[etree._Element]) -> OutboundMessage:
    if not 1 <= len(elements) <= MOST_NOTIFICATIONS:
        raise OutboundMessageError(f"The message has {len(elements)} notifications, not 1 to {MOST_NOTIFICATIONS}.")
    session = _text(root, "SessionId")
    objects = {name for element in elements if (name := _object(element)) is not None}
    if len(objects) > 1:
        raise OutboundMessageError("The message has notifications of more than one object.")
    return OutboundMessage(
        org=_id(OrgId, root, "OrganizationId"),
        session=SecretStr(session) if session else None,
        enterprise_url=_text(root, "EnterpriseUrl"),
        partner_url=_text(root, "PartnerUrl"),
        object=objects.pop() if objects else None,
        notifications=tuple(_notification(element) for element in elements),
    )


def _notification(element: etree._Element) -> OutboundNotification:
    identity = _id(RecordId, element, "Id")
    sobject = _only(element, _outbound("sObject"))
    fields = {} if sobject is None else _fields(sobject)
    if all(value is None for value in fields.values()):
        return OutboundNotification(id=identity, record=None, fields=None)
    record = fields.get("Id")
    if record is None:
        raise OutboundMessageError("An sObject has no Id: select the field Id in the outbound message.")
    try:
        record = RecordId(record)
    except InvalidIdError as error:
        raise OutboundMessageError(f"The Id of an sObject is not a Salesforce id: {error.problem}.") from None
    return OutboundNotification(id=identity, record=record, fields={**fields, "Id": record})


def _fields(sobject: etree._Element) -> dict[str, str | None]:
    fields: dict[str, str | None] = {}
    for element in sobject:
        name = etree.QName(element)
        if name.namespace != SOBJECT or not NAME.fullmatch(name.localname):
            raise OutboundMessageError(f"An sObject has an element that is not a field of {SOBJECT}.")
        if name.localname == "fieldsToNull":  # part of every sObject type, without meaning here
            continue
        if name.localname in fields:
            raise OutboundMessageError(f"An sObject has the field {name.localname} twice.")
        if len(element):
            raise OutboundMessageError(
                f"The field {name.localname} has child elements; only plain values are supported."
            )
        nil = element.get(_NIL, "").strip() in ("true", "1")
        # Salesforce stores an empty text as null.
        fields[name.localname] = None if nil else element.text or None
    return fields


def _object(notification: etree._Element) -> str | None:
    """The API name in `xsi:type`. Any prefix that is bound to the sObject namespace is accepted."""
    sobject = _only(notification, _outbound("sObject"))
    name = None if sobject is None else sobject.get(_TYPE)
    if sobject is None or name is None:
        return None
    prefix, colon, local = name.strip().rpartition(":")
    if sobject.nsmap.get(prefix if colon else None) != SOBJECT or not NAME.fullmatch(local):
        raise OutboundMessageError(f"The xsi:type of an sObject is not a type of {SOBJECT}.")
    return local


def _id(kind: type[_Id], parent: etree._Element, name: str) -> _Id:
    text = _text(parent, name)
    where = f"{etree.QName(parent).localname}/{name}"
    if text is None:
        raise OutboundMessageError(f"{where} is missing.")
    try:
        return kind(text)
    except InvalidIdError as error:
        raise OutboundMessageError(f"{where} is not a Salesforce id: {error.problem}.") from None


def _text(parent: etree._Element, name: str) -> str | None:
    """The text of the child, without surrounding spaces; None if absent, nil or empty."""
    element = _only(parent, _outbound(name))
    return None if element is None or element.text is None else element.text.strip() or None


def _only(parent: etree._Element, tag: str) -> etree._Element | None:
    found = parent.findall(tag)
    if len(found) > 1:
        raise OutboundMessageError(
            f"{etree.QName(parent).localname} has more than one element {etree.QName(tag).localname}."
        )
    return found[0] if found else None


def _readable_ids(elements: list[etree._Element]) -> Iterator[str]:
    for element in elements[:MOST_NOTIFICATIONS]:
        text = element.findtext(_outbound("Id"), "").strip()
        try:
            yield RecordId(text)
        except InvalidIdError:
            continue


def _outbound(name: str) -> str:
    return f"{{{OUTBOUND}}}{name}"
