"""What is missing for a Temporal cluster on this machine is said in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from closedwon.demo.cluster import programs
from closedwon.demo.parts import PartError


def _program(folder: Path, name: str, answer: str = "") -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{answer}'\n")
    file.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, without any program, on a machine without Debian's PostgreSQL."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CLOSEDWON_TOOLS", str(tmp_path / "tools"))
    monkeypatch.setattr(programs, "_DEBIAN", tmp_path / "none")
    return tmp_path


@pytest.mark.usefixtures("path")
def test_without_postgresql_the_error_says_how_to_install_it() -> None:
    """The sentence has the command for Debian."""
    with pytest.raises(PartError, match=r"PostgreSQL is not installed .*apt-get install postgresql"):
        programs.find()


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        (None, "Go is not installed. It is needed to build Temporal"),
        ("go1.20.3", "Go 1.21 or later is not installed. It is needed to build Temporal"),
        ("devel", "Go 1.21 or later is not installed"),
    ],
)
def test_without_a_fitting_go_the_error_says_why_it_is_needed(path: Path, version: str | None, problem: str) -> None:
    """An older Go does not download the version that Temporal needs."""
    _program(path, "initdb")
    if version is not None:
        _program(path, "go", version)
    with pytest.raises(PartError, match=problem):
        programs.find()


def test_what_is_built_needs_no_go(path: Path) -> None:
    """Built programs are used as they are."""
    _program(path, "initdb")
    folder = path / "tools" / f"temporal-{programs.SERVER_VERSION}-ui-{programs.UI_VERSION}"
    folder.mkdir(parents=True)
    for name in ("temporal-server", "temporal-sql-tool", "temporal-ui", "ui-config"):
        (folder / name).touch()
    found = programs.find()

    assert found.are_built
    assert path == found.postgres
