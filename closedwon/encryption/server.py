"""The codec server: decodes and encodes payloads for Temporal's UI and command line.

The protocol is Temporal's: `POST /decode` and `/encode` with `{"payloads": [...]}`, protobuf as JSON, in both
directions. A caller can read customers' data, so every caller is authenticated. Payloads are never logged.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final

import jwt
from aiohttp import web
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from closedwon.encryption.codec import CodecError, EncryptionCodec, codec
from closedwon.encryption.signing_keys import KeysUnavailableError, SigningKeys
from closedwon.errors import ClosedwonError
from closedwon.safe_text import log
from closedwon.settings import Codec, CodecSettings, Tokens
from closedwon.settings.values import is_loopback
from closedwon.telemetry.bounded import BoundedLog

_log = logging.getLogger(__name__)

_LARGEST: Final = 8 * 1024 * 1024
"""Bytes of a request: Temporal's messages have at most 4 MB, and base64 adds a third."""
_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Asymmetric ones only: with a symmetric one, anyone who can verify a token can also forge one."""
_EXTRAS: Final = "Authorization-Extras"
"""Temporal's UI sends the id token here, because some identity providers issue access tokens that are not JWTs."""
_PATIENCE: Final = 10.0
"""Seconds for a body to arrive."""
_PARALLEL: Final = 4
"""Requests that are worked on at the same time: each may take some hundred MB."""
_CHUNK: Final = 100
"""Payloads that are coded in one go: about a millisecond."""
_NO_KEYS: Final = "the keys for tokens are unavailable at the moment"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Coding = Callable[[Sequence[Payload]], Awaitable[list[Payload]]]


class CodecServerError(ClosedwonError):
    """The server cannot start with these settings."""


class _NotServedError(Exception):
    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Callers:
    """Authenticates the callers of the server."""

    def __init__(self, settings: Codec) -> None:
        self._bounded = BoundedLog(_log)
        self._token = settings.token.get_secret_value() if settings.token else None
        self._tokens = settings.tokens
        self._keys = SigningKeys(settings.tokens.keys) if settings.tokens else None

    async def close(self) -> None:
        """Release connections."""
        if self._keys is not None:
            await self._keys.close()

    async def name(self, request: web.Request) -> str:
        """Return the name of the caller, for the log. Raises `_NotServedError`."""
        if self._token is None and self._tokens is None:
            return "this machine"
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise _NotServedError(HTTPStatus.UNAUTHORIZED, "an `Authorization: Bearer ...` header is required")
        if self._token is not None and secrets.compare_digest(_bytes(given), _bytes(self._token)):
            return "the token"
        for text in (given, request.headers.get(_EXTRAS, "")):
            subject = await self._subject(text)
            if subject is not None:
                return subject
        raise _NotServedError(HTTPStatus.UNAUTHORIZED, "this server does not accept the token; sign in again")

    async def _subject(self, text: str) -> str | None:
        is_jwt = text.isascii() and text.count(".") == 2  # noqa: PLR2004 - it has three parts
        if self._tokens is None or self._keys is None or not is_jwt:
            return None
        try:
            return _verified(text, await self._keys.of(text), self._tokens)
        except KeysUnavailableError as error:
            self._bounded.warning("keys", "codec.tokens.keys %s", error)
            raise _NotServedError(HTTPStatus.SERVICE_UNAVAILABLE, _NO_KEYS) from error
        except jwt.PyJWTError as error:
            self._bounded.warning("token", "a token was rejected: %s", type(error).__name__)
            return None


def _bytes(header: str) -> bytes:
    return header.encode(errors="surrogateescape")


def _verified(text: str, key: jwt.PyJWK, tokens: Tokens) -> str:
    claims = jwt.decode(
        text,
        key,
        algorithms=_ALGORITHMS,
        audience=tokens.audience,
        issuer=tokens.issuer,
        options={"require": ["exp", "sub"]},
    )
    return str(claims["sub"])


class CodecServer:
    """Listens, authenticates callers, decodes and encodes."""

    def __init__(self, settings: CodecSettings) -> None:
        """Raises `KmsError`, and `CodecServerError` if the server would be open to other machines without a token."""
        self._settings = settings.codec
        self._codec: EncryptionCodec = codec(settings.encryption)
        self._callers = _Callers(settings.codec)
        self._bounded = BoundedLog(_log)
        self._work = asyncio.Semaphore(_PARALLEL)
        self._runner: web.AppRunner | None = None
        self.address = ""
        """The URL of the server; empty before `start`."""
        if not (settings.codec.token or settings.codec.tokens or is_loopback(settings.codec.host)):
            raise CodecServerError(
                f"On {settings.codec.host} anyone who can reach the server could read customers' data: set codec.token "
                'or codec.tokens, or codec.host = "127.0.0.1"'
            )

    async def start(self) -> None:
        """Open the port. Raises `CodecServerError`."""
        app = web.Application(middlewares=[self._guard], client_max_size=_LARGEST)
        app.router.add_post("/decode", self._answers("decoded", self._codec.decode))
        app.router.add_post("/encode", self._answers("encoded", self._codec.encode))
        app.router.add_get("/livez", _alive)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        host, port = self._settings.host, self._settings.port
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise CodecServerError(
                f"Port {port} on {host} cannot be opened ({error.strerror}): set codec.host and codec.port, or --host "
                "and --port, to an address of this machine and a free port"
            ) from error
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Close the port."""
        if self._runner is not None:
            await self._runner.cleanup()
        await self._callers.close()

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Allow programs (which send no origin) and pages of our UIs. Add CORS headers to all responses."""
        origin = request.headers.get("Origin")
        if origin is not None and origin not in self._settings.origins:
            self._bounded.warning("origin", "refused: a page of %r is not one of codec.origins", origin[:200])
            text = "pages of this origin are not allowed; add it to codec.origins\n"
            return web.Response(status=HTTPStatus.FORBIDDEN, text=text)
        answer = await self._answer(request, handler)
        if origin is not None:
            answer.headers.update({"Access-Control-Allow-Origin": origin, "Vary": "Origin"})
        return answer

    async def _answer(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return _preflight(request)
        try:
            return await handler(request)
        except _NotServedError as error:
            text = "%s from %s refused: %s"
            self._bounded.warning(f"refused {error.status}", text, log(request.path), request.remote, error)
            headers = {"WWW-Authenticate": "Bearer"} if error.status is HTTPStatus.UNAUTHORIZED else None
            return web.Response(status=error.status, text=f"{error}\n", headers=headers)
        except web.HTTPException as error:
            return web.Response(status=error.status, text=f"{error.reason}\n")

    def _answers(self, what: str, coding: _Coding) -> _Handler:
        async def handle(request: web.Request) -> web.Response:
            caller = await self._callers.name(request)
            body = await _read(request)
            async with self._work:
                payloads = await asyncio.to_thread(_parse, body)
                try:
                    coded = Payloads(payloads=await _in_chunks(coding, payloads))
                except CodecError as error:
                    raise _NotServedError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
                text = await asyncio.to_thread(json_format.MessageToJson, coded, indent=None)
            _log.info("%s %d payloads for %s", what, len(payloads), caller)
            return web.Response(
                text=text,
                content_type="application/json",
                headers={"Cache-Control": "no-store"},
            )

        return handle


def _preflight(request: web.Request) -> web.Response:
    """Allow the request of a page, with any headers that this version of the UI sends."""
    asked = "Access-Control-Request-"
    headers = {
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Allow-Headers": request.headers.get(f"{asked}Headers", "content-type"),
        "Access-Control-Max-Age": "600",
    }
    if f"{asked}Private-Network" in request.headers:  # a page of the internet calls a server of this network
        headers["Access-Control-Allow-Private-Network"] = "true"
    return web.Response(status=HTTPStatus.NO_CONTENT, headers=headers)


async def _read(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await request.read()
    except TimeoutError:
        raise _NotServedError(HTTPStatus.REQUEST_TIMEOUT, "the body did not arrive in time") from None


async def _in_chunks(coding: _Coding, payloads: Sequence[Payload]) -> list[Payload]:
    """Code some at a time, and let other requests go on in between."""
    coded: list[Payload] = []
    for start in range(0, len(payloads), _CHUNK):
        coded += await coding(payloads[start : start + _CHUNK])
        await asyncio.sleep(0)
    return coded


def _parse(body: bytes) -> Sequence[Payload]:
    try:
        return json_format.Parse(body, Payloads(), ignore_unknown_fields=True).payloads
    except (json_format.ParseError, UnicodeDecodeError, RecursionError):
        # The error's own text quotes the request.
        raise _NotServedError(
            HTTPStatus.BAD_REQUEST, 'the body must be {"payloads": [...]}, protobuf as JSON'
        ) from None


async def _alive(_request: web.Request) -> web.Response:
    return web.json_response({"alive": True})


async def serve(settings: CodecSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises `ClosedwonError` when it cannot start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = CodecServer(settings)
    try:
        await server.start()
        _log.info(
            "codec server at %s, for pages of %s", server.address, ", ".join(settings.codec.origins) or "no origin"
        )
        await stop.wait()
    finally:
        await server.stop()
    _log.info("stopped")
