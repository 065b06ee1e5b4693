"""What an ERP's answer, or the lack of one, says about the call: one table for every adapter that uses HTTP.

The status decides, because the body of an error is often a proxy's page. Each line has a meaning, and each meaning says
who is asked: no one (it is retried), the adapter, or a person. An unknown status is not permanent because it is
unknown: it is refused like a wrong address, which is tried for a while (`closedwon.erp.refusals`).

The meanings of the statuses are those of RFC 9110, section 15; of 423 and 424, RFC 4918; of 425, RFC 8470; of 428, 429,
431 and 511, RFC 6585; of 451, RFC 7725. Tryton answers 400, 401, 403, 404, 429 and 500 (`trytond/protocols`), and a
proxy before it anything.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from closedwon.errors import AttentionReason


class Meaning(StrEnum):
    """What becomes of a call. The last three concern the ERP as a whole, not one order."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """The adapter decides: a conflict, a business reason, a change meanwhile."""
    NOT_OFFERED = "not-offered"
    """The adapter decides: a path that is optional, or the address is wrong."""
    UNKNOWN = "unknown"
    """It may have happened: `UnknownError`, retried after a look."""
    WAIT = "wait"
    """The ERP asks for it: `BusyError`, retried without an alarm."""
    TOO_LARGE = "too-large"
    """`TooLargeForErpError`: no retry makes this request smaller, so a person is asked at once."""
    CREDENTIAL = "credential"
    """`ErpAuthFailedError`: tried for a while if it has worked, then a person is asked."""
    RIGHT = "right"
    """The same, about the right of the ERP's user."""
    MISFIT = "misfit"
    """A server that takes no such request, a proxy, another address: as a wrong setting, tried for a while."""


class Row(NamedTuple):
    """One line of the table."""

    first: int
    last: int
    meaning: Meaning
    why: str

    @property
    def reason(self) -> AttentionReason | None:
        """With which a person is asked, if at all; None: by the adapter, or never."""
        return _REASONS.get(self.meaning)


_REASONS: Final = {
    Meaning.TOO_LARGE: AttentionReason.CONFIGURATION,
    Meaning.CREDENTIAL: AttentionReason.ERP_AUTH_FAILED,
    Meaning.RIGHT: AttentionReason.ERP_AUTH_FAILED,
    Meaning.MISFIT: AttentionReason.CONFIGURATION,
}

TABLE: Final = (
    Row(200, 299, Meaning.ACCEPTED, "what the body says counts, if it follows the contract"),
    Row(
        300, 399, Meaning.MISFIT, "it redirects: a followed POST would become a GET, and a login page is not an answer"
    ),
    Row(400, 400, Meaning.REFUSED, "the request is refused; Tryton: with its message"),
    Row(401, 401, Meaning.CREDENTIAL, "the credential is not accepted"),
    Row(402, 402, Meaning.REFUSED, "refused until something is paid: the ERP's own business"),
    Row(403, 403, Meaning.RIGHT, "the credential's user lacks a right, or a firewall before the ERP refuses"),
    Row(404, 405, Meaning.NOT_OFFERED, "the path, or the method of the path, is not there; never: no such order"),
    Row(406, 407, Meaning.MISFIT, "the server does not speak JSON, or a proxy wants a login of its own"),
    Row(408, 408, Meaning.UNKNOWN, "the server waited too long: what came of the request is not known"),
    Row(409, 409, Meaning.REFUSED, "a conflict: duplicate or too late, as the adapter knows"),
    Row(410, 410, Meaning.NOT_OFFERED, "the path is not there any more"),
    Row(411, 411, Meaning.MISFIT, "the server takes no such request"),
    Row(412, 412, Meaning.REFUSED, "the order has changed since it was read"),
    Row(413, 414, Meaning.TOO_LARGE, "a server or proxy takes no request of this size"),
    Row(415, 421, Meaning.MISFIT, "the server takes no such request, or is not the one that is meant"),
    Row(422, 422, Meaning.REFUSED, "a business reason, in the problem details"),
    Row(423, 425, Meaning.WAIT, "locked, waiting for something else, or too early"),
    Row(426, 428, Meaning.MISFIT, "the server takes no such request"),
    Row(429, 429, Meaning.WAIT, "too many requests; refused before anything happened"),
    Row(430, 430, Meaning.MISFIT, "not known"),
    Row(431, 431, Meaning.TOO_LARGE, "a server or proxy takes no headers, or no address, of this size"),
    Row(432, 450, Meaning.MISFIT, "not known: a proxy's own"),
    Row(451, 451, Meaning.REFUSED, "refused for legal reasons"),
    Row(452, 499, Meaning.MISFIT, "not known: a proxy's own"),
    Row(500, 500, Meaning.UNKNOWN, "a fault of the server, perhaps after it did its work"),
    Row(501, 501, Meaning.NOT_OFFERED, "the server does not know the method; it did nothing"),
    Row(502, 502, Meaning.UNKNOWN, "a gateway got no answer from the ERP, which may have done its work"),
    Row(503, 503, Meaning.WAIT, "out of service or overloaded; a gateway also says so if the ERP dropped the call"),
    Row(504, 599, Meaning.UNKNOWN, "a gateway waited too long, or a fault that is not known: it may have happened"),
)

MAY_HAVE_HAPPENED: Final = frozenset({424, 503})
"""Statuses with which the ERP asks to wait although it may have done its work."""


def row_of(status: int) -> Row:
    """The line of a status; one that no table knows is a fault of the server."""
    found = next((row for row in TABLE if row.first <= status <= row.last), None)
    return found or Row(status, status, Meaning.UNKNOWN, "not a status of HTTP")
