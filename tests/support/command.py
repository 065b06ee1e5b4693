"""The command line as an operator uses it: a process of its own, and what it printed."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import NamedTuple

from temporalio.client import Client

_PLAIN = Path(__file__).with_name("plain.toml")
_CLOSEDWON = Path(sys.executable).with_name("closedwon")


class Printed(NamedTuple):
    """How a command ended."""

    code: int
    text: str
    """Standard output and standard error."""


async def closedwon(client: Client, *words: str, answer: str = "", **environment: str) -> Printed:
    """Run `closedwon <words>` against the client's Temporal server; `answer` is what is typed when it asks.

    Its settings are nothing but that encryption is off, unless `CLOSEDWON_CONFIG` names others.
    """
    process = await asyncio.create_subprocess_exec(
        str(_CLOSEDWON),
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={
            **os.environ,
            "TEMPORAL_ADDRESS": client.service_client.config.target_host,
            "TEMPORAL_CONFIG_FILE": os.devnull,
            "CLOSEDWON_CONFIG": str(_PLAIN),
            "COLUMNS": "100",
            **environment,
        },
    )
    output, _ = await process.communicate(answer.encode())
    assert process.returncode is not None
    return Printed(process.returncode, output.decode())
