"""The page with the licenses of all packages that Closedwon installs, made from their own metadata.

    python -m tests.release.licenses > docs/licenses.md

Only the packages of requirements/runtime.txt count: what tests and demo use is not distributed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "licenses.md"
_LOCKED: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)(?: ; (.*?))?\s*\\?$", re.MULTILINE)
_WORDS: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
"""What older metadata say, as an SPDX expression."""
_SEEN: Final = {"colorama": "BSD-3-Clause"}
"""Of packages that are installed on other systems only: read in their license files."""
_ACCEPTED: Final = frozenset(
    {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0"}
)
"""Licenses under which a package may be installed beside Apache-2.0 code, unchanged and as a package of its own."""


class Licensed(NamedTuple):
    """A package that is installed with Closedwon."""

    name: str
    version: str
    expression: str
    condition: str
    """Where it is installed, as an environment marker; empty: everywhere."""


def locked() -> Iterator[Licensed]:
    """Yield each package of requirements/runtime.txt with its license; an empty one if it is not known."""
    text = (ROOT / "requirements" / "runtime.txt").read_text(encoding="utf-8")
    for name, version, condition in _LOCKED.findall(text):
        try:
            expression = expression_of(metadata(name))
        except PackageNotFoundError:
            expression = _SEEN.get(name, "")
        yield Licensed(name, version, expression, condition)


def expression_of(package: PackageMetadata) -> str:
    """Return the SPDX expression; from the first line of the older field or from a classifier if there is none."""
    classifiers = package.get_all("Classifier") or []
    named = [one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License :: ")]
    fields = (package.get_all(field) or [] for field in ("License-Expression", "License"))
    lines = (line for field in fields for one in field for line in str(one).strip().splitlines()[:1])
    for said in (*lines, *named):
        expression: str = _WORDS.get(said, said)
        if set(re.split(r" (?:AND|OR) ", expression)) <= _ACCEPTED:
            return expression
    return ""


def page() -> str:
    """Return docs/licenses.md."""
    rows = [f"| {one.name} | {one.version} | {one.expression} | {_where(one.condition)} |" for one in locked()]
    return "\n".join(
        [
            "# Licenses of the dependencies",
            "",
            "Closedwon is licensed under [Apache-2.0](../LICENSE).",
            "An installation has these packages besides, each under its own license, as its metadata say.",
            "`make docs` generates this page from `requirements/runtime.txt`.",
            "`make release-check` refuses a license that is not known to fit.",
            "",
            "| package | version | license | installed |",
            "|---|---|---|---|",
            *rows,
            "",
            "The extra `traces` adds the OpenTelemetry SDK and its exporter (Apache-2.0).",
            "The extra `demo` adds a real ERP, Tryton (GPL-3.0-or-later), which runs as a process of its own.",
            "It is part of neither the wheel nor the image.",
            "",
        ]
    )


def _where(condition: str) -> str:
    return f"if `{condition}`" if condition else "always"


def problems_of_licenses() -> Iterator[str]:
    """Yield each package without a license that fits."""
    for one in locked():
        if not one.expression:
            yield f"{one.name} {one.version}: its metadata name no license that is known to fit"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201
