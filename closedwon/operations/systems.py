"""What `closedwon doctor` asks of the orgs, the ERPs and this machine: connections, limits, certificates, clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, TypeVar

from closedwon.errors import ClosedwonError
from closedwon.facts.clocks import SKEW, clock_ahead
from closedwon.facts.expiries import OLD, SOON, Expiry, KeyAge, own_certificates, their_certificates
from closedwon.facts.org_limits import NEAR, org_limits
from closedwon.operations import checks
from closedwon.operations.checks import CheckFinding
from closedwon.operations.questions import Question, answers
from closedwon.operations.troubles import Harm, Trouble
from closedwon.salesforce.api.quota import measures
from closedwon.settings import ErpSettings, Org, Settings, warnings
from workers.connections import Connections

_CALL: Final = timedelta(seconds=4)
"""For one call: less than all questions have, so that there is time to find out why there is no answer."""
_LEAVING: Final = 0.5
"""Seconds for the end of our connections."""
_EXPIRED: Final = {
    "intake": (Harm.LOSS, "no message from Salesforce arrives"),
    "temporal": (Harm.STOPPED, "no process can connect"),
}
_System = TypeVar("_System", Org, ErpSettings)


async def examine(settings: Settings, until: float) -> list[Trouble]:
    """Ask all of it, side by side, until that time of the event loop."""
    hurried = settings.model_copy(
        update={"orgs": tuple(map(_hurried, settings.orgs)), "erps": tuple(map(_hurried, settings.erps))}
    )
    connections = Connections(hurried)
    await connections.__aenter__()
    try:
        found = await answers([*_questions(hurried, connections, until)], until)
    finally:
        closing = asyncio.create_task(connections.__aexit__(None, None, None))
        await asyncio.wait({closing}, timeout=_LEAVING)
    return [*found, *(Trouble(Harm.RISK, "intake", warning, "") for warning in warnings(settings))]


def _hurried(system: _System) -> _System:
    return system.model_copy(update={"timeout": min(system.timeout, _CALL)})


def _questions(settings: Settings, connections: Connections, until: float) -> Iterator[Question]:
    slow = (
        "Ask again, or by `closedwon config check`, which waits longer. Check its load, and that `{}` is its address."
    )
    for org in settings.orgs:
        ask = partial(_of_org, org, settings, connections, until)
        yield Question(f"org {org.name}", ask, slow.format("orgs.url"))
        yield Question("clock", partial(_clock, org), slow.format("orgs.url"))
    for erp in settings.erps:
        yield Question(f"erp {erp.name}", partial(_of_erp, erp, connections), slow.format("erps.url"))
    yield Question("certificates", partial(_certificates, settings), "Ask again when the other systems answer.")


async def _of_org(org: Org, settings: Settings, connections: Connections, until: float) -> list[Trouble]:
    """Whether it answers; then, side by side, its routes and its limits."""
    findings = [*checks.open_routes_of(settings, org), await checks.of_org(org, connections)]
    org_answers = not findings[-1].wrong
    asked = []
    for route in settings.routes:
        if route.org == org.name:
            findings += checks.wsdl_findings(route)
            routes = partial(checks.route_findings, route, settings, connections, org_answers=org_answers)
            hint = f"The org is slow: ask again. `orgs.url` of {org.name} is its address."
            asked.append(Question(f"route {route.name}", partial(_as_troubles, routes), hint))
    if org_answers:
        hint = "Ask again: the org is slow."
        asked.append(Question(f"limits of {org.name}", partial(_limits, org, settings, connections), hint))
    found = [trouble for finding in findings for trouble in _trouble(finding)]
    return [*found, *await answers(asked, until)]


async def _as_troubles(findings: partial[AsyncIterator[CheckFinding]]) -> list[Trouble]:
    return [trouble async for finding in findings() for trouble in _trouble(finding)]


def _trouble(finding: CheckFinding) -> Iterator[Trouble]:
    if finding.wrong or finding.warns:
        harm = Harm.WAITING if finding.wrong else Harm.RISK
        yield Trouble(harm, finding.subject, finding.text, finding.hint)


async def _of_erp(erp: ErpSettings, connections: Connections) -> list[Trouble]:
    return [*_trouble(await checks.of_erp(erp, connections))]


async def _limits(org: Org, settings: Settings, connections: Connections) -> list[Trouble]:
    """What runs short; an org that does not let our user see its limits still counts its API calls in each answer."""
    client = connections.salesforce[org.id]
    subject = f"org {org.name}"
    try:
        near = [limit for limit in await org_limits(client) if limit.share > NEAR]
    except ClosedwonError:
        near = []
    usage = client.usage
    taken = measures(usage, sweep_share=settings.sweep_share(org.name)) if usage else []
    found = []
    if taken:
        text = f"{usage}: {', '.join(measure.text for measure in taken)}"
        hint = "See in Setup, Company Information, who calls; at the limit orders wait, but are not lost."
        found.append(Trouble(Harm.RISK, subject, text, hint))
    for limit in near:
        if limit.name == "DailyApiRequests":
            if taken:
                continue  # it is said with what is done about it
            hint = "See in Setup, Company Information, who calls; at the limit orders wait, but are not lost."
        else:
            hint = "See what else uses it, or buy more. At the limit events are held back, and sweeps find the deals."
        found.append(Trouble(Harm.RISK, subject, limit.text, hint))
    return found


async def _certificates(settings: Settings) -> list[Trouble]:
    theirs = await their_certificates(settings, patience=_CALL.total_seconds())
    now = datetime.now(UTC)
    return [trouble for one in (*own_certificates(settings), *theirs) for trouble in certificate(one, now)]


def certificate(one: Expiry, now: datetime) -> Iterator[Trouble]:
    """What is to be said of a certificate."""
    left = one.at - now
    if left > SOON:
        return
    harm, effect = _EXPIRED.get(one.link, (Harm.WAITING, "calls to it fail"))
    hint = f"Renew it: `{one.setting}` names it."
    if one.side == "theirs":
        hint = f"The owner of the system that `{one.setting}` names must renew it."
    if left > timedelta():
        text = f"{one.text} expires in {left.days} days, on {one.at:%Y-%m-%d}; then {effect}"
        yield Trouble(Harm.RISK, f"certificate of {one.link}", text, hint)
    else:
        yield Trouble(
            harm, f"certificate of {one.link}", f"{one.text} has expired on {one.at:%Y-%m-%d}: {effect}", hint
        )


def key_age(one: KeyAge, now: datetime) -> Iterator[Trouble]:
    """What is to be said of a key."""
    age = now - one.since
    if age > OLD:
        text = f"`{one.name}` is {age.days} days old"
        yield Trouble(Harm.RISK, "key age", text, 'Replace it: see "Replace keys in time" in docs/operate/expiry.md.')


async def _clock(org: Org) -> list[Trouble]:
    off = await clock_ahead(org)
    if off is None or abs(off) <= SKEW:
        return []
    side = "ahead of" if off > timedelta() else "behind"
    text = f"this machine's clock is {abs(off).total_seconds():.0f} s {side} Salesforce's"
    hint = "Synchronize it by NTP: JWT logins and signed callouts depend on it."
    return [Trouble(Harm.RISK, "clock", text, hint)]
