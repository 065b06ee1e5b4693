"""Who a token belongs to: the identity URL (`/id/<org>/<user>`) and OpenID's userinfo.

Source: Salesforce Help, "Identity URLs" and "The UserInfo Endpoint". Errors are plain texts with HTTP 403.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from closedwon.emulators.salesforce.api.oauth import OAuth
from closedwon.emulators.salesforce.clock import rest_time
from closedwon.emulators.salesforce.data.store import Row, Store
from closedwon.ids import InvalidIdError, OrgId, RecordId

_FORBIDDEN = 403


class Answer(NamedTuple):
    """An HTTP status, and a JSON object or the text of a refusal."""

    status: int
    body: dict[str, Any] | str


class Identity:
    """Describes the users of an org to clients that have their tokens."""

    def __init__(self, oauth: OAuth, store: Store, org_id: OrgId) -> None:
        """Users are rows of `store`, tokens those of `oauth`."""
        self._oauth = oauth
        self._store = store
        self._org_id = org_id

    def user_info(self, token: str | None, origin: str) -> Answer:
        """`/services/oauth2/userinfo`."""
        user = self._user(token)
        if isinstance(user, str):
            return Answer(_FORBIDDEN, user)
        named = self._common(user, origin)
        return Answer(
            200,
            {
                "sub": self.url(str(user["Id"]), origin),
                **named,
                "preferred_username": user["Username"],
                "nickname": named["nick_name"],
                "name": user["Name"],
                "given_name": named["first_name"],
                "family_name": named["last_name"],
                "zoneinfo": "Europe/Berlin",
                "updated_at": named["last_modified_date"],
            },
        )

    def identity(self, token: str | None, path: str, origin: str) -> Answer:
        """`/id/<org id>/<user id>`: only the token's own user."""
        user = self._user(token)
        if isinstance(user, str):
            return Answer(_FORBIDDEN, user)
        wanted = path.strip("/").split("/")[1:]
        if not wanted or not _is_same(wanted[0], self._org_id):
            return Answer(_FORBIDDEN, "Wrong_Org")
        if len(wanted) != 2 or not _is_same(wanted[1], str(user["Id"])):  # noqa: PLR2004 - org and user
            return Answer(_FORBIDDEN, "Bad_Id")
        named = self._common(user, origin)
        return Answer(
            200,
            {
                "id": self.url(str(user["Id"]), origin),
                "asserted_user": True,
                **named,
                "username": user["Username"],
                "display_name": user["Name"],
                "timezone": "Europe/Berlin",
            },
        )

    def url(self, user_id: str, origin: str) -> str:
        """The identity URL of a user."""
        return f"{origin}/id/{self._org_id}/{user_id}"

    def _user(self, token: str | None) -> Row | str:
        """The user of a token, or the text of the refusal."""
        if token is None:
            return "Missing_OAuth_Token"
        user_id = self._oauth.user_of(token)
        return (self._store.get("User", user_id) if user_id else None) or "Bad_OAuth_Token"

    def _common(self, user: Row, origin: str) -> dict[str, Any]:
        first, _, last = str(user["Name"]).rpartition(" ")
        data = f"{origin}/services/data/v{{version}}/"
        return {
            "user_id": user["Id"],
            "organization_id": self._org_id,
            "nick_name": str(user["Username"]).partition("@")[0],
            "email": user["Email"],
            "email_verified": True,
            "first_name": first or None,
            "last_name": last,
            "photos": {},
            "urls": {
                "enterprise": f"{origin}/services/Soap/c/{{version}}/{self._org_id.short}",
                "partner": f"{origin}/services/Soap/u/{{version}}/{self._org_id.short}",
                "rest": data,
                "sobjects": f"{data}sobjects/",
                "query": f"{data}query/",
                "profile": f"{origin}/{user['Id']}",
            },
            "active": bool(user["IsActive"]),
            "user_type": "STANDARD",
            "language": "en_US",
            "locale": "en_US",
            "utcOffset": 3_600_000,
            "last_modified_date": rest_time(int(user["LastModifiedDate"] or 0)),
        }


def _is_same(given: str, record: str) -> bool:
    try:
        return RecordId(given) == record
    except InvalidIdError:
        return False
