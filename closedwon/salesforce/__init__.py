"""Clients of Salesforce: login, reads and write-backs, the event bus."""
