"""Where Temporal is, and how it is reached: Temporal's own settings, and the rules of `closedwon.network`.

Address, namespace, TLS and API key come from Temporal's own environment variables and file (`TEMPORAL_ADDRESS`,
`TEMPORAL_NAMESPACE`, `TEMPORAL_CONFIG_FILE`, …), so its command line and Closedwon always agree. As with that command
line, `HTTPS_PROXY` and `NO_PROXY` decide about a proxy, with and without TLS.

The SDK reads certificates and keys once, when it connects. So a process compares what `read_target` returns from time
to time with what it has connected with (`workers.process`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.service import HttpConnectProxyConfig, TLSConfig

from closedwon.errors import ClosedwonError
from closedwon.network.failures import FailureKind, NetworkError
from closedwon.network.proxies import Proxy, ProxySettingError, proxy_for
from closedwon.network.trust import TrustSettingError, authorities_pem

WHERE: Final = (
    "Where it is comes from TEMPORAL_ADDRESS or from Temporal's own configuration file (TEMPORAL_CONFIG_FILE, "
    "TEMPORAL_PROFILE)."
)
_DEFAULT_ADDRESS: Final = "localhost:7233"
_CONNECT_TIMEOUT: Final = timedelta(seconds=5)
"""For TCP and TLS. The SDK divides it among the addresses of a name, so a dead first one of two costs half of it."""

Target = dict[str, Any]
"""Arguments of `Client.connect`; equal as long as nothing has changed."""


class TemporalUnavailableError(ClosedwonError):
    """Temporal cannot be reached. `str` is `text` and `hint` together."""

    def __init__(self, text: str, *, hint: str = WHERE) -> None:
        """`text` is what is wrong, without a full stop; `hint` is what to do about it, in whole sentences."""
        super().__init__(f"{text}. {hint}")
        self.text = text
        self.hint = hint


def read_target() -> Target:
    """Read all settings and files. Raises `TemporalUnavailableError`."""
    config = own_settings()
    target: Target = {"target_host": _DEFAULT_ADDRESS, **config, "connect_timeout": _CONNECT_TIMEOUT}
    try:
        proxy = proxy_of(target)
        tls = _with_authorities(target.get("tls", bool(target.get("api_key"))))
    except (ProxySettingError, TrustSettingError) as error:
        why = NetworkError(FailureKind.SETTING, str(error))
        raise TemporalUnavailableError(f"Temporal cannot be reached: {why}", hint=why.hint) from error
    if proxy is not None:
        pair = (proxy.user, proxy.password) if proxy.user else None
        target["http_connect_proxy_config"] = HttpConnectProxyConfig(proxy.address, pair)
    if isinstance(tls, TLSConfig):
        _check_pair(tls)
    return {**target, "tls": tls}


def proxy_of(target: Target) -> Proxy | None:
    """Return the proxy on the way to Temporal. Raises `ProxySettingError`."""
    proxy = proxy_for(f"https://{target['target_host']}")
    if proxy is not None and proxy.url.startswith("https:"):
        raise ProxySettingError(f"{proxy.variable} is an https:// address, but Temporal's SDK needs an http:// proxy")
    return proxy


def client_certificate(target: Target) -> x509.Certificate | None:
    """The certificate that this process shows to Temporal. Raises `ValueError` if it is not one."""
    tls = target.get("tls")
    if not isinstance(tls, TLSConfig) or tls.client_cert is None:
        return None
    return x509.load_pem_x509_certificate(tls.client_cert)


def explain(error: RuntimeError, target: Target) -> NetworkError:
    """Turn what the SDK says of a connection that failed into an error for people; its text is a Rust structure.

    The text completes "Temporal at … cannot be reached: ".
    """
    said, proxy = str(error), proxy_of(target)
    expired = re.search(r"not_after: UnixTime\((\d+)\)", said)
    if status := re.search(r"CONNECT call failed with status: (\d+)", said):
        kind, text = FailureKind.PROXY, f"the proxy answers {status[1]}"
    elif expired is not None:
        at = datetime.fromtimestamp(int(expired[1]), UTC)
        kind, text = FailureKind.CERTIFICATE, f"its certificate has expired on {at:%Y-%m-%d %H:%M} UTC"
    elif "InvalidCertificate(" in said:
        what = said.partition("InvalidCertificate(")[2]
        kind, text = (
            FailureKind.CERTIFICATE,
            _CERTIFICATES.get(re.split(r"\W", what)[0], "its certificate is not valid"),
        )
    else:
        kind, text = next(
            ((kind, text) for sign, kind, text in _SIGNS if sign in said),
            (FailureKind.BROKEN, "it ends the connection" + _about_certificate(target)),
        )
    if proxy is not None and kind is not FailureKind.CERTIFICATE:
        kind, text = FailureKind.PROXY, f"{text} (proxy {proxy.address} of {proxy.variable})"
    return NetworkError(kind, text, hint=_UNTRUSTED if "UnknownIssuer" in said else "")


_UNTRUSTED: Final = "If it is your own authority, set SSL_CERT_FILE, or TEMPORAL_TLS_SERVER_CA_CERT_PATH."
_SIGNS: Final = (
    ("dns error", FailureKind.NAME, "its name has no address"),
    ("failed to lookup", FailureKind.NAME, "its name has no address"),
    ("Connection refused", FailureKind.REFUSED, "it refuses the connection"),
    ("TimedOut", FailureKind.CONNECT_TIMEOUT, "it takes no connection in time"),
    ("deadline has elapsed", FailureKind.CONNECT_TIMEOUT, "it takes no connection in time"),
    ("Elapsed", FailureKind.CONNECT_TIMEOUT, "it takes no connection in time"),
    ("InvalidContentType", FailureKind.TLS, "it does not speak TLS"),
)
_CERTIFICATES: Final = {
    "UnknownIssuer": "its certificate is from an authority that is not trusted here",
    "NotValidForName": "its certificate is for another name",
    "NotValidForNameContext": "its certificate is for another name",
    "NotValidYet": "its certificate is not valid yet",
    "NotValidYetContext": "its certificate is not valid yet",
}


def _about_certificate(target: Target) -> str:
    """What may be wrong with our client certificate: TLS 1.3 lets a server refuse it without a word."""
    ours = client_certificate(target)
    if ours is None:
        return ""
    now = datetime.now(UTC)
    if ours.not_valid_after_utc <= now:
        return f": our client certificate has expired on {ours.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    return ", perhaps because it does not accept our client certificate"


def own_settings() -> ClientConnectConfig:
    """Read Temporal's own settings, without the rules of the network. Raises `TemporalUnavailableError`."""
    try:
        return ClientConfig.load_client_connect_config()
    except OSError as error:
        what = f"{error.filename} cannot be read ({error.strerror})"
    except RuntimeError as error:
        what = str(error).splitlines()[0]  # the others quote the file, which may hold an API key
    raise TemporalUnavailableError(f"Temporal's own settings are wrong: {what}")


def _with_authorities(tls: bool | TLSConfig) -> bool | TLSConfig:  # noqa: FBT001 - the SDK's own type
    """Trust the authorities of the environment, as all other clients do, unless Temporal's settings name some."""
    if tls is False or (isinstance(tls, TLSConfig) and tls.server_root_ca_cert is not None):
        return tls
    authorities = authorities_pem()
    if authorities is None:
        return tls
    known = tls if isinstance(tls, TLSConfig) else TLSConfig()
    return TLSConfig(
        server_root_ca_cert=authorities,
        domain=known.domain,
        client_cert=known.client_cert,
        client_private_key=known.client_private_key,
    )


def _check_pair(tls: TLSConfig) -> None:
    """Raise `TemporalUnavailableError` unless our certificate and key belong together, as in a half-made rotation."""
    if tls.client_cert is None or tls.client_private_key is None:
        return
    try:
        certificate = x509.load_pem_x509_certificate(tls.client_cert)
        key = load_pem_private_key(tls.client_private_key, password=None)
    except (ValueError, TypeError) as error:
        text = "Temporal's client certificate or its key is not valid PEM"
        hint = "Correct TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH."
        raise TemporalUnavailableError(text, hint=hint) from error
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        hint = "Compare the files of TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH."
        raise TemporalUnavailableError("Temporal's client certificate and its key do not belong together", hint=hint)
