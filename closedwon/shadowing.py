"""Is a package that is imported the one that was installed with Closedwon?

The wheel installs the top-level packages `workflows`, `activities` and `workers`. A package of another project that has
one of these names and comes first on `sys.path` would be imported in its place, and fail somewhere with a stack trace.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.util import find_spec

_OURS = ("workflows", "activities", "workers")


def shadowing(names: Iterable[str] = _OURS) -> str | None:
    """Say which of our packages would not be imported from beside `closedwon`, and what helps; None if all would.

    Looks for files only, and imports nothing.
    """
    installed = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # noqa: PTH120 - needs no pathlib
    for name in names:
        expected = os.path.join(installed, name, "__init__.py")  # noqa: PTH118 - likewise
        found = _found(name)
        if found is None:
            return f"The package `{name}` of Closedwon is missing: {expected} was expected. Install Closedwon again."
        if os.path.realpath(found) != os.path.realpath(expected):
            return (
                f"Another package `{name}` hides the one of Closedwon: {found} was found, {expected} was expected. "
                "Install Closedwon into an environment of its own, and check PYTHONPATH."
            )
    return None


def _found(name: str) -> str | None:
    """The file that `import name` would run, or the first folder of a package that has none."""
    spec = find_spec(name)
    if spec is None:
        return None
    return spec.origin or next(iter(spec.submodule_search_locations or ()), None)
