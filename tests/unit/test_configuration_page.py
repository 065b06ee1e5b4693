"""The page on configuration tells every key with its true default."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel, TypeAdapter

from closedwon import settings
from closedwon.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
SECTIONS: dict[str, type[BaseModel]] = {
    "`[[orgs]]`": settings.Org,
    '`auth` with `flow = "client-credentials"`': settings.ClientCredentials,
    '`auth` with `flow = "jwt-bearer"`': settings.JwtBearer,
    '`kind = "tryton"`': settings.TrytonErp,
    '`kind = "rest"`': settings.RestErp,
    "`[erps.webhook]`": settings.Webhook,
    "`[[routes]]`": settings.Route,
    "`[routes.follow]`": settings.Follow,
    "`[routes.outbound]`": settings.Outbound,
    "`[routes.outbound.tombstone]`": settings.Tombstone,
    "`[routes.callouts]`": settings.Callouts,
    "`[routes.sweep]`": settings.Sweep,
    "`[routes.order]`": settings.OrderMapping,
    "`[routes.order.customer]`": settings.CustomerMapping,
    "`[routes.order.lines]`": settings.LinesMapping,
    "`[routes.order.lines.discount]`": settings.Discount,
    "`[[routes.order.lookups]]`": settings.Lookup,
    "`[routes.write_back]`": settings.WriteBack,
    "`[retry]`": settings.Retry,
    "`[subscriber]`": settings.Subscriber,
    "`[workers]`": settings.Workers,
    "`[telemetry]`": settings.Telemetry,
    "`[encryption]`": settings.Encryption,
    "`[[encryption.keys]]`": settings.Key,
    "`[codec]`": settings.Codec,
    "`[codec.tokens]`": settings.Tokens,
    "`[alerts]`": settings.Alerts,
    "`[audit]`": settings.Audit,
    "`[intake]`": settings.Intake,
    "`[intake.tls]`": settings.Tls,
    "`[intake.forwarded_certificate]`": settings.ForwardedCertificate,
}
NONE = (None, settings.WriteBack())


def rows(heading: str) -> Iterator[tuple[str, str]]:
    """Yield key and default of the table under a heading."""
    section = re.split(rf"^#+ {re.escape(heading)}$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1]
    for line in re.split(r"^#", section, flags=re.MULTILINE)[0].splitlines():
        if line.startswith("| `"):
            key, default, _meaning = (cell.strip() for cell in line.strip("|").split("|", 2))
            yield key.strip("`"), default


@pytest.mark.parametrize(("heading", "section"), SECTIONS.items(), ids=[model.__name__ for model in SECTIONS.values()])
def test_every_key_is_told_with_its_default(heading: str, section: type[BaseModel]) -> None:
    """What the page says is what happens."""
    told = dict(rows(heading))
    assert list(section.model_fields) == list(told)
    for key, field in section.model_fields.items():
        if field.is_required():
            assert "*needed*" == told[key]
        elif told[key] == "*none*":
            assert field.get_default(call_default_factory=True) in NONE
        else:
            value: Any = tomllib.loads(f"value = {told[key].strip('`')}")["value"]
            adapter: TypeAdapter[Any] = TypeAdapter(cast("Any", field.annotation))
            assert field.get_default(call_default_factory=True) == adapter.validate_python(value)


@pytest.mark.parametrize("section", Settings.model_fields)
def test_every_section_is_told(section: str) -> None:
    """No table of the file is left out."""
    headings = re.findall(r"^## `\[+(\w+)\]+`$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert section in headings


def test_the_examples_of_the_page_are_commands() -> None:
    """What the page tells people to type exists."""
    from typer.testing import CliRunner  # noqa: PLC0415 - only here

    from closedwon.cli.main import app  # noqa: PLC0415

    commands = re.findall(r"^closedwon (\w+ \w+)", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert ["config check", "route try"] == commands
    for command in commands:
        assert 0 == CliRunner().invoke(app, [*command.split(), "--help"]).exit_code
