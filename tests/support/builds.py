"""Two builds of the code, for tests of a deploy."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from closedwon.demo.parts import program
from tests.support.siege import Siege

_ROOT: Final = Path(__file__).parents[2]
BUILD: Final = "CLOSEDWON_WORKERS__BUILD_ID"
_HEAD: Final = "    async def _carry(self) -> OrderOutcome:\n"
_PATCHED: Final = (
    '        if workflow.patched("rest-before-look"):\n            await workflow.sleep(0.01, summary="rest")\n'
)


def next_build(folder: Path) -> Path:
    """Write the next version of the code: order workflows have one more command, behind a patch."""
    for package in ("activities", "closedwon", "workers", "workflows"):
        shutil.copytree(_ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    order = folder / "workflows" / "order.py"
    code = order.read_text(encoding="utf-8")
    assert code.count(_HEAD) == 1
    order.write_text(code.replace(_HEAD, _HEAD + _PATCHED), encoding="utf-8")
    return folder


def promote(world: Siege, build: str) -> None:
    """What an operator types to let a build have the work."""
    words = ("worker", "deployment", "set-current-version", "--deployment-name", "closedwon", "--build-id", build)
    command = [program("temporal"), *words, "--address", world.stack.temporal.address, "--yes"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
