"""SOAP from attackers and defective senders: refused with a reason, in bounded time and memory, without any fetch.

A mutation-based fuzzer over a corpus of real forms (hypothesis drives it, so that it shrinks and stores a failure), and
the known attacks by name.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from closedwon.salesforce.push import outbound
from closedwon.salesforce.push.outbound import OutboundMessageError
from tests.support import outbound as sent
from tests.support.hostile import CHARSETS, CORPUS, DEAL, SECRET, TOKENS, read

FOUND = sorted((Path(__file__).parents[2] / "fuzz" / "corpus").iterdir())
"""Bodies for which the coverage-guided fuzzer found new paths through the code: see `make fuzz`."""


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A body of the corpus with up to eight changes: parts removed, repeated, moved, overwritten, tokens inserted."""
    body = draw(st.sampled_from(CORPUS))
    for _ in range(draw(st.integers(0, 8))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 60)))
        kind = draw(st.sampled_from(["cut", "double", "move", "token", "bytes", "splice"]))
        if kind == "cut":
            body = body[:start] + body[end:]
        elif kind == "double":
            body = body[:end] + body[start:end] * draw(st.integers(1, 50)) + body[end:]
        elif kind == "move":
            rest = body[:start] + body[end:]
            place = draw(st.integers(0, len(rest)))
            body = rest[:place] + body[start:end] + rest[place:]
        elif kind == "token":
            body = body[:start] + draw(st.sampled_from(TOKENS)) + body[start:]
        elif kind == "bytes":
            body = body[:start] + draw(st.binary(max_size=8)) + body[end:]
        else:
            other = draw(st.sampled_from(CORPUS))
            body = body[:start] + other[draw(st.integers(0, len(other))) :]
    return body


@st.composite
def rearranged(draw: st.DrawFn) -> bytes:
    """Well-formed XML similar to a body of the corpus: elements removed, repeated, moved, renamed, with other texts."""
    root = etree.fromstring(draw(st.sampled_from(CORPUS)))
    for _ in range(draw(st.integers(1, 4))):
        elements = list(root.iter())
        one, other = draw(st.sampled_from(elements)), draw(st.sampled_from(elements))
        kind = draw(st.sampled_from(["remove", "double", "move", "rename", "text", "nil"]))
        parent = one.getparent()
        if kind == "remove" and parent is not None:
            parent.remove(one)
        elif kind == "double" and parent is not None:
            parent.extend(deepcopy(one) for _ in range(draw(st.sampled_from([1, 2, 100, 201]))))
        elif kind == "move" and one not in other.iterancestors() and one is not other:
            other.append(one)
        elif kind == "rename":
            one.tag = other.tag
        elif kind == "text":
            one.text = draw(st.sampled_from(["", " ", "x", "00D5g000004uZcX", "04l5g0000000001", "0065g0000000001ZZZ"]))
        elif kind == "nil":
            one.set("{http://www.w3.org/2001/XMLSchema-instance}nil", draw(st.sampled_from(["true", "0", ""])))
    return etree.tostring(root)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutations(), st.none() | st.sampled_from(CHARSETS))
def test_any_mutation_is_read_or_refused(body: bytes, charset: str | None) -> None:
    """No body raises another error or takes long, and no refusal quotes its values."""
    assert SECRET not in read(body, charset)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rearranged())
def test_any_arrangement_of_elements_is_read_or_refused(body: bytes) -> None:
    """Nearly correct bodies raise no other error either, and no refusal quotes their values."""
    assert SECRET not in read(body, None)


@pytest.mark.parametrize("file", FOUND, ids=lambda file: file.name)
def test_the_bodies_of_the_fuzzer_are_read_or_refused(file: Path) -> None:
    """There is one body for each path through the readers that the coverage showed."""
    assert SECRET not in read(file.read_bytes(), None)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(CHARSETS))
def test_random_bytes_are_refused(body: bytes, charset: str | None) -> None:
    """Random bytes are not a message."""
    with pytest.raises(OutboundMessageError):
        outbound.parse(body, charset)


LAUGHS = "".join(f'<!ENTITY l{level + 1} "{f"&l{level};" * 10}">' for level in range(9))


@pytest.mark.parametrize(
    "doctype",
    [
        f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]>',
        f'<!DOCTYPE a [<!ENTITY l0 "{"ha" * 20_000}">]>',
        '<!DOCTYPE a [<!ENTITY l9 SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>',
        '<!DOCTYPE a SYSTEM "file:///etc/passwd">',
        "<!DOCTYPE a>",
        "<!-- <?x --> <?y <!--?>\n\n<!DOCTYPE a [<!-- ]> -->]>",
    ],
)
@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16"])
def test_document_types_are_refused_before_parsing(doctype: str, encoding: str) -> None:
    """Billion laughs, quadratic blow-up and local files never reach the parser."""
    text = DEAL.decode().replace("<soapenv:Envelope", f"{doctype}<soapenv:Envelope").replace(SECRET, "&l9;")
    with pytest.raises(OutboundMessageError, match="Document types and entities are not allowed"):
        outbound.parse(text.replace('"UTF-8"', f'"{encoding}"').encode(encoding))


@pytest.fixture
def callers() -> Iterator[tuple[str, list[str]]]:
    """The address of a local listener, and its callers."""
    seen: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def listen() -> None:
        while True:
            connection, caller = listener.accept()
            with connection:
                seen.append(str(caller))
                if connection.recv(5) == b"close":
                    return

    thread = threading.Thread(target=listen)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/x", seen
    with socket.create_connection(listener.getsockname()) as last:
        last.sendall(b"close")
    thread.join()
    listener.close()


def test_nothing_is_fetched(callers: tuple[str, list[str]], tmp_path: Path) -> None:
    """No reference in a body (DTD, entity, stylesheet, schema, XInclude) leads to a request or a read of a file."""
    address, seen = callers
    file = tmp_path / "secret.txt"
    file.write_text(SECRET, encoding="utf-8")
    text = sent.message([sent.deal(1, Name="@")]).decode()
    refused = [
        text.replace("<soapenv:E", f'<!DOCTYPE a SYSTEM "{place}"><soapenv:E') for place in (address, file.as_uri())
    ] + [
        text.replace("<soapenv:E", f'<!DOCTYPE a [<!ENTITY x SYSTEM "{place}">]><soapenv:E').replace("@", "&x;")
        for place in (address, file.as_uri())
    ]
    for body in refused:
        with pytest.raises(OutboundMessageError):
            outbound.parse(body.encode())
    included = f'<i:include xmlns:i="http://www.w3.org/2001/XInclude" href="{file.as_uri()}" parse="text"/>'
    with pytest.raises(OutboundMessageError, match="child elements"):
        outbound.parse(text.replace("@", included).encode())
    pointed = text.replace("<soapenv:E", f'<?xml-stylesheet href="{address}"?><soapenv:E').replace(
        "xmlns:xsd", f'xsi:schemaLocation="urn:x {address}" xmlns:xsd'
    )
    message = outbound.parse(pointed.encode())

    assert [] == seen
    assert SECRET not in str(message)


@pytest.mark.parametrize("depth", [10, 200, 300, 10_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    """A field contains a value, not nested elements, regardless of the depth."""
    tower = f"<sf:Name>{'<a>' * depth}{'</a>' * depth}</sf:Name>"
    text = sent.message([sent.deal(1, Name=SECRET)]).decode().replace(f"<sf:Name>{SECRET}</sf:Name>", tower)
    with pytest.raises(OutboundMessageError):
        outbound.parse(text.encode())
