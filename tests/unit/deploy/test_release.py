"""What would be uploaded to a package index: complete metadata, links that lead somewhere, licenses that fit."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from hatch_build import absolute
from tests.release import licenses
from tests.release.artifacts import (
    ROOT,
    Artifacts,
    build,
    metadata_of,
    problems_of_changelog,
    problems_of_content,
    problems_of_metadata,
    relative_links,
)

REPOSITORY = "https://git.example.com/team/closedwon"
PYTHONS = ("3.11", "3.12", "3.13")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Build the source archive, and from it the wheel."""
    return build(tmp_path_factory.mktemp("release"), REPOSITORY)


def test_the_wheel_is_built_from_the_archive_and_complete(artifacts: Artifacts) -> None:
    """The archive has all that the wheel needs, the wheel has nothing but our packages, and types and license."""
    assert [] == list(problems_of_content(artifacts))


def test_the_metadata_are_complete(artifacts: Artifacts) -> None:
    """A reader of the package index finds source, documentation, changelog, and pictures and links that work."""
    metadata = metadata_of(artifacts.wheel)
    assert [] == list(problems_of_metadata(metadata, PYTHONS))
    assert f"({REPOSITORY}/raw/v0.1.0/docs/images/demo.svg)".encode() in metadata


def test_a_classifier_for_an_untried_python_is_found(artifacts: Artifacts) -> None:
    """No one is promised a Python on which nothing was tried, and none that works is kept secret."""
    found = list(problems_of_metadata(metadata_of(artifacts.wheel), ("3.11", "3.12", "3.14")))
    assert ["claims Python 3.13", "claims Python 3.14"] == [" ".join(one.split()[2:5]).strip(",") for one in found]


def test_metadata_of_an_unknown_repository_are_refused(tmp_path: Path) -> None:
    """Without the repository's address the README's links would lead nowhere: the check says so."""
    found = list(problems_of_metadata(metadata_of(build(tmp_path, "").wheel), PYTHONS))
    assert "the metadata have no URL for Changelog, Documentation, Issues, Source: name the repository" in found
    assert any("relative link: LICENSE" in one for one in found)


def test_links_become_absolute_and_others_stay() -> None:
    """Pictures are shown, pages are opened, and what is absolute or on the page stays as it is."""
    text = "![a](docs/a.svg) [b](docs/b.md#c) [d](https://d.example) [e](#e)"
    expected = "![a](R/raw/v1/docs/a.svg) [b](R/blob/v1/docs/b.md#c) [d](https://d.example) [e](#e)"
    assert expected == absolute(text, "R", "v1")
    assert ["docs/a.svg", "docs/b.md#c"] == relative_links(text)


def test_the_changelog_has_this_version() -> None:
    """A reader of the changelog finds the version that is installed, in the form of Keep a Changelog."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert [] == list(problems_of_changelog(CHANGELOG, version))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("## [Unreleased]", "## [Next]", "does not begin with ## [Unreleased]"),
        ("## [0.1.0] - 2026-12-01", "## 0.1.0", "has no section ## [0.1.0] - YYYY-MM-DD"),
        ("### Added", "### News", "has a section 'News'"),
    ],
)
def test_a_changelog_in_another_form_is_found(before: str, after: str, expected: str) -> None:
    """The check above can fail."""
    (problem,) = problems_of_changelog(CHANGELOG.replace(before, after), "0.1.0")
    assert expected in problem


def test_the_page_of_licenses_is_current() -> None:
    """It has each package that is installed, with its locked version; `make docs` writes it again."""
    assert licenses.PAGE.read_text(encoding="utf-8") == licenses.page()


def test_every_dependency_has_a_license_that_fits() -> None:
    """No dependency forbids what an installation of Closedwon does."""
    assert [] == list(licenses.problems_of_licenses())
    assert 40 < len(list(licenses.locked()))
