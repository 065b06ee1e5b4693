"""A process whose environment says nothing of the network, and one authority for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.intake import Authority

VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any variable that this package reads."""
    for name in (*VARIABLES, *PROXIES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority of the company."""
    return Authority(tmp_path_factory.mktemp("ours"), "Corporate CA")


@pytest.fixture
def trusted(ours: Authority, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of our authority, which this process trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ours.file))
    return ours.file
