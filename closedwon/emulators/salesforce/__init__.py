"""The Salesforce emulator: a Salesforce org on one machine, with the real wire protocols and faults on demand.

In tests: `async with SalesforceEmulator.running() as org`. As a process: `closedwon org serve`. Only the command line
and the demo import it; of the product it imports only `closedwon.ids` and `closedwon.durations`.

- `api`: the REST API (records, queries, composite, jobs) and OAuth.
- `bus`: the event bus: published events, and their delivery by CometD.
- `push`: flows, outbound messages and callouts: what triggers them, their queue, their delivery.
- `data`: the schema, the store, the rules for writing records, and SOQL.
- `page`: what a person sees and presses in a browser.
- `server` runs an `org`, `app` dispatches its HTTP requests, `admin` and `faults` control it, `client` calls it.
"""

from closedwon.emulators.salesforce.config import OrgConfig, ValidationRule
from closedwon.emulators.salesforce.connection import Connection, read_connection
from closedwon.emulators.salesforce.errors import ApiError
from closedwon.emulators.salesforce.server import SalesforceEmulator, serve

__all__ = [
    "ApiError",
    "Connection",
    "OrgConfig",
    "SalesforceEmulator",
    "ValidationRule",
    "read_connection",
    "serve",
]
