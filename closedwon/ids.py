"""Salesforce record ids. Only this module knows their format.

`RecordId` checks an id and normalizes it to 18 characters. All other code uses only 18-character ids. A 15-character id
is case-sensitive base 62: a key prefix of 3 characters, then instance and serial. The 18-character form adds a checksum
of three characters, so that it can be compared without case (Salesforce, "ID Field Type"). Some spreadsheets and tools
write all letters in one case; the checksum restores the original case.
"""

from __future__ import annotations

import string
from typing import Any, ClassVar, Final, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_ALPHABET = frozenset(string.ascii_letters + string.digits)
_CHECKSUM_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_SHORT, _LONG, _GROUP, _PREFIX = 15, 18, 5, 3
_CASES: Final = str.maketrans({char: "1" if char in string.ascii_uppercase else "0" for char in sorted(_ALPHABET)})
_CHECKSUMS: Final = {f"{bits:05b}"[::-1]: char for bits, char in enumerate(_CHECKSUM_ALPHABET)}
"""By a group of five, as zeros and ones: ids are checked wherever they are decoded, so this is a table."""

KEY_PREFIXES: Final = {
    "Account": "001",
    "Contact": "003",
    "User": "005",
    "Opportunity": "006",
    "Lead": "00Q",
    "OpportunityLineItem": "00k",
    "Pricebook2": "01s",
    "Product2": "01t",
    "PricebookEntry": "01u",
    "Asset": "02i",
    "WorkOrder": "0WO",
    "Quote": "0Q0",
    "QuoteLineItem": "0QL",
    "WorkOrderLineItem": "1WL",
    "Case": "500",
    "Entitlement": "550",
    "Campaign": "701",
    "Contract": "800",
    "Order": "801",
    "OrderItem": "802",
    "ServiceContract": "810",
    "ContractLineItem": "811",
}
"""Key prefixes of standard objects, the same in every org. Those of custom objects differ by org; see its describe."""


class InvalidIdError(ValueError):
    """A text is not a Salesforce id. The message names the text and the problem."""

    def __init__(self, text: object, problem: str) -> None:
        # The text may come from outside, so the message contains only its beginning.
        super().__init__(f"{str(text)[:40]!r} is not a Salesforce id: {problem}")
        self.problem = problem


def checksum(short: str) -> str:
    """Return the three checksum characters of a 15-character id.

    In each group of five, bit j (from the left, least significant first) says whether character j is an upper-case
    letter; the number indexes A-Z0-5.
    """
    cases = short.translate(_CASES)
    return "".join([_CHECKSUMS[cases[start : start + _GROUP]] for start in range(0, _SHORT, _GROUP)])


def _restored(short: str, suffix: str) -> str | None:
    """Return the 15 characters in the case given by the checksum; None if no case fits the checksum.

    Only if all letters have the same case. In mixed case, a single character was mistyped, and it is unknown which.
    """
    if short not in {short.upper(), short.lower()} or not set(suffix) <= set(_CHECKSUM_ALPHABET):
        return None
    bits = [_CHECKSUM_ALPHABET.index(char) for char in suffix]
    restored = "".join(
        char.upper() if bits[place // _GROUP] >> place % _GROUP & 1 else char.lower()
        for place, char in enumerate(short)
    )
    return restored if checksum(restored) == suffix else None


class RecordId(str):
    """A checked 18-character record id; a `str`, so it is serialized as JSON text.

    Raises `InvalidIdError` on a wrong length, alphabet, checksum or key prefix.
    """

    __slots__ = ()
    key_prefix: ClassVar[str | None] = None

    def __new__(cls, text: object) -> Self:
        """Check `text` (15 characters, or 18 in any case) and return its 18-character form."""
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
        suffix = text[_SHORT:].upper()
        if suffix not in {"", expected}:
            restored = _restored(short, suffix)
            if restored is None:
                raise InvalidIdError(text, f"its checksum is {text[_SHORT:]!r}, but {expected!r} belongs to {short!r}")
            short, expected = restored, suffix
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
        """Support ids in pydantic models: validated on input, text on output."""
        return core_schema.no_info_plain_validator_function(cls, serialization=core_schema.to_string_ser_schema())


class OrgId(RecordId):
    """The 18-character id of an org (`00D…`)."""

    __slots__ = ()
    key_prefix = "00D"
