"""`make release-check`: is what would be uploaded complete, and does it work in an empty environment?

    make release-check                                         a rehearsal, with a placeholder for the repository
    make release-check ARGS="--repository https://…"           what is really uploaded, in dist/
    make release-check ARGS="--deals 20"                       more deals in each demo

It builds the source archive and from it the wheel, checks metadata, content and changelog, and runs
`closedwon demo --erp stub` from the wheel on each Python that is on the PATH. The exit code is 1 if something is wrong.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Final

from tests.release import pythons
from tests.release.artifacts import (
    ROOT,
    build,
    metadata_of,
    problems_of_changelog,
    problems_of_content,
    problems_of_metadata,
)
from tests.release.licenses import problems_of_licenses

_PLACEHOLDER: Final = "https://example.com/closedwon"


def main() -> int:
    """Print each step and each problem, and return the exit code."""
    asked = argparse.ArgumentParser(prog="make release-check", description="Check what would be released.")
    asked.add_argument("--repository", default=_PLACEHOLDER, help="the https address of the repository")
    asked.add_argument("--deals", type=int, default=5, help="how many deals each demo carries")
    options = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="closedwon-release-") as folder:
        artifacts = build(Path(folder), options.repository)
        print(f"built   {artifacts.archive.name}, {artifacts.wheel.name}")  # noqa: T201
        problems = [*problems_of_content(artifacts), *problems_of_licenses()]
        tried = []
        for python in pythons.on_path():
            try:
                print(f"{python.version:7} {pythons.try_wheel(artifacts.wheel, python, options.deals)}")  # noqa: T201
                tried.append(python.version)
            except pythons.TrialError as error:
                problems.append(f"Python {python.version}: {error}")
        problems += problems_of_metadata(metadata_of(artifacts.wheel), tried)
        version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
        problems += problems_of_changelog((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
        if not problems:
            _keep(artifacts.archive, artifacts.wheel)
    for problem in problems:
        print(f"wrong   {problem}")  # noqa: T201
    if options.repository == _PLACEHOLDER:
        print('A rehearsal: name the repository with ARGS="--repository https://…" before you upload dist/.')  # noqa: T201
    return 1 if problems else 0


def _keep(*files: Path) -> None:
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    (ROOT / "dist").mkdir()
    for file in files:
        shutil.copy(file, ROOT / "dist")
    print(f"kept    dist/ ({', '.join(file.name for file in files)})")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
