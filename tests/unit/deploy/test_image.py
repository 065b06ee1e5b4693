"""The image: what it is built from, and, where one was built, what is in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.release import sbom
from tests.release.artifacts import ROOT
from tests.support.tools import HADOLINT, needs_hadolint

FOLDER = ROOT / "deploy" / "image"
DOCKERFILE = FOLDER / "Dockerfile"
IMAGE = os.environ.get("CLOSEDWON_TEST_IMAGE", "")
"""Names an image in the local storage of buildah, as `make image BUILDER=buildah` makes it."""
HIGHEST_SIZE = 180_000_000

needs_image = pytest.mark.skipif(
    not IMAGE or shutil.which("buildah") is None, reason="CLOSEDWON_TEST_IMAGE names no image of buildah"
)


def run(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@needs_hadolint
def test_hadolint_accepts_the_dockerfile() -> None:
    """Good practice, as its rules have it."""
    done = subprocess.run([str(HADOLINT), str(DOCKERFILE)], capture_output=True, text=True, check=False, timeout=60)
    assert "" == done.stdout + done.stderr


def test_the_build_context_has_what_is_copied_and_nothing_else() -> None:
    """No settings, keys or history of a developer's folder can end in an image."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text("utf-8"), re.MULTILINE)
    assert allowed == {source for line in lines for source in line.split()}


def test_the_bill_of_materials_is_current() -> None:
    """It lists what the lock file lists, with licenses; `make docs` writes it again."""
    text = (FOLDER / "sbom.cdx.json").read_text(encoding="utf-8")
    assert sbom.document() == text
    assert 40 < len(json.loads(text)["components"])


@needs_image
def test_the_image_is_what_its_page_says() -> None:
    """It starts as an ordinary user, has no pip, adds little, and imports without writing."""
    container = run("buildah", "from", IMAGE).strip()
    try:
        config = json.loads(run("buildah", "inspect", "--type", "image", IMAGE))["OCIv1"]["config"]
        assert ("10001:10001", ["closedwon"]) == (config["User"], config["Entrypoint"])
        inside = ("buildah", "run", "--isolation", "chroot", container, "--")
        assert "closedwon 0.1.0" in run(*inside, "closedwon", "--version")
        assert "10001" in run(*inside, "id", "-u")
        names = {Path(line).name for line in run(*inside, "find", "/opt/closedwon", "-maxdepth", "5").splitlines()}
        assert {"closedwon", "sbom.cdx.json", "site-packages"} <= names
        assert not {"pip", "setuptools"} & names
        size = run(*inside, "du", "-sb", "/opt/closedwon").split()[0]
        assert HIGHEST_SIZE >= int(size)
    finally:
        run("buildah", "rm", container)
