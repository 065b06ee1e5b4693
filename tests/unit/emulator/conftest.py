"""An org without a web server, in memory, on real parts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from closedwon.emulators.salesforce.data.seed import seed
from closedwon.emulators.salesforce.org import EmulatedOrg


@pytest.fixture
def org() -> Iterator[EmulatedOrg]:
    """A fresh org."""
    made = EmulatedOrg()
    yield made
    made.store.close()


@pytest.fixture
def seeded(org: EmulatedOrg) -> EmulatedOrg:
    """An org with 12 open Opportunities."""
    seed(org, opportunities=12)
    return org
