"""Programs of others that some tests run, and that a machine may lack. `.ci/tools` installs them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import pytest

_INSTALLED: Final = Path(__file__).parents[2] / ".closedwon" / "tools" / "bin"


def _find(*names: str) -> str | None:
    """The first of these that `.ci/tools` has installed or that is on PATH."""
    path = os.pathsep.join([str(_INSTALLED), os.environ.get("PATH", os.defpath)])
    return next(filter(None, (shutil.which(name, path=path) for name in names)), None)


def _needs(program: str | None, name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(program is None, reason=f"{name} is not installed; `.ci/tools` installs it")


CHROMIUM: Final = _find("chromium", "chromium-browser", "google-chrome")
PROMTOOL: Final = _find("promtool")
SALESFORCE_CLI: Final = _find("sf")
APEX_CHECK: Final = _find("apex-check")
NODE_CLIENTS: Final = _find("node-clients")
HELM: Final = _find("helm")
KUBERNETES_VALIDATE: Final = _find("kubernetes-validate")
HADOLINT: Final = _find("hadolint")

needs_chromium: Final = _needs(CHROMIUM, "Chromium")
needs_promtool: Final = _needs(PROMTOOL, "promtool")
needs_apex_check: Final = _needs(APEX_CHECK, "apex-ls, which checks the types of Apex,")
needs_node_clients: Final = _needs(NODE_CLIENTS, "Node with jsforce and cometd.js")
needs_helm: Final = pytest.mark.skipif(HELM is None, reason="helm is not installed; go install builds it")
needs_kubernetes_validate: Final = _needs(KUBERNETES_VALIDATE, "kubernetes-validate")
needs_hadolint: Final = _needs(HADOLINT, "hadolint")
needs_salesforce_cli: Final = _needs(SALESFORCE_CLI, "the Salesforce CLI")
