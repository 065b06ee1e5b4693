"""A base file with an overlay per environment, and what differs between two: by key, without a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from closedwon.cli.main import app
from closedwon.settings import SettingsError, load_settings, resolve
from closedwon.settings.layers import merged

OVERLAY = """
base = "base.toml"

[[orgs]]
name = "production"
url = "https://example--test.sandbox.my.salesforce.com"
auth = { client_secret = { file = "client-secret" } }

[[routes]]
name = "won-deals"
on_changed = "amend"
[routes.sweep]
interval = "1h"

[workers]
concurrent_erp_calls = 2
"""


@pytest.fixture
def base(tmp_path: Path, example: str) -> Path:
    """The example as a base file, and the secret of an overlay."""
    (tmp_path / "client-secret").write_text("the secret of the sandbox", encoding="utf-8")
    (tmp_path / "base.toml").write_text(example, encoding="utf-8")
    return tmp_path / "base.toml"


def write(base: Path, text: str) -> Path:
    """Write an overlay beside the base."""
    file = base.with_name("test.toml")
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.usefixtures("secrets")
def test_an_overlay_changes_what_it_names_and_nothing_else(base: Path) -> None:
    """The route keeps its mapping, the org its id and login; a secret from a file takes the place of a variable."""
    settings, below = load_settings(write(base, OVERLAY)), load_settings(base)
    org, route = settings.orgs[0], settings.routes[0]
    assert ("https://example--test.sandbox.my.salesforce.com", below.orgs[0].id) == (org.url, org.id)
    assert "the secret of the sandbox" == org.auth.client_secret.get_secret_value()  # type: ignore[union-attr]
    assert ("amend", below.routes[0].order) == (route.on_changed, route.order)
    assert route.sweep
    assert "IsWon = TRUE" in str(route.sweep.where)
    assert (2, below.workers.shutdown_grace) == (settings.workers.concurrent_erp_calls, settings.workers.shutdown_grace)


def test_an_entry_with_another_name_is_added_and_another_kind_replaces() -> None:
    """A second ERP does not take the place of the first; the keys of a Tryton are not those of a facade."""
    below = {"erps": [{"name": "a", "kind": "tryton", "url": "u", "key": {"env": "K"}}], "intake": {"allow": ["x"]}}
    added = merged(below, {"erps": [{"name": "b", "kind": "rest"}]})
    assert ["a", "b"] == [erp["name"] for erp in added["erps"]]
    replaced = merged(
        below, {"erps": [{"name": "a", "kind": "rest", "token": {"env": "T"}}], "intake": {"allow": ["y"]}}
    )
    assert [{"name": "a", "kind": "rest", "token": {"env": "T"}}] == replaced["erps"]
    assert {"allow": ["y"]} == replaced["intake"]
    assert "tryton" == below["erps"][0]["kind"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        (1, 2, 2),
        ({"x": 1}, 2, 2),
        (2, {"x": 1}, {"x": 1}),
        ([{"name": "a"}], [], []),
        ([], [{"name": "a"}], [{"name": "a"}]),
        ([{"name": "a"}], ["name"], ["name"]),
        (["name"], [{"name": "a"}], [{"name": "a"}]),
        ([{"name": "a"}], [{"x": 1}], [{"x": 1}]),
        ([{"name": "a", "x": 1}], [{"name": ["a"]}], [{"name": ["a"]}]),
        ([{"name": "a", "x": 1}], [{"name": "a"}, {"name": "a"}], [{"name": "a"}, {"name": "a"}]),
        ([{"name": "a", "kind": "k", "x": 1}], [{"name": "a", "kind": "k"}], [{"name": "a", "kind": "k", "x": 1}]),
        ({"flow": "a", "x": 1}, {"flow": "b"}, {"flow": "b"}),
        ({"env": "A"}, {"file": "b"}, {"file": "b"}),
        ({"x": 1}, {}, {"x": 1}),
    ],
)
def test_what_cannot_be_merged_replaces(below: object, above: object, expected: object) -> None:
    """Nothing of the overlay is lost, whatever shape it has: what is wrong with it is then found by the check."""
    assert {"key": expected} == merged({"key": below}, {"key": above})


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('base = "other.toml"', r"other\.toml: there is no such file; correct `base` in .*test\.toml"),
        ('base = "."', r"cannot be read: Is a directory; correct the path or the permissions"),
        ("base = 1", r"test\.toml: base: must be a text in quotes"),
        ('base = "test.toml"', r"test\.toml: base: a base has no base of its own"),
        ('base = "base.toml"\n[workers]\nbuild = "1"', r"test\.toml: workers\.build: is not a key of this table"),
    ],
)
def test_a_wrong_overlay_is_refused_with_file_and_hint(base: Path, text: str, expected: str) -> None:
    """One line says which file to correct, and how."""
    with pytest.raises(SettingsError, match=expected):
        load_settings(write(base, text))


@pytest.mark.usefixtures("secrets")
def test_every_setting_is_shown_and_no_secret(base: Path) -> None:
    """Defaults and references, never a value of a secret."""
    shown = resolve(write(base, OVERLAY))
    assert '{ file = "client-secret" }' == shown["orgs.production.auth.client_secret"]
    assert '{ env = "TRYTON_KEY" }' == shown["erps.tryton.key"]
    assert ('"1m40s"', '"1h"') == (shown["workers.shutdown_grace"], shown["routes.won-deals.sweep.interval"])
    assert "the secret of the sandbox" not in str(shown)
    assert "the-tryton-key" not in str(shown)


def test_the_difference_of_two_environments_needs_no_secret(base: Path) -> None:
    """Each key that differs, with both values; the exit code says whether there is one."""
    overlay = write(base, OVERLAY)
    found = CliRunner().invoke(app, ["config", "diff", str(base), str(overlay)])
    assert 1 == found.exit_code
    keys = [line for line in found.output.splitlines() if not line.startswith(" ")]
    expected = {
        "orgs.production.url", "orgs.production.auth.client_secret", "routes.won-deals.on_changed",
        "routes.won-deals.sweep.interval", "workers.concurrent_erp_calls",
    }  # fmt: skip
    assert expected == set(keys)
    assert '  - "attention"\n  + "amend"\n' in found.output
    assert "  - none\n  + 2\n" in found.output
    assert 0 == CliRunner().invoke(app, ["config", "diff", str(base), str(base)]).exit_code
    assert 2 == CliRunner().invoke(app, ["config", "diff", str(base), str(base.with_name("none.toml"))]).exit_code


def test_all_settings_are_printed(base: Path) -> None:
    """As many lines as there are keys, each to be searched."""
    shown = CliRunner().invoke(app, ["config", "show", "--config", str(base)])
    assert 0 == shown.exit_code
    assert "telemetry.port = 9464\n" in shown.output
