"""`/composite/batch`: up to 25 independent requests in one call, each a transaction of its own.

Source: REST API Developer Guide, "Composite Batch". The status of the call is 200, whatever its parts answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from closedwon.emulators.salesforce.api.calls import ApiRequest, ApiResponse, split_path
from closedwon.emulators.salesforce.errors import ApiError

_MAX_REQUESTS = 25
_DATA = "/services/data/"


def run_batch(call: ApiRequest, dispatch: Callable[[ApiRequest], ApiResponse]) -> ApiResponse:
    """`POST /composite/batch`. `dispatch` runs one of the requests."""
    body = call.json()
    requests = body.get("batchRequests")
    if not isinstance(requests, list) or not all(isinstance(request, dict) for request in requests):
        raise ApiError("JSON_PARSER_ERROR", "batchRequests must be a list of subrequests")
    if not requests or len(requests) > _MAX_REQUESTS:
        raise ApiError("LIMIT_EXCEEDED", f"A batch has 1 to {_MAX_REQUESTS} subrequests")
    results: list[dict[str, Any]] = []
    has_errors = False
    for request in requests:
        if has_errors and body.get("haltOnError") is True:
            halted = ApiError("BATCH_PROCESSING_HALTED", "Batch processing halted per request", status=412)
            answer = ApiResponse(halted.status, halted.rest_body())
        else:
            answer = _answer(call, request, dispatch)
        has_errors = has_errors or answer.status >= HTTPStatus.BAD_REQUEST
        results.append({"statusCode": answer.status, "result": answer.body})
    return ApiResponse(200, {"hasErrors": has_errors, "results": results})


def _answer(call: ApiRequest, request: dict[str, Any], dispatch: Callable[[ApiRequest], ApiResponse]) -> ApiResponse:
    try:
        url = urlsplit(str(request.get("url", "")))
        path = unquote(url.path)
        version, below = split_path(path if path.startswith(_DATA) else _DATA + path.lstrip("/"))
        given = request.get("richInput")
        return dispatch(
            ApiRequest(
                method=str(request.get("method", "")).upper(),
                path=below,
                version=version,
                user=call.user,
                query=dict(parse_qsl(url.query, keep_blank_values=True)),
                body=b"" if given is None else json.dumps(given).encode(),
            )
        )
    except ApiError as error:
        return ApiResponse(error.status, error.rest_body())
