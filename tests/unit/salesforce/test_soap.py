"""The SOAP reader, rule by rule: encodings, bounds, refusals and their faults."""

from __future__ import annotations

import codecs

import pytest
from lxml import etree

from closedwon.salesforce.push.soap import (
    MEDIA_TYPE,
    SOAP,
    SoapError,
    envelope,
    escape,
    fault,
    read_envelope,
    read_xml,
)

MOST = 200_000


def message(content: str = "<a/>", header: str = "", namespace: str = SOAP, name: str = "Envelope") -> bytes:
    """A SOAP message."""
    return f'<e:{name} xmlns:e="{namespace}">{header}<e:Body>{content}</e:Body></e:{name}>'.encode()


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (message(namespace="http://www.w3.org/2003/05/soap-envelope"), "VersionMismatch", "not a SOAP 1.1 Envelope"),
        (message(name="Letter"), "Client", "not a SOAP Envelope"),
        (message(name="Box", namespace="urn:x"), "Client", "not a SOAP Envelope"),
        (message(name="Letter", namespace="urn:x"), "Client", "not a SOAP Envelope"),
        (message(""), "Client", "one Body with one element"),
        (message("<a/><b/>"), "Client", "one Body with one element"),
        (message().replace(b"</e:Envelope>", b"<e:Body><a/></e:Body></e:Envelope>"), "Client", "one Body"),
        (f'<e:Envelope xmlns:e="{SOAP}"/>'.encode(), "Client", "one Body"),
        (message(header='<e:Header><b e:mustUnderstand="1"/></e:Header>'), "MustUnderstand", "requires a feature"),
        (message(header='<e:Header><b/><c e:mustUnderstand="true"/></e:Header>'), "MustUnderstand", "requires"),
        (b"<!DOCTYPE a><a/>", "Client", "Document types"),
        (b"<?xml version='1.0'?>\n<!-- x --> <?pi?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "Client", "Document"),
        (b"<a>", "Client", r"not well-formed XML, or is nested too deeply \(line 1, column 4\)"),
        (b"<a>\n<b></a>", "Client", r"\(line 2, column 8\)"),
        (b"<a>&b;</a>", "Client", "not well-formed"),
        (b"<a>" * 300 + b"</a>" * 300, "Client", "nested too deeply"),
        (b"<p:a/>", "Client", "not well-formed|has an undeclared prefix"),
        (b"<a><p:b/></a>", "Client", "not well-formed|has an undeclared prefix"),
        (b'<a xmlns="{"/>', "Client", "not well-formed|a brace"),
        (b"\xff", "Client", r"not UTF-8 \(byte 0\)"),
        (b"<a>\xe4</a>", "Client", r"not UTF-8 \(byte 3\)"),
    ],
)
def test_an_invalid_body_is_refused_with_the_right_fault(body: bytes, code: str, text: str) -> None:
    """The fault quotes nothing from the document."""
    with pytest.raises(SoapError, match=text) as caught:
        read_envelope(body)
    assert code == caught.value.code


def test_optional_headers_and_comments_are_ignored() -> None:
    """Optional headers, comments and processing instructions are skipped; blanks inside texts are kept."""
    header = '<e:Header><b e:mustUnderstand="0"/><c/></e:Header>'
    body = b" \r\n\t" + message("<a> <b>x <!-- no -->y</b><?pi no?></a>", header)
    assert "<a> <b>x y</b></a>" == etree.tostring(read_envelope(body), encoding=str).replace(f' xmlns:e="{SOAP}"', "")


@pytest.mark.parametrize(("number", "is_read"), [(MOST, True), (MOST + 1, False)])
@pytest.mark.parametrize("element", ["<b/>", "<b></b>"])
def test_t9_elements_are_counted_before_they_are_parsed(number: int, element: str, *, is_read: bool) -> None:
    """The count is exact, and end tags do not count."""
    body = f"<a>{element * (number - 1)}</a>".encode()
    if is_read:
        assert number == sum(1 for _ in read_xml(body).iter())
    else:
        with pytest.raises(SoapError, match="more than 200000 elements"):
            read_xml(body)


@pytest.mark.parametrize(
    ("mark", "codec"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (b"", "utf-16-le"),
        (b"", "utf-16-be"),
        (b"", "utf-8"),
    ],
)
@pytest.mark.parametrize("declared", ["", "UTF-8", "utf-16", "windows-1252"])
def test_t9_a_mark_overrides_every_declaration(mark: bytes, codec: str, declared: str) -> None:
    """The first bytes of a body override header and document."""
    text = f'<?xml version="1.0" encoding="{declared}"?><a>Dächer</a>' if declared and mark else "<a>Dächer</a>"
    charset = "iso-8859-1" if mark or codec != "utf-8" else None
    assert "Dächer" == read_xml(mark + text.encode(codec), charset).text


@pytest.mark.parametrize(
    ("charset", "declared", "body", "expected"),
    [
        ("iso-8859-1", "utf-8", b"\xe4", "ä"),
        (None, "iso-8859-1", b"\xe4", "ä"),
        (None, "windows-1252", b"\x80", "€"),
        (None, "utf-8", b"\xc3\xa4", "ä"),
        (None, "us-ascii", b"x", "x"),
        ("UTF8", "iso-8859-1", b"\xc3\xa4", "ä"),
    ],
)
def test_t9_the_header_overrides_the_document(charset: str | None, declared: str, body: bytes, expected: str) -> None:
    """The document's declaration overrides the default UTF-8."""
    for quote in "\"'":
        text = f"<?xml version='1.0' encoding = {quote}{declared}{quote}?><a>".encode() + body + b"</a>"
        assert expected == read_xml(text, charset).text


@pytest.mark.parametrize("charset", ["utf-7", "utf-32", "zip", "rot13", "idna", "x" * 99, "\0", "é", "cp037"])
def test_an_unsupported_encoding_is_refused(charset: str) -> None:
    """So is one that Python supports."""
    for declared in (None, charset):
        with pytest.raises(SoapError, match="encoding is not supported; send UTF-8 or UTF-16"):
            read_xml(b"<a/>", charset) if declared is None else read_xml(
                b'<?xml version="1.0" encoding="utf-7"?><a/>', None
            )


def test_a_declaration_counts_only_at_the_beginning() -> None:
    """Only the length of an XML declaration is searched."""
    late = b'<?xml version="1.0"' + b" " * 300 + b'encoding="utf-7"?><a/>'
    assert "a" == read_xml(late).tag


def test_an_answer_is_a_valid_envelope() -> None:
    """The reader can parse a fault with any text."""
    assert "text/xml; charset=utf-8" == MEDIA_TYPE
    assert "b" == read_envelope(envelope("<b/>")).tag
    answer = read_envelope(fault("Server", 'a & <b> "c" \0\ud800 d'))
    assert f"{{{SOAP}}}Fault" == answer.tag
    assert ["soapenv:Server", 'a & <b> "c" ?? d'] == [part.text for part in answer]
    assert b'<?xml version="1.0" encoding="UTF-8"?>' == envelope("")[:38]


@pytest.mark.parametrize("point", [0x9, 0xA, 0xD, 0x20, 0xD7FF, 0xE000, 0xFFFD, 0x10000, 0x10FFFF])
def test_valid_xml_characters_are_kept(point: int) -> None:
    """These are the bounds of XML 1.0, from inside; the result of `escape` is also valid in attributes."""
    assert chr(point) == escape(chr(point))
    assert "&amp;&lt;&gt;&quot;" == escape('&<>"')


@pytest.mark.parametrize("point", [0, 0x8, 0xB, 0xC, 0xE, 0x1F, 0xD800, 0xDFFF, 0xFFFE, 0xFFFF])
def test_invalid_xml_characters_become_question_marks(point: int) -> None:
    """These are the bounds of XML 1.0, from outside."""
    assert "?" == escape(chr(point))


@pytest.mark.parametrize(("length", "expected"), [(300, "ä"), (301, None)])
def test_a_declaration_is_found_within_300_bytes(length: int, expected: str | None) -> None:
    """The limit is exact."""
    start, end = b'<?xml version="1.0" encoding=', b'"iso-8859-1"'
    body = start + b" " * (length - len(start) - len(end)) + end + b"?><a>\xe4</a>"
    if expected is None:
        with pytest.raises(SoapError, match="not UTF-8"):
            read_xml(body)
    else:
        assert expected == read_xml(body).text
