"""Salesforce record ids: the only place that knows their shape.

Ids are checked and normalised to 18 characters here, at the edge; nothing inside Closedwon ever sees 15 characters.
A 15-character id is case-sensitive base-62: 3 characters key prefix, then instance and serial. The 18-character form
appends a checksum of three characters that makes it safe to compare without case (Salesforce, "ID Field Type").
"""

from __future__ import annotations

import string
from typing import Any, ClassVar, Final, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_ALPHABET = frozenset(string.ascii_letters + string.digits)
_CHECKSUM_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_SHORT, _LONG, _GROUP, _PREFIX = 15, 18, 5, 3

KEY_PREFIXES: Final = {
    "Account": "001",
    "Contact": "003",
    "Opportunity": "006",
    "Lead": "00Q",
    "OpportunityLineItem": "00k",
    "Product2": "01t",
    "Contract": "800",
    "Order": "801",
    "OrderItem": "802",
    "Quote": "0Q0",
}
"""Of standard objects, the same in every org. Custom objects have theirs per org."""


class InvalidIdError(ValueError):
    """A text that is no Salesforce id. The message names the text and what is wrong with it."""

    def __init__(self, text: object, problem: str) -> None:
        """Keep `text` short: it may come from a stranger."""
        super().__init__(f"{str(text)[:40]!r} is not a Salesforce id: {problem}")
        self.problem = problem


def checksum(short: str) -> str:
    """Return the three checksum characters of a 15-character id.

    In each group of five, bit j (from the left, least significant first) says whether character j is an upper-case
    letter; the number indexes A-Z0-5.
    """
    groups = (short[start : start + _GROUP] for start in range(0, _SHORT, _GROUP))
    return "".join(
        _CHECKSUM_ALPHABET[sum(1 << place for place, char in enumerate(group) if char in string.ascii_uppercase)]
        for group in groups
    )


class RecordId(str):
    """A checked 18-character record id; a `str`, so it travels as JSON text.

    Raises `InvalidIdError` on a wrong length, alphabet, checksum or key prefix.
    """

    __slots__ = ()
    key_prefix: ClassVar[str | None] = None

    def __new__(cls, text: object) -> Self:
        """Check `text` (15 or 18 characters) and return its 18-character form."""
        if isinstance(text, cls):
            return text
        if not isinstance(text, str):
            raise InvalidIdError(text, f"it is a {type(text).__name__}, not a text")
        if len(text) not in (_SHORT, _LONG):
            raise InvalidIdError(text, f"it has {len(text)} characters, not 15 or 18")
        if not _ALPHABET.issuperset(text):
            raise InvalidIdError(text, "only A-Z, a-z and 0-9 are allowed")
        short = text[:_SHORT]
        expected = checksum(short)
        if len(text) == _LONG and text[_SHORT:].upper() != expected:
            raise InvalidIdError(text, f"its checksum is {text[_SHORT:]!r}, but {expected!r} belongs to {short!r}")
        if cls.key_prefix is not None and short[:_PREFIX] != cls.key_prefix:
            raise InvalidIdError(text, f"its key prefix is {short[:_PREFIX]!r}, not {cls.key_prefix!r}")
        return super().__new__(cls, short + expected)

    @property
    def prefix(self) -> str:
        """The key prefix, which names the object type: `006` is an Opportunity."""
        return self[:_PREFIX]

    @property
    def short(self) -> str:
        """The 15-character form, as URLs of an org show it."""
        return self[:_SHORT]

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic models hold ids: validated on the way in, text on the way out."""
        return core_schema.no_info_plain_validator_function(cls, serialization=core_schema.to_string_ser_schema())


class OrgId(RecordId):
    """The 18-character id of an org (`00D…`)."""

    __slots__ = ()
    key_prefix = "00D"
