"""`connection.json`: address and credentials of a served org. The command line and the demo read it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from closedwon.ids import OrgId

FILE_NAME = "connection.json"


class Connection(BaseModel):
    """The URL of an org and the credentials that were generated at its first start."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str
    pubsub_url: str | None = None
    """The address of the Pub/Sub API, where it is served."""
    org_id: OrgId
    client_id: str
    client_secret: str
    """The integration's app, which runs as `username`."""
    username: str
    private_key_file: str | None = None
    """PEM of the key that signs the integration's assertions (JWT bearer)."""
    sales_client_id: str
    sales_client_secret: str
    """Another app, which runs as a salesperson; `closedwon org win` uses it."""
    admin_token: str
    """Bearer token of `/_admin`."""
    pid: int
    password: str = ""
    """Of `username`, for the flows with a password; empty in the file of an older version."""
    refresh_token: str = ""
    """Of the integration's app, as if its user had approved it in the browser."""


def write_connection(directory: Path, connection: Connection) -> None:
    """Write the file atomically, readable by its owner only."""
    write_secret(directory / FILE_NAME, connection.model_dump_json(indent=2) + "\n")


def read_connection(directory: Path) -> Connection | None:
    """The connection of the org in `directory`; None if no org was served there. Raises `ValueError`."""
    path = directory / FILE_NAME
    try:
        return Connection.model_validate_json(path.read_text(encoding="utf-8")) if path.exists() else None
    except ValueError:
        raise ValueError(
            f"{path} is not the file of an org; delete it, and the next start creates new credentials"
        ) from None


@contextmanager
def only_server(directory: Path) -> Iterator[None]:
    """Hold the directory's lock, which ends with the process. Raises `ValueError` if another process has it."""
    with (directory / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another process serves the org of {directory}; stop it, or use another --data-dir"
            ) from None
        yield


def write_secret(path: Path, text: str) -> None:
    """Write `text` to a file of mode 0600. Replaces an older one atomically."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)
