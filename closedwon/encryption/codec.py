"""Encryption of all payloads that Temporal stores, and the data converter that every client must use.

A payload is encrypted as a whole, with its metadata, by AES-256-GCM:

    metadata  encoding = "binary/encrypted", encryption-key-id = the key's id
    data      format (1 byte) | nonce (12 bytes, random) | ciphertext and tag

Format and key id are authenticated. The workflow's id is not: Temporal's tools request the decoding of payloads without
naming their workflow. A key id can stand for two keys where something was written with a wrong key by mistake: the tag
says which of them fits. When reading, payloads without encryption pass unchanged: an operator's signal from Temporal's
own tools is plain JSON, and so are histories that are older than the encryption. Search attributes, ids, names and the
types of failures are not payloads; they stay in plain text.
"""

from __future__ import annotations

import base64
import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Final, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from google.protobuf.message import DecodeError
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
)

from closedwon.errors import ClosedwonError
from closedwon.settings.encryption import KEY_BYTES, Encryption, Key

_ENCODING: Final = b"binary/encrypted"
_KEY_ID: Final = "encryption-key-id"
_FORMAT: Final = b"\x01"
_SEALED: Final = b"\x02"
"""The format of sealed secrets. It differs, so that a sealed secret cannot be decoded as a payload."""
_NONCE_BYTES: Final = 12
"""96 bits, random: safe for 2^32 payloads of one key (NIST SP 800-38D, 8.3), over 100 million orders."""
_CHECK: Final = b"closedwon key check 1"
"""Separates check values from every other use of a key. Never changed: Temporal keeps the values without end."""
_FINGERPRINT: Final = 8
"""Hex digits that people compare; a mistake, not an attacker, is what they must notice."""


class CodecError(ClosedwonError):
    """A payload cannot be decrypted, or a key is unavailable. Temporal retries, so nothing is lost."""


class KeyMissingError(CodecError):
    """A payload was encrypted with a key that this process does not have."""

    def __init__(self, key_id: str) -> None:
        """`key_id`: the key in the payload's metadata."""
        super().__init__(
            f"A payload is encrypted with the key {key_id!r}, which `encryption.keys` does not list; add that key at "
            "the end of the list and restart this process"
        )


class KeyUnfitError(CodecError):
    """A payload cannot be decrypted with the key that it names."""

    def __init__(self, key_id: str) -> None:
        """`key_id`: the key in the payload's metadata."""
        super().__init__(
            f"The key {key_id!r} of `encryption.keys` does not decrypt a payload that names it: another key had this "
            "id, or the payload was changed; `closedwon codec check` says whether this key is the right one, and "
            "docs/operate/encryption.md how to continue"
        )


class KmsError(CodecError):
    """`encryption.kms` does not return a key."""


class EncryptionCodec(PayloadCodec):
    """Encrypts with one key and decrypts with all keys."""

    def __init__(
        self, keys: Mapping[str, bytes], encrypting: str | None, mistaken: Iterable[tuple[str, bytes]] = ()
    ) -> None:
        """`keys`: 32 bytes each, by id. `encrypting`: id of the key that encrypts; None encrypts nothing.

        `mistaken`: further keys that payloads of an id may have been written with; they only decrypt.
        """
        self._ciphers = {key_id: [AESGCM(key)] for key_id, key in keys.items()}
        for key_id, key in mistaken:
            self._ciphers[key_id].append(AESGCM(key))
        self._encrypting = encrypting
        self.check_values: Mapping[str, str] = {key_id: check_value(key) for key_id, key in keys.items()}
        """Of each key, by its id, the encrypting one first; without the mistaken keys."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt each payload."""
        if self._encrypting is None:
            return list(payloads)
        return [self._encrypt(payload, self._encrypting) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt the encrypted payloads; return the others unchanged. Raises `CodecError`."""
        return [
            self._decrypt(payload) if payload.metadata.get("encoding") == _ENCODING else payload for payload in payloads
        ]

    def seal(self, secret: SecretStr) -> str:
        """Encrypt a text that must stay secret even where payloads are decoded. Raises `CodecError`."""
        if self._encrypting is None:
            raise CodecError("A secret cannot be sealed while [encryption] is off")
        payload = self._encrypt(Payload(data=secret.get_secret_value().encode()), self._encrypting, _SEALED)
        return base64.b64encode(payload.SerializeToString()).decode()

    def unseal(self, sealed: str) -> SecretStr:
        """Decrypt the result of `seal`. Raises `CodecError`."""
        try:
            payload = Payload.FromString(base64.b64decode(sealed))
        except (ValueError, DecodeError):
            raise CodecError("A text is not a sealed secret") from None
        return SecretStr(self._decrypt(payload, _SEALED).data.decode())

    def _encrypt(self, payload: Payload, key_id: str, form: bytes = _FORMAT) -> Payload:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[key_id][0].encrypt(nonce, payload.SerializeToString(), form + key_id.encode())
        return Payload(metadata={"encoding": _ENCODING, _KEY_ID: key_id.encode()}, data=form + nonce + sealed)

    def _decrypt(self, payload: Payload, form: bytes = _FORMAT) -> Payload:
        key_id = payload.metadata.get(_KEY_ID, b"").decode("utf-8", "replace")
        ciphers = self._ciphers.get(key_id)
        if ciphers is None:
            raise KeyMissingError(key_id)
        if payload.data[:1] != form:
            raise CodecError(f"A payload of the key {key_id!r} has a format that this version of Closedwon cannot read")
        nonce, sealed = payload.data[1 : 1 + _NONCE_BYTES], payload.data[1 + _NONCE_BYTES :]
        for cipher in ciphers:
            try:
                return Payload.FromString(cipher.decrypt(nonce, sealed, form + key_id.encode()))
            except (InvalidTag, ValueError):
                continue
        raise KeyUnfitError(key_id)


def check_value(key: bytes) -> str:
    """What shows that two processes have the same key and does not reveal it, in hex (HKDF-SHA256, 16 bytes)."""
    return HKDF(algorithm=SHA256(), length=16, salt=None, info=_CHECK).derive(key).hex()


def fingerprint(value: str) -> str:
    """The part of a check value that people compare."""
    return value[:_FINGERPRINT]


def codec(encryption: Encryption) -> EncryptionCodec:
    """Create the codec; fetches keys from the KMS, if one is configured. Raises `KmsError`."""
    keys = {key.id: _bytes_of(key, encryption.kms) for key in encryption.keys if not key.by_mistake}
    mistaken = [(key.id, _bytes_of(key, None)) for key in encryption.keys if key.by_mistake]
    return EncryptionCodec(keys, encryption.keys[0].id if encryption.enabled else None, mistaken)


def data_converter(encryption: Encryption) -> DataConverter:
    """Create the converter for clients, workers and replay. It encrypts messages and stack traces of failures, too.

    Raises `KmsError`.
    """
    failures = DefaultFailureConverterWithEncodedAttributes if encryption.enabled else DefaultFailureConverter
    return dataclasses.replace(
        pydantic_data_converter, payload_codec=codec(encryption), failure_converter_class=failures
    )


def _bytes_of(key: Key, kms: str | None) -> bytes:
    if key.key is not None:
        return base64.b64decode(key.key.get_secret_value())
    where, _, name = (kms or "").partition(":")
    try:
        fetch = cast("Callable[[str], object]", getattr(import_module(where), name))
        data = fetch(key.id)
    except Exception as error:
        # Its text is not shown: it may contain a secret of the foreign module.
        raise KmsError(f"encryption.kms {kms!r} does not return the key {key.id!r}: {type(error).__name__}") from error
    if not isinstance(data, bytes) or len(data) != KEY_BYTES:
        raise KmsError(f"encryption.kms {kms!r} does not return {KEY_BYTES} bytes for the key {key.id!r}")
    return data
