"""The pages in docs/configure list every key of the settings with its true default."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, cast

import pytest
from pydantic import BaseModel, BeforeValidator, TypeAdapter
from pydantic.fields import FieldInfo

from closedwon import settings
from closedwon.settings import Settings

FOLDER = Path(__file__).parents[2] / "docs" / "configure"
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in sorted(FOLDER.glob("*.md")))
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
    "`[routes.callouts]`": settings.CalloutSettings,
    "`[routes.sweep]`": settings.Sweep,
    "`[routes.order]`": settings.OrderMapping,
    "`[routes.order.customer]`": settings.CustomerMapping,
    "`[routes.order.lines]`": settings.LinesMapping,
    "`[routes.order.lines.discount]`": settings.Discount,
    "`[[routes.order.lookups]]`": settings.Lookup,
    "`[routes.write_back]`": settings.WriteBackFields,
    "`[retry]`": settings.Retry,
    "`[subscriber]`": settings.Subscriber,
    "`[workers]`": settings.Workers,
    "`[telemetry]`": settings.TelemetrySettings,
    "`[encryption]`": settings.Encryption,
    "`[[encryption.keys]]`": settings.Key,
    "`[codec]`": settings.Codec,
    "`[codec.tokens]`": settings.Tokens,
    "`[alerts]`": settings.AlertSettings,
    "`[audit]`": settings.Audit,
    "`[intake]`": settings.Intake,
    "`[intake.tls]`": settings.Tls,
    "`[intake.forwarded_certificate]`": settings.ForwardedCertificate,
}
NONE = (None, settings.WriteBackFields())


def _readers(field: FieldInfo) -> Iterator[BeforeValidator]:
    """Yield what turns a text of the file into the field's value; bounds may exclude the default itself."""
    return (each for each in field.metadata if isinstance(each, BeforeValidator))


def rows(heading: str) -> Iterator[tuple[str, str]]:
    """Yield key and default of the table under a heading."""
    section = re.split(rf"^#+ {re.escape(heading)}$", TEXT, flags=re.MULTILINE)[1]
    for line in re.split(r"^#", section, flags=re.MULTILINE)[0].splitlines():
        if line.startswith("| `"):
            key, default, _meaning = (cell.strip() for cell in line.strip("|").split("|", 2))
            yield key.strip("`"), default


@pytest.mark.parametrize(("heading", "section"), SECTIONS.items(), ids=[model.__name__ for model in SECTIONS.values()])
def test_every_key_is_documented_with_its_default(heading: str, section: type[BaseModel]) -> None:
    """What the page says is what happens."""
    documented = dict(rows(heading))
    assert list(section.model_fields) == list(documented)
    for key, field in section.model_fields.items():
        if field.is_required():
            assert "*needed*" == documented[key]
        elif documented[key] == "*none*":
            assert field.get_default(call_default_factory=True) in NONE
        else:
            value: Any = tomllib.loads(f"value = {documented[key].strip('`')}")["value"]
            adapter: TypeAdapter[Any] = TypeAdapter(cast("Any", Annotated[field.annotation, None, *_readers(field)]))
            assert field.get_default(call_default_factory=True) == adapter.validate_python(value)


@pytest.mark.parametrize("section", Settings.model_fields)
def test_every_section_is_documented(section: str) -> None:
    """No table of the file is left out."""
    headings = re.findall(r"^## `\[+(\w+)\]+`$", TEXT, flags=re.MULTILINE)
    assert section in headings


def test_the_first_page_says_how_to_check_the_settings() -> None:
    """The commands that it shows exist."""
    from typer.testing import CliRunner  # noqa: PLC0415 - only here

    from closedwon.cli.main import app  # noqa: PLC0415

    commands = re.findall(
        r"^ *closedwon (\w+ \w+)", (FOLDER / "settings-file.md").read_text("utf-8"), flags=re.MULTILINE
    )
    assert ["config check", "route try", "config show", "config diff"] == commands
    for command in commands:
        assert 0 == CliRunner().invoke(app, [*command.split(), "--help"]).exit_code
