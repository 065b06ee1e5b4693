"""What Temporal stores is encrypted: with which keys, and who may have it decoded.

How a payload is encrypted is the business of `closedwon.encryption.codec`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Annotated, Final, Self

from pydantic import SecretStr, model_validator

from closedwon.settings.problems import ProblemsError, SettingsProblem
from closedwon.settings.values import PayloadKey, Section, check, shaped

KEY_BYTES: Final = 32
"""AES-256."""
_FRESH: Final = "`closedwon codec key` prints a fresh one and its line of TOML"


def _check_key(secret: SecretStr) -> SecretStr:
    try:
        key = base64.b64decode(secret.get_secret_value(), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"is not valid base64; {_FRESH}") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"must be {KEY_BYTES} bytes in base64, not {len(key)}; {_FRESH}")
    return secret


class Key(Section):
    """One data key. Its id stands, readable, beside whatever it has encrypted."""

    id: Annotated[str, shaped(r"[A-Za-z0-9._-]{1,64}", 'letters, digits, dots and hyphens, as in "2026-11"')]
    key: Annotated[PayloadKey, check(_check_key)] | None = None
    """32 bytes in base64. Without it, `kms` is asked for the bytes."""
    by_mistake: bool = False
    """It encrypted for a time, instead of the other key of this id; now it only decrypts. It needs a `key`."""


class Encryption(Section):
    """Encryption of all that Temporal stores. The first key encrypts, every key decrypts."""

    enabled: bool = True
    """False must be written explicitly. Payloads that were encrypted before are still decrypted with `keys`."""
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

    def _problems(self) -> Iterator[SettingsProblem]:
        if self.enabled and not self.keys:
            yield SettingsProblem(
                ("keys",),
                f"encryption is on and has no key: {_FRESH}; or write `enabled = false` under [encryption], and what "
                "Temporal stores can be read by everyone who can reach it",
            )
        right = [key.id for key in self.keys if not key.by_mistake]
        seen = set()
        for place, key in enumerate(self.keys):
            if key.by_mistake:
                yield from _problems_of_mistaken(place, key, right)
                continue
            if key.id in seen:
                text = (
                    f"{key.id!r} is used twice; each key needs an id of its own, except one that was used under this "
                    "id by mistake and now only decrypts: `by_mistake = true`"
                )
                yield SettingsProblem(("keys", place, "id"), text)
            seen.add(key.id)
            if key.key is None and self.kms is None:
                yield SettingsProblem(("keys", place, "key"), f"is missing, and `kms` is not set; {_FRESH}")


def _problems_of_mistaken(place: int, key: Key, right: Sequence[str]) -> Iterator[SettingsProblem]:
    """What is wrong with a key that was used by mistake; `right` are the ids of the other keys."""
    if place == 0:
        yield SettingsProblem(("keys", place, "by_mistake"), "the first key encrypts; list the right key before it")
    elif key.id not in right:
        text = f"no other key has the id {key.id!r}; list the right key of this id, too"
        yield SettingsProblem(("keys", place, "by_mistake"), text)
    if key.key is None:
        yield SettingsProblem(("keys", place, "key"), "is missing; `kms` returns the right key of this id")
