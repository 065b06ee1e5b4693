"""Where a worker's time goes while it carries orders: its threads, then what ran in Python.

    python -m benchmarks.profile --orders 600 [--label NAME]

The deals lie on the bus before the subscriber starts, as in `throughput`. The processor time of each thread is the
kernel's: the main thread runs the activities, threads named `closedwon` run workflow code and calls to Salesforce, and
the others are the SDK's core. Below that are py-spy's samples of the Python threads that are busy. A sample counts
for the innermost of our modules on its stack or, without one, for the library that runs; and for each function on its
stack. Needs py-spy (`pip install py-spy`) and the right to trace processes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.report import KEPT, LATEST, server_version
from benchmarks.world import ORDERS, until_closed, world

_RATE: Final = 100
"""Samples a second; the process stands still for each."""
_OURS: Final = ("closedwon/", "workflows/", "activities/", "workers/")
_STEP: Final = "Handle._run (asyncio/events.py)"
"""Frames outside it are those of the process and of its loop."""
_IDLE: Final = ("_worker (concurrent/futures/thread.py)", "EpollSelector.select (selectors.py)")
"""Threads that wait, which py-spy may take for busy ones."""
_MODULES: Final = 24
_FUNCTIONS: Final = 45


class Stack(NamedTuple):
    """One kind of stack, outermost frame first: `function (file:line)`."""

    frames: tuple[str, ...]
    samples: int


async def profile(orders: int) -> str:
    """Profile the worker from the subscriber's start to the last order; the report."""
    program = shutil.which("py-spy")
    if program is None:
        return sys.exit("py-spy is not installed: pip install py-spy")
    with tempfile.TemporaryDirectory(prefix="closedwon-profile-") as folder:
        file = Path(folder) / "stacks.txt"
        async with world() as product:
            await product.pile_up(orders)
            pid = product.stack.workers[0].pid
            words = (
                program,
                "record",
                "--format",
                "raw",
                "--rate",
                str(_RATE),
                "--output",
                str(file),
                "--pid",
                str(pid),
            )
            before = _threads(pid)
            sampler = await asyncio.create_subprocess_exec(
                *words, "--full-filenames", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
            )
            await product.read_on()
            await until_closed(product.client, ORDERS, orders)
            used = _threads(pid)
            used.subtract(before)
            sampler.send_signal(2)  # it writes what it has
            await sampler.wait()
            server = await server_version(product.client)

        stacks = list(_stacks(file.read_text(encoding="utf-8")))
    head = (
        f"closedwon {metadata.version('closedwon')}, temporalio {metadata.version('temporalio')}, server {server}, "
        f"pydantic {metadata.version('pydantic')}, Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f} at the end; {orders} orders"
    )
    return "\n\n".join([head, _of_threads(used, orders), _of_owners(stacks), _of_functions(stacks)])


def _threads(pid: int) -> Counter[str]:
    """Milliseconds of processor time by the name of the thread; threads of a pool count as one."""
    used: Counter[str] = Counter()
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        head, _, rest = task.read_text(encoding="utf-8").rpartition(")")
        fields = rest.split()
        name = "main" if task.parent.name == str(pid) else head.partition("(")[2].rstrip("0123456789-_")
        used[name] += (int(fields[11]) + int(fields[12])) * 1000 // os.sysconf("SC_CLK_TCK")
    return used


def _stacks(text: str) -> Iterator[Stack]:
    for line in text.splitlines():
        frames, _, samples = line.rpartition(" ")
        found = [_short(frame) for frame in frames.split(";")]
        if not frames or found[-1] in _IDLE:
            continue
        inner = found[found.index(_STEP) + 1 :] if _STEP in found else found
        yield Stack(tuple(inner or found[-1:]), int(samples))


def _short(frame: str) -> str:
    """Without what the path has of this machine, and without the line."""
    function, _, place = frame.partition(" (")
    path = place.rstrip(")").rpartition(":")[0] or place.rstrip(")")
    for root in ("site-packages/", f"python{sys.version_info.major}.{sys.version_info.minor}/", f"{Path.cwd()}/"):
        path = path.rpartition(root)[2]
    return f"{function} ({path})"


def _owner(stack: Stack) -> str:
    """The innermost of our modules, else the library that runs."""
    for frame in reversed(stack.frames):
        path = frame.partition(" (")[2].rstrip(")")
        if path.startswith(_OURS):
            return path
    inner = stack.frames[-1].partition(" (")[2].rstrip(")")
    return "/".join(inner.split("/")[:3])


def _of_threads(used: Counter[str], orders: int) -> str:
    lines = [f"{name:30} {ms / orders:8.2f}" for name, ms in used.most_common() if ms]
    return "\n".join(["threads, CPU-ms per order", *lines, f"{'all':30} {used.total() / orders:8.2f}"])


def _of_owners(stacks: list[Stack]) -> str:
    owners: Counter[str] = Counter()
    for stack in stacks:
        owners[_owner(stack)] += stack.samples
    return "\n".join(
        ["samples by owner: our innermost module, else the library", *_shares(owners, owners.total(), _MODULES)]
    )


def _of_functions(stacks: list[Stack]) -> str:
    total = sum(stack.samples for stack in stacks)
    within: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    for stack in stacks:
        alone[stack.frames[-1]] += stack.samples
        for frame in set(stack.frames):
            within[frame] += stack.samples
    return "\n".join([
        "samples within a function and all that it calls", *_shares(within, total, _FUNCTIONS), "",
        "samples in a function itself", *_shares(alone, total, _MODULES),
    ])  # fmt: skip


def _shares(counts: Counter[str], total: int, most: int) -> list[str]:
    return [f"{100 * number / total:6.1f} %  {name}" for name, number in counts.most_common(most)]


def main() -> None:
    """Profile, print and store."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--orders", type=int, default=600, help="default: %(default)s")
    parser.add_argument("--label", help="also store the profile in benchmarks/results/profile-LABEL.txt")
    given = parser.parse_args()
    text = asyncio.run(profile(given.orders)) + "\n"
    print(text)
    for file in [LATEST / "profile.txt", *([KEPT / f"profile-{given.label}.txt"] if given.label else [])]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # the Temporal SDK may crash the interpreter's exit


if __name__ == "__main__":
    main()
