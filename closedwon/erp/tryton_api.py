"""Tryton's REST API (series 8.0 and later) as calls on records; knows models by name only.

Facts about the API are from `trytond/protocols/rest.py` and were seen on 8.2.1. 500 is ambiguous: a fault of the
server, or an unknown field in the request. Only 400 carries JSON, and its text is translated for the user.
"""

from __future__ import annotations

import base64
import json
from http import HTTPStatus
from typing import Any

from closedwon.erp.errors import RejectedError
from closedwon.erp.http import HttpClient, Reply, quote
from closedwon.errors import AttentionReason

Record = dict[str, Any]
Company = int | None
"""The company in whose context a call runs: taxes, payment terms and a new record's defaults depend on it."""


class TrytonApi:
    """Search, create, act; every call says which fields of the record shall be answered.

    Raises, beside what `HttpClient` raises, `RejectedError` with Tryton's own words.
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
        """All active records that `domain` selects; with `page`, not more than so many, by ascending id."""
        params = [("d", _base64(domain)), *_fields(fields)]
        if page is not None:
            params += [("s", str(page)), ("o", _base64([["id", "ASC"]]))]
        records: list[Record] = self.accept(
            await self._http.call("GET", f"/rest/model/{model}", params=params, headers=_context(company))
        )
        return records

    async def read(self, model: str, record_id: int | str, fields: tuple[str, ...]) -> Record:
        """One record."""
        reply = await self._http.call("GET", f"/rest/model/{model}/{record_id}", params=_fields(fields))
        return self._record(reply)

    async def create(self, model: str, values: Record, fields: tuple[str, ...], company: Company = None) -> Record:
        """A new record; what is left out of `values` gets the model's defaults, but no on-change logic runs."""
        return self._record(await self.try_create(model, values, fields, company))

    async def try_create(self, model: str, values: Record, fields: tuple[str, ...], company: Company = None) -> Reply:
        """As `create`, for callers that read a refusal themselves."""
        return await self._http.call(
            "POST", f"/rest/model/{model}", params=_fields(fields), body=values, headers=_context(company)
        )

    async def try_act(
        self, model: str, record_id: int | str, action: str, arguments: Record, fields: tuple[str, ...]
    ) -> Reply:
        """Call a method on one record and answer the record as it is afterwards. The caller reads a refusal itself."""
        path = f"/rest/model/{model}/{record_id}/{action}"
        return await self._http.call("POST", path, params=_fields(fields), body=arguments)

    async def ask(self, path: str, arguments: Record) -> Record:
        """Call a method that answers with something else than a record: `MODEL/METHOD` or `MODEL/ID/METHOD`."""
        return self._record(await self._http.call("POST", f"/rest/model/{path}", body=arguments))

    def accept(self, reply: Reply) -> Any:
        """The body of a good answer. Raises `RejectedError` otherwise."""
        if reply.status == HTTPStatus.OK:
            return reply.body
        if reply.status == HTTPStatus.NOT_FOUND:
            cure = f"Check the database in the url of erps[{self.name}]"
            raise self.misconfigured("Tryton knows no such database or record", cure)
        if reply.status == HTTPStatus.NO_CONTENT:
            raise self.misconfigured("the key's user may write but not read", "Give that user the group Sales")
        words = reply.body if isinstance(reply.body, dict) else {}
        said = quote(f"{words.get('message', '')} {words.get('description', '')}") or f"status {reply.status}"
        raise RejectedError(f"{self.name}: Tryton refuses: {said}")

    def misconfigured(self, what: str, cure: str) -> RejectedError:
        """An error whose cure is not in the order but in how Tryton or Closedwon is set up."""
        return RejectedError(
            f"{self.name}: {what}", reason=AttentionReason.CONFIGURATION, cure=f"{cure}, then send `retry`."
        )

    async def close(self) -> None:
        """Release connections."""
        await self._http.close()

    def _record(self, reply: Reply) -> Record:
        record: Record = self.accept(reply)
        return record


def _fields(names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [("f", name) for name in names]


def _context(company: Company) -> dict[str, str] | None:
    return {"X-Tryton-Context": _base64({"company": company})} if company else None


def _base64(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
