"""SOAP 1.1 from untrusted senders: parses the envelope, not its content. Bytes in, elements out, and back.

No document type, entity or external reference is ever read: a document with a document type is rejected before it is
parsed. Depth and number of elements are bounded, so time and memory are proportional to the size of the body, which the
caller must bound. Source of the rules: SOAP 1.1 sections 4 and 6, WS-I Basic Profile 1.1.
"""

from __future__ import annotations

import codecs
import re
from typing import Final, Literal

from lxml import etree

from closedwon.errors import ClosedwonError

SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
MEDIA_TYPE: Final = "text/xml; charset=utf-8"
"""Content-Type of every answer."""

FaultCode = Literal["Client", "Server", "MustUnderstand", "VersionMismatch"]

_MOST_ELEMENTS: Final = 200_000
"""100 notifications with 2000 fields each. An element takes about 200 bytes of memory, but only 4 bytes of body."""

_ENCODINGS: Final = frozenset({"ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "iso8859-1", "cp1252"})
"""Names as returned by `codecs.lookup`. Some other codecs of Python are unsafe or take quadratic time."""
_UTF8: Final = "utf-8"
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
"""How a body may begin (XML 1.0 appendix F), longest first. These bytes override any declared encoding."""
_DECLARED = re.compile(rb"""<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_DOCTYPE = re.compile(r"(?>\s+|<\?(?>.*?\?>)|<!--(?>.*?-->))*+<!DOCTYPE", re.DOTALL)
"""A document type can only precede the root element. Atomic groups: no backtracking, linear time."""
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold."""


class SoapError(ClosedwonError):
    """A body that is not acceptable SOAP. The message is for a faultstring; `code` is the fault's code."""

    def __init__(self, message: str, *, code: FaultCode = "Client") -> None:
        """`message` must not quote the body."""
        super().__init__(message)
        self.code = code


def read_envelope(body: bytes, charset: str | None = None) -> etree._Element:
    """Return the one element inside the Body of a SOAP 1.1 message. `charset` is that of the HTTP header.

    Raises `SoapError`.
    """
    envelope = read_xml(body, charset)
    if envelope.tag != f"{{{SOAP}}}Envelope":
        if etree.QName(envelope).localname == "Envelope":
            raise SoapError(f"The Envelope is not a SOAP 1.1 Envelope (namespace {SOAP}).", code="VersionMismatch")
        raise SoapError("The document is not a SOAP Envelope.")
    for header in envelope.iterfind(f"{{{SOAP}}}Header/*"):
        if header.get(f"{{{SOAP}}}mustUnderstand") in ("1", "true"):
            raise SoapError("The Header requires a feature that is not supported.", code="MustUnderstand")
    bodies = envelope.findall(f"{{{SOAP}}}Body")
    if len(bodies) != 1 or len(bodies[0]) != 1:
        raise SoapError("The Envelope must have one Body with one element in it.")
    return bodies[0][0]


def read_xml(body: bytes, charset: str | None = None) -> etree._Element:
    """Parse `body` without any document type; comments and processing instructions are dropped. Raises `SoapError`."""
    text = _decode(body, charset).lstrip("\ufeff \t\r\n")
    if _DOCTYPE.match(text):
        raise SoapError("Document types and entities are not allowed.")
    # Count start tags before they take memory: an end tag has a slash. Comments and texts only add to the count.
    if text.count("<") - text.count("</") > _MOST_ELEMENTS:
        raise SoapError(f"The document has more than {_MOST_ELEMENTS} elements.")
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        remove_blank_text=False,
    )
    try:
        root = etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        # Not the parser's own text: it quotes the document.
        raise SoapError(
            f"The body is not well-formed XML, or is nested too deeply (line {line}, column {column})."
        ) from None
    try:  # the parser accepts names that raise an error when they are split into their parts
        for tag in {element.tag for element in root.iter()}:
            etree.QName(tag)
    except ValueError:
        raise SoapError("An element has an undeclared prefix, or a brace in its namespace.") from None
    return root


def envelope(content: str) -> bytes:
    """Put `content` (XML, already escaped) into a SOAP 1.1 envelope, in UTF-8."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<soapenv:Envelope xmlns:soapenv="{SOAP}"><soapenv:Body>{content}</soapenv:Body></soapenv:Envelope>'
    ).encode()


def fault(code: FaultCode, text: str) -> bytes:
    """Write a SOAP 1.1 Fault. `text` may hold any character."""
    return envelope(
        f"<soapenv:Fault><faultcode>soapenv:{code}</faultcode><faultstring>{escape(text)}</faultstring></soapenv:Fault>"
    )


def escape(text: str) -> str:
    """Escape `text` for an element or a quoted attribute; characters that XML does not allow become question marks."""
    text = _NOT_XML.sub("?", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _decode(body: bytes, charset: str | None) -> str:
    """Decode by the first bytes, else by the labels of header and document (the default is UTF-8).

    Labels that disagree must not change a text silently. UTF-8 is believed if the bytes are UTF-8, which no other text
    beyond ASCII is by chance; else a label is believed if it alone can be true, or both mean the same text.
    """
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return _decoded(body, encoding)
    declared = _DECLARED.match(body[:300])
    labels = {_encoding(label) for label in (charset, declared[1].decode() if declared else None) if label} or {_UTF8}
    texts: dict[str, str] = {}
    for encoding in sorted(labels):
        try:
            texts[encoding] = _decoded(body, encoding)
        except SoapError:
            if len(labels) == 1:
                raise
    if _UTF8 in texts:
        return texts[_UTF8]
    if len(set(texts.values())) != 1:
        raise SoapError("The HTTP header and the document name different encodings; send UTF-8, and name it in both.")
    return next(iter(texts.values()))


def _decoded(body: bytes, encoding: str) -> str:
    try:
        return body.decode(encoding)
    except UnicodeDecodeError as error:
        raise SoapError(f"The body is not {encoding.upper()} (byte {error.start}).") from None


def _encoding(label: str) -> str:
    try:
        encoding = codecs.lookup(label).name
    except (LookupError, ValueError):
        encoding = ""
    if encoding not in _ENCODINGS:
        raise SoapError("The body's encoding is not supported; send UTF-8 or UTF-16.")
    return encoding
