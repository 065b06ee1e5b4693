"""`closedwon audit`: what an operator types and reads."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from closedwon import names
from tests.integration.cli.conftest import Closedwon, Installation


@pytest.fixture(scope="module", autouse=True)
async def leave_nothing_running(
    temporal_server: WorkflowEnvironment, installation: Installation
) -> AsyncIterator[None]:
    """No one works on what `--fix` starts here, and workers of other tests have not its key."""
    yield
    query = f"{names.SALESFORCE_RECORD_ID} = '{installation.won}' AND ExecutionStatus = 'Running'"
    async for left in temporal_server.client.list_workflows(query):
        await temporal_server.client.get_workflow_handle(left.id).terminate()


def test_a_disagreement_is_printed_with_what_each_side_says(closedwon: Closedwon, installation: Installation) -> None:
    """One deal is won and no notification has arrived: its line, what to do, what it cost, and exit code 1."""
    result = closedwon("audit", "--lag", "0s")

    assert 1 == result.exit_code
    for words in ("won, but no ERP has an order", installation.won, "no order", "no workflow", "--fix", "API calls"):
        assert words in result.output
    assert installation.still_open not in result.output


def test_what_is_young_is_under_way(closedwon: Closedwon) -> None:
    """A deal that was won a moment ago is reported, but is not a disagreement: exit code 0."""
    result = closedwon("audit")

    assert 0 == result.exit_code
    assert "in progress: 1" in result.output


def test_json_holds_all_of_it(closedwon: Closedwon, installation: Installation) -> None:
    """For programs: the same findings and counts, and nothing else on standard output."""
    result = closedwon("audit", "--lag", "0s", "--json")
    report: dict[str, Any] = json.loads(result.stdout)

    assert ["won-without-order"] == [one["kind"] for one in report["findings"]]
    assert installation.won == report["findings"][0]["record"]
    assert {"won": 1, "missing": 1, "ordered": 0}.items() <= report["counts"].items()


def test_fix_says_what_it_has_started(closedwon: Closedwon) -> None:
    """The record's workflow is there afterwards, and the next audit reports it as in progress."""
    fixed = closedwon("audit", "--lag", "0s", "--fix")
    assert 1 == fixed.exit_code
    assert "1 workflow looks again" in fixed.output

    again = closedwon("audit", "--lag", "0s")
    assert 0 == again.exit_code
    assert "in progress: 1" in again.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--since", "yesterday"), "'yesterday' is not a time"),
        (("--since", "2026-13-01"), "'2026-13-01' is not a time"),
        (("--until", "soon"), "'soon' is not a time"),
        (("--since", "1h", "--until", "2h"), "--until must be later than --since"),
        (("--lag", "5"), 'must be a duration: write "5s"'),
        (("--route", "won-dales"), "there is no route 'won-dales'"),
    ],
)
def test_a_mistyped_flag_is_reported(closedwon: Closedwon, words: tuple[str, ...], said: str) -> None:
    """What is wrong and what may stand there instead, before anything is asked of anybody."""
    result = closedwon("audit", *words)

    assert 2 == result.exit_code
    assert said in " ".join(result.output.replace("│", " ").split())
    assert "Traceback" not in result.output
