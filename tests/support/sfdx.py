"""The metadata in `deploy/salesforce`, as its tests read it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from lxml import etree

PACKAGE: Final = Path(__file__).parents[2] / "deploy" / "salesforce"
DEFAULT: Final = PACKAGE / "force-app" / "main" / "default"
NS: Final = "{http://soap.sforce.com/2006/04/metadata}"
EXAMPLE: Final = PACKAGE.parents[1] / "closedwon.example.toml"


def route() -> dict[str, Any]:
    """The example configuration's route, with what it offers in comments about outbound messages and callouts."""
    text = re.sub(r"^# (?=outbound =|callouts =)", "", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found: dict[str, Any] = tomllib.loads(text)["routes"][0]
    return found


def root(path: Path | str) -> etree._Element:
    """The root of a file, by its path below `force-app/main/default`."""
    return etree.parse(DEFAULT / path).getroot()


def texts(element: etree._Element, path: str) -> set[str]:
    """The texts of all elements at a path of local names."""
    return {found.text or "" for found in element.iterfind("/".join(NS + step for step in path.split("/")))}


def text(element: etree._Element, path: str) -> str:
    """The text of the only element at a path of local names."""
    (found,) = texts(element, path)
    return found


def objects() -> set[str]:
    """The API names of all objects and events that have fields there."""
    return {path.name for path in (DEFAULT / "objects").iterdir()}


def fields(object_name: str) -> set[str]:
    """The API names of the custom fields of an object or event."""
    return {path.name.split(".")[0] for path in (DEFAULT / "objects" / object_name / "fields").iterdir()}


def manifest(path: Path) -> set[tuple[str, str]]:
    """Type and name of everything that a manifest names."""
    package = etree.parse(path).getroot()
    assert f"{NS}Package" == package.tag
    return {(text(one, "name"), member) for one in package.iterfind(f"{NS}types") for member in texts(one, "members")}


def apex() -> dict[str, str]:
    """The source of every class and trigger by the name of its file."""
    return {
        path.stem: path.read_text(encoding="utf-8")
        for folder in ("classes/*.cls", "triggers/*.trigger")
        for path in sorted(DEFAULT.glob(folder))
    }


def holds(formula: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> bool:
    """Whether a flow's entry formula holds for a record that is created (`before` is None) or changed.

    Source: Flow Builder's formula functions; of a new record PRIORVALUE is the present value. Others are errors.
    """
    words = re.findall(r"\{!\$Record\.\w+\}|\w+|\S", formula)
    old = after if before is None else before

    def value() -> Any:
        word = words.pop(0)
        if word.startswith("{"):
            field = word.removeprefix("{!$Record.").removesuffix("}")
            return old[field], after[field]
        assert words.pop(0) == "("
        given = []
        while words[0] != ")":
            given.append(value())
            assert words[0] == ")" or words.pop(0) == ","
        words.pop(0)
        return functions[word](given)

    def is_true(given: Any) -> bool:
        return bool(given[1] if isinstance(given, tuple) else given)

    functions: dict[str, Callable[[list[Any]], Any]] = {
        "AND": lambda given: all(map(is_true, given)),
        "OR": lambda given: any(map(is_true, given)),
        "NOT": lambda given: not is_true(given[0]),
        "ISNEW": lambda _: before is None,
        "ISCHANGED": lambda given: given[0][0] != given[0][1],
        "PRIORVALUE": lambda given: given[0][0],
    }
    found = is_true(value())
    assert not words
    return found
