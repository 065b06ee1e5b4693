"""The bases of all models, and the currency.

Two rules for fields that a model does not have. They differ on purpose:

- **Constructed in our code**, an unknown field is a mistake: `WriteBack(statuss="…")` and
  `message.model_copy(update={"statuss": "…"})` raise `TypeError`.
- **Decoded** from JSON or from a dictionary (`model_validate…`), an unknown field is ignored. While a new version of
  the workers replaces an old one, or is rolled back, each reads what the other one wrote. An error there would leave a
  workflow in Running without progress, and drop a signal without a trace.

Decoding creates the instance without arguments, so `__new__` sees the fields of constructed models only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code")]


class Model(BaseModel):
    """A model whose constructor accepts its own fields only. Validation errors do not show values: they end in logs."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    if not TYPE_CHECKING:  # type checkers derive the constructor from the fields

        def __new__(cls, *_args: Any, **fields: Any) -> Self:
            """Raise `TypeError` for a field that the model does not have."""
            _refuse_unknown(cls, fields)
            return super().__new__(cls)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy it, with some fields replaced. Raises `TypeError` for a field that the model does not have."""
        _refuse_unknown(type(self), update or ())
        return super().model_copy(update=update, deep=deep)


def fields_of(base: type[Model], value: Model) -> dict[str, Any]:
    """The fields that `value` has from `base`, to construct another model with that base: none can be forgotten."""
    return {name: getattr(value, name) for name in base.model_fields}


class Frozen(Model):
    """An immutable value."""

    model_config = ConfigDict(frozen=True)


def _refuse_unknown(model: type[BaseModel], fields: Iterable[str]) -> None:
    known = model.__pydantic_fields__  # `model_fields` is a descriptor that costs more than the comparison
    if known.keys() >= set(fields):
        return
    for field in fields:
        if field not in known:
            close = get_close_matches(field, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            message = f"{model.__name__} has no field {field!r}{hint}"
            raise TypeError(message)
