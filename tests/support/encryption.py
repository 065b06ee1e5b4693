"""Keys for one test, and the settings file that lists them."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

from pydantic import SecretStr
from temporalio.client import Client

from closedwon.encryption import codec
from closedwon.settings import Encryption, Key

GOLDEN_KEY = Key(id="golden", key=SecretStr(base64.b64encode(bytes(range(32))).decode()))
"""The key of the encrypted golden history and of the golden ciphertexts: they are read with it by every version."""


def fresh_key(key_id: str) -> Key:
    """A key that nothing was encrypted with yet."""
    return Key(id=key_id, key=SecretStr(base64.b64encode(os.urandom(32)).decode()))


def mistaken(key: Key) -> Key:
    """The same key, which was used by mistake and now only decrypts."""
    return key.model_copy(update={"by_mistake": True})


def keyed(*keys: Key) -> Encryption:
    """Encryption with these keys, the first of which encrypts; with a fresh one where none is given."""
    return Encryption(keys=keys or (fresh_key("2026-11"),))


def with_keys(client: Client, encryption: Encryption) -> Client:
    """The same connection, with other keys."""
    converter = codec.data_converter(encryption)
    return Client(client.service_client, namespace=client.namespace, data_converter=converter)


def as_environment(encryption: Encryption) -> dict[str, str]:
    """The same settings for a process whose file says otherwise."""
    keys = {f"TEST_KEY_{place}": key for place, key in enumerate(encryption.keys)}
    listed = [{"id": key.id, "key": {"env": name}, "by_mistake": key.by_mistake} for name, key in keys.items()]
    secrets = {name: key.key.get_secret_value() for name, key in keys.items() if key.key}
    enabled = {"CLOSEDWON_ENCRYPTION__ENABLED": str(encryption.enabled).lower()}
    return {**enabled, "CLOSEDWON_ENCRYPTION__KEYS": json.dumps(listed), **secrets}


def settings_file(folder: Path, encryption: Encryption) -> Path:
    """Write a settings file that has nothing but `[encryption]`: enough to look into Temporal."""
    lines = ["[encryption]", f"enabled = {str(encryption.enabled).lower()}"]
    for key in encryption.keys:
        assert key.key is not None
        (folder / f"{key.id}.key").write_text(key.key.get_secret_value(), encoding="utf-8")
        lines += ["[[encryption.keys]]", f'id = "{key.id}"', f'key = {{ file = "{key.id}.key" }}']
    file = folder / "closedwon.toml"
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return file
