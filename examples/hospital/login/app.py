"""The service's two routes, and the limits before the first.

    POST /login    {"account": "...", "password": "..."}  ->  {"token": "...", "expires_in": 900}
    GET /session   Authorization: Bearer <token>           ->  {"account": "..."}

Two rules stand before the login, both of the policy `auth`, ten in any minute:

- *by caller*, the address: nobody guesses at many accounts;
- *by account*: nobody guesses at one account from many addresses.

The caller comes first. Who is refused as a caller does not use up the account's ten. Still, whoever knows an account's
name and has an address to spare can keep its owner out by ten wrong guesses a minute; that is the price of a limit by
account, and a hospital pays it rather than let passwords be guessed. The limit counts names, whether or not there is
such an account, so it does not tell which exist; and it is not advertised, for what it leaves would tell a stranger
when somebody logs in. When the limits cannot be asked, nobody logs in: both fail closed.
"""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sidecar_client import Rule, SidecarError
from sidecar_client.asgi import HttpRequest, RateLimitMiddleware, address_key
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from login.credentials import MAX_BODY_BYTES, credentials_of
from login.passwords import matches
from login.sessions import SESSION_SECONDS, Sessions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sidecar_client import SidecarClient
    from starlette.requests import Request

    from login.accounts import Accounts

_log = logging.getLogger("login")

_NOT_STORED = {"Cache-Control": "no-store"}
_BEARER = {"WWW-Authenticate": "Bearer"}


def make_app(accounts: Accounts, sidecar: SidecarClient) -> Starlette:
    """Return the service; it opens the client of the sidecar when it starts."""
    service = LoginService(accounts, Sessions(sidecar))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with sidecar:
            yield
        service.close()

    limits = Middleware(RateLimitMiddleware, sidecar=sidecar, rules=rules_of(accounts))
    return Starlette(
        routes=[
            Route("/login", service.login, methods=["POST"], middleware=[limits]),
            Route("/session", service.session, methods=["GET"]),
        ],
        exception_handlers={SidecarError: _unavailable},
        lifespan=lifespan,
    )


def rules_of(accounts: Accounts) -> Sequence[Rule[HttpRequest]]:
    """Return the limits before the login, in their order."""

    def by_caller(request: HttpRequest) -> str:
        return accounts.key("caller", address_key(request))

    async def by_account(request: HttpRequest) -> str | None:
        credentials = credentials_of(await request.body(MAX_BODY_BYTES))
        return None if credentials is None else accounts.key("account", credentials.account)

    return [
        Rule(policy="auth", name="caller", key=by_caller, on_failure="closed", window=60),
        Rule(policy="auth", name="account", key=by_account, on_failure="closed", advertise=False),
    ]


class LoginService:
    """The routes. What they log says what happened, and not to whom."""

    def __init__(self, accounts: Accounts, sessions: Sessions) -> None:
        self._accounts = accounts
        self._sessions = sessions
        # A hash takes a core for tens of milliseconds, and 19 MiB: no more at once than there are cores.
        self._hashing = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="hashing")

    def close(self) -> None:
        """Let the threads end."""
        self._hashing.shutdown()

    async def login(self, request: Request) -> Response:
        """Answer `POST /login`: 200 with a token, 401 for a wrong name or password, 400 for anything else."""
        credentials = credentials_of(await request.body())
        if credentials is None:
            return JSONResponse({"error": "send an account and a password, as JSON"}, 400)
        kept = self._accounts.hashes.get(credentials.account)
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(self._hashing, matches, credentials.password, kept):
            _log.info("a login with a wrong name or password")
            return JSONResponse({"error": "wrong account or password"}, 401, _BEARER)
        token = await self._sessions.begin(credentials.account)
        _log.info("a login")
        return JSONResponse({"token": token, "expires_in": SESSION_SECONDS}, headers=_NOT_STORED)

    async def session(self, request: Request) -> Response:
        """Answer `GET /session`: 200 with the account's name, 401 without a session."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        account = await self._sessions.account(token) if scheme.lower() == "bearer" and token else None
        if account is None:
            return JSONResponse({"error": "log in first"}, 401, _BEARER)
        return JSONResponse({"account": account}, headers=_NOT_STORED)


async def _unavailable(_: Request, error: Exception) -> Response:
    _log.warning("the sidecar failed: %s", error)
    return JSONResponse({"error": "try again in a moment"}, 503, {"Retry-After": "1"})
