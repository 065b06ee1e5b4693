"""The TLS context of every client: which certificate authorities are trusted, and which certificate is shown.

`SSL_CERT_FILE`, `SSL_CERT_DIR`, `REQUESTS_CA_BUNDLE` and `CURL_CA_BUNDLE` name files or folders of authorities. If at
least one is set, the authorities of all of them are trusted, and no others; otherwise those of the machine and those of
certifi, because a small container has none of its own. A changed file is read again, so that a new authority counts for
the next connection, and so does a renewed client certificate. If it cannot be read any more, or a certificate and its
key do not belong together yet, what was read before stays.
"""

from __future__ import annotations

import logging
import os
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from closedwon.files import stamps

_log = logging.getLogger(__name__)

_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class TrustSettingError(ValueError):
    """A variable or setting names files that cannot be used. The text names variable or setting, file and reason."""

    def __init__(self, text: str, *, hint: str = "") -> None:
        """`hint` is one sentence; without one, an environment variable is to be corrected."""
        super().__init__(text)
        self.hint = hint


class ClientCertificate(NamedTuple):
    """What this process shows to a server that wants to know who calls: two files in PEM form."""

    certificate: Path
    """Our own, then the intermediate ones."""
    key: Path
    """Without a passphrase."""
    setting: str
    """What names the two files, for people."""


def bundles() -> dict[str, Path]:
    """The files and folders of authorities that the environment names, by variable."""
    return {name: Path(value) for name in _VARIABLES if (value := os.environ.get(name, "").strip())}


def authorities_pem() -> bytes | None:
    """The authorities that the environment names, for a transport of its own (Temporal's); None if it names none.

    Raises `TrustSettingError`.
    """
    named = bundles()
    if not named:
        return None
    client_context()  # validates the files
    try:
        return b"\n".join(dict.fromkeys(file.read_bytes() for path in named.values() for file in _files(path)))
    except OSError as error:
        names = ", ".join(named)
        text = f"the authorities of {names} cannot be read: {error.filename}: {error.strerror}"
        raise TrustSettingError(text) from error


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


class ClientContexts:
    """The contexts of connections that show the same certificate, or none. For any number of threads."""

    def __init__(self, certificate: ClientCertificate | None = None) -> None:
        """Reads no file yet."""
        self._certificate = certificate
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._read: tuple[object, ...] | None = None
        self._failed: tuple[object, ...] | None = None

    def current(self) -> ssl.SSLContext:
        """The context for a new connection. The same object until a file changes. Raises `TrustSettingError`."""
        with self._lock:
            named, shown = bundles(), self._certificate
            own = () if shown is None else (shown.certificate, shown.key)
            now = (tuple(named.items()), stamps([*(named.values() or _usual()), *own]))
            if self._context is not None and now in (self._read, self._failed):
                return self._context
            try:
                context = _new(named)
                if shown is not None:
                    _show(context, shown)
            except TrustSettingError as error:
                if self._context is None or self._read is None or self._read[0] != now[0]:
                    raise
                self._failed = now
                _log.warning("%s; what was read before stays in use", error)
                return self._context
            if self._context is not None:
                _log.info("the certificate authorities, and the certificate that we show, were read again")
            self._context, self._read = context, now
            return context


_contexts: Final = ClientContexts()


def client_context() -> ssl.SSLContext:
    """The context for a new connection that shows no certificate. The same object until a file changes.

    Raises `TrustSettingError`.
    """
    return _contexts.current()


def _usual() -> list[Path]:
    """The files of the authorities that count without a setting: an administrator may add one to the machine's."""
    of_machine = ssl.get_default_verify_paths()
    return [Path(path) for path in (of_machine.cafile, of_machine.capath, DEFAULT_CA_BUNDLE_PATH) if path]


def without_passphrase() -> str:
    """Refuse a key that is encrypted: OpenSSL would ask for its passphrase at the terminal, and wait.

    For the parameter `password` of `load_cert_chain`. Raises `ValueError`.
    """
    raise ValueError("the key is encrypted with a passphrase; remove the passphrase (`openssl pkey`)")


def _show(context: ssl.SSLContext, shown: ClientCertificate) -> None:
    try:
        context.load_cert_chain(shown.certificate, shown.key, password=without_passphrase)
    except ssl.SSLError as error:
        why = (
            "the key is not that of the certificate"
            if error.reason == "KEY_VALUES_MISMATCH"
            else "they are not a certificate and its key in PEM form"
        )
    except OSError as error:
        why = f"a file cannot be read ({error.strerror})"
    except ValueError as error:
        why = str(error)
    else:
        return
    files = f"{shown.certificate} and {shown.key}"
    raise TrustSettingError(f"{shown.setting} ({files}) cannot be used: {why}", hint=f"Correct {shown.setting}.")


def _new(named: Mapping[str, Path]) -> ssl.SSLContext:
    if not named:
        context = ssl.create_default_context()
        context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags |= _default_flags()
        for variable, path in named.items():
            _load(context, variable, path)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load(context: ssl.SSLContext, variable: str, path: Path) -> None:
    try:
        if path.is_dir():
            context.load_verify_locations(capath=str(path))
        else:
            context.load_verify_locations(cafile=str(path))
    except (ssl.SSLError, OSError) as error:
        why = "it is not a list of certificates in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
        raise TrustSettingError(f"the authorities of {variable} ({path}) cannot be read: {why}") from error


def _default_flags() -> ssl.VerifyFlags:
    """What this version of Python checks by default."""
    return ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH).verify_flags
