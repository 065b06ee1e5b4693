"""All that reports a state, asked at the same moment: doctor, top, metrics, `/readyz`, the alert rules, the audit."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console

from closedwon.cli.top_page import page
from closedwon.errors import AttentionReason, ClosedwonError
from closedwon.facts import metrics_page, overview
from closedwon.facts.readers import NotReadError, check_readers
from closedwon.operations import doctor
from closedwon.operations.troubles import Trouble
from tests.support.handoff import Handoff, until
from tests.support.metrics import Gauges, firing, rules
from workers.observer import Observer


class Witnesses(NamedTuple):
    """What each of them says."""

    doctor: dict[str, Trouble]
    """By subject; of several, the worst."""
    troubles: list[Trouble]
    top: str
    gauges: Gauges
    not_ready: str
    """What `/readyz` of a subscriber says of the event bus; empty if it is read."""

    @property
    def alerts(self) -> set[tuple[str, str]]:
        """The alerts whose rules hold, each with its labels."""
        return firing(self.gauges)

    def gauge(self, name: str, **labels: str) -> float | None:
        """Of the metrics."""
        return self.gauges.get(name, labels)

    @property
    def attention(self) -> list[str]:
        """Doctor's lines about orders that need attention."""
        return [one.text for one in self.troubles if " need attention" in one.text]

    def count_in_top(self, reason: str) -> int:
        """How many orders `top` counts for a reason."""
        return int((re.search(rf"{reason}\s+(\d+)", self.top) or [0, 0])[1])

    def line_of(self, word: str) -> str:
        """The line of `top` with this word; empty if there is none."""
        return next((line for line in self.top.splitlines() if word in line), "")


async def agreed(world: Handoff) -> Witnesses:
    """Ask all of them, the audit too, until they agree: Temporal's list of workflows lags behind. What they then say.

    Raises `TimeoutError`, with what they disagree about, if they never do.
    """
    said: list[str] = [""]
    seen: list[Witnesses] = []

    async def agree() -> bool:
        seen[:] = [await ask(world)]
        said[:] = [*_disagreements(seen[0]), *await _of_the_audit(world, seen[0])]
        return not said

    try:
        await until(agree, stall=60, poll=0.2)
    except TimeoutError:
        raise TimeoutError("; ".join(said)) from None
    return seen[0]


def _disagreements(seen: Witnesses) -> Iterator[str]:
    """What doctor, top, metrics, alerts and `/readyz` say differently of the same thing."""
    of_doctor = {subject: trouble.text for subject, trouble in seen.doctor.items()}
    alerts = {name for name, _ in seen.alerts}
    attention = sum(value for _, value in seen.gauges.samples("closedwon_attention_now"))
    counted = sum(int(text.split()[0]) for text in seen.attention)
    waits = seen.gauge("queue_paused", queue="erp-stub"), seen.gauge("queue_unreachable", queue="erp-stub")
    of_erp = " ".join(trouble.text for trouble in seen.troubles if trouble.subject == "erp stub")
    facts: dict[str, set[object]] = {
        "the event bus": {
            any(subject.startswith("events of ") for subject in of_doctor),
            "ClosedwonReaderSilent" in alerts,
            seen.not_ready != "",
        },
        "workers": {
            frozenset(subject.removeprefix("queue ") for subject in of_doctor if subject.startswith("queue ")),
            frozenset(labels.split()[0] for name, labels in seen.alerts if name == "ClosedwonNoWorker"),
        },
        "attention": {counted, attention, sum(seen.count_in_top(reason) for reason in AttentionReason)},
        "the alert of attention": {attention > 0, "ClosedwonNeedsAttention" in alerts},
        "a paused ERP": {
            "paused" in of_erp,
            waits[0] == 1,
            "paused" in seen.line_of("stub"),
            "ClosedwonErpPaused" in alerts,
        },
        "an ERP that is not reached": {
            "not reached" in of_erp,
            waits[1] == 1,
            "not reached" in seen.line_of("stub"),
            "ClosedwonErpUnreachable" in alerts,
        },
        "workflows that cannot continue": {
            "wedged workflows" in of_doctor,
            (seen.gauge("wedged_workflows") or 0) > 0,
            "cannot continue" in seen.top,
            "ClosedwonWedged" in alerts,
        },
    }
    yield from (f"{name}: {sorted(map(str, said))}" for name, said in facts.items() if len(said) > 1)


async def _of_the_audit(world: Handoff, seen: Witnesses) -> list[str]:
    """What the audit says differently; without an answer of Salesforce it says nothing, and doctor says why."""
    try:
        report = await world.audit()
    except ClosedwonError as error:
        return [] if "org org-0" in seen.doctor else [f"the audit has no answer ({error}), and doctor says nothing"]
    missing = report.counts.missing
    return [f"the audit: {missing} missing, though each has a workflow"] if missing else []


async def ask(world: Handoff) -> Witnesses:
    """Ask all of them."""
    gauges = Gauges()
    await Observer(world.client, world.settings, gauges.metrics).observe()
    seen, throughput = await overview.look(world.client, world.settings), await overview.throughput(world.client)
    drawn = io.StringIO()
    Console(width=120, file=drawn).print(page(seen, throughput, metrics_page.ScrapedMetrics({}, {}, {}), "default"))
    found: dict[str, Trouble] = {}
    troubles = await doctor.examine(world.settings)
    for trouble in troubles:
        found.setdefault(trouble.subject, trouble)
    try:
        await check_readers(world.client, world.settings)
        not_ready = ""
    except NotReadError as error:
        not_ready = str(error)
    return Witnesses(found, troubles, drawn.getvalue(), gauges, not_ready)


def alerting(alert: str, label: str) -> set[str]:
    """The values of a label for which an alert's expression selects a metric."""
    (expression,) = [rule["expr"] for rule in rules() if rule["alert"] == alert]
    (values,) = re.findall(rf'{label}=~"([^"]*)"', expression)
    return set(values.split("|"))
