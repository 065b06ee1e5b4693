"""What Salesforce's error codes mean: every published code has one class, for a reason that `codes.toml` states.

The codes are the values of `StatusCode` and `ExceptionCode` in the partner WSDL. They come as `errorCode` of a REST
error and as `statusCode` in the result of one record. What is done about each class is in
`closedwon.salesforce.errors`. A code that is not in the table is new: it is not permanent just because it is unknown.
Texts decide nothing, because they come in the language of the integration user.
"""

from __future__ import annotations

import re
import tomllib
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

_CODE: Final = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")


class CodeClass(StrEnum):
    """What an error code says about the call, and so who can do something about it."""

    # Time helps.
    SESSION = "session"
    LOCK = "lock"
    CALLS = "calls"
    BUSY = "busy"
    MAINTENANCE = "maintenance"
    TROUBLE = "trouble"
    POSITION = "position"
    # Fewer records in one call may help.
    TOO_LARGE = "too-large"
    OTHERS_FAULT = "others-fault"
    FAULT = "fault"
    LIMIT = "limit"
    AUTOMATION = "automation"
    # A person must correct the record, or the rule that rejects it.
    RULE = "rule"
    VALUE = "value"
    DUPLICATE_VALUE = "duplicate-value"
    DUPLICATE_RULE = "duplicate-rule"
    APPROVAL = "approval"
    GONE = "gone"
    REQUEST = "request"
    # A person must correct the settings, or those of the org.
    ACCESS = "access"
    STORAGE = "storage"
    NAMES = "names"
    API = "api"
    VERSION = "version"
    LOGIN = "login"
    # Unexpected, as a code that is not published.
    FOREIGN = "foreign"
    ACCEPTED = "accepted"


class Codes(NamedTuple):
    """Codes of one class, for one reason."""

    meaning: CodeClass
    reason: str
    names: tuple[str, ...]


def read_table() -> tuple[Codes, ...]:
    """Read `codes.toml`. Raises `ValueError` or `KeyError` for a table of another form."""
    content: dict[str, Any] = tomllib.loads(files(__package__).joinpath("codes.toml").read_text(encoding="utf-8"))
    return tuple(Codes(CodeClass(one["class"]), one["reason"], tuple(one["names"].split())) for one in content["codes"])


@cache
def _by_name() -> dict[str, CodeClass]:
    return {name: codes.meaning for codes in read_table() for name in codes.names}


def class_of(code: str) -> CodeClass | None:
    """The class of a code; None for one that is not published."""
    return _by_name().get(code)


def quoted_classes(text: str) -> set[CodeClass]:
    """The classes of the published codes that a text quotes.

    An automation that fails because of another error quotes its code. Codes, unlike the words around them, are not
    translated.
    """
    return {meaning for name in _CODE.findall(text) if (meaning := class_of(name)) is not None}
