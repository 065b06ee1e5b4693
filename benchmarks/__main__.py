"""Every benchmark, one after the other, in a process of its own: `python -m benchmarks [NAME ...] [--label LABEL]`.

The other options are given to each of them, and `python -m benchmarks.NAME --help` says which it has.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

ALL = (
    "throughput",
    "salesforce_calls",
    "intake",
    "backlog",
    "memory",
    "commands",
    "dead_erp",
    "failover",
    "comparison",
    "codec",
    "hostile",
)


def main() -> int:
    """Run them; the number of those that failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: {' '.join(ALL)}")
    parser.add_argument("--label", help="also store the figures in benchmarks/results")
    for option in ("orders", "rounds", "temporal"):
        parser.add_argument(f"--{option}", help="as of the benchmarks that are named")
    given = vars(parser.parse_args())
    names = given.pop("names")
    options = [word for option, value in given.items() if value for word in (f"--{option}", value)]
    failed = 0
    for name in names or ALL:
        print(f"\n=== {name}", flush=True)
        failed += bool(subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=False).returncode)  # noqa: S603 - our own modules
    return failed


if __name__ == "__main__":
    sys.exit(main())
