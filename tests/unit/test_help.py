"""`--help` of every command: examples that can be copied, and that the program understands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from closedwon.cli.main import app


def leaves(group: Any, *path: str) -> Iterator[tuple[str, str]]:
    """Each command, as it is typed, with its help text; the names of the emulator's faults need no examples."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, *path, name)
        elif path != ("org", "fault"):
            yield " ".join((*path, name)), command.help


LEAVES = dict(leaves(typer.main.get_command(app)))


@pytest.mark.parametrize("command", LEAVES)
def test_every_command_has_an_example_that_can_be_copied_and_works(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each example fits on one line of 80 columns and uses options that exist."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, [*command.split(), "--help"]).output
    examples = re.findall(r"^ *- `([^`]+)`$", LEAVES[command], re.MULTILINE)
    assert any(f"closedwon {command}" in example for example in examples)
    for example in examples:
        assert re.search(rf"^ +• {re.escape(example)} *$", shown, re.MULTILINE), shown
        if example.startswith("closedwon "):
            words = shlex.split(example.partition(" > ")[0])[1:]
            answer = CliRunner().invoke(app, [*words, "--help"])
            assert 0 == answer.exit_code, answer.output


def test_the_commands_are_grouped_by_reader() -> None:
    """The demo comes first, and every command is in a named section."""
    shown = CliRunner().invoke(app, ["--help"]).output
    boxes = re.findall(r"─ ([A-Z][^─]*?) ─", shown)
    assert ["Options", "Try it on your own machine", "Set it up", "Run it", "Watch it and fix problems"] == boxes


def test_the_version_is_printed() -> None:
    """A bug report can name the version."""
    answer = CliRunner().invoke(app, ["--version"])
    assert 0 == answer.exit_code
    assert re.fullmatch(r"closedwon \d+\.\d+\.\d+\S*\n", answer.output)
