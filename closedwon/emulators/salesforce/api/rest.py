"""The REST API under `/services/data`: a table of paths and their handlers. No HTTP library here.

`RestApi.call` takes an `ApiRequest` and returns an `ApiResponse`. The web application and composite requests use it.
Source: REST API Developer Guide.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from closedwon.emulators.salesforce.api import conditions
from closedwon.emulators.salesforce.api.batch import run_batch
from closedwon.emulators.salesforce.api.calls import ApiRequest, ApiResponse
from closedwon.emulators.salesforce.api.changes import deleted, updated
from closedwon.emulators.salesforce.api.composite import Composite
from closedwon.emulators.salesforce.api.describe import describe_global, describe_object
from closedwon.emulators.salesforce.api.jobs import QueryJobs
from closedwon.emulators.salesforce.api.queries import Queries
from closedwon.emulators.salesforce.api.upserts import SeveralRecordsError, Upserts
from closedwon.emulators.salesforce.data.records import Records
from closedwon.emulators.salesforce.data.schema import SObject
from closedwon.emulators.salesforce.errors import ApiError, not_found

Handler = Callable[..., ApiResponse]


class RestApi:
    """Finds the handler of a path and converts errors to responses."""

    def __init__(
        self,
        records: Records,
        queries: Queries,
        limits: Callable[[], dict[str, Any]],
        identity_url: Callable[[str, str], str],
    ) -> None:
        """`limits` returns the body of `/limits`, `identity_url` that of a user at an origin."""
        self._identity_url = identity_url
        self._records = records
        self._queries = queries
        upserts = Upserts(records)
        composite = Composite(records, self.call, upserts)
        jobs = QueryJobs(records)
        self._limits = limits
        routes: dict[str, dict[str, Handler]] = {
            "/": {"GET": self._resources},
            "/limits": {"GET": self._read_limits},
            "/query": {"GET": self._queries.first},
            "/queryAll": {"GET": self._queries.first_with_deleted},
            "/query/([^/]+)": {"GET": self._queries.more},
            "/queryAll/([^/]+)": {"GET": self._queries.more},
            "/jobs/query": {"POST": jobs.create},
            "/jobs/query/([^/]+)": {"GET": jobs.read, "PATCH": jobs.change, "DELETE": jobs.delete},
            "/jobs/query/([^/]+)/results": {"GET": jobs.results},
            "/sobjects": {"GET": self._describe_all},
            "/sobjects/([^/]+)": {"GET": self._about, "POST": self._create},
            "/sobjects/([^/]+)/describe": {"GET": self._describe},
            "/sobjects/([^/]+)/updated": {"GET": lambda call, name: updated(records, call, name)},
            "/sobjects/([^/]+)/deleted": {"GET": lambda call, name: deleted(records, call, name)},
            "/sobjects/([^/]+)/([^/]+)": {
                "GET": self._read,
                "PATCH": self._update,
                "DELETE": self._delete,
                "POST": upserts.create,
            },
            "/sobjects/([^/]+)/([^/]+)/([^/]+)": {
                "GET": upserts.read,
                "PATCH": upserts.write,
                "DELETE": upserts.delete,
            },
            "/composite/batch": {"POST": lambda call: run_batch(call, self.call)},
            "/composite": {"POST": composite.run},
            "/composite/sobjects": {
                "POST": composite.create,
                "PATCH": composite.update,
                "DELETE": composite.delete,
            },
            "/composite/sobjects/([^/]+)": {"GET": composite.retrieve, "POST": composite.retrieve},
            "/composite/sobjects/([^/]+)/([^/]+)": {"PATCH": composite.upsert},
        }
        self._routes = [(re.compile(f"^{path}$"), path, handlers) for path, handlers in routes.items()]

    def call(self, call: ApiRequest) -> ApiResponse:
        """Handle a request; an `ApiError` becomes an error response."""
        try:
            handler, arguments, _ = self._find(call.method, call.path)
            return handler(call, *arguments)
        except ApiError as error:
            return ApiResponse(error.status, error.rest_body())
        except SeveralRecordsError as several:
            return ApiResponse(300, several.urls)

    def template(self, method: str, path: str) -> str:
        """The name of a request's counter, for example `PATCH /sobjects/*/*`."""
        try:
            return f"{method} {self._find(method, path)[2].replace('([^/]+)', '*')}"
        except ApiError:
            return f"{method} (unknown)"

    def _find(self, method: str, path: str) -> tuple[Handler, list[str], str]:
        for pattern, template, handlers in self._routes:
            if match := pattern.match(path):
                wanted = "GET" if method == "HEAD" else method
                if wanted not in handlers:
                    allowed = ",".join(sorted(handlers))
                    raise ApiError("METHOD_NOT_ALLOWED", f"HTTP Method '{method}' not allowed. Allowed are {allowed}")
                return handlers[wanted], list(match.groups()), template
        raise not_found()

    def _resources(self, call: ApiRequest) -> ApiResponse:
        listed = {name: f"{call.base}/{name}" for name in ("sobjects", "query", "queryAll", "limits", "composite")}
        return ApiResponse(200, {**listed, "identity": self._identity_url(call.user, call.origin)})

    def _read_limits(self, _: ApiRequest) -> ApiResponse:
        self._records.rights.require_limits()
        return ApiResponse(200, self._limits())

    def _object(self, name: str) -> SObject:
        found = self._records.schema.find(name)
        if found is None:
            raise not_found()
        return found

    def _describe_all(self, call: ApiRequest) -> ApiResponse:
        return ApiResponse(200, describe_global(self._records.schema, call.base, self._records.rights, call.user))

    def _about(self, call: ApiRequest, name: str) -> ApiResponse:
        whole = describe_object(self._seen(name, call.user), call.base)
        keys = ("name", "label", "keyPrefix", "custom", "queryable", "createable", "updateable", "urls")
        return ApiResponse(200, {"objectDescribe": {key: whole[key] for key in keys}, "recentItems": []})

    def _describe(self, call: ApiRequest, name: str) -> ApiResponse:
        described = describe_object(self._seen(name, call.user), call.base, self._records.rights, call.user)
        return ApiResponse(200, described)

    def _seen(self, name: str, user: str) -> SObject:
        """An object or event that exists for a user. An event that it may not publish does not, for the salesperson."""
        owner, rights = self._object(name), self._records.rights
        exists = rights.may_create if owner.is_event and user == rights.sales_user else rights.may_read
        if not exists(owner, user):
            raise not_found()
        return owner

    def _create(self, call: ApiRequest, name: str) -> ApiResponse:
        owner = self._object(name)
        created = self._records.create_result(owner, call.json(), actor=call.user)
        return ApiResponse(201, created, {"Location": f"{call.base}/sobjects/{owner.name}/{created['id']}"})

    def _read(self, call: ApiRequest, name: str, record: str) -> ApiResponse:
        owner = self._object(name)
        wanted = call.query.get("fields")
        fields = wanted.split(",") if wanted else None
        reader = self._records.rights.reader(call.user)
        found = self._records.retrieve(owner, record, fields, base=call.base, reader=reader)
        modified = self._records.modified_ms(owner, record)
        tag = conditions.entity_tag(owner, modified)
        headers = {"ETag": tag} if tag else {}
        if conditions.is_unchanged(owner, call.headers, modified):
            return ApiResponse(304, headers=headers)
        return ApiResponse(200, found, headers)

    def _update(self, call: ApiRequest, name: str, record: str) -> ApiResponse:
        owner = self._object(name)
        conditions.require_unchanged(owner, call.headers, self._records.modified_ms(owner, record))
        body = call.json()
        if "Id" in body or "id" in body:
            raise ApiError("INVALID_FIELD", "The Id field should not be specified in the sobject data.", fields=("Id",))
        self._records.update(owner, record, body, actor=call.user)
        return ApiResponse(204)

    def _delete(self, call: ApiRequest, name: str, record: str) -> ApiResponse:
        self._records.delete(self._object(name), record, actor=call.user)
        return ApiResponse(204)
