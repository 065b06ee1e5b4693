"""Write Closedwon's settings and credentials for the emulator and the stub ERP, from what these have written.

    python prepare.py FOLDER

The folder has `org/connection.json` and `stub/connection.json`; `closedwon.toml` and `credentials/` are written there.
An encryption key and a codec token are made once and kept.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from importlib import resources
from pathlib import Path
from string import Template

_PLAIN = "[encryption]\nenabled = false\n"
_ENCRYPTED = """[encryption]
keys = [{ id = "compose", key = { credential = "payload-key" } }]

[codec]
token = { credential = "codec-token" }
"""


def main(folder: Path) -> None:
    """Write everything; what is there already is replaced, except for the key and the token."""
    org = json.loads((folder / "org" / "connection.json").read_text(encoding="utf-8"))
    erp = json.loads((folder / "stub" / "connection.json").read_text(encoding="utf-8"))
    credentials = folder / "credentials"
    credentials.mkdir(mode=0o700, exist_ok=True)
    secrets = {"salesforce-secret": org["client_secret"], "erp-token": erp["token"]}
    if not (credentials / "payload-key").exists():
        secrets |= {"payload-key": base64.b64encode(os.urandom(32)).decode(), "codec-token": os.urandom(24).hex()}
    for name, secret in secrets.items():
        (credentials / name).write_text(secret, encoding="utf-8")
    template = resources.files("closedwon.demo").joinpath("closedwon.template.toml").read_text(encoding="utf-8")
    text = Template(template).substitute(
        org_id=org["org_id"],
        org_url=org["url"],
        client_id=org["client_id"],
        stream='stream = "cometd"',
        erp="stub",
        erp_kind="rest",
        erp_url=erp["url"],
        erp_secret="token",
        channel='events = ["/event/Order_Requested__e"]',
        intake="",
    )
    text = text.replace('{ env = "DEMO_ORG_SECRET" }', '{ credential = "salesforce-secret" }')
    text = text.replace('{ env = "DEMO_ERP_SECRET" }', '{ credential = "erp-token" }').replace(_PLAIN, _ENCRYPTED)
    (folder / "closedwon.toml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
