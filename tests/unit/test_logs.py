"""Logs are one stream that people and machines can read, and they contain no secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from closedwon.settings import TelemetrySettings
from closedwon.telemetry import logs

Entries = Callable[[], list[dict[str, Any]]]


pytestmark = pytest.mark.usefixtures("logging_as_before")


@pytest.fixture
def entries() -> Entries:
    """Configure logging as in production and return a function that reads what was logged."""
    stream = io.StringIO()
    logs.configure(TelemetrySettings(log_format="json"), stream=stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_entry_is_a_json_object(entries: Entries) -> None:
    """A log collector finds time, level, logger, message and extra keys."""
    logging.getLogger("workers.process").warning("%s is %s", "all", "well", extra={"deals": 3})
    (entry,) = entries()
    assert {
        "level": "warning",
        "logger": "workers.process",
        "message": "all is well",
        "deals": 3,
    }.items() <= entry.items()
    assert entry["timestamp"].endswith("Z")


def test_structlog_and_the_standard_library_make_the_same_stream(entries: Entries) -> None:
    """Context that is bound for a task appears in the entries of every library."""
    with structlog.contextvars.bound_contextvars(workflow_id="order:x@y"):
        logging.getLogger("some.library").error("failed")
    assert "order:x@y" == entries()[0]["workflow_id"]


def fail(text: str) -> None:
    """Raise an error with a field value among the local variables."""
    field_value = "customer" + "-data"
    raise ValueError(text if field_value else None)


SECRETS = [
    "Authorization: Bearer abc123-secret",
    "authorization=Basic c2VjcmV0OnNlY3JldA==",
    "grant_type=x&client_secret=secret&assertion=secret",
    '{"access_token": "secret", "id": 1}',
    "{'refresh_token': 'secret'}",
    "sid: secret",
    "password=secret",
    "https://user:secret@erp.example.com/",
    "session 00D5g000004Kx1X!ARsAQ.secret_rest.of.it is over",
    "jwt eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJzZWNyZXQifQ.c2VjcmV0secret",
    "-----BEGIN RSA PRIVATE KEY-----\nsecret\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\nsecret",
    "POST https://closedwon.example.com/outbound/won-deals/secret-of-that_path",
    "GET /outbound/won-deals/secret?wsdl",
    "/Outbound//won-deals//secret/tombstones refused",
    "1 validation error\n  bad [type=x, input_value='secret', input_type=str]",
]


@pytest.mark.parametrize("text", SECRETS)
def test_what_looks_like_a_credential_is_masked(entries: Entries, text: str) -> None:
    """In the message, in an argument, in an extra key, in a nested value and in a traceback."""
    logger = logging.getLogger("closedwon.test")
    logger.info(text)
    logger.info("%s", text, extra={"detail": text, "more": {"inner": [text]}})
    try:
        fail(text)
    except ValueError:
        logger.exception("failed")
    shown = json.dumps(entries())
    assert 3 == len(entries())
    assert "secret" not in shown.replace("client_secret", "")
    assert logs.MASK in shown
    assert "ValueError" in entries()[2]["exception"]


def test_a_value_under_a_secret_name_is_masked(entries: Entries) -> None:
    """Whatever it looks like."""
    extra = {"api_key": "s3", "headers": {"Cookie": "s3", "Accept": "x"}, "access_token": 5, "idempotency_key": "kept"}
    logging.getLogger("closedwon.test").info("sent", extra=extra)
    (entry,) = entries()
    assert "s3" not in json.dumps(entry)
    assert ("***", {"Cookie": "***", "Accept": "x"}, "kept") == (
        entry["access_token"],
        entry["headers"],
        entry["idempotency_key"],
    )


def test_an_object_is_shown_by_its_type_only(entries: Entries) -> None:
    """A model's representation would hold field values."""
    logging.getLogger("closedwon.test").info("loaded", extra={"order": TelemetrySettings(host="customer-data")})
    assert "<TelemetrySettings>" == entries()[0]["order"]


def test_ordinary_text_is_left_alone(entries: Entries) -> None:
    """Masking does not make logs useless."""
    text = "order:0065g00000AbCdEAAV@00D5g000004Kx1XEAS at http://localhost:8080/services/data: 3 tokens are left"
    logging.getLogger("closedwon.test").info(text)
    addresses = "/outbound/won-deals/tombstones, /outbound/won-deals, /callouts/won-deals/soap"
    logging.getLogger("closedwon.test").info(addresses)
    assert [text, addresses] == [entry["message"] for entry in entries()]


def test_libraries_do_not_log_whole_requests(entries: Entries) -> None:
    """Even when we look for a bug of ours at DEBUG."""
    stream = io.StringIO()
    logs.configure(TelemetrySettings(log_format="json", log_level="DEBUG"), stream=stream)
    logging.getLogger("closedwon.test").debug("ours")
    logging.getLogger("urllib3.connectionpool").debug("a request")
    logging.getLogger("aiohttp.access").info("a request")
    logging.getLogger("some.library").debug("a request")
    assert ["ours"] == [json.loads(line)["message"] for line in stream.getvalue().splitlines()]
    assert [] == entries(), "after the second call of `configure`, nothing is written to the old stream"


def test_the_level_is_kept(entries: Entries) -> None:
    """An operator who wants warnings only gets warnings only."""
    stream = io.StringIO()
    logs.configure(TelemetrySettings(log_level="WARNING"), stream=stream)
    for name in ("closedwon.test", "some.library"):
        logging.getLogger(name).info("no")
        logging.getLogger(name).warning("yes")
    assert 2 == len(stream.getvalue().splitlines())
    assert [] == entries()


def test_a_terminal_gets_lines_for_people() -> None:
    """Without local variables in tracebacks, and masked as well."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    logs.configure(TelemetrySettings(log_format="auto"), stream=terminal)
    try:
        fail("by a rule")
    except ValueError:
        logging.getLogger("closedwon.test").exception("failed: password=hunter2")
    shown = terminal.getvalue()
    assert "failed: password=***" in shown
    assert "ValueError: by a rule" in shown
    assert "customer-data" not in shown
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(shown.splitlines()[0])
