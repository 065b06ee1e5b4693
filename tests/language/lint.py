"""What the language lint finds: phrases of the project's former private vocabulary, in any text file.

A rejected phrase is a literal text in `phrases.toml`; an exception is a longer literal text in `allowed.toml`.
Each file is read once, in lower case, and searched for each phrase as a plain substring first, so that the whole tree
takes well under a second. Only where the substring occurs does a regular expression look for whole words, also across
line breaks.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

HERE: Final = Path(__file__).parent
_GAP: Final = r"[\s_#>-]+"
"""What may stand between two words of a phrase: also a line break and the `#` of a comment that goes on."""


def _words(text: str) -> list[str]:
    """Split prose or a name into words."""
    return text.translate({ord(sign): " " for sign in "_-#>"}).split()


class Phrase(BaseModel):
    """A rejected phrase in its forms, and what to write instead."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: list[str]
    write: str
    after: list[str] = []
    before: list[str] = []

    @cached_property
    def patterns(self) -> list[tuple[str, re.Pattern[str]]]:
        """For each form: its longest part, to search for first, and the expression for the whole of it."""
        forms = [form.lower().split(" ") for form in self.words]
        return [(max(form, key=len), re.compile(_GAP.join(map(re.escape, form)) + "(?![a-z])")) for form in forms]

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where the phrase occurs as whole words in a text in lower case."""
        for part, pattern in self.patterns:
            if part not in text:
                continue
            for match in pattern.finditer(text):
                start, end = match.span()
                if not text[start - 1 : start].isalpha() and not self._is_right(text, start, end):
                    yield start, end

    def _is_right(self, text: str, start: int, end: int) -> bool:
        before = " ".join(_words(text[max(0, start - 20) : start])) + " "
        after = " " + " ".join(_words(text[end : end + 20]))
        return before.endswith(tuple(self.after)) or after.startswith(tuple(self.before))


class Allowed(BaseModel):
    """A text that may contain a rejected phrase."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    reason: str
    path: str = "*"

    def covers(self, path: str, text: str, start: int, end: int) -> bool:
        """Whether the occurrence lies within this text, in a file that the entry names."""
        wanted = self.text.lower()
        around = text[max(0, end - len(wanted)) : start + len(wanted)]
        return fnmatch(path, self.path) and wanted in around


class Rules(BaseModel):
    """Both tables."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    phrases: list[Phrase]
    allowed: list[Allowed] = []

    @classmethod
    def load(cls) -> Rules:
        """Read the tables beside this module."""
        tables = [tomllib.loads((HERE / name).read_text("utf-8")) for name in ("phrases.toml", "allowed.toml")]
        return cls.model_validate(tables[0] | tables[1])


class Hit(BaseModel):
    """One occurrence of a rejected phrase."""

    model_config = ConfigDict(frozen=True)

    path: str
    line: int
    phrase: str
    write: str

    def __str__(self) -> str:
        """Return the line that the lint prints."""
        return f"{self.path}:{self.line}: '{self.phrase}': write {self.write}"


def check(rules: Rules, path: str, content: str, used: set[Allowed] | None = None) -> Iterator[Hit]:
    """Yield the hits of one file in the order of the table; adds to `used` the exceptions that the file needs."""
    text = content.lower()
    for phrase in rules.phrases:
        for start, end in phrase.spans(text):
            allowed = [entry for entry in rules.allowed if entry.covers(path, text, start, end)]
            if used is not None:
                used.update(allowed)
            if not allowed:
                found = " ".join(content[start:end].split())
                yield Hit(path=path, line=text.count("\n", 0, start) + 1, phrase=found, write=phrase.write)


def unused(rules: Rules, used: set[Allowed]) -> Sequence[Allowed]:
    """Return the exceptions that no file needs any more."""
    return [entry for entry in rules.allowed if entry not in used]
