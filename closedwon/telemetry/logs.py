"""Logging of every process: one stream, JSON in production, readable on a terminal, free of secrets.

All code logs through the standard library; structlog only formats. What must not be in a log is masked here as the
last step before rendering, whichever library wrote it. That is only a safety net: messages name keys, fields and codes,
never field values. Libraries may not log below INFO, because at DEBUG they write whole requests.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from closedwon import safe_text, settings

OUR_PACKAGES: Final = ("closedwon", "workflows", "activities", "workers")
_TALKATIVE: Final = ("aiohttp.access", "aiocometd_noloop", "asyncio", "urllib3")

_TRACES: Final = frozenset({"exception", "stack"})
"""Keys of an entry that hold tracebacks."""
_LONGEST_TRACE: Final = 20_000
"""Characters."""
_MOST_ITEMS: Final = 100
MASK: Final = "***"
_SECRET_KEY: Final = re.compile(
    r"secret|token|passw|authori[sz]ation|cookie|session|private.?key|api.?key|assertion|signature|credential",
    re.IGNORECASE,
)
_SECRET_TEXTS: Final = (
    # kept part, then the secret
    re.compile(r"(?i)((?:bearer|basic|oauth)\s+)[\w+/=.~!-]{8,}"),
    re.compile(
        r"(?i)([\"']?\b(?:\w*secret|\w*token|password|assertion|sessionid|sid)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;}]+"
    ),
    re.compile(r"(://)[^/\s:@]*:[^/\s@]+(?=@)"),  # user and password in an address
    # What follows a route in the address of outbound messages is a path secret.
    re.compile(r"(?i)(/outbound/+[^/\s\"'?#]+/+)(?!tombstones(?![\w%-]))[^/\s\"'?#]+"),
    re.compile(r"()\b00D\w{9,15}![\w.]+"),  # a Salesforce access token or session id
    re.compile(r"()\beyJ[\w-]{5,}\.[\w-]+\.[\w-]*"),  # a JSON web token
    re.compile(r"()-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"(input_value=).*?(?=, input_type=)", re.DOTALL),  # pydantic shows the value it refuses
)


def configure(
    telemetry: settings.TelemetrySettings, *, context: Sequence[Processor] = (), stream: TextIO | None = None
) -> None:
    """Send all logging to `stream` (stderr). `context` adds keys to each entry, before anything is masked."""
    stream = stream or sys.stderr
    entry: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        *context,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    handler = _Handler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=entry,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                mask,
                *_renderer(telemetry, stream),
            ],
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    level = logging.getLevelNamesMapping()[telemetry.log_level]
    root.setLevel(max(level, logging.INFO))
    for name in OUR_PACKAGES:
        logging.getLogger(name).setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def mask(_logger: WrappedLogger, _method: str, entry: EventDict) -> EventDict:
    """Mask values under keys that sound secret, and texts that look like credentials."""
    return {key: MASK if _SECRET_KEY.search(key) else _masked(value) for key, value in entry.items()}


def mask_text(text: str) -> str:
    """Mask what looks like a credential in a text."""
    for pattern in _SECRET_TEXTS:
        text = pattern.sub(rf"\1{MASK}", text)
    return text


def _for_people(_logger: WrappedLogger, _method: str, entry: EventDict) -> EventDict:
    """Take from texts what a terminal would obey, and line breaks but for those of a traceback."""
    return {key: _shown(key, value) if isinstance(value, str) else _cut(value) for key, value in entry.items()}


def _shown(key: str, value: str) -> str:
    return safe_text.terminal(safe_text.cut(value, _LONGEST_TRACE)) if key in _TRACES else safe_text.log(value)


def _bounded(_logger: WrappedLogger, _method: str, entry: EventDict) -> EventDict:
    """Bound the texts of an entry; JSON escapes the rest."""
    return {
        key: safe_text.cut(value, _LONGEST_TRACE) if key in _TRACES else _cut(value) for key, value in entry.items()
    }


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return safe_text.cut(value)
    if isinstance(value, Mapping):
        return {str(key): _cut(item) for key, item in list(value.items())[:_MOST_ITEMS]}
    if isinstance(value, list | tuple):
        return [_cut(item) for item in value[:_MOST_ITEMS]]
    return value


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, Mapping):
        return {str(key): MASK if _SECRET_KEY.search(str(key)) else _masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    return value


def _renderer(telemetry: settings.TelemetrySettings, stream: TextIO) -> list[Processor]:
    if telemetry.log_format == "console" or (telemetry.log_format == "auto" and stream.isatty()):
        # The default would print local variables with a traceback: field values and tokens among them.
        plain = structlog.dev.plain_traceback
        return [_for_people, structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)]
    return [
        _bounded,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(default=lambda value: f"<{type(value).__name__}>"),
    ]


class _Handler(logging.StreamHandler[TextIO]):
    """Our own handler, as opposed to those of others."""
