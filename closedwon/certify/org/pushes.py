"""Checks of what the org sends: outbound messages, with and without a client certificate, and callouts."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from closedwon.certify.check import FailedError, NotOfferedError, require
from closedwon.certify.org.bench import DEAL, OrgBench, check
from closedwon.certify.org.listener import Arrived, Listener, Own
from closedwon.ids import RecordId
from closedwon.mapping.orders import deleted_record_of
from closedwon.salesforce.push import callout as callouts
from closedwon.salesforce.push import outbound as messages
from closedwon.salesforce.push import signature
from closedwon.settings import Intake, Outbound
from closedwon.settings.exposure import plain_fingerprint

_NOT_USED: Final = "The other channels are not affected."


def _intake(bench: OrgBench) -> Intake:
    if bench.plan.intake is None:
        raise NotOfferedError("the settings have no [intake]", _NOT_USED)
    return bench.plan.intake


def _outbound(bench: OrgBench) -> Outbound:
    if bench.plan.route.outbound is None:
        raise NotOfferedError("the route accepts no outbound messages", _NOT_USED)
    return bench.plan.route.outbound


def _own(bench: OrgBench) -> Own:
    return Own(bench.plan.org.id, bench.plan.route, bench.deals)


async def _arrival(bench: OrgBench, listener: Listener, kind: str, record: RecordId) -> Arrived:
    prefix, seconds = f"/{kind}/{bench.plan.route.name}", bench.plan.wait.total_seconds()
    found = await listener.wait(lambda one: one.path.startswith(prefix) and one.names(record), seconds)
    if found is None:
        other = await listener.wait(lambda one: one.names(record), 0)
        elsewhere = "; something about it came to another path" if other is not None else ""
        raise FailedError(f"nothing about the deal came to {prefix} within {seconds:.0f} s{elsewhere}")
    return found


def _require_secret(path: str, settings: Outbound) -> None:
    """Compare the path's secret without showing it."""
    if settings.path_secrets:
        parts = path.removesuffix("/tombstones").split("/")
        given = parts[3] if len(parts) > 3 else ""  # noqa: PLR2004 - ["", "outbound", route, secret]
        secrets = (one.get_secret_value().encode() for one in settings.path_secrets)
        require(any(hmac.compare_digest(given.encode(), one) for one in secrets), "its path has another path secret")


@check(
    "outbound",
    "When a person wins a deal, an outbound message arrives at intake's address.",
    "Deals of this channel arrive only by sweeps. See its delivery status in *Setup → Outbound Messages*; the endpoint "
    "must be reachable from Salesforce, and its certificate signed by an authority that Salesforce knows.",
)
async def outbound(bench: OrgBench) -> str:
    """SOAP API Developer Guide, "Outbound Messaging". No client certificate is requested."""
    settings = _outbound(bench)
    async with Listener.running(_intake(bench), _own(bench)) as listener:
        found = await _arrival(bench, listener, "outbound", await bench.won_deal())
    message = messages.parse(found.body, found.charset)
    _require_secret(found.path, settings)
    session = "with" if message.session is not None else "without"
    return f"{len(message.notifications)} notification(s) of {message.object or DEAL}, {session} a session id"


@check(
    "outbound-certificate",
    "The org shows the client certificate that the settings demand.",
    "With this setting intake refuses every message. Set the API client certificate (*Setup → Certificate and Key "
    "Management*), and compare `client_ca` and the fingerprints.",
)
async def outbound_certificate(bench: OrgBench) -> str:
    """Salesforce Help, "Outbound Message Actions": the org shows a certificate if the server requests one."""
    settings, intake = _outbound(bench), _intake(bench)
    if intake.forwarded_certificate is None and (intake.tls is None or intake.tls.client_ca is None):
        raise NotOfferedError("the settings demand no client certificate", "A path secret must prove the org then.")
    async with Listener.running(intake, _own(bench), asks_certificate=True) as listener:
        found = await _arrival(bench, listener, "outbound", await bench.won_deal())
    if found.certificate is None:
        raise FailedError("the message came, but without a client certificate")
    fingerprint, names = hashlib.sha256(found.certificate).hexdigest(), _names(found.certificate)
    wanted = intake.forwarded_certificate or intake.tls
    allowed = {*settings.client_fingerprints, *(wanted.client_fingerprints if wanted is not None else ())}
    subjects = set(wanted.client_subjects if wanted is not None else ())
    is_allowed = fingerprint in set(map(plain_fingerprint, allowed)) or bool(subjects & set(names))
    require(
        is_allowed or not (allowed or subjects),
        f"the org shows {', '.join(names)} with the fingerprint {fingerprint}, which the settings do not allow",
    )
    return f"the org shows {', '.join(names)} with the fingerprint {fingerprint}"


def _names(certificate: bytes) -> list[str]:
    subject = x509.load_der_x509_certificate(certificate).subject
    return [str(one.value) for one in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]


@check(
    "tombstone",
    "When a person deletes a won deal, an outbound message reports it.",
    "The order of a deleted deal stays until a sweep finds the deletion, if it can (see `deleted`). Deploy "
    "`outbound-message.xml`, and assign *Closedwon Tombstones* to the user of the message.",
)
async def tombstone(bench: OrgBench) -> str:
    """Our own trigger makes a record of each deletion: a deletion by itself sends no message."""
    settings = _outbound(bench)
    if settings.tombstone is None:
        raise NotOfferedError("the route has no `outbound.tombstone`", "Sweeps look for deletions.")
    intake, record = _intake(bench), await bench.won_deal()
    async with Listener.running(intake, _own(bench)) as listener:
        await bench.delete(DEAL, record)
        seconds = bench.plan.wait.total_seconds()
        found = await listener.wait(lambda one: one.path.endswith("/tombstones") and one.names(record), seconds)
    if found is None:
        where = settings.tombstone.record_id
        raise FailedError(f"nothing about the deletion, with the deal in {where}, came within {seconds:.0f} s")
    message = messages.parse(found.body, found.charset)
    _require_secret(found.path, settings)
    sent = [deleted_record_of(bench.plan.route, settings.tombstone, one.fields or {}) for one in message.notifications]
    require(record in sent, f"the message does not have the deal in {settings.tombstone.record_id}")
    return f"the message names the deal in {settings.tombstone.record_id}"


@check(
    "callout",
    "When a person wins a deal, a signed callout arrives by the named credential.",
    "Deals of this channel are not notified. See *Setup → Apex Jobs*. The person needs *Closedwon Caller*; the key is "
    "set by `ClosedwonCallout.setKey` in this very org; the external credential must suit the org.",
)
async def callout(bench: OrgBench) -> str:
    """Apex Developer Guide, "Invoking HTTP Callouts"."""
    settings = bench.plan.route.callouts
    if settings is None:
        raise NotOfferedError("the route accepts no callouts", _NOT_USED)
    async with Listener.running(_intake(bench), _own(bench)) as listener:
        found = await _arrival(bench, listener, "callouts", await bench.won_deal())
    try:
        signature.verify(
            found.headers,
            found.body,
            settings.keys,
            datetime.now(UTC),
            signature.SeenSignatures(),
            path=f"/callouts/{bench.plan.route.name}",
        )
    except signature.SignatureError as error:
        raise FailedError(f"it came, but its signature is refused: {error}") from None
    if found.path.endswith("/soap"):
        call = callouts.parse_soap(found.body, found.charset)
    else:
        call = callouts.parse_json(found.body, found.headers)
    return f"{len(call.items)} record(s), signed with a key of the route"


ALL: Final = (outbound, outbound_certificate, tombstone, callout)
