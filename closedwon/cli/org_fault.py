"""`closedwon org fault`: what the local org does wrong, by hand. Each command arms one fault through `/_admin`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from closedwon.localorg.client import OrgClient

app = typer.Typer(
    name="fault",
    help="Let the running org do something wrong, once, `--times` n, or until `clear`.",
    no_args_is_help=True,
)

DataDir = Annotated[Path, typer.Option(help="Where the org keeps its data and connection.json.")]
DEFAULT_DIR = Path(".closedwon/org")
Times = Annotated[int, typer.Option(min=1, help="How many times it strikes.")]
Off = Annotated[bool, typer.Option("--off", help="End it.")]

_Result = TypeVar("_Result")


def talk(data_dir: Path, what: Callable[[OrgClient], Coroutine[Any, Any, _Result]]) -> _Result:
    """Talk to the org that runs on `data_dir`; end the command with one sentence where that fails."""
    import aiohttp  # noqa: PLC0415 - `closedwon --help` stays instant

    from closedwon.localorg.client import OrgClient, OrgRefusedError  # noqa: PLC0415
    from closedwon.localorg.connection import read_connection  # noqa: PLC0415

    connection = read_connection(data_dir)
    if connection is None:
        raise stop(f"No org was ever served in {data_dir}. Start one with: closedwon org serve --data-dir {data_dir}")

    async def conversation() -> _Result:
        async with OrgClient.open(connection) as client:
            return await what(client)

    try:
        return asyncio.run(conversation())
    except aiohttp.ClientConnectionError:
        raise stop(
            f"No org answers at {connection.url}. Start it with: closedwon org serve --data-dir {data_dir}"
        ) from None
    except OrgRefusedError as error:
        raise stop(f"The org refuses: {error}") from None


def stop(message: str) -> typer.Exit:
    """Print one sentence; raise what this returns."""
    typer.secho(message, err=True, fg=typer.colors.RED)
    return typer.Exit(1)


def _arm(data_dir: Path, fault: str, **arguments: Any) -> None:
    answer = talk(data_dir, lambda client: client.admin("POST", f"faults/{fault}", arguments))
    result = answer["result"]
    typer.echo(f"{fault}: done" if result is None else f"{fault}: {result}")


@app.command()
def lock_rows(times: Times = 1, data_dir: DataDir = DEFAULT_DIR) -> None:
    """Record writes answer UNABLE_TO_LOCK_ROW."""
    _arm(data_dir, "lock-rows", times=times)


@app.command()
def lose_acks(times: Times = 1, data_dir: DataDir = DEFAULT_DIR) -> None:
    """Acknowledgements of outbound messages are lost: they are sent again."""
    _arm(data_dir, "lose-acks", times=times)


@app.command()
def double_messages(times: Times = 1, data_dir: DataDir = DEFAULT_DIR) -> None:
    """Outbound messages are sent twice, though acknowledged."""
    _arm(data_dir, "double-messages", times=times)


@app.command()
def reorder_messages(times: Times = 1, data_dir: DataDir = DEFAULT_DIR) -> None:
    """Outbound messages arrive after the one that is written next."""
    _arm(data_dir, "reorder-messages", times=times)


@app.command()
def stall_messages(times: Times = 1, data_dir: DataDir = DEFAULT_DIR) -> None:
    """Outbound messages stop half-way, and the connection stays open."""
    _arm(data_dir, "stall-messages", times=times)


@app.command()
def split_messages(off: Off = False, data_dir: DataDir = DEFAULT_DIR) -> None:  # noqa: FBT002 - a flag
    """Each notification travels alone, the latest first."""
    _arm(data_dir, "split-messages", on=not off)


@app.command()
def request_limit(times: Times = 1, data_dir: DataDir = DEFAULT_DIR) -> None:
    """REST calls answer 403 REQUEST_LIMIT_EXCEEDED."""
    _arm(data_dir, "request-limit", times=times)


@app.command()
def rest_error(code: str, times: Times = 1, status: int | None = None, data_dir: DataDir = DEFAULT_DIR) -> None:
    """REST calls answer CODE. Example: `closedwon org fault rest-error UNKNOWN_EXCEPTION --times 3`."""
    _arm(data_dir, "rest-error", code=code, times=times, status=status)


@app.command()
def record_error(code: str, times: Times = 1, data_dir: DataDir = DEFAULT_DIR) -> None:
    """Record writes answer CODE, each record of a collection for itself."""
    _arm(data_dir, "record-error", code=code, times=times)


@app.command()
def lose_answers(times: Times = 1, data_dir: DataDir = DEFAULT_DIR) -> None:
    """Writing REST calls are committed, then the connection drops without an answer."""
    _arm(data_dir, "lose-answers", times=times)


@app.command()
def lose_events(times: Times = 1, data_dir: DataDir = DEFAULT_DIR) -> None:
    """CometD answers that carry events are lost on the way."""
    _arm(data_dir, "lose-events", times=times)


@app.command()
def drop_events(times: Times = 1, data_dir: DataDir = DEFAULT_DIR) -> None:
    """Events are lost for good: they never come on the bus. Only a sweep finds their records."""
    _arm(data_dir, "drop-events", times=times)


@app.command()
def double_events(times: Times = 1, data_dir: DataDir = DEFAULT_DIR) -> None:
    """Events are published twice, with one EventUuid and two replay ids."""
    _arm(data_dir, "double-events", times=times)


@app.command()
def read_lag(seconds: Annotated[float, typer.Argument(min=0)], data_dir: DataDir = DEFAULT_DIR) -> None:
    """Reads show records as they were SECONDS ago; 0 ends it."""
    _arm(data_dir, "read-lag", seconds=seconds)


@app.command()
def down(off: Off = False, data_dir: DataDir = DEFAULT_DIR) -> None:  # noqa: FBT002 - a flag
    """Salesforce is down: everything answers 503 until `--off`."""
    _arm(data_dir, "down", on=not off)


@app.command()
def mute(off: Off = False, data_dir: DataDir = DEFAULT_DIR) -> None:  # noqa: FBT002 - a flag
    """CometD takes requests and never answers until `--off`."""
    _arm(data_dir, "mute", on=not off)


@app.command()
def cometd_unauthorized(times: Times = 1, data_dir: DataDir = DEFAULT_DIR) -> None:
    """CometD answers HTTP 401 with a REST-style error list."""
    _arm(data_dir, "cometd-unauthorized", times=times)


@app.command()
def broken_json(times: Times = 1, data_dir: DataDir = DEFAULT_DIR) -> None:
    """CometD answers end in the middle of their JSON text."""
    _arm(data_dir, "broken-json", times=times)


@app.command()
def cometd_error(
    channel: str, error: str, reason: str | None = None, times: Times = 1, data_dir: DataDir = DEFAULT_DIR
) -> None:
    """Messages on a meta CHANNEL fail with ERROR. Example: `cometd-error /meta/connect '403::Oops'`."""
    _arm(data_dir, "cometd-error", channel=channel, error=error, failure_reason=reason, times=times)


@app.command()
def advice_interval(milliseconds: Annotated[int, typer.Argument(min=0)], data_dir: DataDir = DEFAULT_DIR) -> None:
    """Connect answers advise to wait so long before the next connect; 0 ends it."""
    _arm(data_dir, "advice-interval", milliseconds=milliseconds)


@app.command()
def cut_polls(data_dir: DataDir = DEFAULT_DIR) -> None:
    """Drop the connections of all held polls."""
    _arm(data_dir, "cut-polls")


@app.command()
def unknown_client(data_dir: DataDir = DEFAULT_DIR) -> None:
    """Forget all CometD sessions: `403::Unknown client`."""
    _arm(data_dir, "unknown-client")


@app.command()
def kick(data_dir: DataDir = DEFAULT_DIR) -> None:
    """Say `/meta/disconnect` to all CometD clients and refuse them with reconnect none."""
    _arm(data_dir, "kick")


@app.command()
def expire_tokens(data_dir: DataDir = DEFAULT_DIR) -> None:
    """Let every token expire."""
    _arm(data_dir, "expire-tokens")


@app.command()
def revoke_tokens(data_dir: DataDir = DEFAULT_DIR) -> None:
    """Revoke every token; held polls learn it at once."""
    _arm(data_dir, "revoke-tokens")


@app.command()
def move_bus(data_dir: DataDir = DEFAULT_DIR) -> None:
    """Move the org: every replay id given out so far becomes invalid."""
    _arm(data_dir, "move-bus")


@app.command()
def clear(data_dir: DataDir = DEFAULT_DIR) -> None:
    """End every fault."""
    _arm(data_dir, "clear")


@app.command()
def clock(hours: float, data_dir: DataDir = DEFAULT_DIR) -> None:
    """Move the org's clock by HOURS: events older than 72 hours are gone, idle tokens and sessions too."""
    typer.echo(talk(data_dir, lambda client: client.admin("POST", "clock", {"advance_s": hours * 3600}))["now"])


@app.command()
def state(data_dir: DataDir = DEFAULT_DIR) -> None:
    """Show counters, armed faults and connected clients."""
    from rich.console import Console  # noqa: PLC0415 - `closedwon --help` stays instant

    Console().print_json(data=talk(data_dir, lambda client: client.admin("GET", "state")))
