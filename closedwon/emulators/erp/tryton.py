"""A real Tryton 8.2 with a demo company on one machine: set up once, then run as a child process.

Tryton is GPL and runs in processes of its own: nothing here imports it. The package in `deploy/tryton/` runs inside it
(the unique external ID, the demo company). Its finished database comes from `tryton_database`.

Confirming a sale creates its draft invoice and its shipment in the same request, which is Tryton's default without a
queue worker. So it is as slow as a customer's ERP: about two sales per second.
"""

from __future__ import annotations

import json
import logging
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn, Self

from closedwon.emulators.erp import connection
from closedwon.emulators.erp.tryton_database import (
    DATABASE,
    Place,
    SetupError,
    die_with_parent,
    finished_database,
    python,
    require_tryton,
)

DEFAULT_PORT: Final = 8000
_LOGIN: Final = "closedwon"
_SECRETS: Final = ("key", "login", "password", "admin_password")
_LOGGING: Final = Path(__file__).with_name("trytond_logging.ini")
_START_SECONDS: Final = 60
"""A start takes one or two seconds, on a loaded machine ten."""
_STOP_SECONDS: Final = 10
_log = logging.getLogger(__name__)


def serve(data_dir: Path, port: int | None, *, cache_dir: Path, postgres: str | None = None) -> NoReturn:
    """Run Tryton on `data_dir` until SIGTERM or SIGINT, then raise `SystemExit(0)`.

    The database is SQLite in `data_dir`, or on the server `postgres` (`postgresql://user:password@host:port`). The
    Tryton server is a child process that ends with this one; on Linux also if this one is killed.
    Raises `SetupError` if it cannot be set up or started, or ends by itself.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    require_tryton()
    before = connection.read(data_dir)
    port = connection.choose_port(port, before, DEFAULT_PORT)
    place = Place(data_dir=data_dir, cache_dir=cache_dir, postgres=postgres)
    fresh = finished_database(place)
    config = place.write_config(data_dir, port)
    known: dict[str, str] = {name: before[name] for name in _SECRETS if name in before}
    credentials = _replace_secrets(config) if fresh or len(known) < len(_SECRETS) else known
    with _TrytonProcess(config) as server:
        server.wait_until_ready(port)
        url = f"http://localhost:{port}/{DATABASE}"
        connection.write(data_dir, {"kind": "tryton", "url": url, "port": port, **credentials})
        _log.info("Tryton serves %s; Ctrl-C ends it", url)
        _log.info("see the orders: http://localhost:%d, or with the Tryton client (database %s)", port, DATABASE)
        _log.info("log in as %s; password and REST key: %s", _LOGIN, (data_dir / connection.FILE).resolve())
        server.wait()


class _TrytonProcess:
    """The child process, from start to end."""

    def __init__(self, config: Path) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
            python("trytond.cli", "-c", str(config), "-d", DATABASE, "--logconf", str(_LOGGING)),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches only this process, which ends the child
            preexec_fn=die_with_parent,  # noqa: PLW1509 - there are no threads here
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait_until_ready(self, port: int) -> None:
        """Request the version until it responds (`common.server.version` needs no login)."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/rpc/",
            data=json.dumps({"id": 1, "method": "common.server.version", "params": []}).encode(),
            headers={"Content-Type": "application/json"},
        )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(request, timeout=2).close()  # noqa: S310 - http, loopback
            except OSError:
                if self._process.poll() is not None:
                    raise SetupError(f"trytond did not start on port {port}; see its output above.") from None
                time.sleep(0.1)
            else:
                return
        raise SetupError(f"trytond does not respond on port {port} after {_START_SECONDS} s.")

    def wait(self) -> NoReturn:
        """Wait until the child ends by itself, which is an error. Raises `SetupError`."""
        code = self._process.wait()
        raise SetupError(f"trytond ended by itself with exit code {code}; see its output above.")


def _exit(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Unwind the main thread, which ends what is being built or run."""
    sys.exit(0)


def _replace_secrets(config: Path) -> dict[str, str]:
    """Set new secrets in this database and return them; the secrets of the cached database are unknown."""
    new = {
        "key": secrets.token_urlsafe(48),
        "login": _LOGIN,
        "password": secrets.token_urlsafe(12),
        "admin_password": secrets.token_urlsafe(12),
    }
    ended = subprocess.run(  # noqa: S603 - our own interpreter
        python("trytond_sale_external_id.demo", "credentials", str(config), DATABASE),
        input=json.dumps(new),
        text=True,
        check=False,
    )
    if ended.returncode:
        raise SetupError(f"The credentials of the database {DATABASE} cannot be set; see Tryton's output above.")
    return new
