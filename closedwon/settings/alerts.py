"""The webhook that is called when a person is needed. Its body holds no customer's data."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, SecretStr

from closedwon.settings.values import AlertSecret, AlertToken, Duration, Section, Url, check, check_address


def _as_secret(value: Any) -> Any:
    return SecretStr(value) if isinstance(value, str) else value


def _check(secret: SecretStr) -> SecretStr:
    check_address(secret.get_secret_value())
    return secret


class AlertSettings(Section):
    """Each new need of attention is posted to a webhook. Without this table no alert is sent."""

    webhook: Annotated[AlertSecret, BeforeValidator(_as_secret), check(_check)]
    """The address, which may be a secret itself, as those of chat systems are."""
    token: AlertToken | None = None
    """Sent along as `Authorization: Bearer`."""
    key: AlertSecret | None = None
    """Signs the body (HMAC-SHA256), in the header `Closedwon-Signature`."""
    timeout: Duration = timedelta(seconds=10)
    """The maximum duration of one call."""
    ui: Url | None = None
    """The address of Temporal's UI. If it is set, an alert links to the order."""
