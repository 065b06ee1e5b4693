"""Encryption of everything that Temporal stores in payloads, and the data converter that every client must use.

A payload is encrypted whole, with its metadata, by AES-256-GCM:

    metadata  encoding = "binary/encrypted", encryption-key-id = the key's id
    data      format (1 byte) | nonce (12 bytes, random) | ciphertext and tag

Format and key id are authenticated. The workflow's id is not: Temporal's tools ask a codec server to decode payloads
without saying where they come from. What is not encrypted is passed through when read: an operator's signal from
Temporal's own tools is plain JSON, and so are histories from before encryption was turned on. Search attributes,
ids, names and the types of failures are no payloads and stay readable.
"""

from __future__ import annotations

import base64
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Final, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
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
"""The format of sealed secrets: whoever has payloads decoded cannot have them opened as if they were one."""
_NONCE_BYTES: Final = 12
"""96 bits, drawn at random: safe for 2^32 payloads of one key (NIST SP 800-38D, 8.3), over 100 million orders."""


class CodecError(ClosedwonError):
    """A payload cannot be decrypted, or a key cannot be had. While it lasts, Temporal retries: nothing is lost."""


class KeyMissingError(CodecError):
    """A payload was encrypted with a key that this process does not have."""

    def __init__(self, key_id: str) -> None:
        """Name the key."""
        super().__init__(
            f"A payload is encrypted with the key {key_id!r}, which `encryption.keys` does not list; add that key at "
            "the end of the list and restart this process"
        )


class KeyUnfitError(CodecError):
    """A payload does not open with the key whose id it bears."""

    def __init__(self, key_id: str) -> None:
        """Name the key."""
        super().__init__(
            f"The key {key_id!r} of `encryption.keys` does not fit a payload that names it: another key had this id, "
            "or the payload was changed; give this id the key that it had when the payload was written"
        )


class KmsError(CodecError):
    """`encryption.kms` does not give a key."""


class EncryptionCodec(PayloadCodec):
    """Encrypts with one key, decrypts with all of them."""

    def __init__(self, keys: Mapping[str, bytes], encrypting: str | None) -> None:
        """Take keys of 32 bytes by id, and the id of the one that encrypts; None encrypts nothing."""
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._encrypting = encrypting

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt each payload."""
        if self._encrypting is None:
            return list(payloads)
        return [self._encrypt(payload, self._encrypting) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt what is encrypted, pass through what is not. Raises `CodecError`."""
        return [
            self._decrypt(payload) if payload.metadata.get("encoding") == _ENCODING else payload for payload in payloads
        ]

    def seal(self, secret: SecretStr) -> str:
        """Encrypt a text that must not be readable even where payloads are decoded. Raises `CodecError`."""
        if self._encrypting is None:
            raise CodecError("A secret cannot be sealed while [encryption] is off")
        payload = self._encrypt(Payload(data=secret.get_secret_value().encode()), self._encrypting, _SEALED)
        return base64.b64encode(payload.SerializeToString()).decode()

    def unseal(self, sealed: str) -> SecretStr:
        """Decrypt what `seal` has made. Raises `CodecError`."""
        try:
            payload = Payload.FromString(base64.b64decode(sealed))
        except (ValueError, DecodeError):
            raise CodecError("A sealed secret is none") from None
        return SecretStr(self._decrypt(payload, _SEALED).data.decode())

    def _encrypt(self, payload: Payload, key_id: str, form: bytes = _FORMAT) -> Payload:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[key_id].encrypt(nonce, payload.SerializeToString(), form + key_id.encode())
        return Payload(metadata={"encoding": _ENCODING, _KEY_ID: key_id.encode()}, data=form + nonce + sealed)

    def _decrypt(self, payload: Payload, form: bytes = _FORMAT) -> Payload:
        key_id = payload.metadata.get(_KEY_ID, b"").decode("utf-8", "replace")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise KeyMissingError(key_id)
        if payload.data[:1] != form:
            raise CodecError(f"A payload of the key {key_id!r} has a format that this version of Closedwon cannot read")
        nonce, sealed = payload.data[1 : 1 + _NONCE_BYTES], payload.data[1 + _NONCE_BYTES :]
        try:
            return Payload.FromString(cipher.decrypt(nonce, sealed, form + key_id.encode()))
        except (InvalidTag, ValueError):
            raise KeyUnfitError(key_id) from None


def codec(encryption: Encryption) -> EncryptionCodec:
    """Make the codec; asks the KMS, where there is one. Raises `KmsError`."""
    keys = {key.id: _bytes_of(key, encryption.kms) for key in encryption.keys}
    return EncryptionCodec(keys, encryption.keys[0].id if encryption.enabled else None)


def data_converter(encryption: Encryption) -> DataConverter:
    """Make the converter for clients, workers and replay. Messages and stack traces of failures are encrypted, too.

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
        # Its text is not shown: nobody knows what a foreign module puts there.
        raise KmsError(f"encryption.kms {kms!r} gives no key {key.id!r}: {type(error).__name__}") from error
    if not isinstance(data, bytes) or len(data) != KEY_BYTES:
        raise KmsError(f"encryption.kms {kms!r} gives no {KEY_BYTES} bytes for the key {key.id!r}")
    return data
