"""Rate limits before an ASGI application, with a client of HTTP on one side and a played sidecar on the other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from decisions import NOTHING_ALLOWED, UNAVAILABLE, UNKNOWN_POLICY, allowed, refused
from sidecar_client import NotConfiguredError, Rule
from sidecar_client.asgi import HttpRequest, RateLimitMiddleware, address_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from played_sidecar import Play
    from sidecar_client import SidecarClient
    from sidecar_client.asgi.protocol import App, Message, Receive, Scope, Send

BY_ADDRESS: Rule[HttpRequest] = Rule(policy="auth", name="caller", key=address_key, on_failure="closed", window=60)


class Echo:
    """An application that answers with the body it was sent, and remembers its scopes."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        self.scopes.append(scope)
        body, more = b"", True
        while more:
            message = await receive()
            body += message["body"]
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 201, "headers": [(b"x-own", b"kept")]})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def echo() -> Echo:
    """Return the application behind the limits."""
    return Echo()


def limited(app: App, sidecar: SidecarClient, *rules: Rule[HttpRequest]) -> RateLimitMiddleware:
    """Return the application with the limits before it."""
    return RateLimitMiddleware(app, sidecar=sidecar, rules=rules or [BY_ADDRESS])


async def ask(app: App, **request: Any) -> httpx.Response:
    """Return the answer to a request."""
    transport = httpx.ASGITransport(app, client=("192.0.2.7", 40_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(**({"method": "POST", "url": "/login"} | request))


async def test_an_answer_says_what_is_left(play: Play, sidecar: SidecarClient, echo: Echo) -> None:
    """The application's own status, fields and body stay."""
    play.answer(allowed(9))
    answer = await ask(limited(echo, sidecar), content=b"hello")
    assert (201, b"hello", "kept") == (answer.status_code, answer.content, answer.headers["X-Own"])
    assert '"caller";q=10;w=60' == answer.headers["RateLimit-Policy"]
    assert '"caller";r=9;t=66' == answer.headers["RateLimit"]
    assert "Retry-After" not in answer.headers


async def test_a_refusal_is_a_429_that_says_when_to_come_again(play: Play, sidecar: SidecarClient, echo: Echo) -> None:
    """In whole seconds, rounded up, and not before the window that it shows ends. The application sees nothing."""
    play.answer(refused(57_600))
    answer = await ask(limited(echo, sidecar))
    assert (429, "58", []) == (answer.status_code, answer.headers["Retry-After"], echo.scopes)
    assert '"caller";q=10;w=60' == answer.headers["RateLimit-Policy"]
    assert '"caller";r=0;t=58' == answer.headers["RateLimit"]


async def test_a_refusal_has_a_problem_document(play: Play, sidecar: SidecarClient, echo: Echo) -> None:
    """Its members are those of RFC 9457 and of the fields' draft."""
    play.answer(refused())
    answer = await ask(limited(echo, sidecar))
    expected = {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Quota Exceeded",
        "status": 429,
        "detail": "Too many requests; Retry-After says when to come again.",
        "violated-policies": ["caller"],
    }
    assert ("application/problem+json", "no-store") == (answer.headers["Content-Type"], answer.headers["Cache-Control"])
    assert expected == answer.json()


async def test_several_limits_are_all_shown(play: Play, sidecar: SidecarClient, echo: Echo) -> None:
    """Each by its own name, though the policy is the same; a refusal shows only what refuses."""
    everybody: Rule[HttpRequest] = Rule(policy="auth", name="everybody", key=lambda _: "all", on_failure="open")
    app = limited(echo, sidecar, BY_ADDRESS, everybody)
    play.answer(allowed(9), allowed(3, limit=5), allowed(8), refused(2000, limit=5))
    passed, stopped = await ask(app), await ask(app)
    assert '"caller";q=10;w=60, "everybody";q=5' == passed.headers["RateLimit-Policy"]
    assert '"caller";r=9;t=66, "everybody";r=3;t=66' == passed.headers["RateLimit"]
    assert (429, '"everybody";r=0;t=2', "2") == (
        stopped.status_code,
        stopped.headers["RateLimit"],
        stopped.headers["Retry-After"],
    )


async def test_a_limit_that_is_not_advertised_shows_in_nothing(play: Play, sidecar: SidecarClient, echo: Echo) -> None:
    """A refusal says when to come again, which it must, and not which limit it was."""
    hidden: Rule[HttpRequest] = Rule(
        policy="auth", name="account", key=lambda _: "ada", on_failure="open", advertise=False
    )
    app = limited(echo, sidecar, hidden)
    play.answer(allowed(), refused(2000))
    passed, stopped = await ask(app), await ask(app)
    for answer in (passed, stopped):
        assert not {"RateLimit", "RateLimit-Policy"} & {name.title() for name in answer.headers}
        assert b"account" not in answer.content
    assert (429, "2") == (stopped.status_code, stopped.headers["Retry-After"])


async def test_a_limit_of_nothing_names_no_time(play: Play, sidecar: SidecarClient, echo: Echo) -> None:
    """Waiting does not help, so no one is told to."""
    play.answer(NOTHING_ALLOWED)
    answer = await ask(limited(echo, sidecar))
    assert (429, '"caller";q=0;w=60', '"caller";r=0') == (
        answer.status_code,
        answer.headers["RateLimit-Policy"],
        answer.headers["RateLimit"],
    )
    assert "Retry-After" not in answer.headers
    assert "Retry-After" not in answer.text


async def test_a_limit_that_fails_closed_is_a_503(play: Play, sidecar: SidecarClient, echo: Echo) -> None:
    """With the wait that the sidecar asks for."""
    play.answer(UNAVAILABLE)
    answer = await ask(limited(echo, sidecar))
    assert (503, "3", []) == (answer.status_code, answer.headers["Retry-After"], echo.scopes)
    assert ("application/problem+json", "about:blank") == (answer.headers["Content-Type"], answer.json()["type"])


async def test_a_limit_that_fails_open_passes(play: Play, sidecar: SidecarClient, echo: Echo) -> None:
    """The answer claims nothing of it."""
    play.answer(UNAVAILABLE)
    answer = await ask(limited(echo, sidecar, Rule(policy="api", key=address_key, on_failure="open")))
    assert (201, False) == (answer.status_code, "RateLimit" in answer.headers)


async def test_a_mistake_reaches_the_server(play: Play, sidecar: SidecarClient, echo: Echo) -> None:
    """Which answers 500 and logs it; nothing passes unlimited."""
    play.answer(UNKNOWN_POLICY)
    with pytest.raises(NotConfiguredError):
        await ask(limited(echo, sidecar))
    assert [] == echo.scopes


async def test_a_key_from_the_body_leaves_the_body_to_the_application(
    play: Play, sidecar: SidecarClient, echo: Echo
) -> None:
    """In the pieces in which it came."""

    async def account(request: HttpRequest) -> str:
        name: str = json.loads(await request.body())["account"]
        assert await request.body()  # a second rule may read it too
        return name

    async def pieces() -> Any:
        for piece in (b'{"account": ', b'"ada"}'):
            yield piece

    play.answer(allowed())
    answer = await ask(limited(echo, sidecar, Rule(policy="auth", key=account, on_failure="open")), content=pieces())
    assert ("ada", b'{"account": "ada"}') == (play.received[0].request.key, answer.content)


async def test_a_body_too_large_for_a_key_is_a_413(play: Play, sidecar: SidecarClient, echo: Echo) -> None:
    """No more of it is kept than a key may be made from."""

    async def key(request: HttpRequest) -> str:
        return (await request.body(max_bytes=4)).decode()

    app = limited(echo, sidecar, Rule(policy="auth", key=key, on_failure="open"))
    play.answer(allowed())
    assert [413, 201] == [(await ask(app, content=body)).status_code for body in (b"12345", b"1234")]


async def test_a_client_that_hangs_up_gets_no_answer(sidecar: SidecarClient, echo: Echo) -> None:
    """Neither does the application see it."""

    async def key(request: HttpRequest) -> str:
        return (await request.body()).decode()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    app = limited(echo, sidecar, Rule(policy="auth", key=key, on_failure="open"))
    await app({"type": "http", "headers": []}, receive, send)
    assert ([], []) == (sent, echo.scopes)


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_other_scopes_pass_unseen(play: Play, sidecar: SidecarClient, kind: str) -> None:
    """With the server's own functions, untouched."""
    seen: list[object] = []

    async def app(*arguments: object) -> None:
        seen.extend(arguments)

    async def receive() -> Message:
        return {}

    async def send(_: Message) -> None:
        raise AssertionError("nothing is sent")

    scope: Scope = {"type": kind}
    await limited(app, sidecar)(scope, receive, send)
    assert ([scope, receive, send], []) == (seen, play.received)


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("2001:db8:1:2:ffff::1", 1), "2001:db8:1:2::/64"),
        (("::ffff:192.0.2.7", 1), "192.0.2.7"),
        (("testclient", 1), "testclient"),
        (None, "local"),
    ],
)
def test_an_address_is_what_one_customer_has(client: Sequence[object] | None, expected: str) -> None:
    """Of IPv6 that is a whole network: its owner could use another address for each request."""

    async def receive() -> Message:
        return {}

    assert expected == address_key(HttpRequest({"type": "http", "client": client}, receive))


def test_a_request_is_read_without_its_body() -> None:
    """Fields in any case, the first of several."""

    async def receive() -> Message:
        return {}

    headers = [(b"x-key", b"one"), (b"x-key", b"two")]
    request = HttpRequest({"type": "http", "method": "GET", "path": "/a", "headers": headers}, receive)
    assert ("one", None, "GET", "/a", None) == (
        request.header("X-Key"),
        request.header("X-Other"),
        request.method,
        request.path,
        request.client_host,
    )
