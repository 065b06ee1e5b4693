"""`closedwon top`: one page for a look, and a live page that leaves the terminal as it was."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import signal
import struct
import subprocess
import termios
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console

from closedwon.cli.top_page import page
from closedwon.demo.parts import program
from closedwon.emulators.ports import free_port
from closedwon.facts import metrics_page, overview
from closedwon.facts.readers import ReaderState, readers
from closedwon.model.sweeps import Gap
from closedwon.names import OrderStage, RouteKey
from closedwon.temporal.sweeps import OpenGap
from tests.integration.cli.conftest import LONELY, Closedwon
from tests.support.handoff import handoff, until

_FORMER_SCREEN = b"\x1b[?1049l"


def test_one_page_has_stages_pace_erps_and_the_bus(closedwon: Closedwon) -> None:
    """It fits 80 columns and 24 lines, and shows that there are no workers."""
    result = closedwon("top", "--once", changes=LONELY)
    assert 0 == result.exit_code, result.output
    for word in ("unfinished", "writing-back", "begun", "lonely", "none", "production /event/Order_Requested__e"):
        assert word in result.output
    lines = result.output.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


async def test_the_page_shows_the_true_state() -> None:
    """One order done, one that the ERP refuses, one reader at work."""
    async with handoff() as world, world.working():
        world.org.seed(2)
        await world.until_written_back(*(done := world.org.win_next(1)))
        await world.order(done[0]).result()
        world.erp.faults.reject = 1
        (refused,) = world.org.win_next(1)
        await world.until_stage(refused, OrderStage.ATTENTION)
        await world.until_listed()

        async def is_read() -> bool:
            (reader,) = await readers(world.client, world.settings)
            return reader.state is ReaderState.READING

        await until(is_read)
        seen = await overview.look(world.client, world.settings)

        assert 1 == seen.unfinished == seen.stages[OrderStage.ATTENTION].number
        assert {"erp-rejected": 1} == seen.reasons
        throughput = await overview.throughput(world.client)
        assert (2, 1) == (throughput.begun, throughput.ended)
        (reader,) = seen.readers
        assert (ReaderState.READING, []) == (reader.state, seen.gaps)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (["sweeping"], "1 open gap, being swept: closedwon gaps"),
        (["sweeping", "configuration"], "2 open gaps, 1 for a person to see to: closedwon gaps"),
    ],
)
async def test_open_gaps_are_reported_with_what_they_wait_for(status: list[str], said: str) -> None:
    """A gap that is being swept needs no operator."""
    now = datetime.now(UTC)
    gap = Gap(since=now, until=now, reason="bus-moved")
    async with handoff() as world:
        seen = await overview.look(world.client, world.settings)
        key = RouteKey(world.org.org_id, "won-0")
    gaps = [OpenGap(f"gap:{one}", key, gap, one) for one in status]
    drawn = io.StringIO()
    console = Console(width=80, file=drawn)
    console.print(
        page(
            seen._replace(gaps=gaps),
            overview.Throughput(0, 0, None, None),
            metrics_page.ScrapedMetrics({}, {}, {}),
            "default",
        )
    )

    assert said in drawn.getvalue()


async def _scraped(*texts: str) -> metrics_page.ScrapedMetrics:
    """What is read of processes that say so, and of one that does not answer."""
    async with AsyncExitStack() as stack:
        addresses = [f"http://localhost:{free_port()}/metrics"]
        for text in texts:
            server = await stack.enter_async_context(TestServer(_process(text)))
            addresses.append(str(server.make_url("/metrics")))
        return await metrics_page.read(addresses)


def _process(text: str) -> web.Application:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=text)

    application = web.Application()
    application.router.add_get("/metrics", answer)
    return application


async def test_figures_of_several_processes_are_one_picture() -> None:
    """A reader that has been replaced reports 0: in any order of the answers, the one that reads counts."""
    lag = 'closedwon_cursor_lag_seconds{channel="/event/A__e",org="local",service="subscriber"} '
    used = 'closedwon_salesforce_api_used{org="local",service="orders"} 80\n'
    for lags in (("7.5", "0"), ("0", "7.5")):
        found = await _scraped(used, *(f"{lag}{one}\n" for one in lags))
        assert ({"local": 80}, {("local", "/event/A__e"): 7.5}) == (found.api_used, found.lag)


@pytest.mark.parametrize("leave", ["q", "ctrl-c"])
def test_the_live_page_ends_cleanly(closedwon: Closedwon, tmp_path: Path, leave: str) -> None:
    """Exit code 0, and the terminal's screen and settings are as before."""
    assert 0 == closedwon("top", "--once").exit_code  # writes the settings
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(theirs)
    environment = {**os.environ, "TERM": "xterm", "CLOSEDWON_CONFIG": str(tmp_path / "closedwon.toml")}
    process = subprocess.Popen(
        [program("closedwon"), "top"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    try:
        _read_until(ours, b"writing-back")
        assert before != termios.tcgetattr(theirs)
        if leave == "q":
            os.write(ours, b"q")
        else:
            process.send_signal(signal.SIGINT)
        _read_until(ours, _FORMER_SCREEN)
        assert 0 == process.wait()
        assert before == termios.tcgetattr(theirs)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def _read_until(terminal: int, wanted: bytes) -> None:
    seen = b""
    while wanted not in seen:
        seen += os.read(terminal, 65536)
