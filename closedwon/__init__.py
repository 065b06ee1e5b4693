"""Closedwon: vocabulary, protocols and clients. Only `telemetry`, `temporal` and `cli` know Temporal."""
