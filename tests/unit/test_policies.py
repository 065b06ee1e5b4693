"""A policy of routes is declared once, and sweep and audit consider it."""

from __future__ import annotations

import pytest

from activities.sweeps import LEFT_OUT_IF_IGNORED
from closedwon.audit.views import TOLERATED_IF_IGNORED
from closedwon.model.routes import Considered, Policies, PolicyOptions
from closedwon.settings import Route
from tests.support.mapping import example_route


def considered() -> dict[str, Considered]:
    """Each policy with what its declaration says of sweep and audit."""
    found = {}
    for name, field in Policies.model_fields.items():
        (found[name],) = (each for each in field.metadata if isinstance(each, Considered))
    return found


def test_the_sweep_considers_each_policy_that_says_so() -> None:
    """A new policy that changes which orders should exist cannot be forgotten in the sweep."""
    assert {name for name, says in considered().items() if says.by_sweep} == set(LEFT_OUT_IF_IGNORED)


def test_the_audit_considers_each_policy_that_says_so() -> None:
    """A new policy that changes what the audit may report cannot be forgotten there."""
    assert {name for name, says in considered().items() if says.by_audit} == set(TOLERATED_IF_IGNORED)


@pytest.mark.parametrize("name", PolicyOptions.model_fields)
def test_a_route_has_each_option_with_its_declared_default(name: str) -> None:
    """The settings do not declare a policy again."""
    assert Route.model_fields[name].default == Policies.model_fields[name].default


@pytest.mark.parametrize("name", PolicyOptions.model_fields)
def test_a_workflow_learns_each_option_of_its_route(name: str) -> None:
    """No option is lost on the way from the settings to the order's workflow."""
    route = example_route().model_copy(update={name: "ignore"})
    assert "ignore" == getattr(route.policies, name)
