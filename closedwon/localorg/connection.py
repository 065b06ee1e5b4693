"""`connection.json`: how to reach a served org. Written once it is ready, read by the command line and the demo."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from closedwon.ids import OrgId

FILE_NAME = "connection.json"


class Connection(BaseModel):
    """Where an org listens and the credentials that were made up for it at its first start."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str
    org_id: OrgId
    client_id: str
    client_secret: str
    """The integration's app: runs as `username`."""
    username: str
    private_key_file: str | None = None
    """PEM of the key that signs the integration's assertions (JWT bearer)."""
    sales_client_id: str
    sales_client_secret: str
    """Another app, which runs as a sales person: what `closedwon org win` uses."""
    admin_token: str
    """Bearer token of `/_admin`."""
    pid: int


def write_connection(directory: Path, connection: Connection) -> None:
    """Put the file there in one step, readable by its owner only."""
    write_secret(directory / FILE_NAME, connection.model_dump_json(indent=2) + "\n")


def read_connection(directory: Path) -> Connection | None:
    """The connection of the org in `directory`; None when no org was ever served there. Raises `ValueError`."""
    path = directory / FILE_NAME
    try:
        return Connection.model_validate_json(path.read_text(encoding="utf-8")) if path.exists() else None
    except ValueError:
        raise ValueError(f"{path}: no org has written that; delete it, and credentials are made anew") from None


def write_secret(path: Path, text: str) -> None:
    """Write `text` to a file of mode 0600, replacing an older one in one step."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)
