"""`closedwon`: the operator's and developer's command. One file per group of commands; `main` runs one."""

from closedwon.cli.main import main

__all__ = ["main"]
