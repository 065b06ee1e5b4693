"""Clients for Node with the org, unmodified: jsforce and cometd.js."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from closedwon.emulators.salesforce import OrgConfig, SalesforceEmulator
from tests.support.tools import NODE_CLIENTS, needs_node_clients
from tests.support.waiting import STALL

pytestmark = needs_node_clients
SCRIPTS = Path(__file__).parent / "node"


@pytest.fixture
async def org() -> AsyncIterator[SalesforceEmulator]:
    """A served org that allows every login."""
    async with SalesforceEmulator.running(config=OrgConfig(password_flow=True, soap_login=True)) as running:
        yield running


async def run(script: str, org: SalesforceEmulator) -> dict[str, Any]:
    """What a script prints, as JSON."""
    assert NODE_CLIENTS is not None
    about = org.connection().model_dump(mode="json") | {"token": org.oauth.issue(org.integration_user)}
    process = await asyncio.create_subprocess_exec(
        NODE_CLIENTS,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"ORG": json.dumps(about), "PATH": "/usr/bin:/bin"},
    )
    try:
        async with asyncio.timeout(STALL):
            output, errors = await process.communicate((SCRIPTS / script).read_bytes())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    found: dict[str, Any] = json.loads(output)
    return found


async def test_jsforce_works(org: SalesforceEmulator) -> None:
    """Three logins, records, collections, queries over pages, the identity URL, errors and streaming work."""
    org.seed(2100)
    assert await run("jsforce.mjs", org) == {
        "soap": org.org_id,
        "password": org.org_id,
        "identity": org.username,
        "created": [True, True, True],
        "upserted": True,
        "updated": True,
        "found": [["c", "jsforce"], ["b", "jsforce"]],
        "count": 2,
        "children": 2,
        "all": 2104,
        "described": True,
        "deleted": [True, True, True],
        "limits": 100_000,
        "error": "INVALID_FIELD",
        "event": "from jsforce",
    }


async def test_cometd_js_receives_replayed_and_live_events(org: SalesforceEmulator) -> None:
    """The JavaScript client of the CometD project replays an event and receives the next one by a held poll."""
    assert await run("cometd.mjs", org) == {"names": ["before", "after"]}
