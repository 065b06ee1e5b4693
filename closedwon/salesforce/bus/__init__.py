"""The event bus: the interface of a stream of events (`events`), and its implementations.

They are CometD (`streaming`, `cometd`, `bayeux`) and the Pub/Sub API (`pubsub`).
"""
