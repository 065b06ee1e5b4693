"""The event bus over the Pub/Sub API (gRPC, Avro): `stream` is the entry.

`calls` makes the calls, `refusals` says what their errors mean, `decoding` reads events, `positions` names positions.
"""

import closedwon.pubsub_api  # noqa: F401 - it quiets gRPC, which must not be imported before
