"""Why a stream of the event bus has ended: any error of its transport in, the error that its reader gets out."""

from __future__ import annotations

from closedwon.errors import ClosedwonError
from closedwon.network.failures import NetworkError
from closedwon.salesforce.api.auth import AccessToken, TokenSource
from closedwon.salesforce.errors import SessionExpiredError, StreamInterruptedError, UnavailableError


def ended_by(error: BaseException, tokens: TokenSource, token: AccessToken | None) -> ClosedwonError:
    """Return the error of the stream; a token that Salesforce does not accept is not used again.

    What may end with a new connection is a `StreamInterruptedError`: also an unknown error of a library.
    """
    if isinstance(error, SessionExpiredError) and token is not None:
        tokens.invalidate(token)
    if isinstance(error, SessionExpiredError | UnavailableError):
        return StreamInterruptedError(str(error))
    if isinstance(error, ClosedwonError):
        return error
    text = f"The connection to the event bus broke: {type(error).__name__}"
    if isinstance(error, NetworkError):
        text = f"The event bus cannot be read: {error}"
    interrupted = StreamInterruptedError(text)
    interrupted.__cause__ = error
    return interrupted
