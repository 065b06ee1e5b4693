"""The language lint: what it rejects, what it allows, and where it says that a phrase is."""

from __future__ import annotations

import pytest

from tests.language.lint import Allowed, Rules, check, unused

RULES = Rules.load()


def found(text: str, rules: Rules = RULES) -> list[tuple[int, str]]:
    """The lines and phrases that are rejected in a text."""
    return [(hit.line, hit.phrase) for hit in check(rules, "docs/page.md", text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Salesforce is told.", [(1, "told")]),
        ("Whoever asks", [(1, "Whoever")]),
        ("async def _tell(world)", [(1, "tell")]),
        ("def test_it_is_told_twice", [(1, "told")]),
        ("It is retried for\n# ever.", [(1, "for # ever")]),
        ("one\ntwo\nIt is no JSON.", [(3, "is no")]),
        ("given_up = True", [(1, "given_up")]),
        ("un-won, unwon", [(1, "unwon"), (1, "un-won")]),
    ],
)
def test_a_phrase_is_found_in_prose_and_in_names(text: str, expected: list[tuple[int, str]]) -> None:
    """Case, line breaks, underscores and hyphens do not hide a phrase; the hit has its line."""
    assert expected == found(text)


@pytest.mark.parametrize(
    "text",
    [
        "password of",
        "amended",
        "there is no order",
        "There\nare no orders",
        "it is no longer open",
        "def test_what_is_done_is_no_longer_reported",
        "intelligent",
        "obscured",
    ],
)
def test_other_words_and_the_standard_use_pass(text: str) -> None:
    """Part of a longer word, and a phrase in its standard meaning, are not rejected."""
    assert [] == found(text)


def test_a_hit_names_file_line_phrase_and_replacement() -> None:
    """The message says where the phrase is, and what to write instead."""
    (hit,) = check(RULES, "docs/page.md", "\nbooked")
    assert "docs/page.md:2: 'booked': write recorded; ErpEntry" == str(hit)


def test_an_exception_covers_its_own_text_in_its_own_files_only() -> None:
    """`asyncio.gather(` passes everywhere; an entry with a path passes in that path only."""
    assert [] == found("await asyncio.gather(*calls)")
    assert [(1, "gather")] == found("await gather(*calls)")
    entry = Allowed(text="he told us", reason="A quotation.", path="docs/*.md")
    rules = RULES.model_copy(update={"allowed": [entry]})
    assert [] == found("What he told us.", rules)
    assert [(1, "told")] == found("What they told us.", rules)
    assert ["told"] == [hit.phrase for hit in check(rules, "README.md", "What he told us.")]


def test_an_exception_that_no_file_needs_is_reported() -> None:
    """The list of exceptions does not outlive the texts that needed it."""
    entry = Allowed(text="he told us", reason="A quotation.")
    rules = RULES.model_copy(update={"allowed": [entry]})
    used: set[Allowed] = set()
    assert [] == [*check(rules, "README.md", "What he told us.", used)]
    assert [] == unused(rules, used)
    assert [entry] == unused(rules, set())
