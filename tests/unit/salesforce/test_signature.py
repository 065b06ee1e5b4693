"""Signed callouts: a fresh signature by a configured key is accepted once; every other one is rejected."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from pydantic import SecretStr

from closedwon.salesforce.push.signature import SeenSignatures, SignatureError, SignatureRefusal, verify

NOW = datetime(2026, 11, 3, 10, 0, 0, tzinfo=UTC)
BODY = b'{"org": "00D5g000004uZcX"}'
OLD, NEW = SecretStr("the-old-key-of-long-standing"), SecretStr("the-new-key-ö")


def signed(key: SecretStr = OLD, *, body: bytes = BODY, at: datetime = NOW) -> CIMultiDict[str]:
    """The headers as Apex sends them."""
    timestamp = str(int(at.timestamp()))
    mac = hmac.new(key.get_secret_value().encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return CIMultiDict({"X-Closedwon-Timestamp": timestamp, "X-Closedwon-Signature": f"v1={mac.hexdigest()}"})


def refusal(
    headers: CIMultiDict[str],
    *,
    body: bytes = BODY,
    keys: Sequence[SecretStr] = (OLD,),
    now: datetime = NOW,
    seen: SeenSignatures | None = None,
) -> SignatureRefusal | None:
    """Why a request is refused, or None."""
    try:
        verify(headers, body, keys, now, SeenSignatures() if seen is None else seen, path="/callouts/won")
    except SignatureError as error:
        return error.reason
    return None


def test_the_signature_matches_the_documentation() -> None:
    """The form is fixed: a caller written in another language gets the same digits."""
    headers = CIMultiDict(
        {
            "X-Closedwon-Timestamp": "1793700000",
            "X-Closedwon-Signature": "v1=30042aa0a9d63de15238f712d9ccec3133760a4e278c0919d1ef25425df1db3f",
        }
    )
    now = datetime.fromtimestamp(1793700000, tz=UTC)

    assert refusal(headers, body=b'{"a":1}', keys=[SecretStr("key")], now=now) is None


def test_a6_the_second_version_covers_the_path() -> None:
    """A call to one route is not good for another one that shares its key, nor is it a signature of version 1."""
    timestamp = str(int(NOW.timestamp()))
    signed_text = f"v2.{timestamp}./callouts/won.".encode() + BODY
    digest = hmac.new(OLD.get_secret_value().encode(), signed_text, hashlib.sha256).hexdigest()

    def given(version: str) -> CIMultiDict[str]:
        return CIMultiDict({"X-Closedwon-Timestamp": timestamp, "X-Closedwon-Signature": f"{version}={digest}"})

    assert refusal(given("v2")) is None
    assert SignatureRefusal.WRONG == refusal(given("v1"))
    for path in ("/callouts/lost", "/erp/won", "/callouts/won.", ""):
        with pytest.raises(SignatureError):
            verify(given("v2"), BODY, [OLD], NOW, SeenSignatures(), path=path)


def test_both_keys_are_valid_during_rotation() -> None:
    """After the rotation, the old one is rejected."""
    assert [None, None] == [refusal(signed(key), keys=[NEW, OLD]) for key in (OLD, NEW)]
    assert SignatureRefusal.WRONG == refusal(signed(OLD), keys=[NEW])


@pytest.mark.parametrize("seconds", [-300, -1, 0, 299])
def test_clocks_may_differ_by_five_minutes(seconds: int) -> None:
    """The sender's clock may be ahead of ours or behind it."""
    assert refusal(signed(at=NOW + timedelta(seconds=seconds))) is None


@pytest.mark.parametrize("seconds", [-301, 301, -86400])
def test_an_old_or_early_signature_is_refused(seconds: int) -> None:
    """A recorded request is useless after five minutes, and a request cannot be signed in advance."""
    headers = signed(at=NOW + timedelta(seconds=seconds))
    assert SignatureRefusal.STALE == refusal(headers)
    with pytest.raises(SignatureError, match="signed more than 5 minutes away from our clock"):
        verify(headers, BODY, [NEW], NOW, SeenSignatures(), path="/callouts/won")


def test_a_signature_is_accepted_once() -> None:
    """A replay is rejected, even with upper-case digits; the same body signed a second later is accepted."""
    seen = SeenSignatures()
    headers = signed()
    loud = CIMultiDict(headers)
    loud["X-Closedwon-Signature"] = "v1=" + headers["X-Closedwon-Signature"][3:].upper()

    assert refusal(headers, seen=seen) is None
    assert [SignatureRefusal.REPLAYED] * 2 == [refusal(again, seen=seen) for again in (headers, loud)]
    assert refusal(signed(at=NOW + timedelta(seconds=1)), seen=seen) is None


def test_a_replay_is_refused_during_the_whole_window() -> None:
    """The signature of a clock that is five minutes ahead is stored until the end of its window."""
    seen = SeenSignatures()
    headers = signed(at=NOW + timedelta(seconds=300))

    assert refusal(headers, seen=seen) is None
    assert SignatureRefusal.REPLAYED == refusal(headers, seen=seen, now=NOW + timedelta(seconds=600))
    assert SignatureRefusal.STALE == refusal(headers, seen=seen, now=NOW + timedelta(seconds=601))


def test_the_number_of_stored_signatures_is_bounded() -> None:
    """Signatures are removed when they are too old to be replayed."""
    seen = SeenSignatures()
    for second in range(2000):
        now = NOW + timedelta(seconds=second)
        assert refusal(signed(at=now), seen=seen, now=now) is None

    assert 602 >= len(seen)


def test_the_signature_of_a_refused_request_is_not_stored() -> None:
    """Without a key, a sender can neither fill the memory nor use up another one's signature."""
    seen = SeenSignatures()
    refusal(signed(NEW), seen=seen)
    refusal(signed(), seen=seen, body=b"other")

    assert 0 == len(seen)
    assert refusal(signed(), seen=seen) is None


@pytest.mark.parametrize("name", ["X-Closedwon-Timestamp", "X-Closedwon-Signature"])
@pytest.mark.parametrize("value", [None, ""])
def test_an_unsigned_request_is_refused(name: str, value: str | None) -> None:
    """Both headers are required."""
    headers = signed()
    if value is None:
        del headers[name]
    else:
        headers[name] = value

    assert SignatureRefusal.MISSING == refusal(headers)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Closedwon-Timestamp", "2026-11-03T10:00:00Z"),
        ("X-Closedwon-Timestamp", "-1"),
        ("X-Closedwon-Timestamp", "1793700000.5"),
        ("X-Closedwon-Timestamp", "9" * 5000),
        ("X-Closedwon-Timestamp", "١٧٩٣٧٠٠٠٠٠"),
        ("X-Closedwon-Signature", "v1="),
        ("X-Closedwon-Signature", "v3=" + "0" * 64),
        ("X-Closedwon-Signature", "0" * 64),
        ("X-Closedwon-Signature", "v1=" + "0" * 63 + "ö"),
        ("X-Closedwon-Signature", "v1=" + "0" * 64 + ",v1=" + "0" * 64),
    ],
)
def test_a_malformed_header_is_refused(name: str, value: str) -> None:
    """Only the documented form is accepted."""
    headers = signed()
    headers[name] = value

    assert SignatureRefusal.MALFORMED == refusal(headers)


@given(st.data())
def test_any_tampering_is_refused(data: st.DataObject) -> None:
    """Any changed bit of the body, the time or the signature is detected."""
    headers, body = signed(), bytearray(BODY)
    part = data.draw(st.sampled_from(["body", "longer", "time", "signature"]))
    if part == "body":
        body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif part == "longer":
        body += data.draw(st.binary(min_size=1, max_size=5))
    elif part == "time":
        shift = data.draw(st.integers(-299, 299).filter(bool))
        headers["X-Closedwon-Timestamp"] = str(int(NOW.timestamp()) + shift)
    else:
        digits = list(headers["X-Closedwon-Signature"])
        place = data.draw(st.integers(3, 66))
        digits[place] = data.draw(st.sampled_from([digit for digit in "0123456789abcdef" if digit != digits[place]]))
        headers["X-Closedwon-Signature"] = "".join(digits)

    assert SignatureRefusal.WRONG == refusal(headers, body=bytes(body))


def test_characters_cannot_move_between_time_and_body() -> None:
    """The signed beginning of the body is not valid as the end of the time."""
    headers = signed(body=b"5.x")
    headers["X-Closedwon-Timestamp"] += ".5"

    assert SignatureRefusal.MALFORMED == refusal(headers, body=b"x")


def test_an_empty_key_is_ignored() -> None:
    """An empty setting accepts no request."""
    assert SignatureRefusal.WRONG == refusal(signed(SecretStr("")), keys=[SecretStr("")])
    assert SignatureRefusal.WRONG == refusal(signed(), keys=[])


def test_a_refusal_contains_neither_key_nor_signature() -> None:
    """Neither the caller nor the log gets information for guessing."""
    right = signed()["X-Closedwon-Signature"][3:]
    with pytest.raises(SignatureError) as caught:
        verify(signed(NEW), BODY, [OLD], NOW, SeenSignatures(), path="/callouts/won")

    assert not any(secret in str(caught.value) for secret in (right, OLD.get_secret_value()))
