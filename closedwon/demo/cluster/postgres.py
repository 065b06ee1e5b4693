"""PostgreSQL for one cluster: a private data directory, on loopback, without a password."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from closedwon.demo.cluster.programs import Programs
from closedwon.demo.parts import Part, PartError

USER: Final = "temporal"
_CONNECTIONS: Final = 300
"""Each of Temporal's processes may hold 20 to the default store and 10 to that of visibility."""


class Postgres(Part):
    """One server. It loses nothing when its process is killed; only a machine that dies could lose its last writes."""

    NAME: Final = "postgres"

    def __init__(self, programs: Programs, data_dir: Path, **how: Any) -> None:
        """Keep the database in `data_dir/postgres`."""
        super().__init__(self.NAME, **how)
        self._programs = programs
        self.directory = data_dir / "postgres"

    def command(self) -> list[str]:
        """Its command. Without fsync a commit is as safe from a kill, and only not from the end of the machine."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": str(_CONNECTIONS),
            "fsync": "off",
            "full_page_writes": "off",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [*self._as_user("postgres"), "-D", str(self.directory), "-p", str(self.port), *words]

    async def start(self) -> None:
        """Make the database where there is none, and start it."""
        if not (self.directory / "PG_VERSION").exists():
            shutil.rmtree(self.directory, ignore_errors=True)
            words = ("-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
            await self.run("initdb", "-D", str(self.directory), *words)
        await super().start()

    async def is_ready(self) -> bool:
        """Whether it takes connections."""
        try:
            await self.run("pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-q")
        except PartError:
            return False
        return True

    async def query(self, statement: str, database: str = "postgres") -> str:
        """Run one SQL statement and return its rows, one per line. Raises `PartError` with what PostgreSQL says."""
        words = ("-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement)
        return (await self.run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, *words)).strip()

    async def back_up(self, databases: Sequence[str], folder: Path) -> None:
        """Write a consistent copy of each database into an existing folder, while it is in use."""
        for database in databases:
            where = ("-h", "127.0.0.1", "-p", str(self.port), "-U", USER)
            await self.run("pg_dump", *where, "-Fc", "-f", str(folder / f"{database}.dump"), database)

    async def restore(self, databases: Sequence[str], folder: Path) -> None:
        """Replace each database by its copy. Its clients are disconnected."""
        where = ("-h", "127.0.0.1", "-p", str(self.port), "-U", USER)
        for database in databases:
            await self.query(f'DROP DATABASE "{database}" WITH (FORCE)')
            await self.query(f'CREATE DATABASE "{database}"')
            await self.run("pg_restore", *where, "-d", database, str(folder / f"{database}.dump"))

    async def run(self, name: str, *words: str) -> str:
        """Run one of PostgreSQL's programs and return its output. Raises `PartError`."""
        command = self._as_user(name) if name == "initdb" else [str(self._programs.postgres / name)]
        process = await asyncio.create_subprocess_exec(*command, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        output, errors = await process.communicate()
        if process.returncode:
            raise PartError(f"{name} has failed: {errors.decode(errors='replace').strip()}")
        return output.decode()

    def _as_user(self, name: str) -> list[str]:
        """The program, without root's name: PostgreSQL refuses to run as root, and a container may have no other user.

        In a user namespace of its own the process has another number and keeps its files.
        """
        program = str(self._programs.postgres / name)
        if os.geteuid():
            return [program]
        return ["unshare", "--user", "--map-user=1000", "--map-group=1000", program]
