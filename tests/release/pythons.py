"""Try a wheel as a user does: in an environment that has nothing else, on each Python that is on the PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

_OLDEST, _NEWEST = 11, 20
_MINUTES: Final = 60.0
_PATIENCE: Final = 10 * _MINUTES
"""Seconds for one step; the installation downloads some 150 MB."""


class TrialError(Exception):
    """A step failed. The text has the command and the end of its output."""


class Python(NamedTuple):
    """An interpreter that starts."""

    version: str
    """As in "3.11"."""
    program: str


def on_path() -> Iterator[Python]:
    """Yield each minor version once, by the name `python3.<minor>`; a shim that starts nothing is left out."""
    for minor in range(_OLDEST, _NEWEST):
        version = f"3.{minor}"
        program = shutil.which(f"python{version}")
        if program and _starts(program):
            yield Python(version, program)


def _starts(program: str) -> bool:
    return subprocess.run([program, "-c", "import venv"], check=False, capture_output=True).returncode == 0


def try_wheel(wheel: Path, python: Python, deals: int) -> str:
    """Install the wheel with its extra `demo`, and carry some deals. Returns its summary; raises `TrialError`."""
    with tempfile.TemporaryDirectory(prefix=f"closedwon-{python.version}-") as name:
        folder = Path(name)
        environment = _environment(folder)
        _run([python.program, "-m", "venv", "venv"], folder, environment)
        programs = folder / "venv" / "bin"
        pip = [str(programs / "python"), "-m", "pip", "--disable-pip-version-check"]
        _run([*pip, "install", "--quiet", f"closedwon[demo] @ {wheel.resolve().as_uri()}"], folder, environment)
        _run([*pip, "check"], folder, environment)
        _run([str(programs / "closedwon"), "--version"], folder, environment)
        demo = [str(programs / "closedwon"), "demo", "--erp", "stub", "--deals", str(deals), "--data-dir", "data"]
        printed = _run(demo, folder, environment)
        return next((line.strip() for line in printed.splitlines() if "✔" in line), printed.strip()[-200:])


def _environment(folder: Path) -> dict[str, str]:
    """What a user's shell has, without what could lead to the sources or to settings of this machine."""
    own = ("PYTHON", "CLOSEDWON", "TEMPORAL", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)} | {"TMPDIR": str(folder)}


def _run(command: Sequence[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, check=False, capture_output=True, text=True, timeout=_PATIENCE
    )
    if done.returncode:
        raise TrialError(f"{' '.join(command)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout
