"""Credentials in files: a replaced one counts for the next call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import SecretStr

from closedwon.erp import open_erp
from closedwon.errors import ClosedwonError
from closedwon.settings import RestErp, Settings, SettingsError
from closedwon.settings.values import FileSecret, current_value
from tests.support.salesforce import serving


def test_a_replaced_file_counts_for_the_next_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be read changes nothing, and is logged once."""
    file = tmp_path / "secret"
    file.write_text("the first\n", encoding="utf-8")
    secret = FileSecret("the first", file)
    values = [current_value(secret)]
    file.write_text("the second one\n", encoding="utf-8")
    values.append(current_value(secret))
    file.write_text("", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        values += [current_value(secret), current_value(secret)]
    file.unlink()
    values.append(current_value(secret))
    assert ["the first", *["the second one"] * 4] == values
    assert 1 == sum("is empty" in record.getMessage() for record in caplog.records)
    assert "the first" == secret.get_secret_value()
    assert "of a variable" == current_value(SecretStr("of a variable"))


async def test_an_erp_gets_the_token_that_its_file_holds_now(tmp_path: Path) -> None:
    """A rotation needs no restart."""
    file = tmp_path / "token"
    file.write_text("old-token", encoding="utf-8")
    shown: list[str] = []

    async def note(request: web.Request) -> web.Response:
        shown.append(request.headers["Authorization"])
        return web.Response(status=500)

    async with serving({"GET /orders": note}) as url:
        erp = open_erp(RestErp(kind="rest", name="erp", url=url, token=FileSecret("old-token", file)))
        for token in ("old-token", "the-new-token"):
            file.write_text(token, encoding="utf-8")
            with pytest.raises(ClosedwonError):
                await erp.find("00D000000000001:006000000000001")
        await erp.close()
    assert ["Bearer old-token", "Bearer the-new-token"] == shown


def test_a_credential_without_a_folder_says_who_sets_it(
    example: str, load: Callable[[str], Settings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An operator who starts a process by hand learns what is missing; a name is never a path."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    text = example.replace('{ env = "TRYTON_KEY" }', '{ credential = "erp-token" }')
    with pytest.raises(
        SettingsError, match=r"erps\[0\]\.key \(tryton\): the environment variable CREDENTIALS_DIRECTORY"
    ):
        load(text)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(SettingsError, match="erp-token cannot be read: No such file"):
        load(text)
    with pytest.raises(SettingsError, match="the name of a credential is that of a file"):
        load(text.replace("erp-token", "../erp-token"))
