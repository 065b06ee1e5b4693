"""A Temporal cluster on one machine: PostgreSQL, two processes of each service, and Temporal's UI.

It is what users run, and what the development server is not: several processes that may be killed one by one, a
database of its own, and caches that learn of a change after a while. Everything is built and kept below one directory.
"""
