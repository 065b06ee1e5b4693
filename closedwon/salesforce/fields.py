"""Do the names in a route's expressions and write-backs exist in the org, letter by letter?

SOQL does not distinguish upper and lower case, but the keys of the JSON that answers it do, and so do expressions: with
`qualify = "isWon"` every query succeeds and no record ever qualifies. A name that yields nothing for every record must
never look like a deal that is not won any more. So each name is compared exactly with what the org says of the object,
of the objects behind its relationships (`Account.Name`) and of its child relationships
(`OpportunityLineItems.records[*].Quantity`).

Pure but for `complaints_of`, which asks for the descriptions that the pure part needs. A complaint that is wrong would
hold the orders of an org, so that expressions are judged only as far as they are plain; what is not understood passes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from closedwon.errors import AttentionReason
from closedwon.expressions import paths
from closedwon.model import GIVEN_UP, KEPT, UNWON, ErpStatus
from closedwon.salesforce.describe import TEXTS, Description, Field
from closedwon.salesforce.errors import ConfigurationError
from closedwon.settings import ErpByExpression, Route

_KEY_LENGTH: Final = 37
"""Characters of an idempotency key, `<org id>:<record id>`; a shorter field holds no key."""
_NUMBER_LENGTH: Final = 20
_LINK_LENGTH: Final = 255
_ERROR_LENGTH: Final = 255
"""Below these lengths a value may be cut or refused; the ERP decides how long its numbers and links are."""
STATUSES: Final = frozenset({*ErpStatus, *GIVEN_UP, KEPT, UNWON, "needs attention"})
"""Everything that the status field may be given."""
_HAS_PARTS: Final = frozenset({"address", "location", "complexvalue", "anyType", "json"})
"""Field types whose values are objects of their own."""
_TEXTS_IN_EXPRESSIONS: Final = re.compile(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`")
_NOT_PLAIN: Final = re.compile(r"\{|\)\s*\.|(?<!\|)\|(?!\|)")
"""A multi-select hash, a part of a function's result, a pipe: what follows is not read from the record."""
_DOTTED: Final = r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)"
_PROJECTION: Final = re.compile(_DOTTED + r"\s*\[\s*[*\d]*\s*\]\s*\.\s*" + _DOTTED)
_LINES: Final = re.compile(r"\s*" + _DOTTED + r"\s*(?:\[\s*\*?\s*\]|\[\?[^\]]*\])?\s*")


class Complaint(NamedTuple):
    """One name that does not fit, or a field that takes less than may be written to it."""

    key: str
    """The setting, dotted, within the route."""
    text: str
    hint: str
    reason: AttentionReason = AttentionReason.CONFIGURATION
    holds: bool = True
    """False: orders go on; what is written may be cut or refused."""


async def complaints_of(
    routes: Iterable[Route], describe: Callable[[str], Awaitable[Description]]
) -> dict[str, list[Complaint]]:
    """Compare routes of one org with it, by name; each object is described once.

    Raises what `describe` raises for the object of a route. An object behind a relationship that cannot be described
    passes: the query that reads it decides.
    """
    known: dict[str, Description | None] = {}
    found = {}
    for route in routes:
        if route.object not in known:
            known[route.object] = await describe(route.object)
        while True:
            complaints, missing = judge(route, known)
            if not missing:
                break
            for name in sorted(missing):
                try:
                    known[name] = await describe(name)
                except ConfigurationError:
                    known[name] = None
        found[route.name] = complaints
    return found


def judge(route: Route, known: Mapping[str, Description | None]) -> tuple[list[Complaint], set[str]]:
    """Compare a route with the objects that are known; return complaints, and objects that must be known as well."""
    whole = known.get(route.object)
    if whole is None:
        return [], set() if route.object in known else {route.object}
    missing: set[str] = set()
    complaints = [*_of_write_back(route, whole)]
    for key, path, start in _reads(route, whole, known, missing):
        complaint = _follow(start, path.split("."), known, missing)
        if complaint is not None:
            complaints.append(_complaint(route, key, complaint))
    return complaints, missing


def _reads(
    route: Route, whole: Description, known: Mapping[str, Description | None], missing: set[str]
) -> Iterator[tuple[str, str, Description]]:
    """Yield key, path and object of everything that expressions read of records; nothing where that is not known.

    An event brings fields of its own. What it brings is known where records can take its place, as a sweep demands.
    """
    if route.source == "event" and route.sweep is None:
        return
    on_record = [("qualify", route.qualify), *((f"order.{key}", text) for key, text in route.order.on_record())]
    if isinstance(route.erp, ErpByExpression):
        on_record.append(("erp.expression", route.erp.expression))
    for key, expression in on_record:
        yield from ((key, path, whole) for path in _paths(expression))
    line = _object_of_lines(route, whole, known, missing)
    if line is not None:
        for key, expression in route.order.lines.on_line():
            yield from ((f"order.lines.{key}", path, line) for path in _paths(expression))


def _paths(expression: str) -> list[str]:
    """The dotted names that an expression reads, those behind a projection included; none where it is not plain."""
    bare = _TEXTS_IN_EXPRESSIONS.sub("''", expression)
    if _NOT_PLAIN.search(bare):
        return []
    found = set(paths(expression))
    if "?" not in bare and "&" not in bare.replace("&&", ""):  # inside a filter names are those of its elements
        found |= {f"{match[1]}.{match[2]}" for match in _PROJECTION.finditer(bare)}
    return sorted(found)


def _object_of_lines(
    route: Route, whole: Description, known: Mapping[str, Description | None], missing: set[str]
) -> Description | None:
    """The object of what `order.lines.each` yields: the record itself, or the children of a child query."""
    each = route.order.lines.each
    if each.replace(" ", "") == "[@]":
        return whole
    plain = _LINES.fullmatch(each)
    relationship, _, rest = (plain[1] if plain else "").partition(".")
    child = whole.children.get(relationship)
    if child is None or rest != "records":
        return None
    if child not in known:
        missing.add(child)
    return known.get(child)


def _follow(
    start: Description, path: Sequence[str], known: Mapping[str, Description | None], missing: set[str]
) -> str | None:
    """Follow a path from an object; return what is wrong with it, None where nothing is or it leads out of sight."""
    name, *rest = path
    if name in start.fields:
        is_whole = not rest or start.fields[name].type in _HAS_PARTS
        return None if is_whole else f"{start.name}.{name} is a field and has no {rest[0]}"
    target = "" if name == "attributes" else _target(start, name, rest)  # every record has `attributes`
    if target is None:
        return _unknown(start, name)
    rest = rest[1:] if name in start.children else rest  # behind `records`
    if target and rest and target not in known:
        missing.add(target)
    following = known.get(target)
    return _follow(following, rest, known, missing) if following is not None and rest else None


def _target(here: Description, name: str, rest: list[str]) -> str | None:
    """The object that a relationship leads to; empty where that is not one; None: there is no such relationship."""
    parent = here.parents.get(name)
    if parent is not None:
        return parent.targets[0] if len(parent.targets) == 1 else ""
    if name in here.children:
        return here.children[name] if rest[:1] == ["records"] else ""
    return None


def _unknown(here: Description, name: str) -> str:
    names = [*here.fields, *here.parents, *here.children]
    for one in names:
        if one.lower() == name.lower():
            return f"{here.name} has no field {name}; it is {one}"
    near = difflib.get_close_matches(name, names, n=1)
    return f"{here.name} has no field {name}" + (f"; did you mean {near[0]}?" if near else "")


def _of_write_back(route: Route, whole: Description) -> Iterator[Complaint]:
    named = {key: value for key, value in route.write_back if isinstance(value, str)}
    if named.pop("stage", None) is not None:
        named["stage"] = "StageName"
    for key, name in named.items():
        field = whole.fields.get(name)
        if field is None:
            yield _complaint(route, f"write_back.{key}", _unknown(whole, name))
        elif not field.editable:
            yield Complaint(
                f"write_back.{key}",
                f"the integration user may not edit {name} of {whole.name}",
                "Let the user edit it (field-level security, permission set), or name another field in "
                f"`write_back.{key}` of route {route.name!r}.",
                AttentionReason.SALESFORCE_REJECTED,
            )
        elif problem := _does_not_fit(key, field):
            hint = f"Change the field in Salesforce, or name another one in `write_back.{key}` of route {route.name!r}."
            yield Complaint(f"write_back.{key}", f"{whole.name}.{name} {problem}", hint, holds=key == "key")


def _does_not_fit(key: str, field: Field) -> str | None:
    """What a field cannot take of what is written to it. A key that is cut names another record, or none."""
    if key == "stage":
        return None
    if field.type not in TEXTS:
        return f"is of the type {field.type}, which does not take every {key}"
    if key == "status" and field.values and not field.values >= STATUSES:
        return f"is a restricted picklist without {', '.join(sorted(STATUSES - field.values))}"
    longest_status = max(map(len, STATUSES))
    needed = {"key": _KEY_LENGTH, "number": _NUMBER_LENGTH, "status": longest_status, "link": _LINK_LENGTH}
    length = needed.get(key, _ERROR_LENGTH)
    if 0 < field.length < length and field.type != "picklist":
        return f"takes {field.length} characters; {length} may be needed for the {key}"
    return None


def _complaint(route: Route, key: str, text: str) -> Complaint:
    return Complaint(
        key,
        text,
        f"Correct `{key}` of route {route.name!r} in closedwon.toml and restart the workers; a field that exists must "
        "be visible to the integration user.",
    )
