"""Closedwon: vocabulary, protocols, clients, local servers. docs/architecture.md says which of them know Temporal."""
