"""What of the package's metadata depends on where the repository is: project URLs, and the links of the README.

The README links to pages beside it, which a package index does not have. With `CLOSEDWON_REPOSITORY`, the repository's
https address, the links in the metadata lead there, to the tag of this version; without it they stay as they are and
there are no URLs, which is enough for an installation from the sources. `make release-check` sets it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

REPOSITORY = "CLOSEDWON_REPOSITORY"
_LINK = re.compile(r"(?P<mark>!?)\[(?P<text>[^\]\n]*)\]\((?P<path>(?![a-z]+:|#)[^)\s]+)\)")


class ReleaseMetadata(MetadataHookInterface):
    """Found by hatchling under its conventional file name."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `readme` and, if the repository is known, `urls`."""
        repository = os.environ.get(REPOSITORY, "").rstrip("/")
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        if repository:
            tag = f"v{metadata['version']}"
            text = absolute(text, repository, tag)
            metadata["urls"] = urls(repository, tag)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def absolute(markdown: str, repository: str, tag: str) -> str:
    """Return the text with relative links and images leading to the tag in the repository."""

    def link(found: re.Match[str]) -> str:
        kind = "raw" if found["mark"] else "blob"
        return f"{found['mark']}[{found['text']}]({repository}/{kind}/{tag}/{found['path']})"

    return _LINK.sub(link, markdown)


def urls(repository: str, tag: str) -> dict[str, str]:
    """Return the project's URLs by the labels that package indexes know."""
    return {
        "Documentation": f"{repository}/blob/{tag}/docs/README.md",
        "Source": f"{repository}/tree/{tag}",
        "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }
