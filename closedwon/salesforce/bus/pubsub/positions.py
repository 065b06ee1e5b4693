"""Positions of the Pub/Sub API as texts: opaque bytes, never compared or computed with.

They have a prefix, so that no reader takes a position of CometD (a decimal number) for one of the Pub/Sub API, or the
other way round: after an org was switched over, the other API refuses the position, and the subscription begins at the
earliest retained event, with a gap.
"""

from __future__ import annotations

from typing import Final

from closedwon.pubsub_api import eventbus_pb2 as pb
from closedwon.salesforce.bus.events import EARLIEST, LATEST
from closedwon.salesforce.errors import ReplayIdRejectedError

_PREFIX: Final = "pubsub:"


def to_text(replay_id: bytes) -> str | None:
    """Return the text for a replay id; None if it is empty."""
    return _PREFIX + replay_id.hex() if replay_id else None


def first_request(channel: str, position: str, *, count: int) -> pb.FetchRequest:
    """Return the request that begins a subscription after `position`, for `count` events.

    The preset is set by its number: a name that is not known would count as LATEST and lose events. Raises
    `ReplayIdRejectedError` for a position of another API.
    """
    request = pb.FetchRequest(topic_name=channel, num_requested=count)
    if position == EARLIEST:
        request.replay_preset = pb.ReplayPreset.EARLIEST
    elif position == LATEST:
        request.replay_preset = pb.ReplayPreset.LATEST
    else:
        request.replay_preset = pb.ReplayPreset.CUSTOM
        request.replay_id = _from_text(channel, position)
    return request


def _from_text(channel: str, position: str) -> bytes:
    prefix, text = position[: len(_PREFIX)], position[len(_PREFIX) :]
    try:
        replay_id = bytes.fromhex(text) if prefix == _PREFIX else b""
    except ValueError:
        replay_id = b""
    if not replay_id:
        raise ReplayIdRejectedError(channel, position, "it is not a position of the Pub/Sub API")
    return replay_id
