"""Texts from outside, pushed through everything that shows them: they are shown, and do nothing."""

from __future__ import annotations

import io
import json
import logging
import re
import unicodedata
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Literal

import pytest
from markdown_it import MarkdownIt
from rich.markdown import Markdown
from rich.table import Table

from activities.alerts import _body
from closedwon import safe_text
from closedwon.cli.common import console
from closedwon.errors import AttentionReason
from closedwon.intake.delivery import MessageRefusedError
from closedwon.model.alerts import Need
from closedwon.model.commands import Command
from closedwon.model.erp import ErpOrder
from closedwon.model.messages import Message
from closedwon.model.order_state import OrderState, Problem
from closedwon.model.routes import Channel
from closedwon.model.snapshot import Declined
from closedwon.names import OrderStage
from closedwon.salesforce.push import callout, soap
from closedwon.settings import AlertSettings, TelemetrySettings
from closedwon.telemetry import logs
from tests.support.memory_erp import held, sold
from workflows.presenter import page
from workflows.timeline import Timeline

_NASTY = (
    "# Deal [click](https://evil.example) ![pixel](https://evil.example/p.png) <img src=x onerror=alert(1)> "
    "<https://evil.example> https://evil.example/a www.evil.example a@evil.example **bold** `code` ``` ~~~ | a | b | "
    "\x1b[2J\x1b]0;owned\x07\x9b31m \u202egnp.exe\u202c \u2066x\u2069 <!channel> =HYPERLINK(1) \r\n\n"
    "2026-01-01 [info] forged line\n- forged entry\n\n---\n\n### forged heading\n\u2028x\U000e0041"
)
_LONG = "x" * 100_000


def _tokens(text: str) -> list[Any]:
    return [
        inner for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
        for inner in [token, *(token.children or [])]
    ]  # fmt: skip


def _controls(text: str) -> set[str]:
    """The characters of a text that a terminal or a reader's eye would obey."""
    return {one for one in text if unicodedata.category(one) in {"Cc", "Cf"} and one not in "\n\u2060"}


def _is_tame(text: str) -> bool:
    """Whether Markdown has no link, image, tag or further block in it, and no address that renderers link by itself."""
    kinds = {token.type for token in _tokens(text)}
    forbidden = {"link_open", "image", "html_inline", "html_block", "hr", "table_open", "s_open", "fence"}
    shown = " ".join(token.content for token in _tokens(text) if token.type in {"text", "text_special"})
    linked = re.search(r"https?://|\bwww\.|\w@\w", shown)
    return not kinds & forbidden and linked is None and not _controls(text)


def _page() -> str:
    """An order's page with the text at each place."""
    order = sold(name=_NASTY, customer=sold().customer.model_copy(update={"name": _NASTY}))
    timeline = Timeline()
    at = datetime(2026, 1, 1, tzinfo=UTC)
    message = Message(id=_NASTY, channel=Channel.CALLOUT, received_at=at)
    timeline.notified(at, message)
    timeline.commanded(at, "retry", Command(by=_NASTY, reason=_NASTY, number=_NASTY), refusal=_NASTY)
    timeline.read(at, Declined(note=_NASTY))
    timeline.placed(at, held(order, number=_NASTY), "erp")
    timeline.kept(at, held(order, number=_NASTY))
    timeline.cancelled(at, held(order, number=_NASTY))
    problem = Problem(reason=AttentionReason.ERP_REJECTED, message=_NASTY, hint=_NASTY)
    state = OrderState(
        stage=OrderStage.ATTENTION, problem=problem, order=order, placed=held(order, number=_NASTY), erp="erp"
    )
    return page(state, timeline, "0065g00000XyZabAAF")


def test_a3_a_page_of_temporals_ui_has_our_markup_only() -> None:
    """One heading, ours; no link, no image, no tag; nothing that ends a line or an entry."""
    text = _page()

    assert _is_tame(text)
    assert 1 == sum(token.type == "heading_open" for token in _tokens(text))
    assert "evil" in text
    assert all(line.startswith(("###", "- ", "**What happened**")) for line in text.splitlines() if line)


@pytest.mark.parametrize(
    "start", ["# a", "- a", "1. a", "2) a", "+ a", "> a", "=== a", "    a", "\ta", "~~~", "***", "[a]: b"]
)
def test_a3_a_line_that_begins_with_a_text_begins_no_block(start: str) -> None:
    """As the summary of a workflow does."""
    kinds = {token.type for token in _tokens(safe_text.markdown(start).strip())}

    assert kinds <= {"paragraph_open", "inline", "text", "text_special", "paragraph_close"}


@pytest.mark.parametrize(
    "name", ["ACME_2024 (new)", "ERP_Order_Number__c", "Müller & Söhne", "a - b", "C# 3.5", "株式会社"]
)
def test_a3_ordinary_names_are_shown_as_they_are(name: str) -> None:
    """Escapes are not seen where Markdown is rendered."""
    html = MarkdownIt("commonmark").render(safe_text.markdown(name))

    assert f"<p>{name.replace('&', '&amp;')}</p>\n" == html


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "data:text/html,x", "//evil.example", "https://", "file:///etc/passwd", "https://a\nb"],
)
def test_a3_an_address_that_is_not_of_the_web_makes_a_text(url: str) -> None:
    """Neither on a page nor on the record."""
    assert "**SO-1**" == safe_text.markdown_link("SO-1", url)
    answer = held().model_dump()
    assert ErpOrder.model_validate({**answer, "url": url}).url is None
    assert "https://erp.example/1" == ErpOrder.model_validate({**answer, "url": "https://erp.example/1"}).url


def test_a3_an_address_cannot_end_its_link() -> None:
    """Brackets and blanks are encoded."""
    text = safe_text.markdown_link("SO](x)", 'https://erp.example/1) ![x](y) "t"')
    (link,) = (token for token in _tokens(text) if token.type == "link_open")

    assert link.attrs["href"].startswith("https://erp.example/1%29")
    assert not any(token.type == "image" for token in _tokens(text))


@pytest.mark.parametrize("raw", ["```\n[x](https://e.example)\n```", "````", "a\x1b[2Jb"])
def test_a3_a_raw_message_stays_in_its_block(raw: str) -> None:
    """However many backticks it has."""
    tokens = _tokens(f"{safe_text.markdown_block(raw)}\n")

    assert ["fence"] == [token.type for token in tokens]
    assert not _controls(safe_text.markdown_block(raw))


@pytest.mark.parametrize("renderable", ["markdown", "table", "text"])
def test_a3_a_terminal_obeys_nothing(renderable: str) -> None:
    """In a page, a cell and a line; colors are still rich's own."""
    stream = io.StringIO()
    screen = console(file=stream, force_terminal=False, width=200)
    if renderable == "markdown":
        screen.print(Markdown(_page(), hyperlinks=False))
    elif renderable == "table":
        table = Table("deal")
        table.add_row(_NASTY)
        screen.print(table)
    else:
        screen.print(_NASTY, markup=False)

    assert "evil.example" in stream.getvalue().replace("\u2060", "")
    assert not _controls(stream.getvalue())


@pytest.mark.parametrize("form", ["json", "console"])
def test_a3_a_text_adds_no_line_to_a_log_and_its_size_is_bounded(
    form: Literal["json", "console"], logging_as_before: None
) -> None:
    """As the event, as an argument and under a key."""
    del logging_as_before
    stream = io.StringIO()
    logs.configure(TelemetrySettings(log_format=form), stream=stream)
    logging.getLogger("closedwon.test").warning("refused: %s", _NASTY, extra={"deal": _NASTY})
    logging.getLogger("closedwon.test").warning("refused: %s", _LONG, extra={"deal": [_LONG] * 3, "more": {"a": _LONG}})
    lines = stream.getvalue().splitlines()

    assert 2 == len(lines)
    assert not _controls(stream.getvalue())
    assert 30_000 > len(lines[1])


def test_a3_an_alert_has_no_mentions_and_no_links() -> None:
    """Chats make links and mentions of a text."""
    need = Need(
        id="1", kind="audit", at=datetime(2026, 1, 1, tzinfo=UTC), reason=AttentionReason.AUDIT_FINDINGS,
        hint=_NASTY, text=_NASTY + _LONG, workflow_id="w", run_id="r",
    )  # fmt: skip
    body = _body(need, AlertSettings.model_validate({"webhook": "https://chat.example/hook"}), "default")

    for text in (body["sentence"], body["hint"]):
        assert not _controls(text)
        assert re.search(r"https?://|<!|\w@\w|\]\(|\n", text) is None
        assert 1100 > len(text)


def test_a3_json_for_programs_stays_the_same_json() -> None:
    """A terminal shows it without obeying it."""
    written = safe_text.json_text(json.dumps({"name": _NASTY}, ensure_ascii=False))

    assert {"name": _NASTY} == json.loads(written)
    assert not _controls(written)


def test_a3_answers_to_senders_are_escaped() -> None:
    """What a fault or a problem says is escaped by its form."""
    refused = MessageRefusedError(HTTPStatus.BAD_REQUEST, "x", _NASTY)
    assert b"<img" not in soap.fault("Client", str(refused))
    assert b"\x1b" not in callout.problem_body(refused.status, str(refused))
