"""A web server as an origin: GET, PUT and DELETE of a key's resource, and all that it can answer."""

from __future__ import annotations

import asyncio
import email.utils
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from support.cutting_proxy import CuttingProxy
from support.origins import MAX_VALUE_BYTES, Made, call_within, gate_policy, made, said
from support.resources import Resources

from sidecar.cache.origin import Change, OriginValue
from sidecar.errors import SidecarError
from sidecar.origins.policies import WebPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PATHS = {"load": "/things/{key}", "store": "/things/{key}", "remove": "/things/{key}"}


def origin_at(url: str, paths: dict[str, str] | None = None, **settings: Any) -> Made:
    """Return an origin at a URL."""
    policy = WebPolicy(**{"gate": gate_policy(), "url": url, **settings})
    return made(policy, PATHS if paths is None else paths)


@pytest.fixture
async def server() -> AsyncIterator[Resources]:
    """Return a server."""
    async with Resources() as serving:
        yield serving


@pytest.fixture
async def home(server: Resources) -> AsyncIterator[Made]:
    """Return the origin of a cache of things."""
    thing = origin_at(server.url)
    yield thing
    await thing.origins.close()


async def loaded(server: Resources, answer: web.Response, **settings: Any) -> object:
    """Return what an answer to a load becomes."""
    server.answer = answer
    thing = origin_at(server.url, **settings)
    (result,) = await thing.origin.load(["a"], call_within())
    await thing.origins.close()
    return said([result])[0]


async def test_each_key_is_loaded_by_itself(home: Made, server: Resources) -> None:
    """In the order of the keys; 404 is nothing."""
    server.values = {"/v1/things/a": b"1", "/v1/things/b": b""}
    assert [b"", None, b"1"] == said(await home.origin.load(["b", "x", "a"], call_within()))


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a/b", "/v1/things/a%2Fb"),
        ("../admin", "/v1/things/..%2Fadmin"),
        ("a?b#c", "/v1/things/a%3Fb%23c"),
        ("%2e", "/v1/things/%252e"),
        ("ä b\r\n", "/v1/things/%C3%A4%20b%0D%0A"),
    ],
)
async def test_a_key_stays_one_part_of_the_path(home: Made, server: Resources, key: str, path: str) -> None:
    """Whatever is special in it is percent-encoded."""
    await home.origin.load([key], call_within())
    assert [path] == [sent for _, sent, _ in server.asked]


@pytest.mark.parametrize("key", [".", ".."])
async def test_a_key_that_would_be_a_direction(home: Made, server: Resources, key: str) -> None:
    """It is refused, and nothing is sent."""
    assert ["REFUSED key_in_path"] == said(await home.origin.load([key], call_within()))
    assert [] == server.asked


async def test_a_change_is_sent_with_its_token(home: Made, server: Resources) -> None:
    """PUT stores, DELETE removes; that there was nothing to remove is no error."""
    assert [None] == await home.origin.store([Change("a", b"\x00\xff", "t1")], call_within())
    assert [b"\x00\xff"] == said(await home.origin.load(["a"], call_within()))
    assert [None] == await home.origin.store([Change("a", None, "t2")], call_within())
    assert [None] == await home.origin.store([Change("a", None)], call_within())
    sent = [(method, headers.get("Idempotency-Key")) for method, _, headers in server.asked]
    assert [("PUT", "t1"), ("GET", None), ("DELETE", "t2"), ("DELETE", None)] == sent


async def test_changes_of_a_key_are_made_in_their_order(home: Made, server: Resources) -> None:
    """The last one stays, however many others are made beside them."""
    changes = [Change(key, b"%d" % number) for number in range(5) for key in "abc"]
    assert [None] * 15 == await home.origin.store(changes, call_within())
    assert {f"/v1/things/{key}": b"4" for key in "abc"} == server.values


async def test_behind_a_change_that_failed_none_of_its_key_is_sent(home: Made, server: Resources) -> None:
    """It must not come before it."""
    server.answer = web.Response(status=503)
    changes = [Change("a", b"1"), Change("a", b"2")]
    assert ["UNAVAILABLE", "UNAVAILABLE"] == said(await home.origin.store(changes, call_within()))
    assert 1 == len(server.asked)


async def test_an_origin_that_is_only_read(server: Resources) -> None:
    """It says that it stores nothing; a change is refused."""
    thing = origin_at(server.url, {"load": "/things/{key}"})
    assert not thing.origin.stores
    assert ["REFUSED no_store"] == said(await thing.origin.store([Change("a", b"1")], call_within()))
    await thing.origins.close()


@pytest.mark.parametrize(
    ("status", "load", "store"),
    [
        (204, None, None),
        (301, "ANSWER", "ANSWER"),
        (307, "ANSWER", "ANSWER"),
        (400, "REFUSED 400", "REFUSED 400"),
        (401, "UNAVAILABLE", "UNAVAILABLE"),
        (407, "UNAVAILABLE", "UNAVAILABLE"),
        (403, "REFUSED 403", "UNAVAILABLE 403"),
        (404, None, "UNAVAILABLE 404"),
        (405, "REFUSED 405", "UNAVAILABLE 405"),
        (410, None, "REFUSED 410"),
        (422, "REFUSED 422", "REFUSED 422"),
        (408, "UNAVAILABLE", "UNAVAILABLE"),
        (429, "UNAVAILABLE", "UNAVAILABLE"),
        (500, "UNAVAILABLE", "OUTCOME_UNKNOWN"),
        (502, "UNAVAILABLE", "OUTCOME_UNKNOWN"),
        (503, "UNAVAILABLE", "UNAVAILABLE"),
    ],
)
async def test_what_a_status_means(
    home: Made, server: Resources, status: int, load: str | None, store: str | None
) -> None:
    """A redirect is not followed, a refusal is passed on, a failure is one; after a PUT some leave it open."""
    server.answer = web.Response(status=status, headers={"Location": f"{server.url}/elsewhere"})
    answers = [
        *await home.origin.load(["a"], call_within()),
        *await home.origin.store([Change("a", b"1")], call_within()),
    ]
    assert [load, store] == said(answers)
    assert {"/v1/things/a"} == {path for _, path, _ in server.asked}


@pytest.mark.parametrize("as_date", [False, True])
async def test_a_server_says_when_to_come_back(home: Made, server: Resources, *, as_date: bool) -> None:
    """Retry-After, in seconds or as a date, is the wait that the caller is told."""
    said_so = email.utils.formatdate(time.time() + 7, usegmt=True) if as_date else "7"
    server.answer = web.Response(status=429, headers={"Retry-After": said_so})
    (error,) = await home.origin.load(["a"], call_within())
    assert isinstance(error, SidecarError)
    assert 5_000 < (error.retry_after_ms or 0) <= 7_000


@pytest.mark.parametrize("said_so", ["soon", "-1", "", "Sun, 99 Nov 1994 08:49:37 GMT"])
async def test_a_server_that_says_it_badly(home: Made, server: Resources, said_so: str) -> None:
    """What cannot be read is as if it had not been said."""
    server.answer = web.Response(status=503, headers={"Retry-After": said_so})
    (error,) = await home.origin.load(["a"], call_within())
    assert isinstance(error, SidecarError)
    assert 100 == error.retry_after_ms


async def test_a_value_that_is_too_large(home: Made, server: Resources) -> None:
    """No more of it is read than a value may be long, and the others are loaded."""
    server.values = {"/v1/things/a": b"x" * (MAX_VALUE_BYTES + 1), "/v1/things/b": b"2"}
    assert ["ANSWER", b"2"] == said(await home.origin.load(["a", "b"], call_within()))


async def test_a_body_without_an_end(server: Resources) -> None:
    """It is left as soon as it is too long."""

    async def pour(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 1000)

    runner = web.ServerRunner(web.Server(pour), shutdown_timeout=0.1)
    await runner.setup()
    await server.stop()
    await web.TCPSite(runner, "127.0.0.1", server.port).start()
    thing = origin_at(server.url)
    assert ["ANSWER"] == said(await thing.origin.load(["a"], call_within()))
    await thing.origins.close()
    await runner.cleanup()
    await server.start()


async def test_a_wrong_media_type(server: Resources) -> None:
    """Where one is configured it is asked for, and nothing else is taken."""
    good = web.Response(body=b"{}", headers={"Content-Type": "application/json; charset=utf-8"})
    assert b"{}" == await loaded(server, good, media_type="application/json")
    bad = web.Response(body=b"<html>", headers={"Content-Type": "text/html"})
    assert "ANSWER" == await loaded(server, bad, media_type="application/json")
    assert b"<html>" == await loaded(server, bad)
    assert "application/json" == server.asked[0][2]["Accept"]


async def test_an_answer_that_is_compressed(server: Resources) -> None:
    """It was not asked for, and could be of any size."""
    assert "ANSWER" == await loaded(server, web.Response(body=b"x", headers={"Content-Encoding": "gzip"}))
    assert "identity" == server.asked[0][2]["Accept-Encoding"]


@pytest.mark.parametrize(
    ("headers", "ttl_ms"),
    [
        ({}, None),
        ({"Cache-Control": "private, max-age=60"}, 60_000),
        ({"Cache-Control": "max-age=60", "Age": "20"}, 40_000),
        ({"Cache-Control": "max-age=60", "Age": "90"}, 1),
        ({"Cache-Control": "max-age=0"}, 1),
        ({"Cache-Control": "no-store, max-age=60"}, 1),
        ({"Cache-Control": "public"}, None),
        ({"Cache-Control": "s-max-age=60"}, None),
    ],
)
async def test_the_ttl_of_an_answer(server: Resources, headers: dict[str, str], ttl_ms: int | None) -> None:
    """Where it is configured, max-age is the TTL, less the answer's age; what is not to be kept is gone at once."""
    answer = web.Response(body=b"1", headers=headers)
    assert (b"1" if ttl_ms is None else OriginValue(b"1", ttl_ms)) == await loaded(server, answer, max_age=True)
    assert b"1" == await loaded(server, answer)


async def test_a_token_is_sent_and_not_shown(server: Resources) -> None:
    """The bearer token goes to the server, and into no text."""
    thing = origin_at(server.url, bearer="secret-token")
    await thing.origin.load(["a"], call_within())
    await thing.origins.close()
    assert "Bearer secret-token" == server.asked[0][2]["Authorization"]
    assert "secret-token" not in repr(WebPolicy(gate=gate_policy(), url=server.url, bearer="secret-token"))


async def test_a_unix_socket(tmp_path: Path) -> None:
    """The server may be at one, whatever host the URL names."""
    async with Resources(socket=tmp_path / "s") as server:
        server.values["/things/a"] = b"1"
        thing = origin_at("http://billing", unix_socket=str(server.socket))
        assert [b"1"] == said(await thing.origin.load(["a"], call_within()))
        await thing.origins.close()


async def test_no_more_requests_than_may_be(server: Resources) -> None:
    """Loads of many keys wait for each other; who has no time left is told that the origin is busy."""
    server.delay = 0.05
    thing = origin_at(server.url, gate=gate_policy(max_concurrency=2))
    assert [None] * 4 == said(await thing.origin.load(list("abcd"), call_within()))
    assert 2 == server.most_at_once
    assert "BUSY" in said(await thing.origin.load(list("abcdefgh"), call_within(0.12)))
    await thing.origins.close()


async def test_a_slow_server(server: Resources) -> None:
    """The origin's timeout ends a load, and so does the deadline; of a change that was sent nobody knows."""
    server.delay = 30
    thing = origin_at(server.url, gate=gate_policy(timeout=0.2))
    assert ["TIMED_OUT"] == said(await thing.origin.load(["a"], call_within()))
    assert ["TIMED_OUT"] == said(await thing.origin.load(["a"], call_within(0.05)))
    assert ["OUTCOME_UNKNOWN"] == said(await thing.origin.store([Change("a", b"1")], call_within()))
    await thing.origins.close()


async def test_a_server_that_is_gone_and_comes_back(home: Made, server: Resources) -> None:
    """Without it nothing is changed; with it again loads and changes go on."""
    await home.origin.load(["a"], call_within())
    await server.stop()
    assert ["UNAVAILABLE"] == said(await home.origin.load(["a"], call_within()))
    assert ["UNAVAILABLE"] == said(await home.origin.store([Change("a", b"1")], call_within()))
    await server.start()
    assert [None] == await home.origin.store([Change("a", b"1")], call_within())
    assert [b"1"] == said(await home.origin.load(["a"], call_within()))


async def test_a_change_whose_connection_is_cut(server: Resources) -> None:
    """PUT and DELETE may be sent twice, by HTTP's own rule; what has no answer then may have been made."""
    async with CuttingProxy(server.port) as proxy:
        thing = origin_at(f"http://127.0.0.1:{proxy.port}")
        proxy.cut_at(b"PUT", passes_on=True)
        assert [None] == await thing.origin.store([Change("a", b"1", "t")], call_within())
        assert ["t", "t"] == [headers["Idempotency-Key"] for _, _, headers in server.asked]
        proxy.cut_at(b"PUT", passes_on=True, times=2)
        assert ["OUTCOME_UNKNOWN"] == said(await thing.origin.store([Change("a", b"1")], call_within()))
        proxy.cut_at(b"GET", passes_on=False)
        assert [b"1"] == said(await thing.origin.load(["a"], call_within()))
        await thing.origins.close()


@pytest.mark.parametrize("nonsense", [b"HTTP/1.1 abc\r\n\r\n", b"\x00\x01\x02\r\n\r\n"])
async def test_an_answer_that_is_no_http(nonsense: bytes) -> None:
    """It is no value, and no defect of the sidecar's."""

    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(nonsense)
        await writer.drain()
        writer.close()

    babbling = await asyncio.start_server(babble, "127.0.0.1", 0)
    thing = origin_at(f"http://127.0.0.1:{babbling.sockets[0].getsockname()[1]}")
    assert said(await thing.origin.load(["a"], call_within())) in (["ANSWER"], ["UNAVAILABLE"])
    await thing.origins.close()
    babbling.close()
