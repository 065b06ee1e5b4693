"""SOAP `login()` and `logout()`, which older clients use, at `/services/Soap/u/<version>` and `.../c/<version>`.

Login exists up to version 64.0 (SOAP API Developer Guide, "API End-of-Life"); nothing else of the SOAP API is here.
No HTTP library: a path and a body in, a status and XML out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.sax.saxutils import escape

from lxml import etree

from closedwon.emulators.salesforce.api.calls import OLDEST
from closedwon.emulators.salesforce.api.oauth import App, OAuth
from closedwon.ids import OrgId

_LAST_WITH_LOGIN = 64
_PATH = re.compile(r"^/services/Soap/([uc])/(\d+)\.\d+(?:/\w+)?/?$")
_ENVELOPE = "{http://schemas.xmlsoap.org/soap/envelope/}"
_NAMESPACES = {"u": "urn:partner.soap.sforce.com", "c": "urn:enterprise.soap.sforce.com"}
_FAULTS = {"u": "urn:fault.partner.soap.sforce.com", "c": "urn:fault.enterprise.soap.sforce.com"}
_OK, _FAILED = 200, 500
_WRONG_PASSWORD = "Invalid username, password, security token; or user locked out."  # noqa: S105 - a message


@dataclass(frozen=True)
class SoapResponse:
    """An HTTP status and a SOAP envelope."""

    status: int
    text: str


class _FaultError(Exception):
    """A SOAP fault with Salesforce's exception code and message."""

    def __init__(self, code: str, message: str, kind: str = "UnexpectedErrorFault") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.kind = kind


class Soap:
    """Logs users in and out by SOAP."""

    def __init__(self, oauth: OAuth, org_id: OrgId, *, allows_login: bool) -> None:
        """Sessions are tokens of `oauth`. New orgs refuse `login()` unless an administrator allows it."""
        self._oauth = oauth
        self._org_id = org_id
        self._allows_login = allows_login

    def answer(self, path: str, body: bytes, origin: str) -> SoapResponse:
        """Handle a request; a refusal is a SOAP fault with HTTP 500."""
        match = _PATH.match(path)
        kind, version = (match[1], int(match[2])) if match else ("u", 0)
        try:
            return SoapResponse(_OK, _envelope(_NAMESPACES[kind], self._operate(body, kind, version, origin)))
        except _FaultError as fault:
            return SoapResponse(_FAILED, _fault(_FAULTS[kind], fault))

    def _operate(self, body: bytes, kind: str, version: int, origin: str) -> str:
        if version < OLDEST:
            raise _FaultError("UNSUPPORTED_API_VERSION", "Invalid Api version specified on URL")
        root = _parsed(body)
        content = root.find(f"{_ENVELOPE}Body")
        operation = content[0] if content is not None and len(content) else None
        name = "" if operation is None else etree.QName(operation).localname
        if operation is not None and name == "login" and version <= _LAST_WITH_LOGIN:
            return self._login(operation, f"{origin}/services/Soap/{kind}/{version}.0/{self._org_id.short}")
        if name == "logout":
            self._oauth.revoke(_text(root, "sessionId"))
            return "<logoutResponse/>"
        raise _FaultError("UNKNOWN_EXCEPTION", f"No operation available for request {name[:80]}")

    def _login(self, operation: etree._Element, server: str) -> str:
        if not self._allows_login:
            raise _FaultError("INVALID_OPERATION", "SOAP API login() is disabled by default in this org.", "LoginFault")
        app = self._oauth.app_by_password(_text(operation, "username"), _text(operation, "password"))
        if app is None:
            raise _FaultError("INVALID_LOGIN", _WRONG_PASSWORD, "LoginFault")
        return self._session(app, server)

    def _session(self, app: App, server: str) -> str:
        about = {
            "organizationId": self._org_id,
            "organizationName": "Salesforce Emulator",
            "userId": app.user_id,
            "userName": escape(app.username),
            "userEmail": escape(app.username),
            "userLanguage": "en_US",
            "userLocale": "en_US",
        }
        result = {
            "metadataServerUrl": escape(re.sub(r"/Soap/./", "/Soap/m/", server)),
            "passwordExpired": "false",
            "sandbox": "true",
            "serverUrl": escape(server),
            "sessionId": escape(self._oauth.issue(app.user_id)),
            "userId": app.user_id,
            "userInfo": _elements(about),
        }
        return f"<loginResponse><result>{_elements(result)}</result></loginResponse>"


def _parsed(body: bytes) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True)
    try:
        return etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise _FaultError("INVALID_SOAP_HEADER", "the request is not valid XML") from None


def _text(element: etree._Element, name: str) -> str:
    """The text of the first element with a local name, in any namespace."""
    return next((found.text or "" for found in element.iter(f"{{*}}{name}")), "")


def _elements(texts: dict[str, str]) -> str:
    return "".join(f"<{name}>{text}</{name}>" for name, text in texts.items())


def _envelope(namespace: str, content: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
        f'xmlns:soapenv="{_ENVELOPE[1:-1]}" xmlns="{namespace}" '
        f'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>{content}</soapenv:Body></soapenv:Envelope>'
    )


def _fault(namespace: str, fault: _FaultError) -> str:
    code, message = fault.code, escape(fault.message)
    return (
        '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
        f'xmlns:soapenv="{_ENVELOPE[1:-1]}" xmlns:sf="{namespace}" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><soapenv:Fault>'
        f"<faultcode>sf:{code}</faultcode><faultstring>{code}: {message}</faultstring>"
        f'<detail><sf:{fault.kind} xsi:type="sf:{fault.kind}"><sf:exceptionCode>{code}</sf:exceptionCode>'
        f"<sf:exceptionMessage>{message}</sf:exceptionMessage></sf:{fault.kind}></detail>"
        "</soapenv:Fault></soapenv:Body></soapenv:Envelope>"
    )
