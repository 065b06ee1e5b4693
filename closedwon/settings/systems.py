"""The systems at both ends: Salesforce orgs and ERPs, how they are reached and by which credential."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from closedwon.ids import OrgId
from closedwon.settings.values import (
    Duration,
    ErpToken,
    Name,
    OrgSecret,
    OwnFile,
    Section,
    SenderKey,
    Url,
    at_most,
    shaped,
    strong,
)

_NO_TIME: Final = "one attempt of an activity has no time for longer calls"
_SalesforceTimeout = Annotated[Duration, at_most(timedelta(minutes=1), _NO_TIME)]
"""An attempt has two minutes (`workflows.steps`), and may first wait for a batch that is under way."""
_ErpTimeout = Annotated[Duration, at_most(timedelta(minutes=5), _NO_TIME)]
"""An attempt has fifteen minutes, and makes several calls."""


class ClientCredentials(Section):
    """OAuth 2.0 client credentials: works on the My Domain host only and needs a run-as user."""

    flow: Literal["client-credentials"]
    client_id: str
    client_secret: OrgSecret


class JwtBearer(Section):
    """OAuth 2.0 JWT bearer: `client_id` is the consumer key, `username` the integration user."""

    flow: Literal["jwt-bearer"]
    client_id: str
    username: str
    private_key: OrgSecret
    """The RSA key in PEM form."""
    audience: Url = "https://login.salesforce.com"


class Org(Section):
    """One Salesforce org."""

    name: Name
    id: OrgId
    url: Url
    """The My Domain address. Tokens are sent to this host, and to that of
    `pubsub_url`, never to an address inside a message."""
    api_version: Annotated[str, shaped(r"\d{2}\.0", 'a version of the Salesforce API, as in "67.0"')] = "67.0"
    auth: Annotated[ClientCredentials | JwtBearer, Field(discriminator="flow")]
    timeout: _SalesforceTimeout = timedelta(seconds=30)
    """The longest that one call may take."""
    stream: Literal["cometd", "pubsub"] = "cometd"
    """How events are read: by the Streaming API (CometD) or by the Pub/Sub API (gRPC)."""
    pubsub_url: Url = "https://api.pubsub.salesforce.com:7443"
    """The Pub/Sub API, if `stream` says so; some orgs have a regional host. Tokens are sent there, too."""


class Webhook(Section):
    """Word from the ERP that an order has changed there."""

    keys: Annotated[tuple[Annotated[SenderKey, strong("webhook")], ...], Field(min_length=1, max_length=2)]
    """Shared with the ERP, which signs with one of them as Apex does; two while one replaces the other."""


class TrytonErp(Section):
    """A Tryton database, reached by its REST API (series 8.0 and later) with a user-application key."""

    concurrent_calls: ClassVar[int] = 4
    """By default, per process: its server has a thread and a database connection for each."""
    kind: Literal["tryton"]
    name: Name
    url: Url
    """Server and database, e.g. `https://erp.example.com/erp`."""
    key: ErpToken
    timeout: _ErpTimeout = timedelta(seconds=90)
    """Confirming a sale can take a minute on a busy server."""
    in_doubt_for: Duration = timedelta(minutes=5)
    """How long a call without an answer may still take effect in the ERP: a cancel that
    finds no order repeats the search."""
    webhook: Webhook | None = None
    """Present: intake accepts notifications of changed orders at `/erp/<name>`."""


class RestErp(Section):
    """An ERP behind a facade or an iPaaS that speaks `docs/erp-rest-contract.md`."""

    concurrent_calls: ClassVar[int] = 16
    """As above: a facade answers 429 if that is too many."""
    kind: Literal["rest"]
    name: Name
    url: Url
    token: ErpToken
    client_cert: OwnFile | None = None
    """PEM: the certificate that Closedwon shows to the ERP (mutual TLS), then the intermediate ones."""
    client_key: OwnFile | None = None
    """PEM: the key of that certificate, without a passphrase."""
    timeout: _ErpTimeout = timedelta(seconds=30)
    in_doubt_for: Duration = timedelta(minutes=5)
    """As above."""
    webhook: Webhook | None = None
    """As above."""

    @model_validator(mode="after")
    def _certificate_needs_key(self) -> Self:
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("`client_cert` and `client_key` are one certificate and its key: set both, or none")
        if self.client_cert is not None and self.url.startswith("http:"):
            raise ValueError("`client_cert` needs an https:// address in `url`: without TLS no certificate is shown")
        return self


ErpSettings = Annotated[TrytonErp | RestErp, Field(discriminator="kind")]
