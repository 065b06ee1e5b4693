"""Hostile and broken SOAP: bodies to begin with, tokens to salt them with, and what every reader must do with any body.

Used by the tests (hypothesis) and by the coverage-guided fuzzer (`tests/fuzz`).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lxml import etree

from closedwon.salesforce.push import outbound
from closedwon.salesforce.push.callout import CalloutError, parse_soap
from closedwon.salesforce.push.contract import Contract, ContractError
from closedwon.salesforce.push.outbound import OutboundMessageError
from tests.support import outbound as sent

SECRET = "CustomerJones"
SLOWEST = 4.0
"""Seconds of processor time for one body of 4 MiB and three readers; usual are 0.5."""
DEAL = sent.message([sent.deal(1, Name=SECRET, Amount="1.5")], session=f"<SessionId>{SECRET}</SessionId>")
CORPUS = [
    DEAL,
    sent.message([sent.deal(number, Name=SECRET) for number in range(3)], urls=False),
    sent.message([sent.deal(1, Name=SECRET)], encoding="UTF-16"),
    sent.message([sent.deal(1, Name=SECRET)], encoding="UTF-16BE"),
    sent.message([sent.notification("04l5g0000000001", {"Id": "a015g0000000001"}, type_="acme__Deal__c")]),
    sent.message(["<Notification><Id>04l5g0000000001AAA</Id><sObject xsi:nil='true'/></Notification>"]),
    outbound.ack(accepted=True),
    outbound.fault("Client", SECRET),
    Contract(object="Opportunity", fields={"Name": "xsd:string"}).wsdl("http://localhost/"),
    b"""<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><submit xmlns="urn:closedwon:callout:1">
    <org>00D5g000004uZcX</org><records><recordId>0065g0000000001</recordId><id>a</id><fields><name>N</name>
    <value>CustomerJones</value></fields></records></submit></e:Body></e:Envelope>""",
]
TOKENS = [
    *(
        b"<!DOCTYPE a>",
        b"<!DOCTYPE a [<!ENTITY x 'y'>]>",
        b"&x;",
        b"%x;",
        b"&#0;",
        b"&#x110000;",
        b"&lt;",
        b"<!--",
        b"-->",
    ),
    *(
        b"<![CDATA[",
        b"]]>",
        b"<?",
        b"?>",
        b"<?xml version='1.0' encoding='UTF-16'?>",
        b"<?xml version='1.1'?>",
        b"</a>",
    ),
    *(
        b"<a>",
        b"<a/>",
        b"<a",
        b'"',
        b"'",
        b"xmlns=''",
        b"xmlns:sf='urn:x'",
        b'xsi:nil="true"',
        b'xsi:type="x:y"',
        b"sf:",
    ),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0", b"\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\r\n", b" "),
    *(b"<Notification>", b"</Notification>", b"<Id>", b"<sObject/>", b"<sf:Id/>", b"04l5g0000000001", b"\xd8\x00"),
]
CHARSETS = [None, "utf-8", "utf-16", "iso-8859-1", "us-ascii", "utf-7", "idna", "zip", "rot13", "x" * 99, "\0", "é"]

_TOUCHES = frozenset({"open", "socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.listdir"})
_touched: list[str] | None = None
"""What Python touches while a body is read; None at other times."""


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    # Python's own modules may be loaded: a codec by its name.
    if _touched is not None and event in _TOUCHES and not str(arguments[0]).endswith((".py", ".pyc")):
        _touched.append(f"{event} {arguments[0]}")


sys.addaudithook(_audit)


@contextmanager
def _nothing_is_touched() -> Iterator[None]:
    """No file is opened, no address asked for or called, no process started (by Python; lxml's own are not seen)."""
    global _touched  # noqa: PLW0603 - an audit hook is of the whole process
    _touched = []
    try:
        yield
        assert [] == _touched
    finally:
        _touched = None


def read(body: bytes, charset: str | None) -> str:
    """Whatever reads XML from outside, on `body`, in bounded time and touching nothing: what the refusals say."""
    complaints = []
    start = time.process_time()
    with _nothing_is_touched():
        try:
            message = outbound.parse(body, charset)
            assert 1 <= len(message.notifications) <= 100
        except OutboundMessageError as error:
            complaints.append(str(error))
            etree.fromstring(outbound.fault(error.code, str(error)))
        try:
            assert parse_soap(body, charset).items
        except CalloutError as error:
            complaints.append(str(error))
            etree.fromstring(error.soap_body())
        try:
            Contract.read(body).wsdl("http://localhost/")
        except ContractError as error:
            complaints.append(str(error))
    assert SLOWEST > time.process_time() - start
    return "\n".join(complaints)


LARGEST = 4 * 1024 * 1024
"""Bytes that intake lets through."""
MOST_MEMORY = 300 * 1024
"""KiB that one body of that size may take."""
FIELDS = "".join(f"<sf:F{number}>x</sf:F{number}>" for number in range(900))
BOMBS = {
    "depth": b"<a>" * (LARGEST // 7) + b"</a>" * (LARGEST // 7),
    "elements": b"<a>" + b"<b/>" * (LARGEST // 4) + b"</a>",
    "elements below the limit": b"<a>" + b"<b></b>" * 199_000 + b"</a>",
    "attributes": b"<a " + b" ".join(b'a%x=""' % number for number in range(LARGEST // 10)) + b"/>",
    "the same attribute": b"<a" + b" a=''" * (LARGEST // 5) + b"/>",
    "namespaces": b"<a " + b" ".join(b'xmlns:a%x="u%x"' % (number, number) for number in range(LARGEST // 21)) + b"/>",
    "comments": b"<!---->" * (LARGEST // 7) + b"<a/>",
    "open comments": b"<!--" * (LARGEST // 4),
    "instructions": b"<?a?>" * (LARGEST // 5) + b"<a/>",
    "declaration": b"<?xml " + b" " * LARGEST + b"?>",
    "blanks": b" " * LARGEST,
    "one text": b"<a>" + b"x" * LARGEST + b"</a>",
    "character references": b"<a>" + b"&#65;" * (LARGEST // 5) + b"</a>",
    "long name": b"<" + b"a" * LARGEST + b"/>",
    "fields": sent.message([sent.deal(number).replace("</sf:Id>", f"</sf:Id>{FIELDS}") for number in range(100)]),
}


def cost_of(name: str) -> tuple[float, int]:
    """Read one of the `BOMBS` in a process of its own: seconds of processor time, and KiB of memory at most."""
    run = [sys.executable, "-m", __name__, name]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    seconds, kibibytes = json.loads(done.stdout)
    return seconds, kibibytes


def _measure(name: str) -> tuple[float, int]:
    body = BOMBS[name]
    read(DEAL, None)  # whatever is loaded only once
    before = resource.getrusage(resource.RUSAGE_SELF)
    read(body, None)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, after.ru_maxrss - before.ru_maxrss


if __name__ == "__main__":
    json.dump(_measure(sys.argv[1]), sys.stdout)
