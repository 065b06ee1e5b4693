"""The event bus: the interface of a stream of events (`events`), and its CometD implementation (the other modules)."""
