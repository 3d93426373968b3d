"""A web server as an origin, with a resource for each key: GET loads it, PUT stores it, DELETE removes it.

The key stands in the path, percent-encoded, so that whatever is in it stays one part of the path; what would be `.` or
`..` there is refused, since servers and proxies take these for directions. Redirects are not followed: they would lead
where nobody has configured, with what the answer's author likes in them. No more of an answer is read than a value may
be long. An answer that is compressed, which was not asked for, is refused for the same reason.

A change is sent with its token as `Idempotency-Key`. If the connection is lost meanwhile it is sent once more, which
PUT and DELETE allow (RFC 9110, 9.2.2); what has no answer then may have been made. What 5xx says about it depends: 503
is how a server says that it has not even begun, after any other the change may have been made.

The client is aiohttp's: it is kept by many, reads an answer piece by piece, and says when a request begins to be sent.
"""

from __future__ import annotations

import asyncio
import email.utils
import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from sidecar.connecting import why_not
from sidecar.errors import Reason, SidecarError
from sidecar.origins.answers import kept, too_large
from sidecar.origins.failures import LostError, bad_answer, outcome_unknown, refused, unavailable, unfit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import SimpleNamespace

    from sidecar.cache.origin import Change, OriginValue
    from sidecar.call import Call
    from sidecar.origins.gate import Exchange, Gate
    from sidecar.origins.policies import WebPolicy

_KEY: Final = "{key}"
_OK: Final = range(200, 300)
_REDIRECTS: Final = range(300, 400)
_REFUSALS: Final = range(400, 500)
# No Content, Not Found, Gone.
_NOTHING: Final = frozenset({204, 404, 410})
# Request Timeout, Too Early, Too Many Requests: the same request may do later, and was not done now. So it is with
# Unauthorized and Proxy Authentication Required, which are about this process's credentials.
_LATER: Final = frozenset({401, 407, 408, 425, 429})
# Forbidden, Not Found, Method Not Allowed: said of a change these are mostly about the route, or who may use it.
_NO_ROUTE: Final = frozenset({403, 404, 405})
_UNAVAILABLE: Final = 503
_READ_BYTES: Final = 64 << 10
_MAX_AGE: Final = re.compile(r'(?:^|[\s,])max-age\s*=\s*"?([0-9]{1,10})', re.IGNORECASE)
# A longer number of seconds is beyond any life.
_MOST_DIGITS: Final = 10
_NOT_KEPT: Final = re.compile(r"(?:^|[\s,])(?:no-store|no-cache)", re.IGNORECASE)
# A server that asks for more patience than this is taken at its word for this long.
_MOST_PATIENCE_MS: Final = 3_600_000


class WebClient:
    """The connections to one server; made when they are first used."""

    def __init__(self, policy: WebPolicy) -> None:
        self.policy = policy
        self._session: aiohttp.ClientSession | None = None

    def session(self) -> aiohttp.ClientSession:
        """Return what makes requests."""
        if self._session is None:
            policy = self.policy
            tls = True if policy.tls is None else policy.tls
            connector = (
                aiohttp.TCPConnector(limit=policy.gate.max_concurrency, ssl=tls)
                if policy.unix_socket is None
                else aiohttp.UnixConnector(policy.unix_socket, limit=policy.gate.max_concurrency)
            )
            headers = {"User-Agent": "sidecar", "Accept-Encoding": "identity"}
            if policy.bearer is not None:
                headers["Authorization"] = f"Bearer {policy.bearer}"
            if policy.media_type is not None:
                headers["Accept"] = policy.media_type
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers=headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trace_configs=[_tracing()],
                # The gate bounds the time.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            )
        return self._session

    async def close(self) -> None:
        """Hang up."""
        if self._session is not None:
            await self._session.close()


class WebOrigin:
    """What one cache has at a web server; `paths` are by what they are for: load, store, remove."""

    def __init__(self, *, client: WebClient, gate: Gate, paths: Mapping[str, str], max_value_bytes: int) -> None:
        self.name = gate.name
        self.stores = "store" in paths
        self._client = client
        self._gate = gate
        self._paths = paths
        self._max_value_bytes = max_value_bytes

    async def load(self, keys: Sequence[str], call: Call) -> Sequence[OriginValue | SidecarError | None]:
        """Return what GET says of each key, as many at a time as may be."""
        return await asyncio.gather(*(self._load_one(key, call) for key in keys))

    async def store(self, changes: Sequence[Change], call: Call) -> Sequence[SidecarError | None]:
        """Make changes by PUT and DELETE; those of one key after each other, those of others beside them."""
        places: dict[str, list[int]] = {}
        for place, change in enumerate(changes):
            places.setdefault(change.key, []).append(place)
        results: list[SidecarError | None] = [None] * len(changes)
        await asyncio.gather(*(self._store_in_order(changes, own, results, call) for own in places.values()))
        return results

    async def _store_in_order(
        self, changes: Sequence[Change], places: Sequence[int], results: list[SidecarError | None], call: Call
    ) -> None:
        stopped: SidecarError | None = None
        for place in places:
            if stopped is None:
                results[place] = result = await self._store_one(changes[place], call)
                if result is not None and result.reason is not Reason.ORIGIN_REFUSED:
                    # A later change of the key must not come before it.
                    stopped = unavailable(self.name, "has failed at a change before this one")
            else:
                results[place] = stopped

    async def _load_one(self, key: str, call: Call) -> OriginValue | SidecarError | None:
        try:
            url = self._url("load", key)
            return await self._gate.load(partial(self._get, url), call)
        except SidecarError as error:
            return error

    async def _store_one(self, change: Change, call: Call) -> SidecarError | None:
        try:
            url = self._url("store" if change.value is not None else "remove", change.key)
            await self._gate.change(partial(self._send, url, change), call)
        except SidecarError as error:
            return error
        return None

    def _url(self, purpose: str, key: str) -> URL:
        """Return where a key's resource is; raises ORIGIN_REFUSED for a key that can be in no path."""
        if purpose not in self._paths:
            raise refused(self.name, f"no_{purpose}")
        path = self._paths[purpose].replace(_KEY, quote(key, safe=""))
        if any(part in {".", ".."} for part in path.partition("?")[0].split("/")):
            raise refused(self.name, "key_in_path")
        return URL(self._client.policy.url.rstrip("/") + path, encoded=True)

    # --- what is done within the gate ---

    async def _get(self, url: URL, _exchange: Exchange) -> OriginValue | SidecarError | None:
        try:
            async with self._client.session().get(url, allow_redirects=False) as response:
                if response.status in _NOTHING:
                    return None
                if response.status in _OK:
                    return await self._value(response)
                raise self._failed(response, is_change=False)
        except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, OSError) as error:
            raise LostError(_why_not(error)) from None
        except aiohttp.ClientError:
            raise bad_answer(self.name, "answers with what is no HTTP") from None

    async def _send(self, url: URL, change: Change, exchange: Exchange) -> None:
        headers = {"Idempotency-Key": change.token} if change.token else {}
        method = "DELETE"
        if change.value is not None:
            method = "PUT"
            headers["Content-Type"] = self._client.policy.media_type or "application/octet-stream"
        try:
            async with self._client.session().request(
                method, url, data=change.value, headers=headers, allow_redirects=False, trace_request_ctx=exchange
            ) as response:
                is_gone = change.value is None and response.status in _NOTHING
                if response.status not in _OK and not is_gone:
                    raise self._failed(response, is_change=True)
        except (aiohttp.ClientError, OSError) as error:
            if exchange.is_sent:
                raise outcome_unknown(self.name) from None
            raise LostError(_why_not(error)) from None

    async def _value(self, response: aiohttp.ClientResponse) -> OriginValue | SidecarError:
        policy, headers = self._client.policy, response.headers
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            return bad_answer(self.name, "answers compressed, which it was not asked for")
        if policy.media_type is not None and response.content_type.lower() != policy.media_type:
            return bad_answer(self.name, f"answers with another media type than {policy.media_type}")
        value = bytearray()
        async for part in response.content.iter_chunked(_READ_BYTES):
            value += part
            if len(value) > self._max_value_bytes:
                response.close()
                return too_large(self.name, self._max_value_bytes)
        ttl_ms = _fresh_ms(headers) if policy.max_age else None
        return kept(self.name, bytes(value), max_value_bytes=self._max_value_bytes, ttl_ms=ttl_ms)

    def _failed(self, response: aiohttp.ClientResponse, *, is_change: bool) -> SidecarError:
        status = response.status
        if status in _REDIRECTS:
            return bad_answer(self.name, f"answers with {status}, which leads elsewhere")
        if is_change and status in _NO_ROUTE:
            return unfit(self.name, str(status))
        if status in _REFUSALS and status not in _LATER:
            return refused(self.name, str(status))
        if is_change and status not in _LATER and status != _UNAVAILABLE:
            return outcome_unknown(self.name)
        wait_ms = _patience_ms(response.headers.get("Retry-After", ""), time.time())
        what = f"answers with {status}"
        return unavailable(self.name, what) if wait_ms is None else unavailable(self.name, what, wait_ms)


def _tracing() -> aiohttp.TraceConfig:
    """Return what notes that a request is on its way: before there is a connection nothing can have been sent."""

    async def note(_session: aiohttp.ClientSession, context: SimpleNamespace, _about: object) -> None:
        exchange = context.trace_request_ctx
        if exchange is not None:
            exchange.is_sent = True

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(note)
    tracing.on_connection_reuseconn.append(note)
    return tracing


def _why_not(error: Exception) -> str:
    """Return why there is no connection; empty if there was one."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    else:
        return ""
    return why_not(error) if isinstance(error, OSError) else "its certificate is not accepted"


def _fresh_ms(headers: Mapping[str, Any]) -> int | None:
    """Return for how long an answer is fresh by its own word (RFC 9111, 4.2); None if it does not say."""
    said = headers.get("Cache-Control", "")
    if _NOT_KEPT.search(said):
        return 1
    matched = _MAX_AGE.search(said)
    if matched is None:
        return None
    age = headers.get("Age", "")
    passed = int(age) if age.isascii() and age.isdigit() and len(age) <= _MOST_DIGITS else 0
    return max(1, (int(matched[1]) - passed) * 1000)


def _patience_ms(said: str, now: float) -> int | None:
    """Return the wait that `Retry-After` asks for (RFC 9110, 10.2.3), in seconds or as a date."""
    if said.isascii() and said.isdigit():
        return min(int(said[:9]) * 1000, _MOST_PATIENCE_MS)
    try:
        at = email.utils.parsedate_to_datetime(said).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(1, min(int((at - now) * 1000), _MOST_PATIENCE_MS))
