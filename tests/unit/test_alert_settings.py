"""The webhook of alerts: an address, or a secret that is one; what cannot be right is refused without showing it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from closedwon.settings import Settings, SettingsError

_Load = Callable[[str], Settings]


@pytest.mark.parametrize(
    "webhook",
    [
        '"https://alerts.example.com/closedwon"',
        '{ env = "ALERT_WEBHOOK" }',
        '"http://localhost:9000/hook"',
    ],
)
def test_a_webhook_is_an_address_or_a_secret(
    example: str, load: _Load, monkeypatch: pytest.MonkeyPatch, webhook: str
) -> None:
    """Chat systems put the secret into the address, query and all; it is not shown."""
    monkeypatch.setenv("ALERT_WEBHOOK", "https://chat.example.com/hooks/T0/B0?sig=hidden")

    alerts = load(f"{example}\n[alerts]\nwebhook = {webhook}\n").alerts

    assert alerts is not None
    assert alerts.webhook.get_secret_value().startswith(("https://", "http://localhost"))
    assert "example" not in repr(alerts)


@pytest.mark.parametrize(
    "address", ["http://alerts.example.com/hook", "alerts.example.com", "ftp://alerts.example.com"]
)
def test_an_address_that_would_show_alerts_to_all_is_refused(example: str, load: _Load, address: str) -> None:
    """The setting is named, with what to write instead."""
    with pytest.raises(SettingsError, match=r"alerts\.webhook: .*https") as refused:
        load(f'{example}\n[alerts]\nwebhook = "{address}"\n')

    assert "/hook" not in str(refused.value)
