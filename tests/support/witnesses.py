"""All that reports a state, asked at the same moment: doctor, top, metrics, `/readyz`, and the alert rules."""

from __future__ import annotations

import io
import re
from typing import NamedTuple

from rich.console import Console

from closedwon.cli.top_page import page
from closedwon.facts import metrics_page, overview
from closedwon.facts.readers import NotReadError, check_readers
from closedwon.operations import doctor
from closedwon.operations.troubles import Trouble
from tests.support.handoff import Handoff
from tests.support.metrics import Gauges, rules
from workers.observer import Observer


class Witnesses(NamedTuple):
    """What each of them says."""

    doctor: dict[str, Trouble]
    """By subject; of several, the worst."""
    top: str
    gauges: Gauges
    not_ready: str
    """What `/readyz` of a subscriber says of the event bus; empty if it is read."""

    def gauge(self, name: str, **labels: str) -> float | None:
        """Of the metrics."""
        return self.gauges.get(name, labels)

    def line_of(self, word: str) -> str:
        """The line of `top` with this word; empty if there is none."""
        return next((line for line in self.top.splitlines() if word in line), "")


async def ask(world: Handoff) -> Witnesses:
    """Ask all of them."""
    gauges = Gauges()
    await Observer(world.client, world.settings, gauges.metrics).observe()
    seen, throughput = await overview.look(world.client, world.settings), await overview.throughput(world.client)
    drawn = io.StringIO()
    Console(width=120, file=drawn).print(page(seen, throughput, metrics_page.ScrapedMetrics({}, {}, {}), "default"))
    found: dict[str, Trouble] = {}
    for trouble in await doctor.examine(world.settings):
        found.setdefault(trouble.subject, trouble)
    try:
        await check_readers(world.client, world.settings)
        not_ready = ""
    except NotReadError as error:
        not_ready = str(error)
    return Witnesses(found, drawn.getvalue(), gauges, not_ready)


def alerting(alert: str, label: str) -> set[str]:
    """The values of a label for which an alert's expression selects a metric."""
    (expression,) = [rule["expr"] for rule in rules() if rule["alert"] == alert]
    (values,) = re.findall(rf'{label}=~"([^"]*)"', expression)
    return set(values.split("|"))
