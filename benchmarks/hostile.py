"""What a minute of hostile traffic of every kind costs honest deals, beside a quiet minute of the same run.

50 deals a minute are won in the emulator and go to a `closedwon intake` by signed callouts, with and without an
attacker at the same address. Each is written back, none is refused. `--orders` is the number of deals of each minute.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import Options, Table, percentile, ratios, run, server_version
from tests.support.besieged_intake import DEALS_PER_MINUTE, Span, attacked, besieged, honest
from tests.support.intake import memory

_MIB = 2**20


async def measure(options: Options) -> tuple[str, Sequence[Table]]:
    """A quiet span, then one under attack."""
    seconds = 60 * options.orders / DEALS_PER_MINUTE
    with tempfile.TemporaryDirectory(prefix="closedwon-bench-") as folder:
        async with besieged(Path(folder)) as world:
            await honest(world, 5)  # what is only loaded once
            quiet = await honest(world, seconds)
            async with attacked(world, seconds) as sent:
                beside = await honest(world, seconds)
            (intake,) = world.stack.intakes
            beside = beside._replace(memory=memory(intake.pid))
            assert not beside.refusals, beside.refusals
            deals = {"quiet": _figures(quiet), "attacked": _figures(beside)}
            deals["ratio"] = ratios(deals["attacked"], deals["quiet"])
            return await server_version(await world.stack.temporal.client()), [
                Table("from won to written back", ("p50 ms", "p95 ms", "MiB"), deals),
                Table("sent by the attacker", ("per s",), {kind: [sent[kind] / seconds] for kind in sorted(sent)}),
            ]


def _figures(span: Span) -> list[float | None]:
    latencies = [1000 * one for one in span.latencies]
    return [percentile(latencies, 50), percentile(latencies, 95), span.memory / _MIB]


if __name__ == "__main__":
    run(measure, orders=DEALS_PER_MINUTE)
