"""The finished database of the local Tryton: tables, modules, demo company. Built once, then copied.

On SQLite the cache is `<cache dir>/tryton-<fingerprint>.sqlite`; on PostgreSQL it is a template database on the same
server. The fingerprint changes with every version of Tryton and every byte of our own package, so a cache is never
stale. A database that is already in use has the fingerprint of its last build or update. If our package has changed
since, the module is updated there, as in a customer's Tryton.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from configparser import ConfigParser
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DATABASE: Final = "erp"
_MODULE: Final = "sale_external_id"
_PACKAGE: Final = "trytond_sale_external_id"
_WEB_ROOT: Final = Path(__file__).with_name("tryton_web")
"""A page that lists the orders: the target of an order's link without Tryton's web client."""
_NEEDED: Final = ("trytond", "trytond.modules.sale", "proteus", _PACKAGE)
# Without an e-mail address it would prompt, get no input, and leave no usable admin.
_ADMIN_ARGUMENTS: Final = ("-u", "sale", _MODULE, "--activate-dependencies", "--email", "admin@example.com")
_UPDATE_ARGUMENTS: Final = ("-u", _MODULE)
_FINGERPRINT_FILE: Final = "tryton-fingerprint"
_NO_CACHE_SYNC: Final = str(10**9)
"""Seconds. On SQLite, Tryton's cache sync switches the connection of the request that does it to autocommit, so this
request cannot be rolled back: an order that is rejected at its second line stays in part (seen in 8.2.1). The sync is
useful only between several server processes, which a SQLite database does not have."""
_LOG_INTERVAL: Final = 5
"""Seconds between two log lines while the tables are built."""
_PR_SET_PDEATHSIG: Final = 1
"""From <linux/prctl.h>: the option for the signal that a process gets when its parent dies."""
_log = logging.getLogger(__name__)


class SetupError(Exception):
    """The ERP cannot be set up or started. The message includes a hint."""


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs `module` in this environment."""
    return [sys.executable, "-m", module, *arguments]


def die_with_parent() -> None:
    """For a child before its exec: request a SIGKILL from the kernel when the parent dies, for any reason."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def require_tryton() -> None:
    """Raise `SetupError` unless Tryton and our package for it are installed in this environment."""
    missing = [name for name in _NEEDED if not _is_installed(name)]
    if missing:
        raise SetupError(
            f"Not installed in this environment: {', '.join(missing)}. Run `make setup`, or: "
            f"{sys.executable} -m pip install 'closedwon[demo]' ./deploy/tryton"
        )


@dataclass(frozen=True, kw_only=True)
class Place:
    """The place of the database: `data_dir` on SQLite, or the server `postgres` (a URI without database)."""

    data_dir: Path
    cache_dir: Path
    postgres: str | None = None

    def write_config(self, folder: Path, port: int) -> Path:
        """Write `trytond.conf` to `folder`, private, because a PostgreSQL URI may contain a password."""
        parser = ConfigParser(interpolation=None)
        parser["database"] = {"uri": self.postgres or "sqlite://", "path": str(folder.resolve())}
        parser["web"] = {"listen": f"127.0.0.1:{port}", "root": str(_WEB_ROOT.resolve())}
        if self.postgres is None:
            parser["cache"] = {"clean_timeout": os.environ.get("TRYTOND_CACHE__CLEAN_TIMEOUT", _NO_CACHE_SYNC)}
        path = folder / "trytond.conf"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            parser.write(file)
        return path


def finished_database(place: Place) -> bool:
    """Make sure that the database exists. Return True if it is new and has no known secrets yet."""
    fresh = _on_sqlite(place) if place.postgres is None else _on_postgres(place, place.postgres.rstrip("/"))
    mark = place.data_dir / _FINGERPRINT_FILE
    if not fresh and (not mark.exists() or mark.read_text(encoding="utf-8") != _fingerprint()):
        _update(place)
    mark.write_text(_fingerprint(), encoding="utf-8")
    return fresh


def _on_sqlite(place: Place) -> bool:
    database = place.data_dir / f"{DATABASE}.sqlite"
    if database.exists():
        return False
    cached = place.cache_dir / f"tryton-{_fingerprint()}.sqlite"
    if not cached.exists():
        _build_sqlite(place, cached)
    draft = database.with_suffix(".draft")
    shutil.copyfile(cached, draft)
    draft.chmod(0o600)
    draft.replace(database)
    return True


def _build_sqlite(place: Place, cached: Path) -> None:
    folder = place.cache_dir / f"tryton-build-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        database = folder / f"{DATABASE}.sqlite"
        database.touch()  # Tryton requires the file to exist
        _build(place.write_config(folder, port=0), DATABASE)
        with closing(sqlite3.connect(database)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # a single file, ready to be copied
        for stale in place.cache_dir.glob("tryton-*.sqlite"):
            stale.unlink()
        database.replace(cached)
    finally:
        shutil.rmtree(folder)


def _on_postgres(place: Place, server: str) -> bool:
    import psycopg  # noqa: PLC0415 - in the demo extra; only this path needs it
    from psycopg import sql  # noqa: PLC0415

    def run(command: str, *names: str) -> None:
        db.execute(sql.SQL(command).format(*map(sql.Identifier, names)))

    def exists(name: str) -> bool:
        return db.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is not None

    template = f"closedwon_tryton_{_fingerprint()}"
    try:
        connected = psycopg.connect(f"{server}/postgres", autocommit=True)
    except psycopg.OperationalError as error:
        raise SetupError(f"PostgreSQL cannot be used: {error}") from None
    except psycopg.ProgrammingError:  # its text contains the password
        raise SetupError("--postgres is not the address of a server: postgresql://USER:PASSWORD@HOST:PORT") from None
    with connected as db:
        if exists(DATABASE):
            return False
        if not exists(template):
            draft = f"{template}_draft"
            run("DROP DATABASE IF EXISTS {}", draft)
            run("CREATE DATABASE {}", draft)
            _build(place.write_config(place.data_dir, port=0), draft)
            run("ALTER DATABASE {} RENAME TO {}", draft, template)
        run("CREATE DATABASE {} TEMPLATE {}", DATABASE, template)
        return True


def _build(config: Path, database: str) -> None:
    """Create all tables and the demo company in the empty `database`."""
    _log.info("building the ERP's database; this happens once and takes one or two minutes")
    password = config.with_name("admin-password")
    password.write_text(secrets.token_urlsafe(24), encoding="utf-8")
    try:
        _run(
            "tables and modules",
            python("trytond.cli.admin", "-c", str(config), "-d", database, *_ADMIN_ARGUMENTS),
            {"TRYTONPASSFILE": str(password)},
        )
    finally:
        password.unlink()
    _run("demo company", python(f"{_PACKAGE}.demo", "build", str(config), database), {})


def _update(place: Place) -> None:
    """Update the module's tables in a database that is in use; its orders are kept."""
    _log.info("updating the ERP's database: the module %s has changed since the database was built", _MODULE)
    config = place.write_config(place.data_dir, port=0)
    _run("module", python("trytond.cli.admin", "-c", str(config), "-d", DATABASE, *_UPDATE_ARGUMENTS), {})


def _run(what: str, command: list[str], environment: dict[str, str]) -> None:
    started = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 - our own interpreter
        command,
        stdin=subprocess.DEVNULL,
        env=os.environ | environment,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - there are no threads here
    )
    code = None
    try:
        while code is None:
            try:
                code = process.wait(_LOG_INTERVAL)
            except subprocess.TimeoutExpired:
                _log.info("  %s: %.0f s", what, time.monotonic() - started)
    finally:
        process.kill()  # after an interruption; no effect on a process that has ended
        process.wait()
    if code:
        raise SetupError(f"Building the ERP's database failed ({what}, exit code {code}); see Tryton's output above.")
    _log.info("  %s: done in %.0f s", what, time.monotonic() - started)


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for each in sorted(f"{each.name}={each.version}" for each in importlib.metadata.distributions()):
        if each.startswith(("trytond", "proteus")):
            digest.update(each.encode())
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        for file in sorted(path for path in Path(folder).iterdir() if path.is_file()):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False
