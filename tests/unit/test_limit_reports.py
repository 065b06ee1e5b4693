"""One system that gives no answer hides no other from the metrics, and ends no report."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from closedwon.errors import ClosedwonError
from closedwon.ids import OrgId
from closedwon.settings import Settings
from tests.support.metrics import Gauges
from workers import limits

_LIMITS = {"DailyApiRequests": {"Max": 100, "Remaining": 40}}


class _Org:
    """Answers, or fails, in the place of a Salesforce client."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    async def call(self, _ask: object) -> object:
        """Return the answer, or raise it."""
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.fixture
def orgs(example: str, load: Callable[[str], Settings]) -> Settings:
    """The example with three orgs."""
    settings = load(example)
    three = tuple(
        settings.orgs[0].model_copy(update={"name": name, "id": OrgId(f"00D5g00000000{number}")})
        for number, name in enumerate(("none", "fails", "answers"), start=10)
    )
    return settings.model_copy(update={"orgs": three})


async def test_the_other_reports_go_on(
    orgs: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An org without a client, one that fails, and errors that no one expects."""
    hidden = "what a customer wrote"

    async def fails(*_: object, **__: object) -> Any:
        raise KeyError(hidden)

    for asked in ("their_certificates", "key_checks", "clock_ahead"):
        monkeypatch.setattr(limits, asked, fails)
    _, failing, answering = (org.id for org in orgs.orgs)
    clients = {failing: _Org(ClosedwonError("no answer")), answering: _Org(_LIMITS)}
    connections: Any = SimpleNamespace(salesforce=clients)
    client: Any = None
    gauges = Gauges()

    await limits.Limits(client, connections, orgs, gauges.metrics).report()

    assert 60 == gauges.get("salesforce_limit_used", {"org": "answers", "limit": "DailyApiRequests"})
    assert "KeyError" in caplog.text
    assert hidden not in caplog.text
