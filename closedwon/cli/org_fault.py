"""`closedwon org fault`: makes the Salesforce emulator misbehave. Each command arms one fault through `/_admin`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from closedwon.cli.common import console as new_console
from closedwon.cli.org_common import DEFAULT_DIR, DataDir, talk

app = typer.Typer(
    name="fault",
    help="Let the running org do something wrong, once, `--times` n, or until `clear`.",
    no_args_is_help=True,
)

Times = Annotated[int, typer.Option(min=1, help="How many times it strikes.")]
Off = Annotated[bool, typer.Option("--off", help="End it.")]

_COUNTED: Final = {
    "lock-rows": "Record writes answer UNABLE_TO_LOCK_ROW.",
    "lose-acks": "Acknowledgements of outbound messages are lost: they are sent again.",
    "double-messages": "Outbound messages are sent twice, though acknowledged.",
    "reorder-messages": "Outbound messages arrive after the one that is written next.",
    "stall-messages": "Outbound messages stop half-way, and the connection stays open.",
    "request-limit": "REST calls answer 403 REQUEST_LIMIT_EXCEEDED.",
    "lose-answers": "Writing REST calls are committed, then the connection drops without an answer.",
    "lose-events": "Responses with events are lost on the way.",
    "pubsub-unavailable": "Calls of the Pub/Sub API fail with service.unavailable.",
    "schema-not-found": "The Pub/Sub API refuses requests for a schema.",
    "drop-events": "Events are lost for good: they never come on the bus. Only a sweep finds their records.",
    "double-events": "Events are published twice, with one EventUuid and two replay ids.",
    "cometd-unauthorized": "CometD answers HTTP 401 with a REST-style error list.",
    "edge-page": 'Requests get the page "Access Declined" of Salesforce\'s edge, with status 400.',
    "lose-locators": "Requests for a further page of a query's result answer INVALID_QUERY_LOCATOR.",
    "broken-json": "CometD answers end in the middle of their JSON text.",
}
"""Strike `--times` n."""
_SWITCHED: Final = {
    "split-messages": "Each notification travels alone, the latest first.",
    "down": "Salesforce is down: everything answers 503 until `--off`.",
    "read-only": "Maintenance: writes answer INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE, until `--off`.",
    "forget-positions": "The bus accepts only -1 and -2 as a replay id, until `--off`.",
    "unauthorized": "A proxy before the org answers everything with 401 and a page, until `--off`.",
    "mute": "CometD and streams take requests and never answer until `--off`.",
    "stop-keepalives": "Streams without events get no empty responses until `--off`.",
}
"""Go on until `--off`."""
_AT_ONCE: Final = {
    "cut-polls": "Drop the connections of all held polls.",
    "unknown-client": "Forget all CometD sessions: `403::Unknown client`.",
    "kick": "Say `/meta/disconnect` to all CometD clients and refuse them with reconnect none.",
    "expire-tokens": "Let every token expire.",
    "revoke-tokens": "Revoke every token; held polls learn it at once.",
    "reset-streams": "Reset every stream of the Pub/Sub API, without a code.",
    "end-streams": "End every stream of the Pub/Sub API without an error.",
    "change-schema": "Add a field to `Order_Requested__e`: its next events have another schema.",
    "move-bus": "Move the org: every replay id given out so far becomes invalid.",
    "clear": "End every fault.",
}
"""Happen now."""


def _arm(data_dir: Path, fault: str, **arguments: Any) -> None:
    answer = talk(data_dir, lambda client: client.admin("POST", f"faults/{fault}", arguments))
    result = answer["result"]
    typer.echo(f"{fault}: done" if result is None else f"{fault}: {result}")


def _counted(fault: str) -> Callable[..., None]:
    def command(times: Times = 1, data_dir: DataDir = DEFAULT_DIR) -> None:
        _arm(data_dir, fault, times=times)

    return command


def _switched(fault: str) -> Callable[..., None]:
    def command(*, off: Off = False, data_dir: DataDir = DEFAULT_DIR) -> None:
        _arm(data_dir, fault, on=not off)

    return command


def _at_once(fault: str) -> Callable[..., None]:
    def command(data_dir: DataDir = DEFAULT_DIR) -> None:
        _arm(data_dir, fault)

    return command


for _texts, _command in ((_COUNTED, _counted), (_SWITCHED, _switched), (_AT_ONCE, _at_once)):
    for _fault, _text in _texts.items():
        app.command(_fault, help=_text)(_command(_fault))


@app.command()
def rest_error(code: str, times: Times = 1, status: int | None = None, data_dir: DataDir = DEFAULT_DIR) -> None:
    """REST calls answer CODE, as in `closedwon org fault rest-error UNKNOWN_EXCEPTION`."""
    _arm(data_dir, "rest-error", code=code, times=times, status=status)


@app.command()
def record_error(
    code: str, times: Times = 1, message: str = "refused by a fault", data_dir: DataDir = DEFAULT_DIR
) -> None:
    """Record writes answer CODE, each record of a collection for itself."""
    _arm(data_dir, "record-error", code=code, message=message, times=times)


@app.command()
def fail_automation(
    above: Annotated[int, typer.Argument(min=0)],
    code: str = "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
    message: str | None = None,
    data_dir: DataDir = DEFAULT_DIR,
) -> None:
    """A trigger or flow fails for each record of a call that updates more than ABOVE records, until `clear`."""
    texts = {} if message is None else {"message": message}
    _arm(data_dir, "fail-automation", above=above, code=code, **texts)


@app.command()
def small_pages(records: Annotated[int, typer.Argument(min=0)], data_dir: DataDir = DEFAULT_DIR) -> None:
    """Pages of a query's result have at most so many RECORDS; 0 ends it."""
    _arm(data_dir, "small-pages", records=records)


@app.command()
def read_lag(seconds: Annotated[float, typer.Argument(min=0)], data_dir: DataDir = DEFAULT_DIR) -> None:
    """Reads show records as they were SECONDS ago; 0 ends it."""
    _arm(data_dir, "read-lag", seconds=seconds)


@app.command()
def slow_writes(seconds: Annotated[float, typer.Argument(min=0)], data_dir: DataDir = DEFAULT_DIR) -> None:
    """Updates last SECONDS and lock records and their accounts: others get UNABLE_TO_LOCK_ROW; 0 ends it."""
    _arm(data_dir, "slow-writes", seconds=seconds)


@app.command()
def cometd_error(
    channel: str, error: str, reason: str | None = None, times: Times = 1, data_dir: DataDir = DEFAULT_DIR
) -> None:
    """Messages on a meta CHANNEL fail with ERROR, as in `cometd-error /meta/connect '403::Oops'`."""
    _arm(data_dir, "cometd-error", channel=channel, error=error, failure_reason=reason, times=times)


@app.command()
def advice_interval(milliseconds: Annotated[int, typer.Argument(min=0)], data_dir: DataDir = DEFAULT_DIR) -> None:
    """Connect answers advise to wait so long before the next connect; 0 ends it."""
    _arm(data_dir, "advice-interval", milliseconds=milliseconds)


@app.command()
def clock(hours: float, data_dir: DataDir = DEFAULT_DIR) -> None:
    """Move the org's clock by HOURS: events older than 72 hours are gone, idle tokens and sessions too."""
    state = talk(data_dir, lambda client: client.admin("POST", "clock", {"advance_seconds": hours * 3600}))
    typer.echo(f"The org's clock says {state['now']}.")


@app.command()
def state(data_dir: DataDir = DEFAULT_DIR) -> None:
    """Show counters, armed faults and connected clients."""
    new_console().print_json(data=talk(data_dir, lambda client: client.admin("GET", "state")))
