"""Checks that the names in a route's expressions and write-backs exist in the org, with the exact spelling.

SOQL ignores case, but the keys of its JSON response do not, and neither do expressions: with `qualify = "isWon"` every
query succeeds and no record ever qualifies. A name without a value in any record must not look like a deal that no
longer qualifies. So each name is compared exactly with the org's descriptions of the object, of the objects behind its
relationships (`Account.Name`) and of its child relationships (`OpportunityLineItems.records[*].Quantity`).

All functions but `complaints_of`, which requests the descriptions, are pure. A false complaint would hold the orders of
an org, so only simple expressions are checked; an expression that this module does not understand passes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from closedwon.errors import AttentionReason
from closedwon.expressions import paths
from closedwon.model.erp import CANCELLED_UNQUALIFIED, DECLINED_STATUSES, KEPT_UNQUALIFIED, ErpStatus
from closedwon.salesforce.api.describe import TEXTS, Description, Field
from closedwon.salesforce.errors import ConfigurationError
from closedwon.settings import ErpByExpression, Route

_KEY_LENGTH: Final = 37
"""Characters of an idempotency key, `<org id>:<record id>`; a shorter field cannot hold a key."""
_NUMBER_LENGTH: Final = 20
_LINK_LENGTH: Final = 255
_ERROR_LENGTH: Final = 1000
"""In shorter fields a value may be cut or rejected; the ERP decides how long its numbers and links are."""
STATUSES: Final = frozenset(
    {*ErpStatus, *DECLINED_STATUSES, KEPT_UNQUALIFIED, CANCELLED_UNQUALIFIED, "needs attention"}
)
"""All values that are written to the status field."""
_HAS_PARTS: Final = frozenset({"address", "location", "complexvalue", "anyType", "json"})
"""Field types whose values are objects."""
_TEXTS_IN_EXPRESSIONS: Final = re.compile(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`")
_NOT_PLAIN: Final = re.compile(r"\{|\)\s*\.|(?<!\|)\|(?!\|)")
"""A multi-select hash, a part of a function's result, a pipe: the names behind these are not names of the record."""
_DOTTED: Final = r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)"
_PROJECTION: Final = re.compile(_DOTTED + r"\s*\[\s*[*\d]*\s*\]\s*\.\s*" + _DOTTED)
_LINES: Final = re.compile(r"\s*" + _DOTTED + r"\s*(?:\[\s*\*?\s*\]|\[\?[^\]]*\])?\s*")


class Complaint(NamedTuple):
    """A name that does not exist, or a field that does not accept every value that may be written to it."""

    key: str
    """The setting within the route, as a dotted path."""
    text: str
    hint: str
    reason: AttentionReason = AttentionReason.CONFIGURATION
    holds: bool = True
    """False: orders continue, but a written value may be cut or rejected."""


async def complaints_of(
    routes: Iterable[Route], describe: Callable[[str], Awaitable[Description]]
) -> dict[str, list[Complaint]]:
    """Check routes of one org against it; return the complaints by route name. Each object is described once.

    Raises what `describe` raises for the object of a route. A related object that cannot be described passes; the query
    that reads it will show whether it exists.
    """
    known: dict[str, Description | None] = {}
    found = {}
    for route in routes:
        if route.object not in known:
            known[route.object] = await describe(route.object)
        while True:
            complaints, missing = check_fields(route, known)
            if not missing:
                break
            for name in sorted(missing):
                try:
                    known[name] = await describe(name)
                except ConfigurationError:
                    known[name] = None
        found[route.name] = complaints
    return found


def check_fields(route: Route, known: Mapping[str, Description | None]) -> tuple[list[Complaint], set[str]]:
    """Check a route against the objects in `known`; return complaints, and names of objects that are needed as well."""
    whole = known.get(route.object)
    if whole is None:
        return [], set() if route.object in known else {route.object}
    missing: set[str] = set()
    complaints = [*_of_object(route, whole), *_of_write_back(route, whole)]
    for key, path, start in _reads(route, whole, known, missing):
        complaint = _follow(start, path.split("."), known, missing)
        if complaint is not None:
            complaints.append(_complaint(route, key, complaint))
    return complaints, missing


def _reads(
    route: Route, whole: Description, known: Mapping[str, Description | None], missing: set[str]
) -> Iterator[tuple[str, str, Description]]:
    """Yield key, path and object for everything that expressions read from records.

    An event has fields of its own, which are unknown here. Only with a sweep, which replaces events by records, are the
    fields of an event route known to be those of the record.
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
    """The dotted names that an expression reads, including those in projections; none if it is not simple."""
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
    """The object of the elements of `order.lines.each`: the record itself, or the children of a child query."""
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
    """Follow a path from an object. Return the problem; None if there is none or the path leaves the known objects."""
    name, *rest = path
    if name in start.fields:
        is_whole = not rest or start.fields[name].type in _HAS_PARTS
        return None if is_whole else f"{start.name}.{name} is a field and has no {rest[0]}"
    target = "" if name == "attributes" else _target(start, name, rest)  # every record has `attributes`
    if target is None:
        return _unknown(start, name)
    rest = rest[1:] if name in start.children else rest  # after `records`
    if target and rest and target not in known:
        missing.add(target)
    following = known.get(target)
    return _follow(following, rest, known, missing) if following is not None and rest else None


def _target(here: Description, name: str, rest: list[str]) -> str | None:
    """The object of a relationship; "" if it is not a single one; None if there is no such relationship."""
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
            return f"{here.name} has no field {name}; the name is {one}"
    near = difflib.get_close_matches(name, names, n=1)
    return f"{here.name} has no field {name}" + (f"; did you mean {near[0]}?" if near else "")


def _of_object(route: Route, whole: Description) -> Iterator[Complaint]:
    """Salesforce ignores the case of objects; records, messages and key prefixes are compared with the exact name."""
    if whole.name != route.object:
        yield _complaint(route, "object", f"the org has no object {route.object}; the name is {whole.name}")


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
    """Say why a field does not accept every value written to it. A key that is cut identifies another record."""
    if key == "stage":
        return None
    if field.type not in TEXTS:
        return f"is of the type {field.type}, which does not accept every {key}"
    if key == "status" and field.values and not field.values >= STATUSES:
        return f"is a restricted picklist without {', '.join(sorted(STATUSES - field.values))}"
    longest_status = max(map(len, STATUSES))
    needed = {"key": _KEY_LENGTH, "number": _NUMBER_LENGTH, "status": longest_status, "link": _LINK_LENGTH}
    length = needed.get(key, _ERROR_LENGTH)
    if 0 < field.length < length and field.type != "picklist":
        consequence = {"error": "; a longer one is cut", "link": "; a longer one is left out"}.get(key, "")
        return f"holds {field.length} characters; the {key} may need {length}{consequence}"
    return None


def _complaint(route: Route, key: str, text: str) -> Complaint:
    return Complaint(
        key,
        text,
        f"Correct `{key}` of route {route.name!r} in closedwon.toml and restart the workers; a field that exists must "
        "be visible to the integration user.",
    )
