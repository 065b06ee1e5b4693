"""Temporal stores only ciphertext, and an error about a key names the key's id."""

from __future__ import annotations

import base64
import os
import sys
import types
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from closedwon.encryption.codec import (
    CodecError,
    KeyMissingError,
    KeyUnfitError,
    KmsError,
    check_value,
    codec,
    data_converter,
    fingerprint,
)
from closedwon.model.orders import Customer
from closedwon.settings import Encryption, Key
from tests.support.encryption import GOLDEN_KEY, fresh_key, keyed, mistaken

CUSTOMER = Customer.model_validate({"id": "001000000000001", "name": "Edge Communications", "street": "Main Street 1"})


async def encrypted(converter: DataConverter) -> Payload:
    """A customer as Temporal would store it."""
    (payload,) = await converter.encode([CUSTOMER])
    return payload


async def test_only_key_and_encoding_can_be_read() -> None:
    """Neither the value nor its type is visible."""
    key = fresh_key("2026-11")
    payload = await encrypted(data_converter(keyed(key)))
    assert {"encoding": b"binary/encrypted", "encryption-key-id": b"2026-11"} == dict(payload.metadata)
    assert b"Edge" not in payload.SerializeToString()
    assert b"json" not in payload.SerializeToString()
    assert [CUSTOMER] == await data_converter(keyed(key)).decode([payload], [Customer])


async def test_the_same_value_is_encrypted_differently_each_time() -> None:
    """Two payloads do not reveal that two orders have the same customer."""
    converter = data_converter(keyed())
    assert (await encrypted(converter)).data != (await encrypted(converter)).data


async def test_the_first_key_encrypts_and_every_key_decrypts() -> None:
    """After a rotation, old histories can still be read, and the old key cannot decrypt new events."""
    old, new = fresh_key("old"), fresh_key("new")
    before, after = await encrypted(data_converter(keyed(old))), await encrypted(data_converter(keyed(new, old)))
    assert [b"old", b"new"] == [payload.metadata["encryption-key-id"] for payload in (before, after)]
    assert [CUSTOMER, CUSTOMER] == await data_converter(keyed(new, old)).decode([before, after], [Customer, Customer])


async def test_a_missing_key_is_named() -> None:
    """The error says which key to add, and where."""
    payload = await encrypted(data_converter(keyed(fresh_key("2026-10"))))
    with pytest.raises(KeyMissingError, match=r"key '2026-10', which `encryption.keys` does not list; add that key"):
        await data_converter(keyed(fresh_key("2026-11"))).decode([payload])


async def test_a_wrong_key_is_named() -> None:
    """The error says that another key has the id, and does not report a damaged history."""
    payload = await encrypted(data_converter(keyed(fresh_key("2026-11"))))
    with pytest.raises(KeyUnfitError, match=r"The key '2026-11' of `encryption.keys` does not decrypt"):
        await data_converter(keyed(fresh_key("2026-11"))).decode([payload])


async def test_what_a_wrong_key_has_encrypted_is_read_if_it_is_listed_as_a_mistake() -> None:
    """Two keys had one id: both decrypt, and only the right one encrypts."""
    wrong, right = fresh_key("2026-11"), fresh_key("2026-11")
    of_wrong, of_right = await encrypted(data_converter(keyed(wrong))), await encrypted(data_converter(keyed(right)))
    both = data_converter(keyed(right, mistaken(wrong)))
    assert [CUSTOMER, CUSTOMER] == await both.decode([of_wrong, of_right], [Customer, Customer])
    assert [CUSTOMER] == await data_converter(keyed(right)).decode([await encrypted(both)], [Customer])
    with pytest.raises(KeyUnfitError):
        await both.decode([await encrypted(data_converter(keyed(fresh_key("2026-11"))))])


def test_check_values_are_those_of_the_keys_that_must_be_right() -> None:
    """The encrypting key first; a key that was used by mistake is compared with nothing."""
    new, old = fresh_key("new"), fresh_key("old")
    values = codec(keyed(new, old, mistaken(fresh_key("old")))).check_values
    assert ["new", "old"] == [*values]
    assert values == {**codec(keyed(new)).check_values, **codec(keyed(old)).check_values}
    assert values["new"] != values["old"]


def test_a_check_value_never_changes() -> None:
    """Temporal keeps it without end: another value for the same key would stop every process after an update."""
    assert "c004a8b73023b074d5879af7c653036b" == check_value(bytes(range(32)))
    assert "c004a8b7" == fingerprint(check_value(bytes(range(32))))


@pytest.mark.parametrize("place", [1, 13, -1], ids=["nonce", "ciphertext", "tag"])
async def test_a_payload_that_was_changed_is_refused(place: int) -> None:
    """Write access to Temporal's database does not suffice to change an order."""
    converter = data_converter(keyed(fresh_key("2026-11")))
    payload = await encrypted(converter)
    data = bytearray(payload.data)
    data[place] ^= 1
    with pytest.raises(KeyUnfitError):
        await converter.decode([Payload(metadata=payload.metadata, data=bytes(data))])


async def test_the_key_id_is_authenticated() -> None:
    """Two ids with the same key bytes do not decrypt each other's payloads."""
    key = fresh_key("a")
    payload = await encrypted(data_converter(keyed(key)))
    payload.metadata["encryption-key-id"] = b"b"
    with pytest.raises(KeyUnfitError):
        await data_converter(keyed(Key(id="b", key=key.key))).decode([payload])


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01" + bytes(12)], ids=["empty", "no nonce", "no ciphertext"])
async def test_a_payload_that_was_cut_is_refused(data: bytes) -> None:
    """A payload that is too short raises our error, not the library's."""
    converter = data_converter(keyed(fresh_key("2026-11")))
    payload = await encrypted(converter)
    with pytest.raises(CodecError, match="2026-11"):
        await converter.decode([Payload(metadata=payload.metadata, data=data)])


async def test_a_newer_format_is_named_in_the_error() -> None:
    """After a rollback, the error does not suggest a wrong key."""
    converter = data_converter(keyed(fresh_key("2026-11")))
    payload = await encrypted(converter)
    with pytest.raises(CodecError, match="has a format that this version"):
        await converter.decode([Payload(metadata=payload.metadata, data=b"\x02" + payload.data[1:])])


async def test_only_unseal_decrypts_a_sealed_secret() -> None:
    """A user of Temporal's UI, who may decode payloads, cannot decode a sealed session id as one."""
    ours = codec(keyed())
    sealed = ours.seal(SecretStr("00D!session"))
    assert "00D!session" == ours.unseal(sealed).get_secret_value()
    payload = Payload.FromString(base64.b64decode(sealed))
    with pytest.raises(CodecError):
        await ours.decode([payload])
    with pytest.raises(CodecError):
        await ours.decode([Payload(metadata=payload.metadata, data=b"\x01" + payload.data[1:])])


async def test_plain_json_is_read() -> None:
    """An operator's signal from Temporal's own tools is accepted."""
    plain = Payload(metadata={"encoding": b"json/plain"}, data=b'"the rule was fixed"')
    assert ["the rule was fixed"] == await data_converter(keyed()).decode([plain], [str])


async def test_without_encryption_old_payloads_are_still_read() -> None:
    """Encryption can be turned off while orders are open."""
    key = fresh_key("2026-11")
    off = Encryption(enabled=False, keys=(key,))
    assert b"Edge" in (await encrypted(data_converter(off))).data
    assert [CUSTOMER] == await data_converter(off).decode([await encrypted(data_converter(keyed(key)))], [Customer])


def refuse() -> None:
    """Fail like an activity, with a cause."""
    cause = ValueError("no product for Edge")
    raise ApplicationError("refused for Edge", {"customer": "Edge"}, type="RejectedError") from cause


async def test_a_failures_message_and_stack_trace_are_encrypted() -> None:
    """The ERP's text about an order is encrypted, also in causes."""
    from temporalio.api.failure.v1 import Failure  # noqa: PLC0415 - only here

    converter = data_converter(keyed())
    failure = Failure()
    with pytest.raises(ApplicationError) as caught:
        refuse()
    await converter.encode_failure(caught.value, failure)
    assert b"Edge" not in failure.SerializeToString()
    assert b"test_codec.py" not in failure.SerializeToString()
    assert "RejectedError" == failure.application_failure_info.type
    assert "RejectedError: refused for Edge" == str(await converter.decode_failure(failure))


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """An importable module, like an operator's own."""
    module = types.ModuleType("acme_keys")
    monkeypatch.setitem(sys.modules, "acme_keys", module)
    return iter([module])


async def test_keys_without_bytes_come_from_the_kms(kms: Iterator[types.ModuleType]) -> None:
    """A key that is neither in the environment nor in a file is fetched by its id."""
    vault = {"2026-11": os.urandom(32)}
    next(kms).data_key = vault.__getitem__  # type: ignore[attr-defined]
    old = fresh_key("2026-10")
    encryption = Encryption(kms="acme_keys:data_key", keys=(Key(id="2026-11"), old))
    payload = await encrypted(data_converter(encryption))
    assert b"2026-11" == payload.metadata["encryption-key-id"]
    assert [CUSTOMER] == await data_converter(encryption).decode([payload], [Customer])


def no_key(key_id: str) -> bytes:
    """A KMS that refuses, with a secret text."""
    raise PermissionError(f"secret detail about {key_id}")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (no_key, "does not return the key '2026-11': PermissionError$"),
        (lambda _key_id: b"short", "does not return 32 bytes for the key '2026-11'"),
        (lambda _key_id: None, "does not return 32 bytes for the key '2026-11'"),
    ],
    ids=["refused", "too short", "nothing"],
)
def test_a_failing_kms_is_reported_without_its_text(kms: Iterator[types.ModuleType], answer: object, text: str) -> None:
    """A process does not start with an invalid key, and its log contains no text of the foreign module."""
    next(kms).data_key = answer  # type: ignore[attr-defined]
    with pytest.raises(KmsError, match=rf"encryption.kms 'acme_keys:data_key' {text}"):
        codec(Encryption(kms="acme_keys:data_key", keys=(Key(id="2026-11"),)))


GOLDEN_PAYLOAD = (
    "AeAWpwQRk1idKAALvWYAqfveoyTzfg8ziZRsTiluwONKPxNFigSoLFPc/8A324pw/99BHvL5kZ+dSpNshNXuESCz87asygOeySpFurvE"
    "7P2t7e1AtQ=="
)
GOLDEN_SECRET = (
    "ChsKEWVuY3J5cHRpb24ta2V5LWlkEgZnb2xkZW4KHAoIZW5jb2RpbmcSEGJpbmFyeS9lbmNyeXB0ZWQSKgKgrlvuYvLDW78HawBP"
    "INSeOveW+caKvp64aGo3dCiMxM9pPBsUHhKGYg=="
)


async def test_t4_payloads_of_the_first_version_can_be_read() -> None:
    """Format, nonce, key id and tag keep their places; otherwise open orders could not be read after an update."""
    metadata = {"encoding": b"binary/encrypted", "encryption-key-id": b"golden"}
    stored = Payload(metadata=metadata, data=base64.b64decode(GOLDEN_PAYLOAD))
    golden = codec(keyed(fresh_key("new"), GOLDEN_KEY))
    (plain,) = await golden.decode([stored])
    assert (b'{"name":"Edge Communications"}', {"encoding": b"json/plain"}) == (plain.data, dict(plain.metadata))
    assert "00D!session" == golden.unseal(GOLDEN_SECRET).get_secret_value()


async def test_t4_payloads_are_written_in_the_first_format() -> None:
    """A format byte, twelve random bytes, and the payload plus sixteen bytes: older versions can read it, too."""
    golden = codec(keyed(GOLDEN_KEY))
    plain = Payload(metadata={"encoding": b"json/plain"}, data=b"{}")
    (stored,) = await golden.encode([plain])
    assert (1, 1 + 12 + 16 + len(plain.SerializeToString())) == (stored.data[0], len(stored.data))
    sealed = Payload.FromString(base64.b64decode(golden.seal(SecretStr("s"))))
    assert (2, b"golden") == (sealed.data[0], sealed.metadata["encryption-key-id"])
