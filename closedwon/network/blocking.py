"""`requests` over `Http`: a transport adapter for simple-salesforce, which uses only that.

Such a library runs in a thread. requests prepares its requests and reads its answers, and each call itself is made by
`Http` in the event loop. So it has one deadline, and when that has passed, or at `close`, the thread is released.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from io import BytesIO
from typing import Any, Final

import requests
from requests.adapters import BaseAdapter
from requests.utils import get_encoding_from_headers
from yarl import URL

from closedwon.network.failures import NetworkError
from closedwon.network.http import Http, Reply

_OF_THE_CONNECTION: Final = frozenset({"accept-encoding", "connection"})
"""Headers that `Http` sets itself."""


class HttpAdapter(BaseAdapter):
    """Sends the requests of a `requests.Session`. Raises `requests.ConnectionError`, caused by a `NetworkError`."""

    def __init__(self, http: Http, address: Callable[[str], str] = str) -> None:
        """`address` may change the address of a request before it is sent."""
        super().__init__()
        self._http = http
        self._address = address
        self._calls: set[Future[Reply]] = set()
        self.loop: asyncio.AbstractEventLoop | None = None
        """The loop of the calls; set it before the first one."""

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """Make the call and wait for it. Call it in another thread than the loop's."""
        if self.loop is None:
            raise requests.ConnectionError("the client is closed")
        headers = [(key, str(value)) for key, value in request.headers.items()]
        call = asyncio.run_coroutine_threadsafe(
            self._http.call(
                request.method or "GET",
                URL(self._address(request.url or ""), encoded=True),
                data=request.body,
                headers=[(key, value) for key, value in headers if key.lower() not in _OF_THE_CONNECTION],
            ),
            self.loop,
        )
        self._calls.add(call)
        try:
            return _response(request, call.result())
        except NetworkError as error:
            raise requests.ConnectionError(str(error)) from error
        except CancelledError:
            raise requests.ConnectionError("the client was closed during the call") from None
        finally:
            self._calls.discard(call)

    def close(self) -> None:
        """Release the threads that wait. Safe to repeat."""
        self.loop = None
        for call in tuple(self._calls):
            call.cancel()


def _response(request: requests.PreparedRequest, reply: Reply) -> requests.Response:
    response = requests.Response()
    response.status_code, response.reason = reply.status, reply.reason
    response.headers.update(reply.headers)
    response.encoding = get_encoding_from_headers(response.headers)
    response.url = request.url or ""
    response.request = request
    response.raw = BytesIO(reply.body)
    return response
