"""Outbound messages: every form that an org sends is read, and everything else is refused with a reason."""

from __future__ import annotations

import pytest
from lxml import etree

from closedwon.ids import OrgId, RecordId
from closedwon.salesforce.push.outbound import OutboundMessageError, ack, fault, parse
from tests.support import outbound as sent

DEAL = sent.deal(1, Amount="120000.0", CloseDate="2026-11-03", Name="Roof & Söhne <Wien>", IsWon="true")
FIELDS = {
    "Id": "0065g0000000001AAA",
    "Amount": "120000.0",
    "CloseDate": "2026-11-03",
    "IsWon": "true",
    "Name": "Roof & Söhne <Wien>",
}
GONE = f"<Notification><Id>{sent.notification_id(1)}</Id></Notification>"


def test_all_parts_of_a_message_are_read() -> None:
    """Org, action, addresses, object and every field have the sent values, ids in their long form."""
    message = parse(sent.message([DEAL]))

    assert (sent.ORG, "Opportunity") == (message.org, message.object)
    assert isinstance(message.org, OrgId)
    assert sent.URL.format(kind="c") == message.enterprise_url
    assert sent.URL.format(kind="u") == message.partner_url
    (notification,) = message.notifications
    assert ("04l5g0000000001AAA", "0065g0000000001AAA") == (notification.id, notification.record)
    assert isinstance(notification.record, RecordId)
    assert FIELDS == notification.fields


@pytest.mark.parametrize("count", [1, 2, 100])
def test_all_notifications_are_read_in_their_order(count: int) -> None:
    """A message has up to 100 notifications, and none is omitted."""
    message = parse(sent.message([sent.deal(number) for number in range(count)]))

    assert [RecordId(sent.deal_id(number)) for number in range(count)] == [one.record for one in message.notifications]


@pytest.mark.parametrize(
    "session",
    ["", '<SessionId xsi:nil="true"/>', "<SessionId/>", "<SessionId></SessionId>", "<SessionId> </SessionId>"],
)
def test_a_missing_session_id_is_none(session: str) -> None:
    """The element may be absent, nil or empty, as in all messages since February 2026."""
    assert parse(sent.message([DEAL], session=session)).session is None


def test_a_session_id_is_a_secret() -> None:
    """The session id of an older org is available, but no `repr` contains it."""
    message = parse(sent.message([DEAL], session="<SessionId>00D5g!SECRET</SessionId>"))

    assert message.session is not None
    assert "00D5g!SECRET" == message.session.get_secret_value()
    assert "SECRET" not in f"{message!r} {message} {message.model_dump_json()}"


def test_addresses_may_be_missing() -> None:
    """The addresses in a message are optional."""
    message = parse(sent.message([DEAL], urls=False))

    assert (None, None) == (message.enterprise_url, message.partner_url)


@pytest.mark.parametrize(
    ("encoding", "charset"),
    [
        ("UTF-8", None),
        ("UTF-8", "utf-8"),
        ("UTF-8", "UTF8"),
        ("UTF-8-sig", None),
        ("UTF-8-sig", "iso-8859-1"),
        ("UTF-16", None),
        ("UTF-16", "utf-16"),
        ("UTF-16LE", None),
        ("UTF-16BE", None),
        ("UTF-16BE", "utf-16"),
        ("ISO-8859-1", None),
        ("ISO-8859-1", "latin1"),
        ("windows-1252", None),
    ],
)
def test_every_usual_encoding_is_read(encoding: str, charset: str | None) -> None:
    """A byte order mark overrides the HTTP header, and the header overrides the XML declaration."""
    body = sent.message([DEAL], encoding=encoding)

    assert FIELDS == parse(body, charset).notifications[0].fields


def test_the_header_overrides_the_declaration() -> None:
    """A proxy that changes the encoding changes the header, not the declaration."""
    body = sent.message([DEAL], encoding="ISO-8859-1").decode("iso-8859-1").encode()

    assert FIELDS == parse(body, "utf-8").notifications[0].fields


def test_prefixes_and_order_do_not_matter() -> None:
    """Names are compared by namespace; elements and fields may come in any order, between comments."""
    body = b"""
    <!-- by hand --><?note well?>
    <S:Envelope xmlns:S='http://schemas.xmlsoap.org/soap/envelope/' xmlns:o='http://soap.sforce.com/2005/09/outbound'
        xmlns='urn:sobject.enterprise.soap.sforce.com' xmlns:i='http://www.w3.org/2001/XMLSchema-instance'>
      <S:Header/>
      <S:Body><o:notifications>
        <o:Notification>
          <o:sObject i:type='Account'><Name>A<!-- cut -->cme <![CDATA[& Sons]]></Name>
            <Id>0015g0000000001</Id></o:sObject>
          <o:Id>04l5g0000000001</o:Id>
        </o:Notification>
        <o:ActionId>04k5g0000008Oqp</o:ActionId>
        <o:OrganizationId> 00D5g000004uZcX </o:OrganizationId>
        <o:SomethingNew>1</o:SomethingNew>
      </o:notifications></S:Body>
    </S:Envelope>"""
    message = parse(body)

    assert (sent.ORG, "Account") == (message.org, message.object)
    assert {"Id": "0015g0000000001AAA", "Name": "Acme & Sons"} == message.notifications[0].fields


@pytest.mark.parametrize(
    "amount",
    ['<sf:Amount xsi:nil="true"/>', '<sf:Amount xsi:nil="1"></sf:Amount>', "<sf:Amount/>", "<sf:Amount></sf:Amount>"],
)
def test_a_field_without_a_value_is_none(amount: str) -> None:
    """Salesforce stores an empty text as null, so nil and empty are the same."""
    body = sent.message([DEAL]).replace(b"<sf:Amount>120000.0</sf:Amount>", amount.encode())

    assert {**FIELDS, "Amount": None} == parse(body).notifications[0].fields


def test_names_of_custom_and_managed_objects_are_kept() -> None:
    """Objects and fields of the org's own and of managed packages keep their API names."""
    fields = {"Id": "a015g0000000001", "Total__c": "1", "acme__Total__c": "2", "zone__c": "3", "fieldsToNull": "Name"}
    message = parse(sent.message([sent.notification("04l5g0000000001", fields, type_="acme__Deal__c")]))

    assert "acme__Deal__c" == message.object
    expected = {"Id": "a015g0000000001AAA", "Total__c": "1", "acme__Total__c": "2", "zone__c": "3"}
    assert expected == message.notifications[0].fields


@pytest.mark.parametrize(
    "data",
    [
        "",
        "<sObject/>",
        '<sObject xsi:nil="true"/>',
        '<sObject xsi:type="sf:Opportunity" xmlns:sf="urn:sobject.enterprise.soap.sforce.com"/>',
        '<sObject xmlns:sf="urn:sobject.enterprise.soap.sforce.com"><sf:Id xsi:nil="true"/></sObject>',
    ],
)
def test_a_deleted_record_has_no_data(data: str) -> None:
    """A notification whose record was deleted before delivery is read, without fields."""
    gone = GONE.replace("</Notification>", f"{data}</Notification>")
    first, second = parse(sent.message([gone, sent.deal(2)])).notifications

    assert ("04l5g0000000001AAA", None, None) == (first.id, first.record, first.fields)
    assert RecordId(sent.deal_id(2)) == second.record


def test_the_object_is_none_without_a_type() -> None:
    """SOAP tools omit `xsi:type` if the WSDL defines it; a message of deleted records has none either."""
    untyped = DEAL.replace('xsi:type="sf:Opportunity" ', "")

    assert [None, None] == [parse(sent.message([one])).object for one in (untyped, GONE)]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("<OrganizationId>00D5g000004uZcXEAU</OrganizationId>", ""), "OrganizationId is missing"),
        (("00D5g000004uZcXEAU", "0065g000004uZcX"), "OrganizationId is not a Salesforce id"),
        (("00D5g000004uZcXEAU", "00D5g000004uZcXAAA"), "checksum"),
        (("<Id>04l5g0000000001</Id>", ""), "Notification/Id is missing"),
        (("<Id>04l5g0000000001</Id>", "<Id>04l</Id>"), "Notification/Id is not a Salesforce id"),
        (("<sf:Id>0065g0000000001</sf:Id>", ""), "select the field Id"),
        (("<sf:Id>0065g0000000001</sf:Id>", "<sf:Id>Unfug</sf:Id>"), "The Id of an sObject is not a Salesforce id"),
        (("<sf:IsWon>true</sf:IsWon>", "<sf:IsWon><b>true</b></sf:IsWon>"), "IsWon has child elements"),
        (("<sf:IsWon>true</sf:IsWon>", "<IsWon>true</IsWon>"), "not a field of urn:sobject"),
        (("<sf:IsWon>", "<sf:Amount>1</sf:Amount><sf:IsWon>"), "Amount twice"),
        (("sf:Opportunity", "Opportunity"), "xsi:type"),
        (("sf:Opportunity", "xsd:string"), "xsi:type"),
        (("sf:Opportunity", "sf:Oppor tunity"), "xsi:type"),
        (("</sObject>", "</sObject><sObject/>"), "more than one element sObject"),
        (("<OrganizationId>", "<OrganizationId>00D5g000004uZcX</OrganizationId><OrganizationId>"), "more than one"),
        (("2005/09/outbound", "2005/09/inbound"), "does not contain the element notifications"),
        (("<notifications ", "<notification "), "not well-formed"),
        (("schemas.xmlsoap.org/soap/envelope/", "www.w3.org/2003/05/soap-envelope"), "not a SOAP 1.1 Envelope"),
        (("soapenv:Envelope", "soapenv:Umschlag"), "not a SOAP Envelope"),
        (("soapenv:Body", "soapenv:Leib"), "one Body"),
        (('encoding="UTF-8"', 'encoding="UTF-7"'), "encoding is not supported"),
        (
            (" <soapenv:Body>", '<soapenv:Header><a soapenv:mustUnderstand="1"/></soapenv:Header><soapenv:Body>'),
            "Header",
        ),
    ],
)
def test_an_invalid_message_is_refused_with_a_reason(change: tuple[str, str], complaint: str) -> None:
    """The faultstring states the problem and quotes no field value."""
    old, new = change
    text = sent.message([DEAL]).decode()
    assert old in text
    with pytest.raises(OutboundMessageError, match=complaint) as caught:
        parse(text.replace(old, new).encode())

    assert not any(value in str(caught.value) for value in ("120000", "Söhne", "Unfug"))


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("Client", (sent.ORG, "not-an-org")),
        ("VersionMismatch", ("schemas.xmlsoap.org/soap/envelope/", "www.w3.org/2003/05/soap-envelope")),
        ("MustUnderstand", ("<soapenv:Body>", '<soapenv:Header><a soapenv:mustUnderstand="1"/></soapenv:Header>')),
    ],
)
def test_a_refusal_has_the_right_fault_code(code: str, change: tuple[str, str]) -> None:
    """The codes are those that SOAP 1.1 defines for each case."""
    body = sent.message([DEAL]).decode().replace(*change)
    body = body if "<soapenv:Body>" in body else body.replace("</soapenv:Header>", "</soapenv:Header><soapenv:Body>")
    with pytest.raises(OutboundMessageError) as caught:
        parse(body.encode())

    assert code == caught.value.code


def test_a_refusal_names_the_notifications() -> None:
    """One bad notification of 100 makes the whole message invalid; the error lists all ids that can be read."""
    notifications = [sent.deal(number) for number in range(99)] + [sent.deal(99).replace("04l5g", "04!5g")]
    with pytest.raises(OutboundMessageError) as caught:
        parse(sent.message(notifications))

    assert tuple(RecordId(sent.notification_id(number)) for number in range(99)) == caught.value.notification_ids


@pytest.mark.parametrize("count", [0, 101])
def test_a_message_has_1_to_100_notifications(count: int) -> None:
    """The WSDL allows only these numbers."""
    with pytest.raises(OutboundMessageError, match=f"has {count} notifications"):
        parse(sent.message([sent.deal(number) for number in range(count)]))


def test_a_message_with_two_objects_is_refused() -> None:
    """An outbound message definition has one object."""
    with pytest.raises(OutboundMessageError, match="more than one object"):
        parse(sent.message([DEAL, sent.notification("04l5g0000000002", {"Id": "0015g0000000001"}, type_="Account")]))


@pytest.mark.parametrize("accepted", [True, False])
def test_the_ack_is_true_or_false(accepted: bool) -> None:  # noqa: FBT001
    """Salesforce reads `Ack` by its namespace, once for all notifications."""
    root = etree.fromstring(ack(accepted))

    path = "{http://schemas.xmlsoap.org/soap/envelope/}Body/{%s}notificationsResponse/{%s}Ack"
    outbound = "http://soap.sforce.com/2005/09/outbound"
    assert str(accepted).lower() == root.findtext(path % (outbound, outbound))


@pytest.mark.parametrize("text", ["plain", "<b> & \"c\" 'd'", "]]>", "\x00\x0b\ud800\uffff", "Größe 😀"])
def test_a_fault_with_any_text_is_well_formed(text: str) -> None:
    """The Fault is well-formed SOAP 1.1, and its children have no namespace."""
    found = etree.fromstring(fault("Client", text)).find(".//{http://schemas.xmlsoap.org/soap/envelope/}Fault")

    assert found is not None
    assert "soapenv:Client" == found.findtext("faultcode")
    assert "".join("?" if char in "\x00\x0b\ud800\uffff" else char for char in text) == found.findtext("faultstring")
