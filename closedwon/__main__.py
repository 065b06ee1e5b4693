"""The console script `closedwon`, and `python -m closedwon`."""

from __future__ import annotations

import sys

from closedwon.shadowing import shadowing


def main() -> None:
    """Run a command, if the packages that it imports are those of Closedwon. Otherwise exit with code 1 and say why."""
    if (problem := shadowing()) is not None:
        sys.exit(problem)
    from closedwon.cli.main import main as run  # noqa: PLC0415 - imports the packages that were just checked

    run()


if __name__ == "__main__":
    main()
