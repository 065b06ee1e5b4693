"""What a SELECT list of SOQL fetches, compared with what expressions read.

SOQL does not mind the case of a name, but the keys of the answer have one case only, and an expression that reads
another yields nothing, silently. So names are compared exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from closedwon import expressions
from closedwon.settings.problems import SettingsProblem, suggest

_CHILD = re.compile(r"\(\s*SELECT\s+(.*?)\s+FROM\s+(\w+)", re.IGNORECASE | re.DOTALL)
_STAMP = "SystemModstamp"


def selected(select: str) -> dict[str, str]:
    """Return the names that a SELECT list fetches; the name of a child query comes with its own list."""
    found = {}
    for item in filter(None, map(str.strip, _items(select))):
        child = _CHILD.match(item)
        if child:
            found[child[2]] = child[1]
        else:
            found[item] = ""
    return found


def not_selected(read: Iterable[tuple[str, str]], select: str) -> Iterator[SettingsProblem]:
    """Yield a problem for each name that an expression reads and `select` does not fetch, in exactly this case.

    `read` has pairs of a dotted key and its expression.
    """
    if re.search(r"\bFIELDS\s*\(|\bTYPEOF\s", select, re.IGNORECASE):
        return  # what these fetch is not known here
    fetched = selected(select)
    for key, expression in read:
        for path in sorted(expressions.paths(expression)):
            if not any(_is_of(path, name) for name in fetched):
                text = f"reads {path}, which `select` does not fetch; {_hint(path, fetched)}"
                yield SettingsProblem(tuple(key.split(".")), text)


def misspelt(fields: Iterable[tuple[str, str]], select: str) -> Iterator[SettingsProblem]:
    """Yield a problem for each field, with its key, that `select` fetches in another case."""
    by_lower = {name.lower(): name for name in selected(select)}
    for key, field in fields:
        name = by_lower.get(field.lower(), field)
        if name != field:
            yield SettingsProblem(
                ("write_back", key), f"names {field}, which `select` does not fetch; did you mean `{name}`?"
            )


def with_stamps(select: str) -> str:
    """Add SystemModstamp to the list of every child query that lacks it."""
    return _CHILD.sub(_with_stamp, select)


def _with_stamp(child: re.Match[str]) -> str:
    names = {name.strip().lower() for name in child[1].split(",")}
    return child[0] if _STAMP.lower() in names else child[0].replace(child[1], f"{child[1]}, {_STAMP}", 1)


def _is_of(path: str, name: str) -> bool:
    """Either may be the longer one: `Account` is read as a whole, `BillingAddress` and child queries have parts."""
    return f"{path}.".startswith(f"{name}.") or name.startswith(f"{path}.")


def _hint(path: str, fetched: Iterable[str]) -> str:
    names = [*fetched]
    for name in names:
        if _is_of(path.lower(), name.lower()):
            return f"did you mean `{name}`?"
    hint = suggest(path, names)
    return hint if hint.startswith("did") else "add it to `select`, or correct the expression"


def _items(select: str) -> list[str]:
    items, depth = [""], 0
    for char in select:
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            items.append("")
        else:
            items[-1] += char
    return items
