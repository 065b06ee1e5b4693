"""Every connection to another host is made by `closedwon.network`, so that one set of rules holds for all of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PRODUCT = [
    path
    for package in ("closedwon", "activities", "workers", "workflows")
    for path in sorted((ROOT / package).rglob("*.py"))
    if not path.is_relative_to(ROOT / "closedwon" / "emulators")
    and not path.is_relative_to(ROOT / "closedwon" / "demo")
    and not path.is_relative_to(ROOT / "closedwon" / "network")
]
"""The emulators and the demo only talk to this machine, and stand apart from the product."""
MAKES_CONNECTIONS = {
    "aiohttp.ClientSession",
    "aiohttp.ClientTimeout",
    "aiohttp.TCPConnector",
    "aiohttp.request",
    "asyncio.open_connection",
    "http.client",
    "httpx",
    "jwt.PyJWKClient",
    "requests.Session",
    "requests.adapters",
    "requests.delete",
    "requests.get",
    "requests.head",
    "requests.patch",
    "requests.post",
    "requests.put",
    "requests.request",
    "socket.create_connection",
    "ssl.SSLContext",
    "ssl.create_default_context",
    "temporalio.client.Client.connect",
    "urllib.request",
    "urllib3",
    "websockets",
}
EXCEPTIONS = {
    ("closedwon/certify/org/listener.py", "ssl.create_default_context"),  # the server's own, as intake's
    ("closedwon/certify/org/listener.py", "ssl.SSLContext"),
    ("closedwon/intake/tls.py", "ssl.create_default_context"),  # the server's own
    ("closedwon/intake/tls.py", "ssl.SSLContext"),
    ("closedwon/operations/doctor.py", "asyncio.open_connection"),  # whether intake listens
    ("closedwon/salesforce/api/rest.py", "requests.Session"),  # over `HttpAdapter`
    ("closedwon/telemetry/exporting.py", "requests.Session"),  # over `HttpAdapter`
    ("closedwon/temporal/client.py", "temporalio.client.Client.connect"),  # with the rules of `closedwon.network`
}


def _uses(tree: ast.Module) -> Iterator[str]:
    """Yield the qualified names that a module imports or calls."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {one.asname or one.name.partition(".")[0]: one.name for one in node.names}
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
            yield from (f"{node.module}.{one.name}" for one in node.names)
            yield node.module or ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            parts, inner = [node.attr], node.value
            while isinstance(inner, ast.Attribute):
                parts.append(inner.attr)
                inner = inner.value
            if isinstance(inner, ast.Name) and inner.id in names:
                yield ".".join([names[inner.id], *reversed(parts)])


def _own_connections(text: str) -> set[str]:
    if not any(name.rpartition(".")[2] in text for name in MAKES_CONNECTIONS):
        return set()
    return MAKES_CONNECTIONS.intersection(_uses(ast.parse(text)))


def test_no_module_connects_by_itself() -> None:
    """Each use is listed here with its reason, or goes through `closedwon.network`."""
    found = {
        (path.relative_to(ROOT).as_posix(), use)
        for path in PRODUCT
        for use in _own_connections(path.read_text("utf-8"))
    }
    assert EXCEPTIONS == found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import aiohttp\nasync def f():\n    aiohttp.ClientSession()", {"aiohttp.ClientSession"}),
        ("from aiohttp import ClientSession as Session\nSession()", {"aiohttp.ClientSession"}),
        ("from urllib.request import urlopen", {"urllib.request"}),
        ("import requests as r\nr.get('x')", {"requests.get"}),
        ("from temporalio.client import Client\nClient.connect('x')", {"temporalio.client.Client.connect"}),
        ("import ssl\nssl.create_default_context()", {"ssl.create_default_context"}),
        ("import requests\nraise requests.RequestException", set()),
    ],
)
def test_the_search_finds_what_it_looks_for(text: str, expected: set[str]) -> None:
    """However a module imports it."""
    assert expected == _own_connections(text)
