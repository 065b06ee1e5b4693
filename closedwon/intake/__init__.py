"""Intake: the server that Salesforce calls, with outbound messages (SOAP) and with callouts from Apex (JSON, SOAP).

A request is validated as a whole before any workflow starts. It is acknowledged only when Temporal has accepted all of
its records; in any other case the response makes the caller send it again, which is safe.

- `server`: port, limits, dispatch. `tls`, `access`, `origin`: who may call.
- `outbound`, `callouts`, `erp`: one module per kind of request.
- `delivery`: from notifications to durable workflows.
"""

from closedwon.intake.delivery import IntakeError
from closedwon.intake.server import IntakeServer

__all__ = ["IntakeError", "IntakeServer"]
