"""`connection.json`: the address and credentials of a local ERP, and what it keeps for its next start.

The file is private (mode 0600). It is replaced atomically when the server is ready, so a reader sees either the whole
new file or the whole old one.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any, Final

from closedwon.emulators.ports import free_port

FILE: Final = "connection.json"


def read(data_dir: Path) -> dict[str, Any]:
    """The content that the last server of this data dir wrote; empty if there was none. Creates the data dir, private.

    Raises `ValueError`.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = data_dir / FILE
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError):
        raise ValueError(
            f"{file} is not the file of a server; delete it, and the next start creates new credentials"
        ) from None


def write(data_dir: Path, facts: dict[str, Any]) -> None:
    """Replace the file. `facts` hold url, port, credentials; the pid is added."""
    draft = data_dir / f".{FILE}.{os.getpid()}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(facts | {"pid": os.getpid()}, file, indent=2)
    draft.replace(data_dir / FILE)


def choose_port(wanted: int | None, before: dict[str, Any], default: int) -> int:
    """The wanted port (0 selects a free one), or the port of the last run, or `default`.

    Raises `OSError` (`EADDRINUSE`) if it is in use, before a server starts.
    """
    if wanted == 0:
        return free_port()
    port = int(before.get("port", default)) if wanted is None else wanted
    with socket.create_server(("127.0.0.1", port)):
        return port
