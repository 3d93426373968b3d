"""The middleware: asks the rules, and lets a request through or answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar_client.asgi.answers import body_too_large, fields_of, stopped
from sidecar_client.asgi.request import BodyTooLargeError, ClientGoneError, HttpRequest
from sidecar_client.guard import Guard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar_client.asgi.answers import Fields, HttpAnswer
    from sidecar_client.asgi.protocol import App, Message, Receive, Scope, Send
    from sidecar_client.client import SidecarClient
    from sidecar_client.durations import Span
    from sidecar_client.rules import Answer, Rule


class RateLimitMiddleware:
    """Rate limits before an ASGI 3 application, or before one of its routes.

    `rules` are asked in their order (`sidecar_client.rules` says what that means). A request that passes reaches the
    application, and the answer tells what is left in `RateLimit` and `RateLimit-Policy`. One that is refused is
    answered with 429, one whose limit failed closed with 503, both with `Retry-After` and a problem document. One whose
    limit failed open passes; its answer lacks that limit, the log says so once, and `observe` is told each time, as of
    every answer of a rule. WebSockets and the lifespan pass unseen.

    `sidecar` must be open while requests come: open it in the application's lifespan. `timeout` bounds each check; the
    client's own is a second.

        app.add_middleware(
            RateLimitMiddleware,
            sidecar=sidecar,
            rules=[Rule(policy="api", key=address_key, on_failure="open")],
        )
    """

    def __init__(
        self,
        app: App,
        *,
        sidecar: SidecarClient,
        rules: Sequence[Rule[HttpRequest]],
        timeout: Span | None = None,
        observe: Callable[[Answer], None] | None = None,
    ) -> None:
        self._app = app
        self._guard = Guard(sidecar.limit, rules, timeout=timeout, observe=observe)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = HttpRequest(scope, receive)
        try:
            verdict = await self._guard.judge(request)
        except BodyTooLargeError:
            await _send_whole(send, body_too_large())
        except ClientGoneError:
            return
        else:
            if verdict.stopped_by is None:
                await self._app(scope, request.receive, _with_fields(send, fields_of(verdict)))
            else:
                await _send_whole(send, stopped(verdict, verdict.stopped_by))


def _with_fields(send: Send, fields: Fields) -> Send:
    """Return `send`, with the fields put on the answer's head. A list's field may stand in an answer more than once."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *fields]}
        await send(message)

    return sending if fields else send


async def _send_whole(send: Send, answer: HttpAnswer) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.fields})
    await send({"type": "http.response.body", "body": answer.body})
