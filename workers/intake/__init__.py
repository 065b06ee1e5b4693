"""Intake: the server that Salesforce calls, with outbound messages (SOAP) and with callouts from Apex (JSON, SOAP).

A request is judged as a whole before anything starts, and answered well only when Temporal has accepted every record
of it; in any other case the caller is told to send again, and nothing is half done.
"""

from workers.intake.delivery import IntakeError
from workers.intake.server import IntakeServer

__all__ = ["IntakeError", "IntakeServer"]
