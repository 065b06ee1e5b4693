"""The local org: a Salesforce org of one's own, with the wire protocols of the real one and faults on demand.

For tests: `async with LocalOrg.running() as org`; as a process: `closedwon org serve`. It imports nothing of Closedwon
but ids, and nothing of Closedwon but the command line and the demo imports it.
"""

from closedwon.localorg.config import OrgConfig, ValidationRule
from closedwon.localorg.connection import Connection, read_connection
from closedwon.localorg.errors import ApiError
from closedwon.localorg.server import LocalOrg, serve

__all__ = [
    "ApiError",
    "Connection",
    "LocalOrg",
    "OrgConfig",
    "ValidationRule",
    "read_connection",
    "serve",
]
