"""What Temporal stores is encrypted: with which keys, and who may have it decoded.

How a payload is encrypted is the business of `closedwon.codec`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Annotated, Final, Self

from pydantic import AfterValidator, SecretStr, model_validator

from closedwon.settings.problems import Problem, ProblemsError
from closedwon.settings.values import Secret, Section, shaped

KEY_BYTES: Final = 32
"""AES-256."""
_FRESH: Final = "`closedwon codec key` prints a fresh one and its line of TOML"


def _check_key(secret: SecretStr) -> SecretStr:
    try:
        key = base64.b64decode(secret.get_secret_value(), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"is no base64; {_FRESH}") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"must be {KEY_BYTES} bytes in base64, not {len(key)}; {_FRESH}")
    return secret


class Key(Section):
    """One data key. Its id stands, readable, beside whatever it has encrypted."""

    id: Annotated[str, shaped(r"[A-Za-z0-9._-]{1,64}", 'letters, digits, dots and hyphens, as in "2026-11"')]
    key: Annotated[Secret, AfterValidator(_check_key)] | None = None
    """32 bytes in base64. Without it, `kms` is asked for the bytes."""


class Encryption(Section):
    """Encryption of all that Temporal stores. The first key encrypts, every key decrypts."""

    enabled: bool = True
    """Must be turned off in writing. What was encrypted before is still read with `keys`."""
    keys: tuple[Key, ...] = ()
    kms: Annotated[str, shaped(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", 'module and callable, as in "acme.kms:key"')] | None = (
        None
    )
    """A callable that takes a key's id and returns its 32 bytes; for the keys that have no `key`."""

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        problems = list(self._problems())
        if problems:
            raise ProblemsError(problems)
        return self

    def _problems(self) -> Iterator[Problem]:
        if self.enabled and not self.keys:
            yield Problem(
                ("keys",),
                f"encryption is on and has no key: {_FRESH}; or write `enabled = false` under [encryption], and what "
                "Temporal stores can be read by all who reach it",
            )
        ids = [key.id for key in self.keys]
        for place, key in enumerate(self.keys):
            if key.id in ids[:place]:
                yield Problem(("keys", place, "id"), f"{key.id!r} is used twice; each key needs an id of its own")
            if key.key is None and self.kms is None:
                yield Problem(("keys", place, "key"), f"is missing, and there is no `kms` to ask; {_FRESH}")
