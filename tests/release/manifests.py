"""Render the chart for each of its examples into plain manifests: `make manifests` (needs helm).

    python -m tests.release.manifests

Each file in deploy/kubernetes begins with a digest of the chart and the values that it was rendered from, so that a
stale file is noticed on machines without helm, too.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.tools import HELM

_DEPLOY: Final = Path(__file__).parents[2] / "deploy"
CHART: Final = _DEPLOY / "helm" / "closedwon"
MANIFESTS: Final = _DEPLOY / "kubernetes"
EXAMPLES: Final = sorted((CHART / "examples").glob("*.yaml"))
KUBERNETES: Final = "1.31.0"
"""The version of Kubernetes that the chart is rendered for; go install builds helm without a default of its own."""


def digest(example: Path) -> str:
    """Return the SHA-256 of everything that a rendering depends on."""
    found = hashlib.sha256()
    for file in [*_sources(), example]:
        found.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return found.hexdigest()


def _sources() -> Iterator[Path]:
    yield from (CHART / name for name in ("Chart.yaml", "values.yaml", "values.schema.json"))
    yield from sorted((CHART / "templates").iterdir())
    yield from sorted((CHART / "files").iterdir())


def header(example: Path) -> str:
    """Return the first lines of a rendered file."""
    where = example.relative_to(CHART.parents[2])
    return f"# Rendered by `make manifests` from {where}; do not edit.\n# sources sha256:{digest(example)}\n"


def render(example: Path) -> str:
    """Render one example. Raises `CalledProcessError` with helm's output; helm must be there."""
    words = ["template", "closedwon", str(CHART), "--namespace", "closedwon", "--kube-version", KUBERNETES]
    command = [str(HELM), *words, "--values", str(example)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return header(example) + "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def main() -> int:
    """Write every file, and return the exit code."""
    if HELM is None:
        print("helm is not installed: go install helm.sh/helm/v3/cmd/helm@v3.22.0", file=sys.stderr)  # noqa: T201
        return 1
    MANIFESTS.mkdir(exist_ok=True)
    for old in set(MANIFESTS.glob("*.yaml")) - {MANIFESTS / example.name for example in EXAMPLES}:
        old.unlink()
    for example in EXAMPLES:
        try:
            text = render(example)
        except subprocess.CalledProcessError as error:
            print(f"{example.name}: {error.stderr}", file=sys.stderr)  # noqa: T201
            return 1
        (MANIFESTS / example.name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
