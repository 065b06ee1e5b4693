"""Decisions only, deterministic: no input or output here."""
