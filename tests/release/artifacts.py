"""Build the source archive and the wheel, and say what of them is not fit for a package index.

The wheel is built from the unpacked source archive, which proves that the archive is complete.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from packaging import metadata as standard

from hatch_build import REPOSITORY

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("activities", "closedwon", "workers", "workflows")
_TRIED: Final = re.compile(r"Programming Language :: Python :: (3\.\d+)$")
_KINDS: Final = frozenset({"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"})
"""What a version of the changelog may have, by https://keepachangelog.com/en/1.1.0/."""


class Artifacts(NamedTuple):
    """What would be uploaded."""

    archive: Path
    wheel: Path


def build(folder: Path, repository: str) -> Artifacts:
    """Build both into the folder. Raises `CalledProcessError` with hatchling's output."""
    _hatchling(ROOT, folder, "sdist", repository)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "unpacked", filter="data")
    (sources,) = (folder / "unpacked").iterdir()
    _hatchling(sources, folder, "wheel", repository)
    (wheel,) = folder.glob("*.whl")
    return Artifacts(archive, wheel)


def _hatchling(sources: Path, folder: Path, target: str, repository: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    environment = {**os.environ, REPOSITORY: repository}
    subprocess.run(command, cwd=sources, check=True, capture_output=True, text=True, env=environment)


def metadata_of(wheel: Path) -> bytes:
    """Return the text of METADATA."""
    with zipfile.ZipFile(wheel) as content:
        (name,) = (name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
        return content.read(name)


def problems_of_content(artifacts: Artifacts) -> Iterator[str]:
    """Yield what the wheel or the archive has too much or too little of."""
    with zipfile.ZipFile(artifacts.wheel) as content:
        names = content.namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    if tops != set(PACKAGES):
        yield f"the wheel has the top-level names {', '.join(sorted(tops))}, not {', '.join(PACKAGES)}"
    yield from (f"the wheel lacks {package}/py.typed" for package in PACKAGES if f"{package}/py.typed" not in names)
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        yield "the wheel lacks the LICENSE"
    with tarfile.open(artifacts.archive) as archive:
        foreign = [name for name in archive.getnames() if "/deploy/tryton" in name]
    if foreign:
        yield "the source archive has files of deploy/tryton, whose license is not that of the package"


def problems_of_metadata(text: bytes, tried: Sequence[str]) -> Iterator[str]:
    """Yield what is missing or untrue; `tried` are the versions of Python on which the wheel worked, as in "3.11"."""
    try:
        metadata = standard.Metadata.from_email(text, validate=True)
    except standard.ExceptionGroup as group:
        yield from (str(error) for error in group.exceptions)
        return
    for field in ("summary", "author", "license_expression", "license_files", "keywords", "requires_python"):
        if not getattr(metadata, field):
            yield f"the metadata have no {field}"
    missing = {"Documentation", "Source", "Changelog", "Issues"} - set(metadata.project_urls or ())
    if missing:
        yield f"the metadata have no URL for {', '.join(sorted(missing))}: name the repository"
    yield from (f"the README has a relative link: {link}" for link in relative_links(metadata.description or ""))
    claimed = {found[1] for one in metadata.classifiers or () if (found := _TRIED.match(one))}
    yield from (f"a classifier claims Python {one}, on which nothing was tried" for one in sorted(claimed - set(tried)))
    yield from (f"no classifier claims Python {one}, which works" for one in sorted(set(tried) - claimed))


def relative_links(markdown: str) -> list[str]:
    """Return the links and images that lead nowhere outside the repository."""
    return re.findall(r"\]\((?![a-z]+:|#)([^)\s]+)\)", markdown)


def problems_of_changelog(text: str, version: str) -> Iterator[str]:
    """Yield what is not in the form of Keep a Changelog, or is missing for the version."""
    versions = re.findall(r"^## (.*)$", text, re.MULTILINE)
    if not versions or versions[0] != "[Unreleased]":
        yield "the changelog does not begin with ## [Unreleased]"
    if not any(re.fullmatch(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", one) for one in versions):
        yield f"the changelog has no section ## [{version}] - YYYY-MM-DD"
    for kind in re.findall(r"^### (.*)$", text, re.MULTILINE):
        if kind not in _KINDS:
            yield f"the changelog has a section {kind!r}; it may have {', '.join(sorted(_KINDS))}"
