"""Our search attributes: their typed keys, and their registration in a namespace."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import (
    SearchAttributeKey,
)
from temporalio.service import RPCError, RPCStatusCode

from closedwon import names
from closedwon.errors import ClosedwonError
from closedwon.temporal.client import NO_NAMESPACE, _log, is_namespace_missing
from closedwon.temporal.errors import PASSING
from closedwon.temporal.target import TemporalUnavailableError

_KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD


SEARCH_ATTRIBUTE_KEYS = {name: SearchAttributeKey.for_keyword(name) for name in names.SEARCH_ATTRIBUTES}
"""Typed keys of our search attributes, by name."""


class SearchAttributesMissingError(ClosedwonError):
    """The namespace lacks our search attributes and we may not add them, or it has others of these names."""


async def missing_search_attributes(client: Client) -> tuple[str, ...]:
    """Name those of our search attributes that the namespace does not have as keywords."""
    known = await _search_attributes(client)
    return tuple(name for name in names.SEARCH_ATTRIBUTES if known.get(name) != _KEYWORD)


async def check_namespace(client: Client) -> None:
    """Raise a `ClosedwonError` with a sentence unless Temporal answers, and has our namespace and search attributes."""
    try:
        missing = await missing_search_attributes(client)
    except RPCError as error:
        if is_namespace_missing(error):
            text = f"the namespace {client.namespace!r} does not exist"
            raise TemporalUnavailableError(text, hint=NO_NAMESPACE) from error
        raise TemporalUnavailableError(f"Temporal answers {error.status.name}") from error
    if missing:
        raise SearchAttributesMissingError(f"search attributes missing: {', '.join(missing)}")


async def _search_attributes(client: Client) -> Mapping[str, int]:
    listing = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    return listing.custom_attributes


async def ensure_search_attributes(client: Client) -> None:
    """Register what is missing, or stop with the command to do so.

    A worker must not start without them: an unknown search attribute wedges every workflow in Running.
    Raises `SearchAttributesMissingError`.
    """
    missing = await missing_search_attributes(client)
    if not missing:
        return
    foreign = (await _search_attributes(client)).keys() & missing
    if foreign:
        raise SearchAttributesMissingError(
            f"The namespace {client.namespace!r} has search attributes of another type than Keyword under our names: "
            f"{', '.join(sorted(foreign))}. Give Closedwon a namespace of its own (TEMPORAL_NAMESPACE)."
        )
    try:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=dict.fromkeys(missing, _KEYWORD))
        )
    except RPCError as error:
        if error.status in PASSING:
            raise
        if error.status != RPCStatusCode.ALREADY_EXISTS:
            command = f"temporal operator search-attribute create --namespace {client.namespace} " + " ".join(
                f"--name {name} --type Keyword" for name in missing
            )
            raise SearchAttributesMissingError(
                f"The namespace {client.namespace!r} lacks search attributes, and adding them was refused "
                f"({error.status.name}: {error.message}). Let an administrator run: {command}"
            ) from error
    while still := await missing_search_attributes(client):
        _log.info("waiting for Temporal to know the search attributes %s", ", ".join(still))
        await asyncio.sleep(0.1)
