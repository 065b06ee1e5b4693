"""Which proxy a call uses."""

from __future__ import annotations

import pytest

from closedwon.network.proxies import ProxySettingError, proxy_for

PROXY = "http://proxy.example.com:3128"


@pytest.mark.parametrize(
    ("environment", "url", "expected"),
    [
        ({}, "https://acme.my.salesforce.com", None),
        ({"HTTPS_PROXY": PROXY}, "https://acme.my.salesforce.com/x", PROXY),
        ({"https_proxy": PROXY}, "https://acme.my.salesforce.com", PROXY),
        ({"HTTPS_PROXY": "proxy.example.com:3128"}, "https://erp.example.com", PROXY),
        ({"ALL_PROXY": PROXY}, "https://erp.example.com", PROXY),
        ({"HTTPS_PROXY": "http://proxy"}, "https://erp.example.com", "http://proxy:80"),
        ({"HTTPS_PROXY": "http://[2001:db8::1]:3128"}, "https://erp.example.com", "http://[2001:db8::1]:3128"),
        ({"HTTP_PROXY": PROXY}, "https://erp.example.com", None),
        ({"HTTP_PROXY": PROXY}, "http://collector:4318/v1/traces", PROXY),
        ({"HTTPS_PROXY": PROXY, "HTTP_PROXY": PROXY}, "http://localhost:8086", None),
        ({"HTTPS_PROXY": PROXY}, "https://127.0.0.1:7233", None),
        ({"HTTPS_PROXY": PROXY}, "https://[::1]:7233", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": ".example.com"}, "https://erp.example.com", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "erp.example.com:443"}, "https://erp.example.com:8443", PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "a, 10.0.0.0/8"}, "https://10.1.2.3", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, "https://acme.my.salesforce.com", None),
    ],
)
def test_the_environment_decides(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, expected: str | None
) -> None:
    """As for other programs; loopback addresses never use a proxy."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    proxy = proxy_for(url)
    assert expected == (proxy.url if proxy is not None else None)


def test_the_environment_is_only_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads read it meanwhile, and a change of it may crash them."""
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", ".example.com")
    changed: list[object] = []
    monkeypatch.setattr("os.putenv", lambda *pair: changed.append(pair))
    proxy_for("https://acme.my.salesforce.com")
    assert [] == changed


def test_a_credential_is_sent_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may hold characters that an address cannot."""
    monkeypatch.setenv("HTTPS_PROXY", "http://me:p%40ss@proxy.example.com:3128")
    proxy = proxy_for("https://erp.example.com")
    assert proxy is not None
    assert {"Proxy-Authorization": "Basic bWU6cEBzcw=="} == proxy.headers
    assert ("http://proxy.example.com:3128", "proxy.example.com:3128") == (proxy.url, proxy.address)


@pytest.mark.parametrize("value", ["socks5://proxy.example.com:1080", "http://", "http://proxy:secret"])
def test_an_unusable_value_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """The error names the variable, and not the value, which may hold a password."""
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(ProxySettingError, match=r"HTTPS_PROXY .* write it like http://") as refused:
        proxy_for("https://erp.example.com")
    assert "secret" not in str(refused.value)
