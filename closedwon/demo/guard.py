"""Kills the children of a process that died without ending them. Runs as a process of its own, on the standard library.

    python guard.py   < lines "+PID" and "-PID"

The parent names each child (the leader of a process group) when it starts and when it has ended. When the pipe closes,
the parent is gone, however it died, and each process that is still named is killed. This works on every platform with
pipes; the kernel's own way (`PR_SET_PDEATHSIG`) exists on Linux only and needs code between fork and exec, which is
unsafe with the threads of the Temporal SDK.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> None:
    """Read until the pipe closes, then kill."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # only the end of the parent ends the guard
    children: set[int] = set()
    for line in sys.stdin:
        pid = int(line)
        if pid > 0:
            children.add(pid)
        else:
            children.discard(-pid)
    for pid in children:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
