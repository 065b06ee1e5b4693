"""What of the settings can make a running system unsafe: secrets that can be guessed, and routes open to any sender.

The settings reject a weak secret when they are read. But the file of a secret may be replaced while the process runs,
and the system at the other end uses the new value then. So the file is read again here, and its value is checked as at
the start; the process keeps the value that it has until it is restarted. A file that cannot be read is only a warning
(`Unsafe.holds` is False). A secret from the environment cannot change while a process runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pydantic import SecretStr

from closedwon.settings import ErpSettings, Org, Settings
from closedwon.settings.exposure import open_routes
from closedwon.settings.values import FileSecret, check_path_segment, check_strength, known


class Unsafe(NamedTuple):
    """One thing that is wrong; no secret is part of it."""

    text: str
    hint: str
    holds: bool = True
    """Whether orders must wait for a person; otherwise it is said in the log."""


def secrets_of_org(settings: Settings, org: Org) -> Iterator[Unsafe]:
    """Yield the unsafe keys of callouts and the unsafe path secrets of an org's routes."""
    for route in settings.routes:
        if route.org != org.name:
            continue
        if route.callouts is not None:
            yield from _unsafe(f"routes.callouts.keys of route {route.name!r}", route.callouts.keys, "callout")
        if route.outbound is not None:
            key = f"routes.outbound.path_secrets of route {route.name!r}"
            yield from _unsafe(key, route.outbound.path_secrets, "path")


def secrets_of_erp(erp: ErpSettings) -> Iterator[Unsafe]:
    """Yield the unsafe keys with which the ERP signs its webhook calls."""
    if erp.webhook is not None:
        yield from _unsafe(f"erps.webhook.keys of ERP {erp.name!r}", erp.webhook.keys, "webhook")


def intake_of_org(settings: Settings, org: Org) -> Iterator[Unsafe]:
    """Yield the routes of an org to which any sender can push."""
    if settings.intake is None:
        return
    for text, hint in open_routes([route for route in settings.routes if route.org == org.name], settings.intake):
        yield Unsafe(text, hint)


def _unsafe(key: str, secrets: Sequence[SecretStr], kind: str) -> Iterator[Unsafe]:
    for secret in known(secrets):
        try:
            now = secret.read_again() if isinstance(secret, FileSecret) else secret
        except ValueError as error:
            hint = "This process keeps the value it has; its next start would be refused."
            yield Unsafe(f"{key}: {error}", hint, holds=False)
            continue
        try:
            check_strength(kind, now)
            if kind == "path":
                check_path_segment(now)
        except ValueError as error:
            what, _, hint = str(error).partition("; ")
            where = f" (file {now.file})" if isinstance(now, FileSecret) else ""
            how = "Put it there and at the other end, and restart all processes."
            yield Unsafe(f"A secret of {key}{where} {what}", f"{hint}. {how}")
