"""Settings from the environment: they outrank the file, and what is wrong with them is said with the variable."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from closedwon.settings import Settings, SettingsError

Load = Callable[[str], Settings]


def test_the_environment_outranks_the_file(example: str, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator changes one value of one process without another file."""
    monkeypatch.setenv("CLOSEDWON_TELEMETRY__PORT", "0")
    monkeypatch.setenv("CLOSEDWON_RETRY__MAXIMUM_INTERVAL", "1m")
    settings = load(example + '\n[telemetry]\nport = 9500\nlog_format = "json"\n')
    assert (0, "json") == (settings.telemetry.port, settings.telemetry.log_format)
    assert timedelta(minutes=1) == settings.retry.maximum_interval


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("500ms", 0.5), ("15m", 900)])
def test_the_environment_takes_a_duration_as_the_file_does(
    example: str, load: Load, monkeypatch: pytest.MonkeyPatch, text: str, seconds: float
) -> None:
    """File and environment have one notation."""
    monkeypatch.setenv("CLOSEDWON_RETRY__INITIAL_INTERVAL", text)
    assert timedelta(seconds=seconds) == load(example).retry.initial_interval


def test_a_bare_number_is_an_error_that_gives_the_text_to_write(
    example: str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator who sets seconds without a unit is shown the value to set instead."""
    monkeypatch.setenv("CLOSEDWON_RETRY__INITIAL_INTERVAL", "30")
    with pytest.raises(
        SettingsError, match=r"^CLOSEDWON_RETRY__INITIAL_INTERVAL .*: must be a duration: write \"30s\""
    ):
        load(example)


def test_a_bad_value_from_the_environment_names_the_variable(
    example: str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No one looks for a mistake in a file that does not have it."""
    monkeypatch.setenv("CLOSEDWON_TELEMETRY__PORT", "ninety")
    with pytest.raises(SettingsError, match=r"^CLOSEDWON_TELEMETRY__PORT \(environment\): must be a valid integer"):
        load(example)


def test_a_section_from_the_environment_must_be_set_key_by_key(
    example: str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole table in one variable is refused with an example."""
    monkeypatch.setenv("CLOSEDWON_TELEMETRY", "port=1")
    with pytest.raises(SettingsError, match="CLOSEDWON_TELEMETRY__PORT=9464"):
        load(example)


def test_an_environment_variable_of_an_unknown_section_is_refused(
    example: str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped variable is reported like a mistyped key; variables that Kubernetes sets for a service are ignored."""
    monkeypatch.setenv("CLOSEDWON_SERVICE_HOST", "10.0.0.1")
    load(example)
    monkeypatch.setenv("CLOSEDWON_TELEMETRI__PORT", "9500")
    with pytest.raises(SettingsError, match=r"^CLOSEDWON_TELEMETRI__PORT \(environment\): .* did you mean `telemetry`"):
        load(example)


def test_a_worker_deployment_with_a_dot_is_refused(example: str, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporal joins deployment and build id with a dot, and would refuse the workers one by one."""
    monkeypatch.setenv("CLOSEDWON_WORKERS__DEPLOYMENT", "erp/closedwon")
    assert "erp/closedwon" == load(example).workers.deployment
    monkeypatch.setenv("CLOSEDWON_WORKERS__DEPLOYMENT", "erp.closedwon")
    with pytest.raises(
        SettingsError, match=r"^CLOSEDWON_WORKERS__DEPLOYMENT .*: must be a name without spaces and dots"
    ):
        load(example)
