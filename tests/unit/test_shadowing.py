"""A package of somebody else that has the name of one of ours stops the command with one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import activities
import workers
import workflows
from closedwon.shadowing import shadowing

_COMMAND = Path(sys.executable).with_name("closedwon")


def _run(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_COMMAND, *arguments],
        env=os.environ | {"PYTHONPATH": str(path)},
        cwd=path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("ours", [workflows, activities, workers], ids=lambda package: str(package.__name__))
@pytest.mark.parametrize("file", ["{}/__init__.py", "{}.py"])
def test_a_package_that_hides_ours_stops_the_command(ours: object, file: str, tmp_path: Path) -> None:
    """One line names the package, both files and what to do; nothing of the other package runs."""
    name, expected = ours.__name__, ours.__file__  # type: ignore[attr-defined]
    other = tmp_path / file.format(name)
    other.parent.mkdir(exist_ok=True)
    other.write_text("raise RuntimeError('the other package ran')\n", encoding="utf-8")

    done = _run(tmp_path, "--help")

    assert (1, "") == (done.returncode, done.stdout)
    (line,) = done.stderr.splitlines()
    assert all(part in line for part in (f"`{name}`", str(other), expected, "an environment of its own")), line


def test_a_folder_without_code_hides_nothing(tmp_path: Path) -> None:
    """Python prefers our package to a folder that only has its name."""
    (tmp_path / "workflows").mkdir()

    done = _run(tmp_path, "--version")

    assert (0, "") == (done.returncode, done.stderr)


def test_a_package_that_is_missing_is_named() -> None:
    """For example after another project that had installed the same files was uninstalled."""
    problem = shadowing(["workflows", "no_such_package"])

    assert problem is not None
    assert "`no_such_package`" in problem
    assert "Install Closedwon again" in problem
