"""Encryption of the payloads that Temporal stores (`codec`), and the server that decodes them for its UI (`server`)."""
