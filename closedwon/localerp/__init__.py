"""ERPs for one's own machine: a real one (`tryton`) and a light one with faults on demand (`light`).

For development, demo and tests. They stand apart from the product: what they share with it is the vocabulary
(`closedwon.ids`, `closedwon.model`) and, with `light`, the contract in `docs/erp-rest-contract.md`.
"""
