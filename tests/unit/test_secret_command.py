"""`closedwon secret`: what it prints is strong enough for where it says that it goes."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from closedwon.cli.main import app
from closedwon.settings import Settings

_PLACES = {
    "path": ("CLOSEDWON_PATH_SECRET", "outbound"),
    "callout": ("CLOSEDWON_CALLOUT_KEY", "callouts"),
    "webhook": ("CLOSEDWON_WEBHOOK_KEY", "webhook"),
    "codec": ("CODEC_TOKEN", "codec"),
}


@pytest.mark.parametrize("kind", _PLACES)
def test_the_line_that_is_printed_takes_the_secret_that_is_printed(
    kind: str, example: str, load: Callable[[str], Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secret to the standard output, all else to the other stream, so that it can be piped into a file."""
    answer = CliRunner().invoke(app, ["secret", kind, "--route", "won-deals"])
    variable, key = _PLACES[kind]
    monkeypatch.setenv(variable, answer.stdout.strip())
    (line,) = re.findall(r"^(?:\[codec\]\n)?[\w]+ = \{.*\}$", answer.stderr, re.MULTILINE)

    assert key in tomllib.loads(line)
    assert answer.stdout.strip() not in answer.stderr
    place = {"path": "events = [", "callout": "events = [", "webhook": 'kind = "tryton"', "codec": "[encryption]"}[kind]
    load(example.replace("[[orgs]]", "[intake]\n[[orgs]]", 1).replace(place, f"{line}\n{place}", 1))


def test_no_two_secrets_are_the_same() -> None:
    """32 random bytes, in letters that an address can hold."""
    printed = {CliRunner().invoke(app, ["secret", "path"]).stdout for _ in range(20)}

    assert 20 == len(printed)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}\n", secret) for secret in printed)


def test_the_endpoint_is_printed_for_the_route() -> None:
    """What an administrator enters in Salesforce, for messages and for tombstones."""
    answer = CliRunner().invoke(app, ["secret", "path", "--route", "won-deals"])

    assert "/outbound/won-deals/$CLOSEDWON_PATH_SECRET\n" in answer.stderr
    assert "/outbound/won-deals/$CLOSEDWON_PATH_SECRET/tombstones" in answer.stderr
