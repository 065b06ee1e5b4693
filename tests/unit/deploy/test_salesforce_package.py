"""The metadata of deploy/salesforce: well-formed, in the right place, of known elements, deployable in parts."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import pytest
from lxml import etree

from tests.support import sfdx
from tests.support.sfdx import DEFAULT, NS, PACKAGE

_KINDS: Final = {
    "cls": ("ApexClass", r"classes/\w+"),
    "trigger": ("ApexTrigger", r"triggers/\w+"),
    "page": ("ApexPage", r"pages/\w+"),
    "js": ("LightningComponentBundle", r"lwc/(?P<name>\w+)/(?P=name)"),
    "object": ("CustomObject", r"objects/(?P<name>\w+)/(?P=name)"),
    "field": ("CustomField", r"objects/\w+/fields/\w+__c"),
    "flow": ("Flow", r"flows/\w+"),
    "workflow": ("Workflow", r"workflows/\w+"),
    "quickAction": ("QuickAction", r"quickActions/\w+\.\w+"),
    "permissionset": ("PermissionSet", r"permissionsets/\w+"),
    "externalCredential": ("ExternalCredential", r"externalCredentials/\w+"),
    "namedCredential": ("NamedCredential", r"namedCredentials/\w+"),
    "eca": ("ExternalClientApplication", r"externalClientApps/\w+"),
    "ecaGlblOauth": ("ExtlClntAppGlobalOauthSettings", r"extlClntAppGlobalOauthSets/\w+"),
    "ecaOauth": ("ExtlClntAppOauthSettings", r"extlClntAppOauthSettings/\w+"),
    "ecaOauthPlcy": ("ExtlClntAppOauthConfigurablePolicies", r"extlClntAppOauthPolicies/\w+"),
}
"""Suffix in source format: root element, and the place below `force-app/main/default`."""
_WITH_CONTENT: Final = {"cls", "trigger", "page", "js"}
"""Suffixes whose `-meta.xml` describes a file beside it."""
_TYPES: Final[dict[str, dict[str, str]]] = json.loads(
    (Path(__file__).parent / "metadata_types.json").read_text(encoding="utf-8")
)
"""Metadata type -> element -> its type or its values. `!`: needed, `*`: repeatable. Looked up in the types that
Salesforce publishes (npm: @salesforce/types 1.7.1, metadata.d.ts): look up there what you add here."""
_VALUES: Final = {"string": r"(?s).*\S.*", "boolean": "true|false", "number": r"\d+(\.\d+)?"}
_METADATA: Final = sorted(DEFAULT.rglob("*-meta.xml"))
_MANIFESTS: Final = sorted((PACKAGE / "manifest").glob("*.xml"))
_PLACEHOLDERS: Final = {"closedwon.example.com", "integration@example.com", "the-path-secret"}


def _kind(path: Path) -> tuple[str, str]:
    """The place without its suffix, and the suffix."""
    found = re.fullmatch(r"(.+)\.(\w+)-meta\.xml", path.relative_to(DEFAULT).as_posix())
    assert found is not None
    return found[1], found[2]


@pytest.mark.parametrize("path", _METADATA, ids=lambda path: path.name)
def test_every_file_is_well_formed_and_in_its_place(path: Path) -> None:
    """The Salesforce CLI finds a component by its folder and its suffix."""
    place, suffix = _kind(path)
    kind, pattern = _KINDS[suffix]

    assert f"{NS}{kind}" == sfdx.root(path).tag
    assert re.fullmatch(pattern, place)
    if kind == "CustomField":
        assert path.name.split(".")[0] == sfdx.text(sfdx.root(path), "fullName")


def test_every_file_has_metadata() -> None:
    """A stray file, or a class without its -meta.xml, would make the deployment fail."""
    content = {
        path.with_name(path.name.removesuffix("-meta.xml")) for path in _METADATA if _kind(path)[1] in _WITH_CONTENT
    }

    assert sorted([*_METADATA, *content]) == sorted(path for path in DEFAULT.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", _METADATA, ids=lambda path: path.name)
def test_elements_and_values_are_those_of_the_metadata_api(path: Path) -> None:
    """A misspelled element or value is found here, not during a deployment."""
    root = sfdx.root(path)

    assert [] == _problems(root, root.tag.removeprefix(NS))


def _problems(element: etree._Element, kind: str) -> list[str]:
    known = _TYPES[kind]
    names = [child.tag.removeprefix(NS) for child in element]
    problems = [f"{kind}: no element {name}" for name in names if name not in known]
    problems += [f"{kind}: needs {name}" for name, what in known.items() if what.endswith("!") and name not in names]
    for child, name in zip(element, names, strict=True):
        what = known.get(name, "any")
        if names.count(name) > 1 and not what.endswith("*"):
            problems.append(f"{kind}: {name} twice")
        problems += _value_problems(child, f"{kind}: {name}", what.rstrip("!*"))
    return problems


def _value_problems(element: etree._Element, place: str, what: str) -> list[str]:
    if what == "any":
        return []
    if what in _TYPES:
        return _problems(element, what)
    if len(element) > 0 or not re.fullmatch(_VALUES.get(what, what), element.text or ""):
        return [f"{place} is {element.text!r}, not {what}"]
    return []


def _members() -> set[tuple[str, str]]:
    """Type and full name of every component, as a manifest names them."""
    found = set()
    for path in _METADATA:
        place, suffix = _kind(path)
        name = place.rpartition("/")[2]
        if suffix == "field":
            name = f"{place.split('/')[1]}.{name}"
        found.add((_KINDS[suffix][0], name))
    # The fields of objects that are ours come with them.
    ours = {name for kind, name in found if kind == "CustomObject"}
    return {one for one in found if not (one[0] == "CustomField" and one[1].split(".")[0] in ours)}


def test_the_manifests_together_name_every_component() -> None:
    """Every named component exists, and every component is named."""
    assert _members() == set.union(*(sfdx.manifest(path) for path in _MANIFESTS))


@pytest.mark.parametrize("path", _MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_can_be_deployed_after_the_base(path: Path) -> None:
    """Each combination compiles by itself: no class lacks another one that it uses."""
    base = sfdx.manifest(PACKAGE / "manifest" / "base.xml")
    members = {name for kind, name in sfdx.manifest(path) | base if kind in {"ApexClass", "ApexTrigger", "ApexPage"}}
    sources = [source for name, source in sfdx.apex().items() if name in members]
    used = {
        name
        for source in sources
        for name in re.findall(r"\bClosedwon_?[A-Z]\w*\b", _without_comments(source))
        if not name.endswith("__c")
    }

    permission_sets = {name for kind, name in sfdx.manifest(path) | base if kind == "PermissionSet"}
    assert used - permission_sets <= members
    objects = {name for kind, name in sfdx.manifest(path) | base if kind == "CustomObject"}
    assert {
        name for source in sources for name in re.findall(r"\b\w+__[ce]\b", source) if name in sfdx.objects()
    } <= objects


def _without_comments(source: str) -> str:
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", source, flags=re.DOTALL)


def _project() -> dict[str, Any]:
    project: dict[str, Any] = json.loads((PACKAGE / "sfdx-project.json").read_text(encoding="utf-8"))
    return project


def test_all_metadata_has_one_api_version() -> None:
    """Apex has another meaning in other versions: in 67.0 it runs in user mode."""
    version = _project()["sourceApiVersion"]
    said = {
        found for path in [*_METADATA, *_MANIFESTS] for found in sfdx.texts(etree.parse(path).getroot(), "apiVersion")
    }

    assert {version} == said | {
        found for path in _MANIFESTS for found in sfdx.texts(etree.parse(path).getroot(), "version")
    }
    assert {version} == sfdx.texts(sfdx.root("workflows/Opportunity.workflow-meta.xml"), "outboundMessages/apiVersion")


def test_all_placeholders_are_replaced() -> None:
    """A deployment replaces host, user and path secret; no placeholder reaches an org."""
    assert [{"path": "force-app", "default": True}] == _project()["packageDirectories"]
    replaced = {
        (path, one["stringToReplace"])
        for one in _project()["replacements"]
        for path in _METADATA
        for folder in re.findall(r"\{(.*)\}", one["glob"])[0].split(",")
        if fnmatch(path.relative_to(PACKAGE).as_posix(), re.sub(r"\{.*\}", folder, one["glob"]))
    }
    standing = {
        (path, word) for path in _METADATA for word in _PLACEHOLDERS if word in path.read_text(encoding="utf-8")
    }

    assert standing == {(path, word) for path, word in replaced if word in path.read_text(encoding="utf-8")}
    assert _PLACEHOLDERS == {word for _, word in standing}
    left = [
        path.name
        for path in _METADATA
        if "example.com" in re.sub("|".join(map(re.escape, _PLACEHOLDERS)), "", path.read_text(encoding="utf-8"))
    ]
    assert [] == left
