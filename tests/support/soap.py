"""zeep, the SOAP tool of the tests, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests
import zeep
from zeep.transports import Transport


def soap_client(wsdl: bytes, folder: Path, transport: Transport | None = None) -> Any:
    """A client of zeep's that has read `wsdl` from a file in `folder`, as SOAP tools do."""
    file = folder / "service.wsdl"
    file.write_bytes(wsdl)
    return zeep.Client(str(file), transport=transport)  # type: ignore[no-untyped-call]


class Loopback(Transport):
    """Answers each call with `answer`, and keeps what zeep would have sent."""

    def __init__(self, answer: bytes, status: int = 200) -> None:
        """Take the answer's body and HTTP status."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.answer = answer
        self.status = status
        self.sent = b""

    def post(self, address: str, message: bytes, headers: dict[str, str]) -> requests.Response:
        """Take a call."""
        del address, headers
        self.sent = message
        response = requests.Response()
        response.status_code = self.status
        response.headers["Content-Type"] = "text/xml; charset=utf-8"
        response._content = self.answer
        return response
