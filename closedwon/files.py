"""Files that are read again when they change: certificates, keys, lists of authorities."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Stamp(NamedTuple):
    """What changes when a file, or what a symbolic link leads to, is replaced."""

    path: str
    changed: int = 0
    inode: int = 0
    size: int = 0


def stamps(paths: Iterable[Path]) -> tuple[Stamp, ...]:
    """The state of files or folders; one that is missing has a state, too."""
    found = []
    for path in paths:
        try:
            seen = path.stat()
            found.append(Stamp(str(path), seen.st_mtime_ns, seen.st_ino, seen.st_size))
        except OSError:
            found.append(Stamp(str(path)))
    return tuple(found)
