"""The software bill of materials of the image: CycloneDX 1.6, made from requirements/runtime.txt.

    python -m tests.release.sbom > deploy/image/sbom.cdx.json

It has no time stamp and no serial number, so the same packages give the same file. The base image
has a list of its own.
"""

from __future__ import annotations

import json
import tomllib
from typing import Any

from tests.release.licenses import ROOT, Licensed, locked


def document() -> str:
    """Return the bill as JSON: one component for each package that Linux gets, in the order of the lock file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    product = Licensed("closedwon", project["version"], project["license"], "")
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _component(product, "application")},
        "components": [_component(one, "library") for one in locked() if "win32" not in one.condition],
    }
    return json.dumps(bill, indent=1) + "\n"


def _component(package: Licensed, kind: str) -> dict[str, Any]:
    """By https://cyclonedx.org/docs/1.6/json: a package URL names what a scanner for vulnerabilities looks up."""
    url = f"pkg:pypi/{package.name.lower()}@{package.version}"
    return {
        "type": kind,
        "bom-ref": url,
        "name": package.name,
        "version": package.version,
        "purl": url,
        "licenses": [{"expression": package.expression}],
    }


if __name__ == "__main__":
    print(document(), end="")  # noqa: T201
