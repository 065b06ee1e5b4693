"""The codec server decodes for authorized users, also in Temporal's command line, and for no one else."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from google.protobuf import json_format
from jwt.algorithms import RSAAlgorithm
from pydantic import SecretStr
from temporalio.api.common.v1 import Payloads

from closedwon.encryption.codec import data_converter
from closedwon.encryption.server import CodecServer, CodecServerError
from closedwon.names import OrderStage
from closedwon.settings import Codec, CodecSettings, Encryption, Tokens
from tests.support.command import temporal
from tests.support.encryption import fresh_key, keyed, settings_file
from tests.support.handoff import handoff
from tests.support.salesforce import serving

UI = "http://localhost:8233"
VALUE = "Zebrafink Handels GmbH"


class Answer(NamedTuple):
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    text: str


class Server:
    """A codec server, and what its guests say to it."""

    def __init__(self, address: str, encryption: Encryption) -> None:
        self.address = address
        self._converter = data_converter(encryption)

    async def stored(self) -> dict[str, Any]:
        """A payload as Temporal has it."""
        return json_format.MessageToDict(Payloads(payloads=await self._converter.encode([VALUE])))

    async def ask(self, path: str, body: Any = None, method: str = "POST", **headers: str) -> Answer:
        """Send a request; keyword `Content_Type` is the header `Content-Type`."""
        data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        async with aiohttp.request(method, self.address + path, data=data, headers=names) as answer:
            return Answer(answer.status, answer.headers, await answer.text())

    async def status(self, headers: bytes) -> int:
        """Send headers that no client would send."""
        reader, writer = await asyncio.open_connection(*self.address.removeprefix("http://").split(":"))
        writer.write(b"POST /decode HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n" + headers + b"\r\n\r\n{}")
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return int(line.split()[1])

    async def decode(self, **headers: str) -> Answer:
        """Have a value decoded."""
        return await self.ask("/decode", await self.stored(), **headers)


@asynccontextmanager
async def running(
    encryption: Encryption | None = None, *, lists: Encryption | None = None, **codec: Any
) -> AsyncIterator[Server]:
    """Run a server with the keys that `lists` has, for payloads that were encrypted by `encryption`."""
    encryption = encryption or keyed()
    server = CodecServer(CodecSettings(encryption=lists or encryption, codec=Codec(port=0, **codec)))
    await server.start()
    try:
        yield Server(server.address, encryption)
    finally:
        await server.stop()


async def test_what_was_encoded_is_decoded_and_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Both ways of the protocol; the log says how many payloads went to whom, but not what is in them."""
    caplog.set_level(logging.DEBUG)
    async with running() as server:
        answer = await server.decode()
        assert (200, "no-store") == (answer.status, answer.headers["Cache-Control"])
        plain = json.loads(answer.text)
        assert VALUE == await _only_value(plain)
        encoded = json.loads((await server.ask("/encode", plain)).text)
        assert plain != encoded
        assert VALUE == await _only_value(json.loads((await server.ask("/decode", encoded)).text))
    assert "decoded 1 payloads for this machine" in caplog.text
    assert "Zebrafink" not in caplog.text
    assert plain["payloads"][0]["data"] not in caplog.text


async def _only_value(payloads: dict[str, Any]) -> object:
    (value,) = await data_converter(Encryption(enabled=False)).decode(
        json_format.ParseDict(payloads, Payloads()).payloads, [str]
    )
    return value


async def test_temporals_command_line_shows_and_sends_through_it() -> None:
    """It reads an order's history, its story and its answers, and what it sends is encrypted as well."""
    encryption = keyed()
    async with handoff(encryption=encryption) as world, world.working():
        world.org.seed(1)
        world.erp.faults.reject = 1
        (record,) = world.org.win_next(1)
        await world.until_stage(record, OrderStage.ATTENTION)
        customer = world.org.query("SELECT Account.Name FROM Opportunity")[0]["Account"]["Name"]
        order = ("-w", world.order(record).id)
        async with running(encryption, token=SecretStr("a-token-that-was-made-for-one-test")) as server:
            asked = ("--codec-endpoint", server.address, "--codec-auth", "Bearer a-token-that-was-made-for-one-test")
            sent = await temporal(
                world.client,
                "workflow",
                "update",
                "execute",
                *order,
                "--name",
                "retry",
                "--input",
                '"Sauerampfer"',
                *asked,
            )
            assert "The record is read again now" in sent.text
            await world.until_stage(record, OrderStage.COMPLETED)
            shown = await temporal(world.client, "workflow", "show", *order, "--detailed", *asked)
            story = await temporal(world.client, "workflow", "metadata", *order, *asked)
        stored = (await world.order(record).fetch_history()).to_json()

    assert customer in shown.text
    assert "the ERP refuses" in shown.text
    assert "Sauerampfer" in story.text
    assert b64encode(b'"Sauerampfer"').decode() not in stored


async def test_a_page_of_our_ui_may_ask_and_no_other_page() -> None:
    """Another page in the operator's browser gets nothing, not even the browser's leave to try."""
    async with running() as server:
        ours = await server.decode(Origin=UI)
        assert (200, UI, "Origin") == (ours.status, ours.headers["Access-Control-Allow-Origin"], ours.headers["Vary"])
        other = await server.decode(Origin="https://evil.example")
        assert (403, None) == (other.status, other.headers.get("Access-Control-Allow-Origin"))
        assert "codec.origins" in other.text
        assert VALUE not in other.text


async def test_a_preflight_request_is_answered() -> None:
    """Also if the UI is on the internet and the server in a private network."""
    asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "content-type,x-namespace"}
    async with running(token=SecretStr("a-token-that-was-made-for-one-test")) as server:
        leave = await server.ask("/decode", method="OPTIONS", Origin=UI, **asked)
        assert (204, UI) == (leave.status, leave.headers["Access-Control-Allow-Origin"])
        assert "content-type,x-namespace" == leave.headers["Access-Control-Allow-Headers"]
        assert "Access-Control-Allow-Private-Network" not in leave.headers
        near = await server.ask(
            "/decode", method="OPTIONS", Origin=UI, Access_Control_Request_Private_Network="true", **asked
        )
        assert "true" == near.headers["Access-Control-Allow-Private-Network"]
        foreign = await server.ask("/decode", method="OPTIONS", Origin="https://evil.example", **asked)
        assert 403 == foreign.status


async def test_with_a_token_only_its_holder_is_answered() -> None:
    """The right one, and nothing that resembles it; the browser may read the refusal."""
    async with running(token=SecretStr("the-right-token-made-for-one-test")) as server:
        assert 200 == (await server.decode(Authorization="Bearer the-right-token-made-for-one-test")).status
        for wrong in (
            "Bearer the-wrong-token",
            "Bearer ",
            "the-right-token-made-for-one-test",
            "Basic the-right-token-made-for-one-test",
        ):
            answer = await server.decode(Authorization=wrong)
            assert (401, "Bearer") == (answer.status, answer.headers["WWW-Authenticate"])
        refused = await server.decode(Origin=UI)
        assert (401, UI) == (refused.status, refused.headers["Access-Control-Allow-Origin"])
        assert 401 == (await server.ask("/encode", await server.stored())).status
        assert 200 == (await server.ask("/livez", method="GET")).status


async def test_an_address_of_six_parts_is_printed_as_a_browser_accepts_it() -> None:
    """Copied from the log into Temporal's UI, it must work."""
    async with running(host="::1") as server:
        assert 200 == (await server.decode()).status


def test_a_server_that_would_decode_for_everybody_does_not_start() -> None:
    """Without a token it listens to its own machine only."""
    for host in ("0.0.0.0", "::", "codec.example.com"):  # noqa: S104 - that is the point
        with pytest.raises(CodecServerError, match=r"set codec.token or codec.tokens, or codec.host"):
            CodecServer(CodecSettings(encryption=keyed(), codec=Codec(host=host)))
    codec = Codec(host="0.0.0.0", token=SecretStr("a-token-that-was-made-for-one-test"))  # noqa: S104
    CodecServer(CodecSettings(encryption=keyed(), codec=codec))


ISSUER, AUDIENCE = "https://idp.example.com", "temporal-ui"
_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@asynccontextmanager
async def with_sign_in() -> AsyncIterator[Server]:
    """A server that takes the tokens of an identity provider."""

    async def keys(_request: web.Request) -> web.Response:
        public = json.loads(RSAAlgorithm.to_jwk(_RSA.public_key()))
        return web.json_response({"keys": [{**public, "kid": "k1", "use": "sig", "alg": "RS256"}]})

    async with (
        serving({"GET /keys": keys}) as address,
        running(tokens=Tokens(keys=f"{address}/keys", issuer=ISSUER, audience=AUDIENCE)) as server,
    ):
        yield server


def _id_token(key: rsa.RSAPrivateKey = _RSA, algorithm: str = "RS256", **claims: Any) -> str:
    payload = {"sub": "jane", "iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60, **claims}
    return jwt.encode(
        {name: value for name, value in payload.items() if value is not None}, key, algorithm, {"kid": "k1"}
    )


async def test_who_has_signed_in_to_temporals_ui_is_answered_by_name(caplog: pytest.LogCaptureFixture) -> None:
    """Also where the access token is opaque and the UI adds the id token; the log says who it was, and no token."""
    caplog.set_level(logging.INFO)
    token = _id_token()
    async with with_sign_in() as server:
        assert 200 == (await server.decode(Authorization=f"Bearer {token}", Origin=UI)).status
        assert 200 == (await server.decode(Authorization="Bearer opaque", Authorization_Extras=token)).status
    assert 2 == caplog.text.count("decoded 1 payloads for jane")
    assert token not in caplog.text


@pytest.mark.parametrize(
    "token",
    [
        _id_token(exp=time.time() - 60),
        _id_token(exp=None),
        _id_token(aud="another-app"),
        _id_token(iss="https://evil.example"),
        _id_token(_STRANGER),
        jwt.encode({"sub": "jane", "iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60}, "", "none", {"kid": "k1"}),
        "not.a.token",
        "opaque",
    ],
    ids=["expired", "no end", "other audience", "other issuer", "other key", "unsigned", "garbage", "opaque"],
)
async def test_a_token_that_proves_nothing_is_refused(token: str) -> None:
    """No one reads customers' data with a token of the past, of another app, or of his own making."""
    async with with_sign_in() as server:
        assert 401 == (await server.decode(Authorization=f"Bearer {token}")).status


async def test_headers_with_invalid_bytes_are_refused() -> None:
    """Bytes of no encoding, where a token should be, are an unknown token, not an error of the server."""
    broken = b"h\xff.e\xff.x"
    async with with_sign_in() as server:
        assert 401 == await server.status(b"Authorization: Bearer " + broken)
        assert 401 == await server.status(b"Authorization: Bearer x\r\nAuthorization-Extras: " + broken)
    async with running(token=SecretStr("a-token-that-was-made-for-one-test")) as server:
        assert 401 == await server.status(b"Authorization: Bearer " + broken)


async def test_invalid_keys_of_the_identity_provider_are_not_the_tokens_fault() -> None:
    """The identity provider's address shows a page in place of its keys: the settings are wrong, not who asks."""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="<html>")

    async with serving({"GET /keys": page}) as address:
        tokens = Tokens(keys=f"{address}/keys", issuer=ISSUER, audience=AUDIENCE)
        async with running(tokens=tokens) as server:
            assert 503 == (await server.decode(Authorization=f"Bearer {_id_token()}")).status


async def test_an_identity_provider_that_is_down_is_not_the_tokens_fault() -> None:
    """The answer asks the operator to try later, not to sign in again."""
    tokens = Tokens(keys="http://127.0.0.1:9/keys", issuer=ISSUER, audience=AUDIENCE)
    async with running(tokens=tokens) as server:
        assert 503 == (await server.decode(Authorization=f"Bearer {_id_token()}")).status


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"[" * 1_000_000, 400), (b"\xff", 400), (b'{"payloads": 7}', 400), (b" " * 9_000_000, 413)],
    ids=["cut", "deep", "no text", "no payloads", "large"],
)
async def test_a_request_that_makes_no_sense_is_refused(body: bytes, status: int) -> None:
    """It neither ends the server nor is it quoted."""
    async with running() as server:
        assert status == (await server.ask("/decode", body)).status
        assert 200 == (await server.decode()).status
        assert 404 == (await server.ask("/other", b"{}", Origin=UI)).status
        assert 405 == (await server.ask("/decode", method="GET")).status


async def test_a_key_that_the_server_lacks_is_named() -> None:
    """In the UI and the command line one reads which key to add to the server."""
    async with running(keyed(fresh_key("2026-10")), lists=keyed(fresh_key("2026-11"))) as server:
        answer = await server.decode(Origin=UI)
    assert 422 == answer.status
    assert "the key '2026-10', which `encryption.keys` does not list" in answer.text


async def test_a6_tokens_of_unknown_keys_do_not_ask_the_identity_provider_again_and_again() -> None:
    """Anyone can name a key in a token; a new key of the provider is found with the first one that names it."""
    asked = 0

    async def keys(_request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        public = json.loads(RSAAlgorithm.to_jwk(_RSA.public_key()))
        return web.json_response({"keys": [{**public, "kid": "k1", "use": "sig", "alg": "RS256"}]})

    async with (
        serving({"GET /keys": keys}) as address,
        running(tokens=Tokens(keys=f"{address}/keys", issuer=ISSUER, audience=AUDIENCE)) as server,
    ):
        forged = [jwt.encode({"sub": "x"}, _STRANGER, "RS256", {"kid": f"guess-{number}"}) for number in range(10)]
        statuses = [(await server.decode(Authorization=f"Bearer {token}")).status for token in forged]

    assert {401} == set(statuses)
    assert 2 >= asked


@pytest.mark.parametrize("decodable", [True, False])
async def test_a6_many_payloads_do_not_hold_the_others(decodable: bool) -> None:  # noqa: FBT001
    """While 15,000 payloads are read and decoded, or refused, the server answers others."""
    async with running(lists=None if decodable else keyed(fresh_key("another"))) as server:
        (stored,) = (await server.stored())["payloads"]
        asked = asyncio.create_task(server.ask("/decode", {"payloads": [stored] * 15_000}))
        beside = 0
        while not asked.done():
            await server.ask("/livez", b"", method="GET")
            beside += 1

    assert (200 if decodable else 422) == (await asked).status
    assert 20 < beside


async def test_the_command_serves_until_it_is_stopped(tmp_path: Path) -> None:
    """A process of its own, with a file that has nothing but keys; stopped gently, it ends well."""
    encryption = keyed()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from closedwon.cli import main; main()"),
        *("codec", "serve", "--port", "0", "--config", str(settings_file(tmp_path, encryption))),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    began = json.loads(await process.stderr.readline())["message"]
    (address,) = re.findall(r"^codec server at (http://\S+),", began)
    assert 200 == (await Server(address, encryption).decode()).status
    process.terminate()
    _, log = await process.communicate()
    assert 0 == process.returncode
    assert "decoded 1 payloads for this machine" in log.decode()
