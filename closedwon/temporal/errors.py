"""What Temporal's own errors mean: one table for its answers to a call, one for the failures that it writes itself.

gRPC has few codes, and `INVALID_ARGUMENT` has many causes: a value that is too large, a workflow that takes no further
signal, search attributes that are missing. Its text is not an interface. So the cause is found by what is known: the
size of the value, and whether the same signal is refused without everything that only a start contains
(`closedwon.temporal.orders`). What remains is not permanent, because it is not known.

Sources: `google.golang.org/grpc/codes`; the enumerations `TimeoutType`, `RetryState` and the messages `*FailureInfo` of
`temporal/api/failure/v1`; the limits of Temporal's server 1.2x and later (`limit.blobSize.error`,
`history.maximumSignalsPerExecution`) and of gRPC (4 MiB for one message).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    FailureError,
    ServerError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - Temporal's own
)
from temporalio.service import RPCStatusCode

from closedwon.errors import AttentionReason


class Remedy(StrEnum):
    """What becomes of a call that Temporal answers so."""

    REPEAT = "repeat"
    """It passes by itself: the sender sends again, the activity is tried again."""
    FIND_CAUSE = "find-cause"
    """Several causes: see `closedwon.temporal.orders`; without a known one, as `REPEAT`."""
    CALLER = "caller"
    """An answer like any other: what is not there, or is there already, is the caller's business."""
    OPERATOR = "operator"
    """An operator must correct something, and then it passes: as `REPEAT`, with an error in the log."""


class Answer(NamedTuple):
    """One line of the table of answers."""

    remedy: Remedy
    why: str


ANSWERS: Final = {
    RPCStatusCode.CANCELLED: Answer(Remedy.REPEAT, "the call was stopped, or the server stops"),
    RPCStatusCode.UNKNOWN: Answer(Remedy.REPEAT, "the connection broke under the call"),
    RPCStatusCode.INVALID_ARGUMENT: Answer(
        Remedy.FIND_CAUSE, "too large, too many signals, or a search attribute that this server does not know (yet)"
    ),
    RPCStatusCode.DEADLINE_EXCEEDED: Answer(Remedy.REPEAT, "no answer in time"),
    RPCStatusCode.NOT_FOUND: Answer(Remedy.CALLER, "no such workflow; or no such namespace, which passes"),
    RPCStatusCode.ALREADY_EXISTS: Answer(Remedy.CALLER, "what is to be made is there"),
    RPCStatusCode.PERMISSION_DENIED: Answer(Remedy.OPERATOR, "our credential may not do it"),
    RPCStatusCode.RESOURCE_EXHAUSTED: Answer(Remedy.REPEAT, "a limit of the namespace or of the server; gRPC's own "
                                             "limit of 4 MiB is known by the size"),
    RPCStatusCode.FAILED_PRECONDITION: Answer(Remedy.CALLER, "the workflow is in no state for it"),
    RPCStatusCode.ABORTED: Answer(Remedy.REPEAT, "another call was faster"),
    RPCStatusCode.OUT_OF_RANGE: Answer(Remedy.OPERATOR, "never seen; not permanent, because it is not known"),
    RPCStatusCode.UNIMPLEMENTED: Answer(Remedy.OPERATOR, "the server is older than we need, or a proxy answers"),
    RPCStatusCode.INTERNAL: Answer(Remedy.REPEAT, "a fault of the server"),
    RPCStatusCode.UNAVAILABLE: Answer(Remedy.REPEAT, "the server starts, stops, or is not reached"),
    RPCStatusCode.DATA_LOSS: Answer(Remedy.OPERATOR, "the server cannot read its database"),
    RPCStatusCode.UNAUTHENTICATED: Answer(Remedy.OPERATOR, "our credential is not accepted"),
}  # fmt: skip
"""By code: all that gRPC has, but OK."""


class Written(NamedTuple):
    """One line of the table of failures that Temporal writes itself, instead of ours."""

    reason: AttentionReason
    """With which a person is asked: no such failure is retried any more."""
    why: str
    """With `{step}` for the name of the step."""
    hint: str


FAILURES: Final[Mapping[type[FailureError], Written]] = {
    ServerError: Written(
        AttentionReason.MAPPING_FAILED,
        "Temporal's server did not take the result of the step {step}: most probably it is too large",
        "Let the route read or map less text, or split the record; then send `retry`.",
    ),
    TimeoutError: Written(
        AttentionReason.RETRIES_EXHAUSTED,
        "Retried for as long as the route allows (its `retry_for`)",
        "See whether the system it waits for is back, then send `retry`.",
    ),
    ApplicationError: Written(
        AttentionReason.UNEXPECTED_ERROR,
        "The step {step} was failed by hand, or by another version of Closedwon",
        "See what has been done by hand, then send `retry`.",
    ),
    CancelledError: Written(
        AttentionReason.UNEXPECTED_ERROR,
        "The step {step} was cancelled by hand",
        "See what has been done by hand, then send `retry`.",
    ),
    TerminatedError: Written(
        AttentionReason.UNEXPECTED_ERROR,
        "The step {step} was terminated by hand",
        "See what has been done by hand, then send `retry`.",
    ),
}

PASSING: Final = frozenset(code for code, answer in ANSWERS.items() if answer.remedy is Remedy.REPEAT)
"""Codes of a server that is stopping or starting, or busy."""

LARGEST_VALUE: Final = 1_900_000
"""Bytes of one value, as it is encoded. Temporal accepts 2 MiB by default; encryption and the fields that the workflow
adds take some."""
LARGEST_AT_ONCE: Final = 400_000
"""Bytes of a value that a local activity may return: it travels in one request with what the workflow makes of it,
which gRPC limits to 4 MiB."""
