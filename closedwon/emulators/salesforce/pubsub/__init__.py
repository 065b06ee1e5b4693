"""The Pub/Sub API of the emulator: `service` answers calls, `avro` encodes events, `server` listens."""
