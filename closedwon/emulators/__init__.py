"""Servers that replace Salesforce and the ERP on one machine, for development, demo and tests.

- `salesforce`: an org, with REST, OAuth, event bus, outbound messages and callouts.
- `erp`: a stub ERP with faults on demand, and a real Tryton.
- `pages`: what their pages for people share.

They are not part of the product. They share only its vocabulary (`closedwon.ids`, `closedwon.model`) and its notation
of durations (`closedwon.durations`).
"""
