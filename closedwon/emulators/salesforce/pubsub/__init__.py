"""The Pub/Sub API of the emulator: `service` answers calls, `avro` encodes events, `server` listens."""

import closedwon.pubsub_api  # noqa: F401 - it quiets gRPC, which must not be imported before
