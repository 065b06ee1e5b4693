"""Signed callouts: what a key's owner signed just now is believed, once; nothing else is."""

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

from closedwon.salesforce.signature import Refusal, Seen, SignatureError, verify

NOW = datetime(2026, 11, 3, 10, 0, 0, tzinfo=UTC)
BODY = b'{"org": "00D5g000004uZcX"}'
OLD, NEW = SecretStr("the-old-key-of-long-standing"), SecretStr("the-new-key-ö")


def signed(key: SecretStr = OLD, *, body: bytes = BODY, at: datetime = NOW) -> CIMultiDict[str]:
    """The headers as Apex makes them."""
    timestamp = str(int(at.timestamp()))
    mac = hmac.new(key.get_secret_value().encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return CIMultiDict({"X-Closedwon-Timestamp": timestamp, "X-Closedwon-Signature": f"v1={mac.hexdigest()}"})


def refusal(
    headers: CIMultiDict[str],
    *,
    body: bytes = BODY,
    keys: Sequence[SecretStr] = (OLD,),
    now: datetime = NOW,
    seen: Seen | None = None,
) -> Refusal | None:
    """Why a request is refused, or None."""
    try:
        verify(headers, body, keys, now, Seen() if seen is None else seen)
    except SignatureError as error:
        return error.reason
    return None


def test_the_signature_is_the_one_of_the_guide() -> None:
    """The form is fixed: a caller written in another language gets the same digits."""
    headers = CIMultiDict(
        {
            "X-Closedwon-Timestamp": "1793700000",
            "X-Closedwon-Signature": "v1=30042aa0a9d63de15238f712d9ccec3133760a4e278c0919d1ef25425df1db3f",
        }
    )
    now = datetime.fromtimestamp(1793700000, tz=UTC)

    assert refusal(headers, body=b'{"a":1}', keys=[SecretStr("key")], now=now) is None


def test_either_key_is_good_while_one_replaces_the_other() -> None:
    """During rotation both keys are believed; afterwards the old one is not."""
    assert [None, None] == [refusal(signed(key), keys=[NEW, OLD]) for key in (OLD, NEW)]
    assert Refusal.WRONG == refusal(signed(OLD), keys=[NEW])


@pytest.mark.parametrize("seconds", [-300, -1, 0, 299])
def test_clocks_may_differ_by_five_minutes(seconds: int) -> None:
    """The sender's clock may go before or after ours."""
    assert refusal(signed(at=NOW + timedelta(seconds=seconds))) is None


@pytest.mark.parametrize("seconds", [-301, 301, -86400])
def test_an_old_or_early_signature_is_refused(seconds: int) -> None:
    """A recorded request is of no use after five minutes, and none can be made in advance."""
    headers = signed(at=NOW + timedelta(seconds=seconds))
    assert Refusal.STALE == refusal(headers)
    with pytest.raises(SignatureError, match="signed more than 5 minutes away from our clock"):
        verify(headers, BODY, [NEW], NOW, Seen())


def test_a_signature_is_good_once() -> None:
    """A replay is refused, also with its digits in capitals; the same body signed a second later is not."""
    seen = Seen()
    headers = signed()
    loud = CIMultiDict(headers)
    loud["X-Closedwon-Signature"] = "v1=" + headers["X-Closedwon-Signature"][3:].upper()

    assert refusal(headers, seen=seen) is None
    assert [Refusal.REPLAYED] * 2 == [refusal(again, seen=seen) for again in (headers, loud)]
    assert refusal(signed(at=NOW + timedelta(seconds=1)), seen=seen) is None


def test_a_replay_is_refused_as_long_as_it_is_in_time() -> None:
    """A signature of a clock that goes five minutes ahead is remembered until the end of its window."""
    seen = Seen()
    headers = signed(at=NOW + timedelta(seconds=300))

    assert refusal(headers, seen=seen) is None
    assert Refusal.REPLAYED == refusal(headers, seen=seen, now=NOW + timedelta(seconds=600))
    assert Refusal.STALE == refusal(headers, seen=seen, now=NOW + timedelta(seconds=601))


def test_what_is_remembered_is_bounded() -> None:
    """Signatures are forgotten when they are too old to be replayed."""
    seen = Seen()
    for second in range(2000):
        now = NOW + timedelta(seconds=second)
        assert refusal(signed(at=now), seen=seen, now=now) is None

    assert 602 >= len(seen)


def test_a_refused_request_is_not_remembered() -> None:
    """Nobody can fill the memory, or use up somebody's signature, without a key."""
    seen = Seen()
    refusal(signed(NEW), seen=seen)
    refusal(signed(), seen=seen, body=b"other")

    assert 0 == len(seen)
    assert refusal(signed(), seen=seen) is None


@pytest.mark.parametrize("name", ["X-Closedwon-Timestamp", "X-Closedwon-Signature"])
@pytest.mark.parametrize("value", [None, ""])
def test_an_unsigned_request_is_refused(name: str, value: str | None) -> None:
    """Both headers are needed."""
    headers = signed()
    if value is None:
        del headers[name]
    else:
        headers[name] = value

    assert Refusal.MISSING == refusal(headers)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Closedwon-Timestamp", "2026-11-03T10:00:00Z"),
        ("X-Closedwon-Timestamp", "-1"),
        ("X-Closedwon-Timestamp", "1793700000.5"),
        ("X-Closedwon-Timestamp", "9" * 5000),
        ("X-Closedwon-Timestamp", "١٧٩٣٧٠٠٠٠٠"),
        ("X-Closedwon-Signature", "v1="),
        ("X-Closedwon-Signature", "v2=" + "0" * 64),
        ("X-Closedwon-Signature", "0" * 64),
        ("X-Closedwon-Signature", "v1=" + "0" * 63 + "ö"),
        ("X-Closedwon-Signature", "v1=" + "0" * 64 + ",v1=" + "0" * 64),
    ],
)
def test_a_malformed_header_is_refused(name: str, value: str) -> None:
    """Nothing but the one form is read."""
    headers = signed()
    headers[name] = value

    assert Refusal.MALFORMED == refusal(headers)


@given(st.data())
def test_any_tampering_is_refused(data: st.DataObject) -> None:
    """Not one bit of the body, the time or the signature can be changed."""
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

    assert Refusal.WRONG == refusal(headers, body=bytes(body))


def test_time_and_body_cannot_be_shifted_into_each_other() -> None:
    """What was signed as the body's beginning cannot be passed off as the end of the time."""
    headers = signed(body=b"5.x")
    headers["X-Closedwon-Timestamp"] += ".5"

    assert Refusal.MALFORMED == refusal(headers, body=b"x")


def test_an_empty_key_is_no_key() -> None:
    """A setting that was left empty lets nobody in."""
    assert Refusal.WRONG == refusal(signed(SecretStr("")), keys=[SecretStr("")])
    assert Refusal.WRONG == refusal(signed(), keys=[])


def test_a_refusal_shows_neither_key_nor_signature() -> None:
    """What is told to the caller and to the log helps nobody to guess."""
    right = signed()["X-Closedwon-Signature"][3:]
    with pytest.raises(SignatureError) as caught:
        verify(signed(NEW), BODY, [OLD], NOW, Seen())

    assert not any(secret in str(caught.value) for secret in (right, OLD.get_secret_value()))
