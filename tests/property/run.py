"""Plays many histories side by side in one world, and lets the oracle check each of them.

    python -m tests.property.run [--histories N] [--seed N] [--history K [--beside N]] [--without RULE] [--calm]

prints wrong histories with their seed and number. `--history` plays that one again, alone or beside others: what
people do in it is the same each time, while the moments of kills and lost replies are not.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.property.histories import ACCOUNTS, PRODUCTS, history
from tests.property.oracle import Wrong
from tests.property.play import Catalog, Played, Player, named, post
from tests.property.routes import ROUTES, RouteOfTheWorld
from tests.property.rules import RULES
from tests.property.verdicts import Verdict, verdicts
from tests.property.weather import ALL, Weather, heal
from tests.property.world import Talk, world

SIDE_BY_SIDE = 100
"""Histories that are played at the same time. More make nothing faster: they only wait longer for Temporal's
development server, beside other tests up to its timeouts."""
_AT_REST = 60.0
"""Seconds without any workflow coming to rest, after which the others are checked as they are: longer than any time
limit of the settings."""
_EXAMPLES = 4
IN_A_WORLD = 1000
"""Histories in one world, so few that its lists stay small."""
OF_A_RULE = 60
"""Histories that show what a rule prevents."""
_LOOKS = 3
"""Polls in a row that must show no change, because Temporal's list lags behind."""
SEED = "CLOSEDWON_HISTORY_SEED"
"""The environment variable that gives the tests another seed."""
_SEED_OF_TESTS = 20261130
"""The same histories in every run of the tests, so that a failure means a change; `make soak` plays others."""
_log = logging.getLogger(__name__)


def seed_of_tests() -> int:
    """The seed of the histories that the tests play."""
    return int(os.environ.get(SEED) or _SEED_OF_TESTS)


@dataclass
class Outcome:
    """The verdicts about all histories, and how often each fault struck."""

    seed: int
    number: int = 0
    verdicts: list[Verdict] = field(default_factory=list)
    seconds: float = 0.0
    strikes: Counter[str] = field(default_factory=Counter)

    @property
    def wrong(self) -> list[Verdict]:
        """The histories whose end is wrong."""
        return [each for each in self.verdicts if each.texts]

    @property
    def kinds(self) -> Counter[Wrong]:
        """How often each fault was found."""
        return sum((each.kinds for each in self.wrong), Counter())

    @property
    def unreported(self) -> Counter[Wrong]:
        """What the audit does not report."""
        return sum((each.unreported for each in self.wrong), Counter())

    @property
    def needless(self) -> Counter[str]:
        """How often the audit reported a deal that is right and about which no person is asked, by kind of finding."""
        return Counter(kind for each in self.verdicts for kinds in each.needless.values() for kind in kinds)

    def __str__(self) -> str:
        """What was found, the counts last."""
        played = f"{self.number} histories of seed {self.seed} in {self.seconds:.0f} s, strikes {dict(self.strikes)}"
        tail = [played, f"wrong: {_counts(self.kinds)}", f"not reported by the audit: {_counts(self.unreported)}"]
        needless = ", ".join(f"{kind} {number}" for kind, number in self.needless.items()) or "nothing"
        tail.append(f"found by the audit though right: {needless}")
        return "\n".join([*map(str, self._examples()), *tail])

    def _examples(self) -> list[Verdict]:
        """All that the audit does not report, and some of each kind."""
        shown: Counter[str] = Counter()
        examples = []
        for each in self.verdicts:
            kinds = {*each.kinds, *itertools.chain(*each.needless.values())}
            if each.unreported or any(shown[kind] < _EXAMPLES for kind in kinds):
                examples.append(each)
                shown.update(kinds)
        return examples


def _counts(kinds: Counter[Wrong]) -> str:
    return ", ".join(f"{kind.name} {number}" for kind, number in kinds.items()) or "nothing"


async def play_all(
    data_dir: Path, *, seed: int, numbers: Sequence[int], without: str | None = None, strikes: Sequence[str] = ALL
) -> Outcome:
    """Play the histories of these numbers in a world of their own."""
    began, born = time.monotonic(), datetime.now(UTC)
    outcome = Outcome(seed, len(numbers))
    async with world(data_dir, without=without) as talk:
        catalog = await _catalog(talk)
        places = asyncio.Semaphore(SIDE_BY_SIDE)

        async def play(number: int) -> Played:
            async with places:
                return await Player(talk, catalog, history(seed, number)).play()

        weather = Weather(talk, random.Random(seed), strikes)  # noqa: S311 - no secret
        _log.info("the world was started after %.0f s", time.monotonic() - began)
        played = await asyncio.gather(*map(play, numbers))
        _log.info("all steps done after %.0f s", time.monotonic() - began)
        await weather.over()
        outcome.strikes = weather.strikes
        await _until_at_rest(talk, catalog)
        _log.info("at rest after %.0f s", time.monotonic() - began)
        await asyncio.gather(*(talk.sweep(route.name, born) for route in ROUTES))
        _log.info("swept after %.0f s", time.monotonic() - began)
        await _until_at_rest(talk, catalog)
        while await heal(talk):
            await _until_at_rest(talk, catalog)
        _log.info("at rest again after %.0f s", time.monotonic() - began)
        outcome.verdicts = await verdicts(talk, catalog, played)
    outcome.seconds = time.monotonic() - began
    return outcome


async def _catalog(talk: Talk) -> Catalog:
    bodies = [post("Account", {"Name": f"Customer {number}"}) for number in range(ACCOUNTS)]
    bodies += [post("Product2", {"Name": code, "ProductCode": code, "IsActive": True}) for code in PRODUCTS]
    made = [each["id"] for each in await talk.composite(bodies)]
    return Catalog(tuple(made[:ACCOUNTS]), dict(zip(PRODUCTS, made[ACCOUNTS:], strict=True)))


# The end


async def _until_at_rest(talk: Talk, catalog: Catalog) -> None:
    """Wait until every event was read and every order workflow rests; one that never rests is checked as it is."""
    events = [route for route in ROUTES if not route.push]
    sentinels = [each["id"] for each in await talk.composite([_sentinel(route, catalog) for route in events])]
    for route, record in zip(events, sentinels, strict=True):
        await talk.publish(route.event, {"Record__c": record})
    until = time.monotonic() + _AT_REST
    unread: list[str] = []
    before: list[str] = []
    quiet = 0
    while time.monotonic() < until:
        states = await asyncio.gather(*map(talk.workflow_state, sentinels))
        unread = [route.name for route, each in zip(events, states, strict=True) if each is None or not each.rests]
        if (moving := await _moving(talk)) != before:
            before, until = moving, time.monotonic() + _AT_REST
        quiet = 0 if unread or moving else quiet + 1
        if quiet == _LOOKS:
            return
        await asyncio.sleep(0.5)
    _log.warning("not at rest: events of %s, workflows %s", unread, before)


def _sentinel(route: RouteOfTheWorld, catalog: Catalog) -> dict[str, Any]:
    """A record that no route orders, of the route's own object: a notification about another's starts nothing."""
    shape = route.shape
    fields = {**shape.open, **shape.always, **named(shape, "sentinel"), shape.customer: catalog.accounts[0]}
    return post(shape.object, fields)


async def _moving(talk: Talk) -> list[str]:
    """The order workflows that do not rest, as Temporal lists them."""
    query = (
        "WorkflowType = 'OrderWorkflow' AND ExecutionStatus = 'Running' AND "
        "OrderStage NOT IN ('attention', 'cancelled', 'not-needed')"
    )
    return [each.id async for each in talk.client.list_workflows(query)]


def main(arguments: Iterable[str] | None = None) -> int:
    """Run `make soak`; the exit code is 1 if a history ends wrongly."""
    asked = _arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    numbers: Sequence[int] = range(asked.histories)
    strikes: Sequence[str] = () if asked.calm else ALL
    if asked.history is not None:
        numbers = range(asked.history, asked.history + 1 + asked.beside)
    elif asked.without is not None:
        rule = RULES[asked.without]
        numbers, strikes = [*rule.histories(asked.seed, min(asked.histories, OF_A_RULE))], rule.strikes
    is_wrong = False
    for start in range(0, len(numbers), IN_A_WORLD):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) if asked.keep is None else asked.keep / str(start)
            these = numbers[start : start + IN_A_WORLD]
            playing = play_all(place, seed=asked.seed, numbers=these, without=asked.without, strikes=strikes)
            outcome = asyncio.run(playing)
        print(outcome, flush=True)  # noqa: T201 - the command's output
        is_wrong = is_wrong or bool(outcome.wrong)
    return is_wrong


def _arguments(arguments: Iterable[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Play random histories of deals, and check their end states with an oracle."
    )
    parser.add_argument("--histories", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))  # noqa: S311 - no secret
    parser.add_argument("--history", type=int, help="play this one alone")
    parser.add_argument("--beside", type=int, default=0, help="play this number of others at the same time")
    parser.add_argument("--without", choices=RULES, help="the rule that is removed")
    parser.add_argument("--calm", action="store_true", help="kill nothing and lose nothing")
    parser.add_argument("--keep", type=Path, help="keep logs and databases in this folder")
    return parser.parse_args(None if arguments is None else list(arguments))


if __name__ == "__main__":
    sys.exit(main())
