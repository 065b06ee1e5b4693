"""The server behaves as the OpenAPI document of the callouts says, for valid and invalid requests."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import time
from collections import Counter
from typing import Any

import hypothesis
import requests
import schemathesis
from pydantic import SecretStr
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.handoff import handoff
from tests.support.intake import intake

_KEY = "a key that both ends know, made for one test"
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


_moments = itertools.count(-250)
"""Seconds from now, within the five minutes that are believed: the same body twice in a second is a replay."""


def _signed(request: requests.PreparedRequest, *, body: bytes) -> requests.PreparedRequest:
    timestamp = str(int(time.time()) + next(_moments))
    digest = hmac.new(_KEY.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    request.headers.update({"X-Closedwon-Timestamp": timestamp, "X-Closedwon-Signature": f"v1={digest}"})
    return request


def _try(address: str, org: str, mode: GenerationMode) -> Counter[int]:
    """Send valid or invalid requests by the document; return how often each status came."""
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    statuses: Counter[int] = Counter()

    @hypothesis.settings(
        max_examples=100,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(schema["/callouts/{route}"]["POST"].as_strategy(generation_mode=mode))
    def one(case: schemathesis.Case[Any]) -> None:
        case.path_parameters = {"route": "won-0"}
        if mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
            case.body["org"] = org
            _of_the_routes_object(case.body)
        request = requests.Request(**case.as_transport_kwargs(base_url=address)).prepare()
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        response = http.send(_signed(request, body=body), timeout=20)
        components = case.meta.components if case.meta else {}
        if components[ParameterLocation.BODY].mode is mode:  # else only a header is wrong, which signing replaces
            statuses[response.status_code] += 1
        case.validate_response(response, checks=_CHECKS)

    with requests.Session() as http:
        one()
    return statuses


def _of_the_routes_object(body: dict[str, Any]) -> None:
    """Key prefixes differ by object, so the document does not state the one of this route."""
    records = body.get("records")
    for record in records if isinstance(records, list) else [records]:
        if isinstance(record, dict) and isinstance(record.get("recordId"), str):
            record["recordId"] = f"006{record['recordId'][3:15]}"


async def test_the_document_and_the_server_agree() -> None:
    """Valid signed calls get a documented status, and invalid ones are refused."""
    async with (
        handoff(events=(), callouts={"keys": [SecretStr(_KEY)]}) as world,
        intake(world, records_per_second=10_000) as address,
    ):
        allowed = await asyncio.to_thread(_try, address, str(world.org.org_id), GenerationMode.POSITIVE)
        forbidden = await asyncio.to_thread(_try, address, str(world.org.org_id), GenerationMode.NEGATIVE)

        assert allowed[202] > 0
        assert 0 == forbidden[202]
        assert forbidden[422] > 0
