"""The whole world on one laptop: Temporal, a Salesforce org, an ERP and Closedwon as child processes.

For `closedwon demo` and for the tests that kill things. Nothing that runs in production imports this.
"""

from enum import StrEnum


class ErpKind(StrEnum):
    """Which ERP to run."""

    TRYTON = "tryton"
    STUB = "stub"

    @property
    def words(self) -> str:
        """As it is called in a sentence."""
        return {ErpKind.TRYTON: "Tryton", ErpKind.STUB: "the stub ERP"}[self]


class TemporalKind(StrEnum):
    """Which Temporal to run."""

    DEVELOPMENT = "dev"
    CLUSTER = "cluster"


class Stream(StrEnum):
    """How events are read; the values are those of `orgs.stream`."""

    COMETD = "cometd"
    PUBSUB = "pubsub"


class Via(StrEnum):
    """How the notification of a won deal reaches Closedwon."""

    EVENT = "event"
    OUTBOUND = "outbound"
    CALLOUT = "callout"
