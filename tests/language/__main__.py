"""`python -m tests.language [PATH …]`: rejects phrases that only this project used, with what to write instead.

    python -m tests.language                   every tracked text file
    python -m tests.language tests/cases docs  the tracked files below these paths

It prints a line for each occurrence and exits with 1 if there is one. What is rejected is in `phrases.toml`, what is
allowed in spite of it is in `allowed.toml`; a check of the whole tree also reports exceptions that nothing needs.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.language.lint import Allowed, Rules, check, unused

_ROOT: Final = Path(__file__).parents[2]
_SKIPPED: Final = (
    "tests/replay/histories/",  # recorded by Temporal
    "requirements/",  # lock files
    "tests/language/",  # the tables themselves
    "LICENSE",
    "deploy/tryton/LICENSE",
)
_BINARY: Final = frozenset({".gz", ".ico", ".jpg", ".lock", ".pdf", ".png", ".svg", ".webp", ".woff2"})


def tracked(paths: Sequence[str]) -> Iterator[str]:
    """Yield the tracked text files below the paths, relative to the repository.

    Raises:
        CalledProcessError: git is not there, or this is not a working copy.
    """
    command = ["git", "ls-files", "-z", "--", *paths]
    listed = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True).stdout
    for path in filter(None, listed.split("\0")):
        if not path.startswith(_SKIPPED) and Path(path).suffix not in _BINARY and (_ROOT / path).is_file():
            yield path


def main(paths: Sequence[str]) -> int:
    """Print every occurrence, and return the exit code."""
    rules, used, hits = Rules.load(), set[Allowed](), 0
    for path in tracked(paths):
        for hit in check(rules, path, (_ROOT / path).read_text("utf-8", errors="replace"), used):
            print(hit)  # noqa: T201
            hits += 1
    stale = [] if paths else unused(rules, used)
    for entry in stale:
        print(f"tests/language/allowed.toml: no file needs {entry.text!r}: remove the entry")  # noqa: T201
    return 1 if hits or stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
