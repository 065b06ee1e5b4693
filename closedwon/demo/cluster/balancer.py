"""A TCP load balancer, as clusters have one before their frontends: `python -m closedwon.demo.cluster.balancer`.

    balancer PORT TARGET_PORT ...

Each connection goes to the next target that accepts it. All addresses are on loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from typing import Final

_HOST: Final = "127.0.0.1"
_CHUNK: Final = 65536


async def serve(port: int, targets: list[int]) -> None:
    """Forward until cancelled."""
    first = itertools.cycle(range(len(targets)))

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = next(first)
        for target in targets[place:] + targets[:place]:
            try:
                connection = await asyncio.open_connection(_HOST, target)
            except OSError:
                continue
            await _join((reader, writer), connection)
            return
        writer.close()

    server = await asyncio.start_server(forward, _HOST, port)
    print(f"forwarding {port} to {', '.join(map(str, targets))}", flush=True)  # noqa: T201 - a program
    await server.serve_forever()


async def _join(
    left: tuple[asyncio.StreamReader, asyncio.StreamWriter], right: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Pass bytes both ways until either side ends; then end both."""
    pumps = {asyncio.create_task(_pump(left[0], right[1])), asyncio.create_task(_pump(right[0], left[1]))}
    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    for pump in pumps:
        pump.cancel()
    for _, writer in (left, right):
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), [int(word) for word in sys.argv[2:]]))
