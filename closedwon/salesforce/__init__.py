"""Clients and protocols of Salesforce. Nothing here knows Temporal, routes' workflows or the ERP.

- `api`: the REST and Bulk APIs. Login, records, queries, write-backs, descriptions of objects.
- `bus`: the event bus. Subscriptions by CometD, behind the interface `EventStream`.
- `push`: what Salesforce sends to us. Outbound messages and Apex callouts, without input or output.
- `errors`: every error of the three, by what can be done about it.
"""
