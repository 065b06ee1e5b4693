"""ERPs on one machine, for development, demo and tests.

- `stub` serves the `rest` contract with faults on demand (`stub_faults`), on the orders of `stub_orders`.
- `stub_page` shows those orders in a browser.
- `tryton` runs a real Tryton, with a database that `tryton_database` builds.
- `connection` writes and reads `connection.json` for both.

They share with the product only its vocabulary (`closedwon.ids`, `closedwon.model`) and, for `stub`, the contract in
`docs/erp-rest-contract.md`.
"""
