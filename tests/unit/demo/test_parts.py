"""How a child process is handled: ready, dead, hung, killed, stopped, started again; and never left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from closedwon.demo.parts import Guard, Part, PartError, Ports, State
from tests.support.handoff import until

SERVE = """
import signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("serving", flush=True)
while True:
    signal.pause()
"""
SERVE_STUBBORNLY = SERVE.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")
SERVE_WITH_CHILD = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
{SERVE}"""
DIE = "print('something about a missing file'); raise SystemExit(3)"
HANG = "import time; print('still thinking', flush=True); time.sleep(60)"


class Script(Part):
    """A Python script that is ready when it says `serving`."""

    def __init__(self, script: str, **how: Any) -> None:
        super().__init__("part", **how)
        self.script = script

    def command(self) -> Sequence[str]:
        return [sys.executable, "-c", self.script, str(self.port)]

    async def is_ready(self) -> bool:
        return "serving" in self.last_lines()


@pytest.fixture
def guard() -> Iterator[Guard]:
    """A guard that kills what a test leaves behind."""
    guard = Guard()
    guard.start()
    yield guard
    guard.close()


@pytest.fixture
def make(tmp_path: Path, guard: Guard) -> Callable[[str], Script]:
    """Make a part of a script; a second one on the same files is a second run of the demo."""
    return lambda script: Script(script, log_dir=tmp_path, ports=Ports(tmp_path / "ports.json"), guard=guard)


@pytest.fixture
async def server(make: Callable[[str], Script]) -> AsyncIterator[Script]:
    """A part that serves."""
    part = make(SERVE)
    await part.start()
    yield part
    await part.stop()


def gone(pid: int) -> bool:
    """Whether no process has this id, or only a dead one whose exit code has not been read yet."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    except ProcessLookupError:
        return True
    except FileNotFoundError:  # a system without /proc
        return False


async def test_a_part_that_dies_while_starting_is_reported_with_the_end_of_its_log(
    make: Callable[[str], Script],
) -> None:
    """The error has the part's name, how it ended, its log file and the log's last lines."""
    part = make(DIE)

    with pytest.raises(PartError, match="part ended while it was starting") as raised:
        await part.start()

    assert "exit code 3" in str(raised.value)
    assert str(part.log) in str(raised.value)
    assert "something about a missing file" in str(raised.value)


async def test_a_part_that_hangs_is_reported_and_ended(make: Callable[[str], Script]) -> None:
    """Patience ends when it logs nothing more; the report says where it hung, and it does not run on."""
    part = make(HANG)
    start = asyncio.create_task(part.start())
    await until(lambda: "still thinking" in part.last_lines())
    part.patience = 0.3

    with pytest.raises(PartError, match=r"has logged nothing for(.|\n)*still thinking(.|\n)*most recent call first"):
        await start

    assert gone(part.pid)


async def test_a_part_that_ends_unasked_is_reported(server: Script) -> None:
    """`check` distinguishes a death from a stop."""
    server.check()
    os.kill(server.pid, signal.SIGKILL)
    await until(lambda: gone(server.pid))

    with pytest.raises(PartError, match=r"part ended by itself \(SIGKILL\)(.|\n)*serving"):
        server.check()

    assert State.FAILED == server.state


async def test_a_killed_part_is_not_reported_and_restarts_on_its_port(server: Script) -> None:
    """`kill` is a crash that was asked for; `start` makes a new process on the same port."""
    port, pid = server.port, server.pid
    await server.kill()
    server.check()

    assert (State.KILLED, -signal.SIGKILL) == (server.state, server.exit_code)

    await server.start()

    assert State.READY == server.state
    assert port == server.port
    assert pid != server.pid


async def test_a_stopped_part_ends_by_itself_or_is_killed(make: Callable[[str], Script], server: Script) -> None:
    """SIGTERM first; SIGKILL when the grace is over."""
    assert 0 == await server.stop()

    stubborn = make(SERVE_STUBBORNLY)
    stubborn.grace = 0.2
    await stubborn.start()

    assert -signal.SIGKILL == await stubborn.stop()
    assert State.STOPPED == stubborn.state


async def test_ports_are_remembered_from_run_to_run(make: Callable[[str], Script], server: Script) -> None:
    """A second run finds each part where it was."""
    await server.stop()
    again = make(SERVE)
    await again.start()
    await again.stop()

    assert server.port == again.port


async def test_a_port_that_a_stranger_has_taken_is_replaced(make: Callable[[str], Script], server: Script) -> None:
    """Another program on a remembered port neither stops the demo nor passes for its part."""
    await server.stop()
    with socket.create_server(("127.0.0.1", server.port)):
        again = make(SERVE)
        await again.start()
        await again.stop()

    assert server.port != again.port


async def test_children_of_a_part_end_with_it(make: Callable[[str], Script]) -> None:
    """A killed part takes its whole process group along."""
    part = make(SERVE_WITH_CHILD)
    await part.start()
    child = int(part.last_lines().splitlines()[0])
    await part.kill()

    await until(lambda: gone(child))


async def test_a_cancelled_start_leaves_no_process(make: Callable[[str], Script]) -> None:
    """Ctrl-C while a part starts ends the part."""
    part = make(HANG)
    start = asyncio.create_task(part.start())
    await until(lambda: "still thinking" in part.last_lines())
    start.cancel()
    await asyncio.wait({start})

    assert start.cancelled()
    assert -signal.SIGKILL == part.exit_code


async def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """SIGKILL of the demo leaves nothing running: the guard ends the parts."""
    parent = subprocess.Popen(  # noqa: ASYNC220 - what asyncio starts, it also watches
        [sys.executable, __file__, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout is not None
    child = int(await asyncio.to_thread(parent.stdout.readline))
    os.kill(child, 0)

    parent.kill()
    parent.wait()
    parent.stdout.close()

    await until(lambda: gone(child))


async def _parent(folder: Path) -> None:
    guard = Guard()
    guard.start()
    part = Script(SERVE, log_dir=folder, ports=Ports(folder / "ports.json"), guard=guard)
    await part.start()
    print(json.dumps(part.pid), flush=True)  # noqa: T201 - how the test learns it
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_parent(Path(sys.argv[1])))
