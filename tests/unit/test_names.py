"""Workflow ids can be read by people, taken apart again, and never collide."""

from __future__ import annotations

import string
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedwon import names
from closedwon.ids import OrgId, RecordId

_alphabet = string.ascii_letters + string.digits
records = st.text(_alphabet, min_size=15, max_size=15).map(RecordId)
orgs = st.text(_alphabet, min_size=12, max_size=12).map(lambda rest: OrgId("00D" + rest))
channels = st.tuples(st.sampled_from(["event", "data"]), st.text(_alphabet + "_", min_size=1, max_size=40)).map(
    lambda parts: "/" + "/".join(parts)
)


@given(orgs, records)
def test_an_order_workflow_id_names_org_and_record(org: OrgId, record: RecordId) -> None:
    """An operator gets from the workflow to the record and back."""
    assert names.RecordKey(org, record) == names.parse_order_workflow_id(names.order_workflow_id(org, record))


routes = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
times = st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the strategy adds it


@given(orgs, routes, st.none() | times, times)
def test_the_ids_of_sweeps_and_gaps_name_org_and_route(
    org: OrgId, route: str, since: datetime | None, until: datetime
) -> None:
    """An operator gets from a schedule or an open gap to its route and back; a dry run is never taken for a sweep."""
    key = names.RouteKey(org, route)
    assert key == names.parse_sweep_schedule_id(names.sweep_schedule_id(org, route))
    gap = names.gap_workflow_id(org, route, since, until)
    assert key == names.parse_gap_workflow_id(gap)
    assert gap.startswith(names.GAP_PREFIX)
    assert (since and since.replace(microsecond=0), until.replace(microsecond=0)) == names.parse_gap_span(gap)
    ids = {names.sweep_workflow_id(org, route, until, until, dry_run=dry) for dry in (True, False)}
    assert 3 == len(ids | {names.sweep_schedule_id(org, route)})


@given(orgs, records, channels)
def test_no_workflow_id_has_a_slash(org: OrgId, record: RecordId, channel: str) -> None:
    """Proxies in front of Temporal's UI mangle encoded slashes."""
    message = names.unparseable_message_workflow_id(org, "e98d7a3c-5c5e-4d0f-a6d5-0f4a9c7ddbb4")
    assert "/" not in names.order_workflow_id(org, record) + names.subscription_workflow_id(org, channel) + message


@given(records)
def test_the_same_record_id_in_two_orgs_makes_two_workflows(record: RecordId) -> None:
    """A sandbox is a copy of production that keeps its record ids."""
    production, sandbox = OrgId("00D000000000001"), OrgId("00D000000000002")
    assert names.order_workflow_id(production, record) != names.order_workflow_id(sandbox, record)


def test_an_order_is_found_by_record_at_a_glance() -> None:
    """The record comes first, so that a prefix search finds it."""
    expected = "order:0065g00000AbCdEAAV@00D5g000004Kx1XEAS"
    assert expected == names.order_workflow_id(OrgId("00D5g000004Kx1X"), RecordId("0065g00000AbCdE"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "order:",
        "order:0065g00000AbCdEAAV",
        "order:@00D5g000004Kx1XEAS",
        "orders:0065g00000AbCdEAAV@00D5g000004Kx1XEAS",
        "order:0065g00000AbCdEAAV@0065g00000AbCdEAAV",
        "order:0065g00000AbCdEAAX@00D5g000004Kx1XEAS",
        "subscription:event.Order_Requested__e@00D5g000004Kx1XEAS",
    ],
)
def test_any_other_text_is_not_an_order_workflow_id(text: str) -> None:
    """Workflows of others in the same namespace are not taken for ours."""
    with pytest.raises(ValueError, match=r"is not an? "):
        names.parse_order_workflow_id(text)


def test_search_attributes_are_named_once() -> None:
    """Registering them does not meet the same name twice."""
    assert len(names.SEARCH_ATTRIBUTES) == len(set(names.SEARCH_ATTRIBUTES))
