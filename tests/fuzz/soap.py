"""Coverage-guided fuzzing of the readers of external XML: `make fuzz`, or `make fuzz ARGS=-max_total_time=3600`.

It starts with the bodies of `tests/support/hostile.py` and `tests/fuzz/corpus`; arguments are libFuzzer's. The run ends
at a crash, at a body that takes too much time or memory, at a refusal that quotes a value, and at any access to a file
or an address. It leaves the body behind as `crash-…`, `timeout-…` or `oom-…`. Fix the reader, and add the body to
`tests/fuzz/corpus`, whose bodies every test run reads.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["closedwon.salesforce"]):
    from tests.support.hostile import CORPUS, SECRET, TOKENS, read

_LIMITS = ("-max_len=65536", "-timeout=10", "-rss_limit_mb=1024", "-max_total_time=60")
_KEPT = Path(__file__).with_name("corpus")


def one(body: bytes) -> None:
    """Read one body."""
    assert SECRET not in read(body, None)


def main() -> None:
    """Fuzz until the time is up."""
    folder = Path(tempfile.mkdtemp(prefix="closedwon-fuzz-"))
    tokens = folder.with_suffix(".dict")
    tokens.write_text("".join(f'"{_escaped(token)}"\n' for token in TOKENS), encoding="ascii")
    for number, body in enumerate(CORPUS):
        (folder / f"seed-{number}").write_bytes(body)
    atheris.Setup([sys.argv[0], *_LIMITS, f"-dict={tokens}", *sys.argv[1:], str(folder), str(_KEPT)], one)
    atheris.Fuzz()


def _escaped(token: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in token)


if __name__ == "__main__":
    main()
