"""What the documents point at is there: files, sections, commands, make's targets; both READMEs say the same."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from closedwon.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
MISTYPED = ("orders lst", "orders list --stag attention", "ordes")


@cache
def text(page: Path) -> str:
    """A page."""
    return page.read_text(encoding="utf-8")


@cache
def fences(page: Path) -> tuple[str, ...]:
    """The contents of a page's fenced blocks."""
    return tuple(re.findall(r"^```\w*\n(.*?)^```$", text(page), re.MULTILINE | re.DOTALL))


@cache
def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```\w*\n.*?^```$", "", text(page), flags=re.MULTILINE | re.DOTALL)


def headings(page: Path) -> list[str]:
    """Headings with their hashes."""
    return re.findall(r"^#+ .*$", prose(page), re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What can stand behind the `#` of a link to a page."""
    titles = (heading.lstrip("# ").lower() for heading in headings(page))
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


def links(page: Path) -> list[str]:
    """The relative links and images of a page."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def typed(page: Path) -> Iterator[list[str]]:
    """Every shell command that a page names, word by word: in a span of code, or as a line of a block."""
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(page))
    lines = (line.strip().removeprefix("$ ") for block in fences(page) for line in block.splitlines())
    for command in (*spans, *lines):
        if command.startswith(("closedwon ", "make ")):
            words = shlex.split(command.partition("  #")[0])
            yield list(takewhile(lambda word: word not in {"|", ">", "&", "&&", ";", "\\"}, words))


def commands(page: Path, program: str) -> list[list[str]]:
    """What a page tells to type after `program`."""
    return [words[1:] for words in typed(page) if words[0] == program]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_somewhere(page: Path) -> None:
    """A reader who follows a link finds the file, and the section in it."""
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: no such section"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_exists(page: Path) -> None:
    """A reader who types what a page says is understood: commands and options are those of the program."""
    for words in commands(page, "closedwon"):
        answer = CliRunner().invoke(app, [*words, "--help"])
        assert 0 == answer.exit_code, f"closedwon {' '.join(words)}: {answer.output}"


@pytest.mark.parametrize("mistyped", MISTYPED)
def test_a_mistyped_command_would_be_found(mistyped: str) -> None:
    """The check above can fail."""
    assert 0 != CliRunner().invoke(app, [*mistyped.split(), "--help"]).exit_code


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_make_target_exists(page: Path) -> None:
    """Whoever types `make something` finds that it can be made, and that the variables are read."""
    makefile = text(ROOT / "Makefile")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z]+) \?=", makefile, re.MULTILINE))
    for words in commands(page, "make"):
        for word in words:
            name, is_variable, _ = word.partition("=")
            assert name in (variables if is_variable else targets), f"make {' '.join(words)}"


def test_both_readmes_have_the_same_shape_and_say_the_same_commands() -> None:
    """Who reads Chinese is told the same as who reads English."""
    levels = [[heading.split()[0] for heading in headings(page)] for page in (ENGLISH, CHINESE)]
    assert levels[0] == levels[1]
    assert list(typed(ENGLISH)) == list(typed(CHINESE))
    blocks = [[block for block in fences(page) if "flowchart" not in block] for page in (ENGLISH, CHINESE)]
    assert blocks[0] == blocks[1]
    own = {ENGLISH.name, CHINESE.name}
    assert [link for link in links(ENGLISH) if link not in own] == [link for link in links(CHINESE) if link not in own]


def test_something_is_checked() -> None:
    """The patterns above still find what they look for."""
    assert len([*typed(ENGLISH)]) > 10
    assert len(links(ENGLISH)) > 15
