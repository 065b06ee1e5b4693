"""The programs of a Temporal cluster: Temporal's server, schema tool and UI, built by Go, and Debian's PostgreSQL.

There are no published binaries of the server, so `go install` builds it from the module proxy, once per version. That
takes some minutes, and 2 GB that are given back at the end. The result is kept in `.closedwon/tools` (or in the
directory that CLOSEDWON_TOOLS names) for all data directories.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from closedwon.demo.parts import PartError

SERVER_VERSION: Final = "1.32.0"
UI_VERSION: Final = "2.54.1"
_NEEDED_GO: Final = (1, 21)
"""The first version that downloads the version of Go which a module needs."""
_UI_MODULE: Final = "github.com/temporalio/ui-server/v2"
_PACKAGES: Final = {
    "temporal-server": f"go.temporal.io/server/cmd/server@v{SERVER_VERSION}",
    "temporal-sql-tool": f"go.temporal.io/server/cmd/tools/sql@v{SERVER_VERSION}",
    "temporal-ui": f"{_UI_MODULE}/cmd/server@v{UI_VERSION}",
}
"""By the name that Temporal's own packages give the program: what `go install` builds."""
_DEBIAN: Final = Path("/usr/lib/postgresql")
_TAIL: Final = 5


class Programs(NamedTuple):
    """Where the programs are."""

    folder: Path
    postgres: Path
    """The folder with `initdb`, `postgres` and the others."""

    def path(self, name: str) -> str:
        """The path of `temporal-server`, `temporal-sql-tool` or `temporal-ui`."""
        return str(self.folder / name)

    @property
    def ui_settings(self) -> Path:
        """The folder with the UI's own settings, which take its address and port from the environment."""
        return self.folder / "ui-config"

    @property
    def are_built(self) -> bool:
        """Whether nothing has to be built."""
        return all((self.folder / name).exists() for name in (*_PACKAGES, self.ui_settings.name))


def tools_directory() -> Path:
    """Where built programs are kept."""
    return Path(os.environ.get("CLOSEDWON_TOOLS") or ".closedwon/tools").absolute()


def find() -> Programs:
    """Find what is there. Raises `PartError` with one sentence if Go or PostgreSQL is missing and needed."""
    postgres = postgres_folder()
    if postgres is None:
        raise PartError("PostgreSQL is not installed (`initdb` was not found). On Debian: apt-get install postgresql")
    programs = Programs(tools_directory() / f"temporal-{SERVER_VERSION}-ui-{UI_VERSION}", postgres)
    if not programs.are_built and (problem := _problem_of_go()):
        raise PartError(problem)
    return programs


async def build(programs: Programs, say: Callable[[str], None] = lambda _text: None) -> None:
    """Build what is not there yet, and report each program. Raises `PartError` with Go's last words."""
    if programs.are_built:
        return
    say(f"Building Temporal {SERVER_VERSION} with Go, once: this takes some minutes")
    programs.folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=programs.folder.parent, prefix="go-", ignore_cleanup_errors=True) as name:
        work = Path(name)
        environment = os.environ | {
            "GOPATH": str(work / "path"),
            "GOCACHE": str(work / "cache"),
            "GOTMPDIR": name,
            "GOBIN": str(work / "bin"),
            "GOFLAGS": "-trimpath -modcacherw",
            "CGO_ENABLED": "0",
        }
        draft = work / "programs"
        draft.mkdir()
        for program, package in _PACKAGES.items():
            await _go(["install", "-ldflags=-s -w", package], environment)
            (work / "bin" / _binary(package)).rename(draft / program)
            say(f"  built {program}")
        sources = await _go(["list", "-m", "-f", "{{.Dir}}", f"{_UI_MODULE}@v{UI_VERSION}"], environment)
        shutil.copytree(Path(sources.strip()) / "config", draft / "ui-config")
        shutil.rmtree(programs.folder, ignore_errors=True)
        draft.rename(programs.folder)


def _binary(package: str) -> str:
    """What Go calls the program: the last folder of its package."""
    return package.partition("@")[0].rpartition("/")[2]


async def _go(words: list[str], environment: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        "go", *words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=environment["GOTMPDIR"]
    )
    try:
        output, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        last = "\n".join(f"    {line}" for line in errors.decode(errors="replace").splitlines()[-_TAIL:])
        raise PartError(f"`go {' '.join(words)}` has failed. It needs Go's module proxy (GOPROXY):\n{last}")
    return output.decode()


def postgres_folder() -> Path | None:
    """The folder of the newest PostgreSQL; Debian does not put its programs on PATH."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = [path for path in _DEBIAN.glob("*/bin") if (path / "initdb").exists()]
    return max(versions, key=lambda path: float(path.parent.name), default=None)


def _problem_of_go() -> str | None:
    hint = f"It is needed to build Temporal {SERVER_VERSION}, for which no binaries are published."
    if shutil.which("go") is None:
        return f"Go is not installed. {hint}"
    said = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout  # noqa: S607
    version = re.match(r"go(\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < _NEEDED_GO:
        return f"Go {'.'.join(map(str, _NEEDED_GO))} or later is not installed. {hint}"
    return None
