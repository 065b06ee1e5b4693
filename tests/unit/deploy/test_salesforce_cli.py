"""Salesforce's own CLI converts the metadata of deploy/salesforce, where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
from lxml import etree

from tests.support import sfdx
from tests.support.sfdx import NS, PACKAGE
from tests.support.tools import SALESFORCE_CLI, needs_salesforce_cli

_MANIFESTS: Final = sorted((PACKAGE / "manifest").glob("*.xml"))

pytestmark = [pytest.mark.slow, needs_salesforce_cli]


def _members(package: Path) -> set[tuple[str, str]]:
    return {
        (sfdx.text(kind, "name"), member)
        for kind in etree.parse(package).getroot().iterfind(f"{NS}types")
        for member in sfdx.texts(kind, "members")
    }


@pytest.mark.parametrize("manifest", _MANIFESTS, ids=lambda manifest: manifest.stem)
def test_the_cli_converts_what_a_manifest_names(manifest: Path, tmp_path: Path) -> None:
    """It converts all of it, with the org's own host and user instead of the placeholders."""
    project, converted = tmp_path / "project", tmp_path / "converted"
    shutil.copytree(PACKAGE, project)
    environment = {
        "HOME": str(tmp_path),
        "SF_DISABLE_TELEMETRY": "true",
        "SF_AUTOUPDATE_DISABLE": "true",
        "SF_APPLY_REPLACEMENTS_ON_CONVERT": "true",
        "CLOSEDWON_HOST": "closedwon.acme.test",
        "CLOSEDWON_PATH_SECRET": "a-secret-segment-that-was-made-for-one-test",
        "CLOSEDWON_USER": "integration@acme.test",
    }
    done = subprocess.run(
        [
            *(SALESFORCE_CLI or "", "project", "convert", "source"),
            *("--output-dir", str(converted), "--manifest", str(manifest)),
        ],
        cwd=project,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    named, found = _members(manifest), _members(converted / "package.xml")
    assert named <= found
    assert {kind for kind, _ in found - named} <= {"CustomField", "WorkflowOutboundMessage"}  # parts of what is named
    texts = [file.read_text(encoding="utf-8") for file in converted.rglob("*") if file.is_file()]
    assert not any("example.com" in text for text in texts)
