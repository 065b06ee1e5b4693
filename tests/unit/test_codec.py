"""What Temporal stores is ciphertext, and what is wrong with a key is said with the key's id."""

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

from closedwon.codec import CodecError, KeyMissingError, KeyUnfitError, KmsError, codec, data_converter
from closedwon.model import Customer
from closedwon.settings import Encryption, Key
from tests.support.encryption import GOLDEN_KEY, fresh_key, keyed

CUSTOMER = Customer.model_validate({"id": "001000000000001", "name": "Edge Communications", "street": "Main Street 1"})


async def encrypted(converter: DataConverter) -> Payload:
    """A customer as Temporal would store it."""
    (payload,) = await converter.encode([CUSTOMER])
    return payload


async def test_only_key_and_encoding_can_be_read() -> None:
    """Neither the value nor the kind of value shows."""
    key = fresh_key("2026-11")
    payload = await encrypted(data_converter(keyed(key)))
    assert {"encoding": b"binary/encrypted", "encryption-key-id": b"2026-11"} == dict(payload.metadata)
    assert b"Edge" not in payload.SerializeToString()
    assert b"json" not in payload.SerializeToString()
    assert [CUSTOMER] == await data_converter(keyed(key)).decode([payload], [Customer])


async def test_the_same_value_never_looks_the_same_twice() -> None:
    """Nobody learns from two payloads that two orders are of one customer."""
    converter = data_converter(keyed())
    assert (await encrypted(converter)).data != (await encrypted(converter)).data


async def test_the_first_key_encrypts_and_every_key_decrypts() -> None:
    """After a rotation old histories are read on, and new events are out of the old key's reach."""
    old, new = fresh_key("old"), fresh_key("new")
    before, after = await encrypted(data_converter(keyed(old))), await encrypted(data_converter(keyed(new, old)))
    assert [b"old", b"new"] == [payload.metadata["encryption-key-id"] for payload in (before, after)]
    assert [CUSTOMER, CUSTOMER] == await data_converter(keyed(new, old)).decode([before, after], [Customer, Customer])


async def test_a_missing_key_is_named() -> None:
    """Whoever reads the log knows which key to add, and where."""
    payload = await encrypted(data_converter(keyed(fresh_key("2026-10"))))
    with pytest.raises(KeyMissingError, match=r"key '2026-10', which `encryption.keys` does not list; add that key"):
        await data_converter(keyed(fresh_key("2026-11"))).decode([payload])


async def test_a_wrong_key_is_named() -> None:
    """Another key under an old id is not taken for a damaged history."""
    payload = await encrypted(data_converter(keyed(fresh_key("2026-11"))))
    with pytest.raises(KeyUnfitError, match=r"The key '2026-11' of `encryption.keys` does not fit"):
        await data_converter(keyed(fresh_key("2026-11"))).decode([payload])


@pytest.mark.parametrize("place", [1, 13, -1], ids=["nonce", "ciphertext", "tag"])
async def test_a_payload_that_was_changed_is_refused(place: int) -> None:
    """Whoever can write to Temporal's database cannot change what an order says."""
    converter = data_converter(keyed(fresh_key("2026-11")))
    payload = await encrypted(converter)
    data = bytearray(payload.data)
    data[place] ^= 1
    with pytest.raises(KeyUnfitError):
        await converter.decode([Payload(metadata=payload.metadata, data=bytes(data))])


async def test_a_payload_cannot_be_passed_off_as_another_keys() -> None:
    """The key's id is authenticated, too: two ids with the same bytes do not read each other's."""
    key = fresh_key("a")
    payload = await encrypted(data_converter(keyed(key)))
    payload.metadata["encryption-key-id"] = b"b"
    with pytest.raises(KeyUnfitError):
        await data_converter(keyed(Key(id="b", key=key.key))).decode([payload])


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01" + bytes(12)], ids=["empty", "no nonce", "no ciphertext"])
async def test_a_payload_that_was_cut_is_refused(data: bytes) -> None:
    """What is too short ends as our error, not as the library's."""
    converter = data_converter(keyed(fresh_key("2026-11")))
    payload = await encrypted(converter)
    with pytest.raises(CodecError, match="2026-11"):
        await converter.decode([Payload(metadata=payload.metadata, data=data)])


async def test_a_format_of_the_future_is_said_to_be_one() -> None:
    """After a rollback nobody looks for a wrong key."""
    converter = data_converter(keyed(fresh_key("2026-11")))
    payload = await encrypted(converter)
    with pytest.raises(CodecError, match="has a format that this version"):
        await converter.decode([Payload(metadata=payload.metadata, data=b"\x02" + payload.data[1:])])


async def test_a_sealed_secret_is_opened_by_nothing_but_unseal() -> None:
    """Whoever may have payloads decoded, as in Temporal's UI, gets no session id by passing it off as a payload."""
    ours = codec(keyed())
    sealed = ours.seal(SecretStr("00D!session"))
    assert "00D!session" == ours.unseal(sealed).get_secret_value()
    payload = Payload.FromString(base64.b64decode(sealed))
    with pytest.raises(CodecError):
        await ours.decode([payload])
    with pytest.raises(CodecError):
        await ours.decode([Payload(metadata=payload.metadata, data=b"\x01" + payload.data[1:])])


async def test_plain_json_is_read() -> None:
    """An operator's signal from Temporal's own tools is understood."""
    plain = Payload(metadata={"encoding": b"json/plain"}, data=b'"the rule was mended"')
    assert ["the rule was mended"] == await data_converter(keyed()).decode([plain], [str])


async def test_turned_off_it_encrypts_nothing_and_still_reads() -> None:
    """Encryption can be turned off while orders are under way."""
    key = fresh_key("2026-11")
    off = Encryption(enabled=False, keys=(key,))
    assert b"Edge" in (await encrypted(data_converter(off))).data
    assert [CUSTOMER] == await data_converter(off).decode([await encrypted(data_converter(keyed(key)))], [Customer])


def refuse() -> None:
    """Fail as an activity does, with a cause."""
    cause = ValueError("no product for Edge")
    raise ApplicationError("refused for Edge", {"customer": "Edge"}, type="RejectedError") from cause


async def test_a_failures_message_and_stack_trace_are_encrypted() -> None:
    """What the ERP said of an order stays between us, causes included."""
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
    """A module that can be imported, as an operator's own would be."""
    module = types.ModuleType("acme_keys")
    monkeypatch.setitem(sys.modules, "acme_keys", module)
    return iter([module])


async def test_a_kms_gives_the_keys_that_have_no_bytes(kms: Iterator[types.ModuleType]) -> None:
    """A key that may stand neither in the environment nor in a file is fetched by its id."""
    vault = {"2026-11": os.urandom(32)}
    next(kms).data_key = vault.__getitem__  # type: ignore[attr-defined]
    old = fresh_key("2026-10")
    encryption = Encryption(kms="acme_keys:data_key", keys=(Key(id="2026-11"), old))
    payload = await encrypted(data_converter(encryption))
    assert b"2026-11" == payload.metadata["encryption-key-id"]
    assert [CUSTOMER] == await data_converter(encryption).decode([payload], [Customer])


def no_key(key_id: str) -> bytes:
    """A KMS that refuses, with a text that nobody may see."""
    raise PermissionError(f"secret detail about {key_id}")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (no_key, "gives no key '2026-11': PermissionError$"),
        (lambda _key_id: b"short", "gives no 32 bytes for the key '2026-11'"),
        (lambda _key_id: None, "gives no 32 bytes for the key '2026-11'"),
    ],
    ids=["refused", "too short", "nothing"],
)
def test_a_kms_that_gives_no_key_is_told_without_its_words(
    kms: Iterator[types.ModuleType], answer: object, told: str
) -> None:
    """A process does not start on half a key, and its log repeats nothing that a foreign module says."""
    next(kms).data_key = answer  # type: ignore[attr-defined]
    with pytest.raises(KmsError, match=rf"encryption.kms 'acme_keys:data_key' {told}"):
        codec(Encryption(kms="acme_keys:data_key", keys=(Key(id="2026-11"),)))


GOLDEN_PAYLOAD = (
    "AeAWpwQRk1idKAALvWYAqfveoyTzfg8ziZRsTiluwONKPxNFigSoLFPc/8A324pw/99BHvL5kZ+dSpNshNXuESCz87asygOeySpFurvE"
    "7P2t7e1AtQ=="
)
GOLDEN_SECRET = (
    "ChsKEWVuY3J5cHRpb24ta2V5LWlkEgZnb2xkZW4KHAoIZW5jb2RpbmcSEGJpbmFyeS9lbmNyeXB0ZWQSKgKgrlvuYvLDW78HawBP"
    "INSeOveW+caKvp64aGo3dCiMxM9pPBsUHhKGYg=="
)


async def test_t4_what_the_first_version_encrypted_is_read_by_every_later_one() -> None:
    """Format, nonce, key id and tag are where they were: after any change of them no open order could be read."""
    metadata = {"encoding": b"binary/encrypted", "encryption-key-id": b"golden"}
    stored = Payload(metadata=metadata, data=base64.b64decode(GOLDEN_PAYLOAD))
    golden = codec(keyed(fresh_key("new"), GOLDEN_KEY))
    (plain,) = await golden.decode([stored])
    assert (b'{"name":"Edge Communications"}', {"encoding": b"json/plain"}) == (plain.data, dict(plain.metadata))
    assert "00D!session" == golden.unseal(GOLDEN_SECRET).get_secret_value()


async def test_t4_what_is_written_has_the_same_shape() -> None:
    """A format byte, twelve random bytes, and sixteen more than the payload: the version before can read it, too."""
    golden = codec(keyed(GOLDEN_KEY))
    plain = Payload(metadata={"encoding": b"json/plain"}, data=b"{}")
    (stored,) = await golden.encode([plain])
    assert (1, 1 + 12 + 16 + len(plain.SerializeToString())) == (stored.data[0], len(stored.data))
    sealed = Payload.FromString(base64.b64decode(golden.seal(SecretStr("s"))))
    assert (2, b"golden") == (sealed.data[0], sealed.metadata["encryption-key-id"])
