"""Texts from outside, made safe for the places where they are shown: one function for each place.

Names of deals and accounts, product codes, and what ERPs, Salesforce and senders say may hold anything. Nothing is
changed where such a text is data (the ERP's order, the record, JSON for programs); here it is about places that give
some characters a meaning: Temporal's UI renders Markdown, a terminal obeys control characters, a log has one entry a
line, a chat makes links. What a character does is taken from it; the reader still sees that it was there.

HTML and CSV have no function, because the product writes neither; SOAP has `closedwon.salesforce.push.soap.escape`.
"""

from __future__ import annotations

import json
import re
from typing import Final
from urllib.parse import quote, urlsplit

_LONGEST: Final = 2000
"""Characters of one text on a page."""
_LONGEST_IN_CHAT: Final = 1000
_LONGEST_IN_LOG: Final = 4000
_JOINER: Final = "\N{WORD JOINER}"
"""Has no width; an address that it divides is not made a link."""
_BIDI: Final = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""They reorder the text around them, so that it reads as something else."""
_HIDDEN: Final = re.compile(
    f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_BIDI}\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control characters but for tab and line feed, marks of direction, half characters, invisible tags."""
_BREAKS: Final = re.compile("[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")
_MARKUP: Final = re.compile(r"[\\`*\[\]<>~|&!]|(?<!\w)_|_(?!\w)")
_AT_THE_START: Final = re.compile(r"^(\s*(?:\d+(?=[.)]))?)([#+=.)-])")
_LINKED: Final = re.compile(r"(?<=:)(?=//)|(?<=\bwww)(?=\.)|(?=@[-\w]+\.[-\w])", re.IGNORECASE)
"""Where addresses that need no markup can be divided."""
_UNSAFE_IN_JSON: Final = re.compile(f"{_HIDDEN.pattern}|[\u2028\u2029]")


def terminal(text: str) -> str:
    """Make a text safe for a terminal: its lines stay, but it moves no cursor, and changes no color or direction."""
    return _HIDDEN.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def line(text: str, longest: int = _LONGEST) -> str:
    """Make one line of a text, of at most so many characters."""
    joined = terminal(_BREAKS.sub(" ", text))
    return joined if len(joined) <= longest else f"{joined[: longest - 1]}…"


def markdown(text: str) -> str:
    """Write a text in Markdown, within a line: without headings, links, images, tags and emphasis of its own."""
    escaped = _MARKUP.sub(r"\\\g<0>", _LINKED.sub(_JOINER, line(text)))
    return _AT_THE_START.sub(r"\1\\\2", escaped)


def markdown_code(text: str) -> str:
    """Write a text in Markdown as code, within a line."""
    return f"`{line(text).replace('`', chr(39)) or ' '}`"


def markdown_block(text: str) -> str:
    """Write lines in Markdown as a block of code that they cannot end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{terminal(text)}\n{fence}"


def markdown_link(text: str, url: str | None) -> str:
    """Write a link in Markdown; the bold text alone if there is no address that a browser may open by a click."""
    if url is None or not is_web_address(url):
        return f"**{markdown(text)}**"
    return f"[{markdown(text)}]({quote(url, safe=_IN_URL)})"


_IN_URL: Final = "/:?#@!$&'*+,;=%~-._"
"""What an address may hold unquoted in a link of Markdown: no brackets, blanks or backslashes."""


def is_web_address(url: str) -> bool:
    """Whether an address is one of the web: a click on another one (`javascript:`) could act for its reader."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and url.isprintable()


def chat(text: str) -> str:
    """Make a text safe for a chat that gets an alert: one line without links, mentions or tags."""
    joined = line(text, _LONGEST_IN_CHAT)
    return re.sub(r"(?<=<)|(?<=@)|(?<=\])(?=\()", _JOINER, _LINKED.sub(_JOINER, joined))


def log(text: str, longest: int = _LONGEST_IN_LOG) -> str:
    """Make a text safe for one entry of a log for people: one line, in which control characters are written out."""
    written = _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\n", "\\n").replace("\t", " "))
    return cut(written.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"), longest)


def cut(text: str, longest: int = _LONGEST_IN_LOG) -> str:
    """Bound the size of a text in a log, and say what is missing."""
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text) - longest} more characters)"


def json_text(text: str) -> str:
    """Escape, in a JSON text, what a terminal could obey; it stays the same JSON."""
    return _UNSAFE_IN_JSON.sub(lambda found: json.dumps(found[0])[1:-1], text)
