"""Tryton's REST API (series 8.0 and later) as calls on records of any model.

Facts about the API are from `trytond/protocols/rest.py` and were seen on 8.2.1. 500 is ambiguous: a fault of the
server, or an unknown field in the request. Only 400 has a JSON body, and its text is in the user's language.
"""

from __future__ import annotations

import base64
import json
from http import HTTPStatus
from typing import Any

from closedwon.erp.errors import RejectedError
from closedwon.erp.http import HttpClient, HttpReply, quote
from closedwon.errors import AttentionReason

Record = dict[str, Any]
Company = int | None
"""The company in whose context a call runs: taxes, payment terms and a new record's defaults depend on it."""


class TrytonApi:
    """Search, read, create, act. Each call names the fields that the answer must contain.

    Raises what `HttpClient` raises, and `RejectedError` with Tryton's own message.
    """

    def __init__(self, name: str, http: HttpClient) -> None:
        """`name` is the ERP's name in the settings; `http` has the database's address as its base."""
        self.name = name
        self._http = http

    @property
    def calls(self) -> int:
        """Requests sent so far."""
        return self._http.calls

    async def search(
        self, model: str, domain: list[Any], fields: tuple[str, ...], company: Company = None, page: int | None = None
    ) -> list[Record]:
        """Return all active records that `domain` selects; with `page`, at most that many, by ascending id."""
        params = [("d", _base64(domain)), *_fields(fields)]
        if page is not None:
            params += [("s", str(page)), ("o", _base64([["id", "ASC"]]))]
        records: list[Record] = self.accept(
            await self._http.call("GET", f"/rest/model/{model}", params=params, headers=_context(company))
        )
        return records

    async def read(self, model: str, record_id: int | str, fields: tuple[str, ...]) -> Record:
        """Return one record."""
        reply = await self._http.call("GET", f"/rest/model/{model}/{record_id}", params=_fields(fields))
        return self._record(reply)

    async def create(self, model: str, values: Record, fields: tuple[str, ...], company: Company = None) -> Record:
        """Create a record. Fields missing in `values` get the model's defaults, but no on-change logic runs."""
        return self._record(await self.try_create(model, values, fields, company))

    async def try_create(
        self, model: str, values: Record, fields: tuple[str, ...], company: Company = None
    ) -> HttpReply:
        """As `create`, but return a refusal to the caller."""
        return await self._http.call(
            "POST", f"/rest/model/{model}", params=_fields(fields), body=values, headers=_context(company)
        )

    async def try_act(
        self, model: str, record_id: int | str, action: str, arguments: Record, fields: tuple[str, ...]
    ) -> HttpReply:
        """Call a method on one record and return the record afterwards, or the refusal."""
        path = f"/rest/model/{model}/{record_id}/{action}"
        return await self._http.call("POST", path, params=_fields(fields), body=arguments)

    async def ask(self, path: str, arguments: Record) -> Record:
        """Call a method that does not return a record: `MODEL/METHOD` or `MODEL/ID/METHOD`."""
        return self._record(await self._http.call("POST", f"/rest/model/{path}", body=arguments))

    def accept(self, reply: HttpReply) -> Any:
        """Return the body of a success. Raises `RejectedError` otherwise."""
        if reply.status == HTTPStatus.OK:
            return reply.body
        if reply.is_not_offered:
            hint = f"Check the database in the url of erps[{self.name}]"
            raise self.misconfigured("Tryton does not have that database or record", hint)
        if reply.status == HTTPStatus.NO_CONTENT:
            raise self.misconfigured("the key's user may write but not read", "Give that user the group Sales")
        error = reply.body if isinstance(reply.body, dict) else {}
        message = quote(f"{error.get('message', '')} {error.get('description', '')}")
        raise RejectedError(
            f"{self.name}: Tryton refuses: {message or f'status {reply.status}'}", is_explained=bool(message)
        )

    def misconfigured(self, what: str, hint: str) -> RejectedError:
        """Make an error about the configuration of Tryton or Closedwon, not about the order."""
        return RejectedError(
            f"{self.name}: {what}", reason=AttentionReason.CONFIGURATION, hint=f"{hint}, then send `retry`."
        )

    async def close(self) -> None:
        """Release connections."""
        await self._http.close()

    def _record(self, reply: HttpReply) -> Record:
        record: Record = self.accept(reply)
        return record


def encoded_size(value: str) -> int:
    """Characters that a value takes in the domain of a search: JSON in base64."""
    return (len(json.dumps(value)) + 2) * 4 // 3 + 1


def _fields(names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [("f", name) for name in names]


def _context(company: Company) -> dict[str, str] | None:
    return {"X-Tryton-Context": _base64({"company": company})} if company else None


def _base64(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
