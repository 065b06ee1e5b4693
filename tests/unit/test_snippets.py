"""The settings that the documents show can be copied: each block, in the place of its like in the example."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from closedwon.emulators.salesforce.config import read_config
from closedwon.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
SNIPPETS = [
    pytest.param(page, block, id=f"{page.stem}-{number}")
    for page in sorted(DOCS.glob("**/*.md"))
    for number, block in enumerate(
        re.findall(r"^ *```toml\n(.*?)^ *```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL), 1
    )
]
SECRETS = ("ERP_TOKEN", "CODEC_TOKEN", "CLOSEDWON_CALLOUT_KEY", "CLOSEDWON_PATH_SECRET", "CLOSEDWON_WEBHOOK_KEY")


def toml(value: Any) -> str:
    """A value as TOML writes it in one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(one) for one in value) + "]"
    return json.dumps(value, default=str)


def put(settings: dict[str, Any], snippet: Mapping[str, Any]) -> None:
    """Change the settings as a reader does who was shown a snippet: whole tables, or keys of the route."""
    route = settings["routes"][0]
    if snippet.keys() <= Settings.model_fields.keys():
        settings.update(snippet)
        route["erp"] = settings["erps"][0]["name"]
        return
    if snippet.get("source") == "event":  # takes the place of `select`, which a sweep would need again
        del route["select"], route["sweep"]
    for key, value in snippet.items():
        route[key] = {**route.get(key, {}), **value} if isinstance(value, Mapping) else value
    settings.setdefault("intake", {})


@pytest.mark.parametrize(("page", "snippet"), SNIPPETS)
def test_what_a_page_shows_can_be_copied(
    page: Path,
    snippet: str,
    example: str,
    load: Callable[[str], Settings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Keys and values are understood, and fit what the example says beside them."""
    if page.stem == "salesforce-emulator":
        (tmp_path / "org.toml").write_text(snippet)
        read_config(tmp_path / "org.toml")
        return
    for name in SECRETS:
        monkeypatch.setenv(name, f"the-secret-{name}-made-for-one-test".replace("_", "-"))
    monkeypatch.setenv("ALERT_WEBHOOK", "https://alerts.example.com/closedwon")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "alert-key").write_text("the key of the alerts")
    settings, shown = tomllib.loads(example), tomllib.loads(snippet)
    if "base" in shown:
        (tmp_path / shown["base"]).write_text(example, encoding="utf-8")
        load(snippet)
        return
    put(settings, shown)
    load("\n".join(f"{key} = {toml(value)}" for key, value in settings.items()))


def test_something_is_shown() -> None:
    """The pattern above still finds what it looks for."""
    assert len(SNIPPETS) > 8
