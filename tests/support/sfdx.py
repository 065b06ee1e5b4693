"""The metadata in `deploy/salesforce`, as its tests read it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lxml import etree

PACKAGE: Final = Path(__file__).parents[2] / "deploy" / "salesforce"
DEFAULT: Final = PACKAGE / "force-app" / "main" / "default"
NS: Final = "{http://soap.sforce.com/2006/04/metadata}"
EXAMPLE: Final = PACKAGE.parents[1] / "closedwon.example.toml"


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


def apex() -> dict[str, str]:
    """The source of every class and trigger by the name of its file."""
    return {
        path.stem: path.read_text(encoding="utf-8")
        for folder in ("classes/*.cls", "triggers/*.trigger")
        for path in sorted(DEFAULT.glob(folder))
    }
