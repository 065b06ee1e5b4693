"""What processes of a benchmark have used, as the kernel counts it (Linux)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_GROUP, _USER, _SYSTEM = 2, 11, 12
"""Places in `/proc/<pid>/stat` after the name of the program."""


def processor_seconds(group: int) -> float:
    """Seconds of processor time of all living processes of a group, e.g. of a `Part`, whose leader is its process."""
    total = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
        if int(fields[_GROUP]) == group:
            total += int(fields[_USER]) + int(fields[_SYSTEM])
    return total * _TICK


def resident_bytes(pid: int) -> int:
    """Resident memory of one process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
