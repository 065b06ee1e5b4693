"""Problems of a settings file as sentences: key, expected value, hint.

Turns pydantic's errors into lines. Knows the models only as types, and never shows a value: it may be a secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from closedwon.errors import ClosedwonError

Keys = tuple[str | int, ...]
"""The path to a value: `("routes", 0, "org")`."""


class SettingsError(ClosedwonError):
    """The settings are invalid. The text has one line per problem, each with file, key and hint."""


class SettingsProblem(NamedTuple):
    """What is wrong, and at which key, relative to the model that found it."""

    keys: Keys
    text: str


class ProblemsError(ValueError):
    """Several problems that one validator found; a validator may raise only one error."""

    def __init__(self, problems: Iterable[SettingsProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{dotted(keys)}: {text}" for keys, text in self.problems))


def dotted(keys: Keys, data: Any = None) -> str:
    """Write keys as the file's reader counts them: `routes[0].order.name`, and with `data` also the item's name."""
    text, names = "", []
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            data = None
        if isinstance(key, int) and isinstance(data, Mapping) and isinstance(data.get("name"), str):
            names.append(data["name"])
    return f"{text} ({', '.join(names)})" if names else text


def suggest(wrong: str, known: Iterable[str]) -> str:
    """Say which of the known names was probably meant, or which there are."""
    names = sorted(set(known))
    near = difflib.get_close_matches(wrong, names, n=1)
    if near:
        return f"did you mean `{near[0]}`?"
    return f"one of {', '.join(f'`{name}`' for name in names)}" if names else "none is defined"


def problems_in(error: ValidationError, root: type[BaseModel]) -> Iterator[SettingsProblem]:
    """Yield one problem per mistake, its keys counted from the file's top."""
    found = error.errors(include_url=False, include_input=False)
    for details in found:
        place = details["loc"]
        echoes = any(other["loc"][: len(place)] == place for other in found if other is not details)
        if details["type"] != "too_short" or not echoes:  # a list of mistaken entries counts as empty
            yield from _problems(details, root)


def _problems(details: ErrorDetails, root: type[BaseModel]) -> Iterator[SettingsProblem]:
    keys, tables = _walk(details["loc"], root)
    context = details.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, ProblemsError):
        yield from (SettingsProblem((*keys, *below), text) for below, text in cause.problems)
    elif isinstance(cause, Exception):
        yield SettingsProblem(keys, str(cause))
    elif details["type"] == "extra_forbidden":
        wrong = str(details["loc"][-1])
        known = (field for table in tables for field in table.model_fields)
        yield SettingsProblem((*keys, wrong), f"is not a key of this table; {suggest(wrong, known)}")
    elif details["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        key = str(context["discriminator"]).strip("'")
        yield SettingsProblem((*keys, key), f"must be one of {_tags(tables, key)}")
    else:
        yield SettingsProblem(keys, _PLAIN.get(details["type"], _library_text)(details))


def _library_text(details: ErrorDetails) -> str:
    return details["msg"].replace("Input should be", "must be")


_PLAIN: Mapping[str, Callable[[ErrorDetails], str]] = {
    "missing": lambda _details: "is missing; add it (docs/configure says what it means)",
    "tuple_type": lambda _details: 'must be a list, as in ["…"]; a list of tables is written [[name]]',
    "string_type": lambda _details: "must be a text in quotes",
    "model_type": lambda _details: "must be a table",
    "too_short": lambda _details: "must have at least one entry",
    "string_too_short": lambda _details: "must not be empty",
}


def _walk(location: Keys, root: type[BaseModel]) -> tuple[Keys, list[type[BaseModel]]]:
    """Return the keys as they stand in the file, and the tables that may be meant at their end.

    pydantic puts the tags of unions into a location; they are not keys.
    """
    keys: list[str | int] = []
    tables = [root]
    for part in location:
        annotations = [table.model_fields[str(part)].annotation for table in tables if part in table.model_fields]
        if annotations:
            tables = [found for annotation in annotations for found in _tables_in(annotation)]
        if annotations or isinstance(part, int) or not tables:
            keys.append(part)
        else:
            tables = [table for table in tables if _has_tag(table, part)] or tables
    return tuple(keys), tables


def _tables_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _tables_in(argument)


def _has_tag(table: type[BaseModel], tag: str) -> bool:
    return any(get_args(field.annotation) == (tag,) for field in table.model_fields.values())


def _tags(tables: Iterable[type[BaseModel]], key: str) -> str:
    annotations = (table.model_fields[key].annotation for table in tables if key in table.model_fields)
    return ", ".join(
        f'"{tag}"' for annotation in annotations if get_origin(annotation) is Literal for tag in get_args(annotation)
    )
