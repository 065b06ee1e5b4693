"""The event bus over the Pub/Sub API (gRPC, Avro): `stream` is the entry.

`calls` makes the calls, `refusals` says what their errors mean, `decoding` reads events, `positions` names positions.
"""
