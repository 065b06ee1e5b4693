"""An org without a web server, in memory, on real parts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from closedwon.localorg.org import Org
from closedwon.localorg.seed import seed


@pytest.fixture
def org() -> Iterator[Org]:
    """A fresh org."""
    made = Org()
    yield made
    made.store.close()


@pytest.fixture
def seeded(org: Org) -> Org:
    """An org with 12 open Opportunities."""
    seed(org, opportunities=12)
    return org
