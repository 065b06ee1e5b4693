"""Temporal knows the encryption keys by their check values: the first writer wins, and a wrong key is refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from closedwon import names
from closedwon.encryption.codec import codec
from closedwon.settings import Encryption, Key
from closedwon.temporal.key_checks import WrongKeyError, ensure_key_checks, key_checks, replace_key_check, verify_keys
from tests.support.command import closedwon, temporal
from tests.support.encryption import fresh_key, keyed, mistaken, settings_file, with_keys
from tests.support.handoff import PLAIN, handoff
from tests.support.servers import start_temporal


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[WorkflowEnvironment]:
    """A Temporal server of its own: no worker completes the first tasks of these workflows."""
    async with await start_temporal() as environment:
        yield environment


def _client(server: WorkflowEnvironment, *keys: Key) -> Client:
    return with_keys(server.client, keyed(*keys))


def _fingerprint(key: Key) -> str:
    return codec(keyed(key)).check_values[key.id][:8]


async def test_the_first_of_many_processes_decides_which_key_is_right(server: WorkflowEnvironment) -> None:
    """Ten with one key and ten with another start at the same moment: all of one kind are refused, and named why."""
    first, second = fresh_key("first"), fresh_key("first")
    clients = [_client(server, key) for key in (first, second) for _ in range(10)]
    results = await asyncio.gather(*(ensure_key_checks(client) for client in clients), return_exceptions=True)

    refused = [isinstance(result, WrongKeyError) for result in results]
    assert refused in ([True] * 10 + [False] * 10, [False] * 10 + [True] * 10)
    right, wrong = (second, first) if refused[0] else (first, second)
    text = str(next(result for result in results if isinstance(result, WrongKeyError)))
    assert "The key 'first' of `encryption.keys` is not the one that Temporal knows" in text
    assert f"its fingerprint is {_fingerprint(wrong)}, not {_fingerprint(right)} (noted " in text


async def test_an_empty_temporal_is_a_warning_with_the_fingerprint_and_another_key_is_not(
    server: WorkflowEnvironment, caplog: pytest.LogCaptureFixture
) -> None:
    """A Temporal that came back empty cannot say which key is right; a key that is added to others is a rotation."""
    caplog.set_level(logging.INFO, "closedwon")
    old, new = fresh_key("warned-old"), fresh_key("warned-new")
    await ensure_key_checks(_client(server, old))
    await ensure_key_checks(_client(server, old, new))
    await ensure_key_checks(_client(server, new, old))

    assert [logging.WARNING, logging.INFO] == [record.levelno for record in caplog.records]
    for record, key in zip(caplog.records, (old, new), strict=True):
        assert f"{key.id!r}" in record.getMessage()
        assert _fingerprint(key) in record.getMessage()


async def test_each_key_of_a_rotation_must_be_right(server: WorkflowEnvironment) -> None:
    """Also one that only decrypts; one that was used by mistake is not compared."""
    old, new = fresh_key("rotated-old"), fresh_key("rotated-new")
    await ensure_key_checks(_client(server, old, new))
    for keys in ((new, old), (new,), (old, mistaken(fresh_key("rotated-old")))):
        await verify_keys(_client(server, *keys))
    for keys in ((new, fresh_key("rotated-old")), (fresh_key("rotated-new"), old)):
        with pytest.raises(WrongKeyError):
            await verify_keys(_client(server, *keys))


async def test_a_key_is_checked_while_encryption_is_off(server: WorkflowEnvironment) -> None:
    """Its payloads are still to be decrypted; without any key there is nothing to check."""
    key = fresh_key("off")
    await ensure_key_checks(_client(server, key))
    off = Encryption(enabled=False, keys=(fresh_key("off"),))
    with pytest.raises(WrongKeyError):
        await verify_keys(with_keys(server.client, off))
    await ensure_key_checks(with_keys(server.client, PLAIN))
    await ensure_key_checks(server.client)


async def test_a_check_value_that_was_ended_counts_and_is_started_again(server: WorkflowEnvironment) -> None:
    """Terminating all open workflows does not let a wrong key in, and the value outlives the retention."""
    key = fresh_key("ended")
    client = _client(server, key)
    handle = client.get_workflow_handle(names.encryption_key_workflow_id("ended"))
    await ensure_key_checks(client)
    await handle.terminate()
    with pytest.raises(WrongKeyError):
        await ensure_key_checks(_client(server, fresh_key("ended")))
    await asyncio.gather(*(ensure_key_checks(client) for _ in range(5)))

    assert WorkflowExecutionStatus.RUNNING is (await handle.describe()).status
    (found,) = await key_checks(client)
    assert (found.value, True) == (found.known, found.is_open)


async def test_only_the_check_value_is_readable_and_it_does_not_reveal_the_key(
    server: WorkflowEnvironment,
) -> None:
    """An operator without any key sees what it is about."""
    key = fresh_key("readable")
    await ensure_key_checks(_client(server, key))
    assert key.key is not None
    described = await temporal(
        server.client, "workflow", "describe", "-w", names.encryption_key_workflow_id("readable"), "-o", "json"
    )
    assert _fingerprint(key) in described.text
    assert key.key.get_secret_value() not in described.text


async def test_a_check_value_is_replaced_on_purpose(server: WorkflowEnvironment) -> None:
    """The first process had the wrong key: afterwards it is the one that is refused."""
    wrong, right = fresh_key("replaced"), fresh_key("replaced")
    await ensure_key_checks(_client(server, wrong))
    await replace_key_check(_client(server, right), "replaced")
    await ensure_key_checks(_client(server, right))
    with pytest.raises(WrongKeyError):
        await ensure_key_checks(_client(server, wrong))


async def test_an_operator_compares_and_replaces_keys(tmp_path_factory: pytest.TempPathFactory) -> None:
    """`codec check` shows fingerprints, `replace-check` changes the value; other commands refuse a wrong key."""
    wrong, right = fresh_key("2026-11"), fresh_key("2026-11")
    files = {key.key: settings_file(tmp_path_factory.mktemp("settings"), keyed(key)) for key in (wrong, right)}
    of_wrong, of_right = ({"CLOSEDWON_CONFIG": str(files[key.key])} for key in (wrong, right))
    async with handoff() as world:
        before = await closedwon(world.client, "codec", "check", **of_right)
        await ensure_key_checks(with_keys(world.client, keyed(wrong)))
        differs = await closedwon(world.client, "codec", "check", **of_right)
        refused = await closedwon(world.client, "orders", "list", **of_right)
        declined = await closedwon(world.client, "codec", "replace-check", "2026-11", answer="n\n", **of_right)
        replaced = await closedwon(world.client, "codec", "replace-check", "2026-11", answer="y\n", **of_right)
        after = await closedwon(world.client, "codec", "check", **of_right)
        again = await closedwon(world.client, "codec", "replace-check", "2026-11", **of_right)
        unknown = await closedwon(world.client, "codec", "replace-check", "2026-10", **of_right)
        other = await closedwon(world.client, "orders", "list", **of_wrong)

    assert (0, f"2026-11  {_fingerprint(right)}  not in Temporal yet\n") == before
    assert (1, True) == (differs.code, f"WRONG: Temporal knows {_fingerprint(wrong)} (noted" in differs.text)
    assert (1, True) == (refused.code, f"its fingerprint is {_fingerprint(right)}" in refused.text)
    assert 1 == declined.code
    assert (0, True) == (replaced.code, f"is replaced by {_fingerprint(right)}" in replaced.text)
    assert (0, True) == (after.code, f"{_fingerprint(right)}  as in Temporal (noted" in after.text)
    assert (0, True) == (again.code, "Temporal knows this key already" in again.text)
    assert (1, True) == (unknown.code, "`encryption.keys` does not list the key '2026-10'" in unknown.text)
    assert (1, True) == (other.code, f"its fingerprint is {_fingerprint(wrong)}" in other.text)


async def test_without_temporal_the_fingerprints_are_shown(server: WorkflowEnvironment, tmp_path: Path) -> None:
    """They can be compared by eye."""
    key = fresh_key("2026-11")
    file = settings_file(tmp_path, keyed(key))
    away = {"CLOSEDWON_CONFIG": str(file), "TEMPORAL_ADDRESS": "localhost:1"}
    code, text = await closedwon(server.client, "codec", "check", **away)
    assert 1 == code
    assert f"2026-11  {_fingerprint(key)}\n" in text
    assert "cannot be reached" in text
