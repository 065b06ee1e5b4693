"""Check values of the encryption keys: does this process have the keys that others have written with?

With a wrong key under the right id a process could write, and no other process could read it. So Temporal keeps, for
each key id, a check value that is derived from the key and does not reveal it. It is the memo of a workflow,
`encryption-key:<key id>`, because starting and describing a workflow needs no administrator, on any Temporal.

- The first writer wins: a second start under the same id is refused as long as Temporal knows the first run.
- The newest run counts, whether it is open or was ended. One that was ended is started again, with the value it had,
  before its retention is over.
- The memo is not encrypted: another client on the same connection writes it, whose converter has no codec.
- Only `replace` changes a value, because an operator asks for it.
- A Temporal without any check value is a new one, or one that came back empty; the first process cannot know whether
  its key is the right one, so it shows the fingerprint in a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.encryption.codec import EncryptionCodec, fingerprint
from closedwon.errors import ClosedwonError
from closedwon.temporal.client import is_namespace_missing

_log = logging.getLogger(__name__)

_DETAILS = (
    "Closedwon compares this check value with its key when a process starts, and while it runs. Leave this workflow "
    "open. To change the value: `closedwon codec replace-check`."
)


class WrongKeyError(ClosedwonError):
    """A key differs from the one that had its id when the check value was written. Nothing must be written with it."""

    def __init__(self, check: KeyCheck) -> None:
        """`check` is the one that differs."""
        self.check = check
        super().__init__(
            f"The key {check.key_id!r} of `encryption.keys` is not the one that Temporal knows by this id: its "
            f"fingerprint is {check.fingerprint}, not {check.known_fingerprint}{check.noted}. Configure the key with "
            f"the fingerprint {check.known_fingerprint}; if this key is the right one, see 'When a key is wrong' in "
            "docs/operate/encryption.md"
        )


class KeyCheck(NamedTuple):
    """A configured key beside what Temporal knows of it."""

    key_id: str
    value: str
    """The check value of the configured key."""
    known: str | None = None
    """The check value in Temporal; None if there is none."""
    since: datetime | None = None
    """When it was written."""
    is_open: bool = False
    """Its workflow runs."""

    @property
    def differs(self) -> bool:
        """Whether the configured key is a wrong one."""
        return self.known is not None and self.known != self.value

    @property
    def fingerprint(self) -> str:
        """Of the configured key."""
        return fingerprint(self.value)

    @property
    def known_fingerprint(self) -> str:
        """Of the key that Temporal knows."""
        return fingerprint(self.known) if self.known else "none"

    @property
    def noted(self) -> str:
        """When the value was written, for a sentence."""
        return f" (noted {self.since:%Y-%m-%d %H:%M} UTC)" if self.since else ""


async def key_checks(client: Client) -> list[KeyCheck]:
    """Read the check value of every key of the client, the encrypting one first. Raises Temporal's `RPCError`."""
    codec = client.data_converter.payload_codec
    if not isinstance(codec, EncryptionCodec):
        return []
    return [await _read(client, key_id, value) for key_id, value in codec.check_values.items()]


async def verify_keys(client: Client) -> None:
    """Refuse a wrong key; changes nothing. For all that writes, before it does. Raises `WrongKeyError`, `RPCError`."""
    _raise_for(await key_checks(client))


async def ensure_key_checks(client: Client) -> None:
    """Refuse a wrong key, and write the check values that are missing; safe to repeat.

    Raises `WrongKeyError`, or Temporal's `RPCError`.
    """
    found = await key_checks(client)
    _raise_for(found)
    is_new = all(one.known is None for one in found)
    for one in found:
        if one.is_open:
            continue
        written = await _write(client, one)
        _raise_for([written])
        if one.known is None:
            _report(one, is_new=is_new)


async def replace_key_check(client: Client, key_id: str) -> None:
    """Make the configured key of this id the one that every process must have. Raises Temporal's `RPCError`."""
    for one in await key_checks(client):
        if one.key_id == key_id:
            conflict = WorkflowIDConflictPolicy.TERMINATE_EXISTING
            await _start(client, one, WorkflowIDReusePolicy.ALLOW_DUPLICATE, conflict)


def _raise_for(checks: Sequence[KeyCheck]) -> None:
    for one in checks:
        if one.differs:
            raise WrongKeyError(one)


def _report(one: KeyCheck, *, is_new: bool) -> None:
    if not is_new:
        _log.info("Temporal now has the check value of the key %r, fingerprint %s", one.key_id, one.fingerprint)
        return
    _log.warning(
        "Temporal has no check value of an encryption key: it is new, or it was replaced by an empty one. From now on "
        "every process must have the key %r with the fingerprint %s; compare it with `closedwon codec check` where the "
        "key is known to be right",
        one.key_id,
        one.fingerprint,
    )


async def _read(client: Client, key_id: str, value: str) -> KeyCheck:
    try:
        found = await _plain(client).get_workflow_handle(names.encryption_key_workflow_id(key_id)).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND or is_namespace_missing(error):
            raise
        return KeyCheck(key_id, value)
    known = str(await found.memo_value(names.MEMO_KEY_CHECK, ""))
    return KeyCheck(key_id, value, known, found.start_time, found.status is WorkflowExecutionStatus.RUNNING)


async def _write(client: Client, one: KeyCheck) -> KeyCheck:
    """Write a value that is missing, or was ended; return what counts then: another process may have been first."""
    policy = WorkflowIDReusePolicy.REJECT_DUPLICATE if one.known is None else WorkflowIDReusePolicy.ALLOW_DUPLICATE
    try:
        await _start(client, one, policy, WorkflowIDConflictPolicy.FAIL)
    except WorkflowAlreadyStartedError:
        return await _read(client, one.key_id, one.value)
    return one


async def _start(
    client: Client, one: KeyCheck, reuse: WorkflowIDReusePolicy, conflict: WorkflowIDConflictPolicy
) -> None:
    await _plain(client).start_workflow(
        names.ENCRYPTION_KEY_WORKFLOW,
        id=names.encryption_key_workflow_id(one.key_id),
        task_queue=names.ORDERS_QUEUE,
        id_reuse_policy=reuse,
        id_conflict_policy=conflict,
        memo={names.MEMO_KEY_CHECK: one.value},
        static_summary=f"the encryption key {one.key_id}, fingerprint {one.fingerprint}",
        static_details=_DETAILS,
    )


def _plain(client: Client) -> Client:
    """The same connection without a codec."""
    return Client(client.service_client, namespace=client.namespace, data_converter=pydantic_data_converter)
