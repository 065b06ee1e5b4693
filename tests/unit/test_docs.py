"""What the documents point at is there: files, sections, commands, make's targets; both READMEs say the same.

Commands of Closedwon and of Temporal are parsed by the programs themselves, and never carried out.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest
from temporalio.envconfig import ClientConfig
from typer.testing import CliRunner

from closedwon import names
from closedwon.cli.main import app
from closedwon.demo.parts import program

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
MISTYPED = ("orders lst", "orders list --stag attention", "ordes")
TEMPORAL = ROOT / "deploy" / "temporal"


@cache
def text(page: Path) -> str:
    """A page."""
    return page.read_text(encoding="utf-8")


@cache
def fences(page: Path) -> tuple[str, ...]:
    """The contents of a page's fenced blocks, also of those within a list."""
    return tuple(re.findall(r"^ *```\w*\n(.*?)^ *```$", text(page), re.MULTILINE | re.DOTALL))


@cache
def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^ *```\w*\n.*?^ *```$", "", text(page), flags=re.MULTILINE | re.DOTALL)


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
    """The arguments that a page says to type after `program`."""
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


def temporal_commands(page: Path) -> set[str]:
    """The commands of Temporal's command line that a page names, except those of extensions and those cut short."""
    spans = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(page))
    lines = (line.strip() for block in fences(page) for line in block.replace("\\\n", " ").splitlines())
    named = {command for command in (*spans, *lines) if re.match(r"temporal [a-z]", command)}
    return {command for command in named if not command.startswith("temporal cloud") and "…" not in command}


def is_understood(command: str) -> bool:
    """Whether Temporal's command line knows a command and its options."""
    words = shlex.split(command.partition("  #")[0])[1:]
    path = list(takewhile(lambda word: not word.startswith("-"), words))
    asked = subprocess.run([program("temporal"), *words, "--help"], capture_output=True, text=True, check=False)
    return not asked.returncode and f"  temporal {' '.join(path)} [" in asked.stdout


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_of_temporal_exists(page: Path) -> None:
    """A reader may copy Temporal's commands, too: its command line knows them and their options."""
    assert [] == [command for command in sorted(temporal_commands(page)) if not is_understood(command)]


@pytest.mark.parametrize("mistyped", ["temporal operator namespaces list", "temporal workflow list --namspace x"])
def test_a_mistyped_command_of_temporal_would_be_found(mistyped: str) -> None:
    """The check above can fail."""
    assert not is_understood(mistyped)


@pytest.mark.parametrize("page", ["README.md", "cloud.md"])
def test_the_pages_about_temporal_register_every_search_attribute(page: str) -> None:
    """An administrator who copies such a command registers what Closedwon needs, and nothing else."""
    blocks = [block for block in fences(TEMPORAL / page) if "search-attribute" in block]
    assert blocks
    for block in blocks:
        registered = re.findall(r"--name (\w+) --type Keyword|--search-attribute (\w+)=Keyword", block)
        assert set(names.SEARCH_ATTRIBUTES) == {first or second for first, second in registered}, block


@pytest.mark.parametrize("page", ["README.md", "cloud.md"])
def test_the_profiles_in_the_pages_about_temporal_can_be_copied(page: str, tmp_path: Path) -> None:
    """Temporal's SDK reads each profile, and knows all of its keys."""
    profiles = [block for block in fences(TEMPORAL / page) if "[profile." in block]
    assert profiles
    for number, block in enumerate(profiles):
        file = tmp_path / f"{number}.toml"
        file.write_text(block, encoding="utf-8")
        for profile in ClientConfig.load(config_source=file, config_file_strict=True).profiles.values():
            assert profile.address
            assert profile.namespace
            assert profile.api_key or (profile.tls and profile.tls.client_cert)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_make_target_exists(page: Path) -> None:
    """Each `make` command on a page names an existing target and variables that the Makefile reads."""
    makefile = text(ROOT / "Makefile")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z]+) \?=", makefile, re.MULTILINE))
    for words in commands(page, "make"):
        for word in words:
            name, is_variable, _ = word.partition("=")
            assert name in (variables if is_variable else targets), f"make {' '.join(words)}"


def test_both_readmes_have_the_same_shape_and_say_the_same_commands() -> None:
    """The Chinese and the English page have the same structure, commands and links."""
    levels = [[heading.split()[0] for heading in headings(page)] for page in (ENGLISH, CHINESE)]
    assert levels[0] == levels[1]
    assert list(typed(ENGLISH)) == list(typed(CHINESE))
    blocks = [[block for block in fences(page) if "flowchart" not in block] for page in (ENGLISH, CHINESE)]
    assert blocks[0] == blocks[1]
    own = {ENGLISH.name, CHINESE.name}
    assert [link for link in links(ENGLISH) if link not in own] == [link for link in links(CHINESE) if link not in own]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_page_is_long(page: Path) -> None:
    """A page is about one task; the README shows the demo and leads on."""
    assert (110 if page in {ENGLISH, CHINESE} else 350) >= len(text(page).splitlines())


def test_the_index_lists_every_page_once_for_each_reader() -> None:
    """A page that is in no list is found by no one."""
    index = ROOT / "docs" / "README.md"
    listed = [(index.parent / link.partition("#")[0]).resolve() for link in links(index)]
    own = {page.resolve() for page in ROOT.glob("docs/**/*.md") if page != index and not page.name[:4].isdecimal()}

    assert set() == own - set(listed)
    for part in re.split(r"^## ", prose(index), flags=re.MULTILINE)[1:]:
        found = re.findall(r"\]\(([^)\s]+)\)", part)
        assert len(found) == len(set(found)), part


def test_the_index_of_decisions_has_their_titles() -> None:
    """A reader who scans the index knows what was decided."""
    folder = ROOT / "docs" / "decisions"
    index = dict(re.findall(r"^\| \[\d{4}\]\(([^)]+)\) \| (.+) \|$", text(folder / "README.md"), re.MULTILINE))
    titles = {page.name: text(page).splitlines()[0].partition(": ")[2] for page in folder.glob("[0-9]*.md")}
    assert titles == index


def test_something_is_checked() -> None:
    """The patterns above still find what they look for."""
    assert len([*typed(ENGLISH)]) > 10
    assert len(temporal_commands(TEMPORAL / "README.md")) > 5
    assert len(links(ENGLISH)) > 15
