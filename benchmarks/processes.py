"""What processes of a benchmark have used, as the kernel counts it (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_PARENT, _GROUP, _USER, _SYSTEM = 1, 2, 11, 12
"""Places in `/proc/<pid>/stat` after the name of the program."""


def processor_seconds(leader: int) -> float:
    """Seconds of processor time of all living processes of a group and of those that they have started.

    For example of a `Part`, whose process leads its group. PostgreSQL's processes each lead a group of their own.
    """
    processes = dict(_processes())
    counted = {pid for pid, fields in processes.items() if fields[_GROUP] == leader}
    started = counted
    while started:
        started = {pid for pid, fields in processes.items() if fields[_PARENT] in started and pid not in counted}
        counted |= started
    return sum(processes[pid][_USER] + processes[pid][_SYSTEM] for pid in counted) * _TICK


def _processes() -> Iterator[tuple[int, list[int]]]:
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            _state, *fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
        yield int(file.parent.name), [0, *map(int, fields)]


def resident_bytes(pid: int) -> int:
    """Resident memory of one process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
