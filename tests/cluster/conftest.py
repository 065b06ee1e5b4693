"""Tests on a Temporal cluster: skipped with one sentence where it cannot be built, or has not been."""

from __future__ import annotations

import pytest

from closedwon.demo.cluster import programs
from closedwon.demo.parts import PartError


@pytest.fixture(scope="session", autouse=True)
def cluster_programs() -> None:
    """Skip unless the cluster's programs are there."""
    try:
        found = programs.find()
    except PartError as error:
        pytest.skip(str(error))
    if not found.are_built:
        pytest.skip("Temporal's server is not built. To build it, which takes some minutes: make cluster ARGS=--build")
