"""The demo's page: each deal in Salesforce, Closedwon and the ERP, side by side, and a button that kills a worker.

`three` reads the three systems, `killing` kills a worker and watches what becomes of its orders, `server` serves the
page. Only `closedwon demo --keep` serves it.
"""

from closedwon.demo.page.server import DemoPage

__all__ = ["DemoPage"]
