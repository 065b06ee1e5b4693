"""The replay gate: today's workflow code must agree with every history that an earlier version has written."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from temporalio.client import WorkflowHistory
from temporalio.contrib.opentelemetry import OpenTelemetryPlugin, create_tracer_provider
from temporalio.worker import Plugin, Replayer

from closedwon import names
from closedwon.encryption.codec import data_converter
from tests.support.encryption import GOLDEN_KEY, keyed
from tests.support.histories import GOLDEN, history_name, read_history
from workflows.alerts import AlertWorkflow
from workflows.audits import AuditFindingWorkflow, AuditWorkflow
from workflows.encryption_key import EncryptionKeyWorkflow
from workflows.erp_limit import ErpLimitWorkflow
from workflows.hold import HoldWorkflow
from workflows.message import UnparseableMessageWorkflow
from workflows.order import OrderWorkflow
from workflows.subscription import SubscriptionWorkflow
from workflows.sweep import SweepWorkflow

_ADVICE = """\
The workflow code no longer agrees with a history that may be running in production: {error}

Orders wait for days, so a deploy would wedge them. Put the new branch behind
`if workflow.patched("what-changed"):` and keep the old one. Only for a version that was never released may
`make histories` write the golden histories again.
"""


async def _replay(path: Path, *plugins: Plugin) -> None:
    history = WorkflowHistory.from_json(history_name(path), read_history(path))
    replayer = Replayer(
        workflows=[
            OrderWorkflow,
            SubscriptionWorkflow,
            UnparseableMessageWorkflow,
            SweepWorkflow,
            AlertWorkflow,
            ErpLimitWorkflow,
            HoldWorkflow,
            AuditWorkflow,
            AuditFindingWorkflow,
            EncryptionKeyWorkflow,
        ],
        data_converter=data_converter(keyed(GOLDEN_KEY)),
        plugins=plugins,
    )
    await replayer.replay_workflow(history)


@pytest.mark.parametrize("path", GOLDEN, ids=history_name)
async def test_todays_code_agrees_with_the_history(path: Path) -> None:
    """A deploy wedges no order that is under way."""
    try:
        await _replay(path)
    except Exception as error:  # noqa: BLE001 - whatever replay raises is the finding
        pytest.fail(_ADVICE.format(error=error))


@pytest.fixture(scope="module")
def traced() -> Plugin:
    """What makes workers trace; nothing takes the spans."""
    trace.set_tracer_provider(create_tracer_provider())
    return OpenTelemetryPlugin(add_temporal_spans=True)


@pytest.mark.parametrize("path", GOLDEN, ids=history_name)
async def test_turning_traces_on_changes_no_history(path: Path, traced: Plugin) -> None:
    """Orders that were begun without traces go on in workers that trace."""
    await _replay(path, traced)


def test_each_workflow_has_its_histories() -> None:
    """What is not recorded is not replayed: the gate would say yes to everything."""
    ours = {name for constant, name in vars(names).items() if constant.endswith("_WORKFLOW")}
    starts = (json.loads(read_history(path))["events"][0] for path in GOLDEN)
    recorded = {start["workflowExecutionStartedEventAttributes"]["workflowType"]["name"] for start in starts}

    assert ours == recorded


def test_t4_one_history_is_encrypted() -> None:
    """Each of its payloads: what it was written with must be read by every later version."""
    history = read_history(next(path for path in GOLDEN if "an_encrypted_order" in path.name))
    metadata = [payload["metadata"] for payload in _payloads(json.loads(history)) if "type" not in payload["metadata"]]
    assert 12 < len(metadata)
    key_ids = {base64.b64decode(fields.get("encryption-key-id", "")) for fields in metadata}
    assert {b"golden"} == key_ids


def _payloads(value: Any) -> Iterator[dict[str, Any]]:
    """All but what the SDK notes of a local activity: its number, name and times, which nothing encrypts."""
    if isinstance(value, dict) and "metadata" in value and "data" in value:
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            if key != "data":
                yield from _payloads(item)
    elif isinstance(value, list):
        for item in value:
            yield from _payloads(item)
