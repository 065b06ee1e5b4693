"""Ports of loopback for local servers, chosen so that no two of our processes choose the same one.

A port that is free when it is chosen may be taken before its server binds it, or while the server is down between two
starts. So a chosen port is claimed: a lock on a file, which the operating system releases when the process ends. This
module never chooses a port that another process has claimed.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import tempfile
from pathlib import Path
from typing import Final

_FREE_PORTS: Final = range(20000, 32768)
"""Below the ephemeral ports of Linux and macOS: while a server is down between two starts, no outgoing connection can
take its port, and no client that tries to reconnect can meet itself."""
_claims: Final[dict[int, int]] = {}
"""The open lock file of each port that this process has claimed."""


def free_port() -> int:
    """A port on which no process listens, claimed for this process until `release` or its end."""
    while True:
        port = secrets.choice(_FREE_PORTS)
        if port in _claims or not claim(port):
            continue
        if is_free(port):
            return port
        release(port)


def claim(port: int) -> bool:
    """Keep others from choosing this port; whether no other process has claimed it. A second call changes nothing."""
    if port in _claims:
        return True
    folder = Path(tempfile.gettempdir()) / f"closedwon-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder / str(port), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    _claims[port] = lock
    return True


def release(port: int) -> None:
    """Give the claim up, if there is one."""
    if (lock := _claims.pop(port, None)) is not None:
        os.close(lock)


def is_free(port: int) -> bool:
    """Whether no process listens on this port of loopback."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
