"""The command lines as an operator uses them: a process of its own, and what it printed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import NamedTuple

from temporalio.client import Client

from closedwon.demo.parts import program

_PLAIN = Path(__file__).with_name("plain.toml")


class Printed(NamedTuple):
    """How a command ended."""

    code: int
    text: str
    """Standard output and standard error."""


async def closedwon(client: Client, *words: str, answer: str = "", **environment: str) -> Printed:
    """Run `closedwon <words>` against the client's Temporal server; `answer` is what is typed when it asks.

    Its settings are nothing but that encryption is off, unless `CLOSEDWON_CONFIG` names others.
    """
    settings = {"CLOSEDWON_CONFIG": str(_PLAIN), **environment}
    return await _run(client, program("closedwon"), *words, answer=answer, **settings)


async def temporal(client: Client, *words: str) -> Printed:
    """Run Temporal's own command line, which does not have the encryption key."""
    return await _run(client, program("temporal"), *words)


async def _run(client: Client, *words: str, answer: str = "", **environment: str) -> Printed:
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={
            **os.environ,
            "TEMPORAL_ADDRESS": client.service_client.config.target_host,
            "TEMPORAL_CONFIG_FILE": os.devnull,
            "COLUMNS": "100",
            **environment,
        },
    )
    output, _ = await process.communicate(answer.encode())
    assert process.returncode is not None
    return Printed(process.returncode, output.decode())
