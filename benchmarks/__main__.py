"""Every benchmark, one after the other, in a process of its own: `python -m benchmarks [NAME ...] [--label LABEL]`."""

from __future__ import annotations

import argparse
import subprocess
import sys

ALL = ("throughput", "salesforce_calls", "intake", "backlog", "dead_erp", "failover", "comparison", "codec", "hostile")


def main() -> int:
    """Run them; the number of those that failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: {' '.join(ALL)}")
    parser.add_argument("--label", help="also store the figures in benchmarks/results")
    given = parser.parse_args()
    label = ["--label", given.label] if given.label else []
    failed = 0
    for name in given.names or ALL:
        print(f"\n=== {name}", flush=True)
        failed += bool(subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *label], check=False).returncode)  # noqa: S603 - our own modules
    return failed


if __name__ == "__main__":
    sys.exit(main())
