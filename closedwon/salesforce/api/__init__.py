"""Clients of the REST and bulk APIs: login, records, queries, describe."""
