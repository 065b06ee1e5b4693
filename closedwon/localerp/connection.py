"""`connection.json`: how a local ERP tells others where it serves and with which credentials, and what it remembers.

The file is private (mode 0600) and is replaced as a whole once the server is ready, so a reader sees all of it or the
one before.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from pathlib import Path
from typing import Any, Final

FILE: Final = "connection.json"
_FREE_PORTS: Final = range(20000, 32768)
"""Below the ephemeral ports of Linux and macOS: while a server is down between two starts, no outgoing connection can
take its port, and no client that tries to reconnect can meet itself."""


def read(data_dir: Path) -> dict[str, Any]:
    """What the last server on this data dir wrote; empty where there was none. Makes the data dir, private.

    Raises `ValueError`.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = data_dir / FILE
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError):
        raise ValueError(f"{file}: no server has written that; delete it, and credentials are made anew") from None


def write(data_dir: Path, facts: dict[str, Any]) -> None:
    """Replace the file. `facts` hold url, port, credentials; the pid is added."""
    draft = data_dir / f".{FILE}.{os.getpid()}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(facts | {"pid": os.getpid()}, file, indent=2)
    draft.replace(data_dir / FILE)


def choose_port(wanted: int | None, before: dict[str, Any], default: int) -> int:
    """The wanted port (0 picks a free one), else the one served last time, else `default`.

    Raises `OSError` (`EADDRINUSE`) when it is taken: better here than by a server that another one answers for.
    """
    if wanted == 0:
        return free_port()
    port = int(before.get("port", default)) if wanted is None else wanted
    with socket.create_server(("127.0.0.1", port)):
        return port


def free_port() -> int:
    """A port of loopback that stays free while its server is down for a moment."""
    while not is_free(port := secrets.choice(_FREE_PORTS)):
        pass
    return port


def is_free(port: int) -> bool:
    """Whether nobody listens on this port of loopback."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
