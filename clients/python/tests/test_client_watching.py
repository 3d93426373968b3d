"""`watch`, and copies that are kept as long as nothing is told of them."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sidecar_client import Change, ChangeKind, Copies, NotConfiguredError, SidecarClient
from sidecar_client.gen.sidecar.v1 import invalidation_pb2 as pb
from sidecar_client.gen.sidecar.v1 import invalidation_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sidecar_client.watching import Fetch

KEYS = ("a", "b", "a:b")
READY = Change(kind=ChangeKind.READY)


class Told(invalidation_pb2_grpc.InvalidationServiceServicer):
    """A sidecar that tells what the test says: a list for each watch, and an error behind it."""

    def __init__(self) -> None:
        self.address = ""
        self.watches: list[list[pb.WatchInvalidationsResponse]] = []
        self.end = grpc.StatusCode.UNAVAILABLE
        self.requests: list[pb.WatchInvalidationsRequest] = []

    async def WatchInvalidations(  # noqa: N802 (the protocol's name)
        self,
        request: pb.WatchInvalidationsRequest,
        context: grpc.aio.ServicerContext[pb.WatchInvalidationsRequest, pb.WatchInvalidationsResponse],
    ) -> AsyncIterator[pb.WatchInvalidationsResponse]:
        """Tell the next list."""
        self.requests.append(request)
        for response in self.watches.pop(0):
            yield response
        if not self.watches:
            await context.abort(self.end, "no more")


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    """Return what is told."""
    telling = Told()
    server = grpc.aio.server()
    invalidation_pb2_grpc.add_InvalidationServiceServicer_to_server(telling, server)
    port = server.add_insecure_port("127.0.0.1:0")
    telling.address = f"127.0.0.1:{port}"
    await server.start()
    yield telling
    await server.stop(None)


@pytest.fixture
async def watched(told: Told) -> AsyncIterator[SidecarClient]:
    """Return a client of that sidecar."""
    async with SidecarClient(told.address) as client:
        yield client


async def test_what_is_told(told: Told, watched: SidecarClient) -> None:
    """In the client's words."""
    ready = pb.WatchInvalidationsResponse(ready=True)
    ready.as_of.FromDatetime(datetime(2026, 1, 1, tzinfo=UTC))
    told.watches = [[ready, pb.WatchInvalidationsResponse(keys=pb.WatchedKeys(keys=["a"])),
                     pb.WatchInvalidationsResponse(prefix="a:"), pb.WatchInvalidationsResponse(all=True),
                     pb.WatchInvalidationsResponse()]]  # fmt: skip
    async with aclosing(watched.watch("balances", prefixes=["a"])) as watch:
        heard = [await anext(watch) for _ in range(5)]
    expected = [
        Change(kind=ChangeKind.READY, as_of=datetime(2026, 1, 1, tzinfo=UTC)),
        Change(kind=ChangeKind.KEYS, keys=frozenset({"a"})),
        Change(kind=ChangeKind.PREFIX, prefix="a:"),
        Change(kind=ChangeKind.ALL),
        Change(kind=ChangeKind.RESET),
    ]
    asked = pb.WatchInvalidationsRequest(cache="balances", prefixes=["a"])
    assert (expected, [asked]) == (heard, told.requests)


async def test_an_end_is_a_reset_and_another_watch(told: Told, watched: SidecarClient) -> None:
    """Whether the sidecar stopped or went away."""
    ready = pb.WatchInvalidationsResponse(ready=True)
    told.watches = [[ready], [], [ready]]
    async with aclosing(watched.watch("balances")) as watch:
        heard = [(await anext(watch)).kind for _ in range(4)]
    assert [ChangeKind.READY, ChangeKind.RESET, ChangeKind.READY, ChangeKind.RESET] == heard


async def test_what_cannot_be_watched(told: Told, watched: SidecarClient) -> None:
    """Is raised, since to try again is in vain."""
    told.watches, told.end = [[]], grpc.StatusCode.NOT_FOUND
    with pytest.raises(NotConfiguredError):
        await anext(watched.watch("nope"))


@given(
    st.lists(
        st.tuples(st.sampled_from(["begin", "keep", "keys", "prefix", "all", "reset", "ready"]), st.sampled_from(KEYS))
    )
)
def test_no_copy_is_older_than_what_was_told(steps: list[tuple[str, str]]) -> None:
    """Whatever is fetched and told in whatever order: what is kept was current when the last change was told."""
    copies: Copies[int] = Copies()
    copies.hear(READY)
    current = dict.fromkeys(KEYS, 0)
    under_way: dict[str, list[tuple[Fetch, int]]] = {key: [] for key in KEYS}
    for what, key in steps:
        if what == "begin":
            under_way[key].append((copies.begin(key), current[key]))
        elif what == "keep" and under_way[key]:
            fetch, value = under_way[key].pop()
            assert value == copies.keep(key, value, fetch)
        elif what in {"keys", "prefix", "all", "reset", "ready"}:
            change = Change(
                kind=ChangeKind(what),
                keys=frozenset({key} if what == "keys" else ()),
                prefix="a" if what == "prefix" else "",
            )
            current = {one: value + change.concerns(one) for one, value in current.items()}
            copies.hear(change)
        assert all(copies.get(one) in {None, value} for one, value in current.items())


def test_nothing_is_kept_before_it_is_ready() -> None:
    """Nobody would tell what changes."""
    copies: Copies[int] = Copies()
    copies.keep("a", 1, copies.begin("a"))
    assert copies.get("a") is None


def test_a_fetch_that_brought_nothing() -> None:
    """Leaves nothing behind."""
    copies: Copies[int] = Copies()
    copies.hear(READY)
    assert (True, False) == (copies.give_up("a", copies.begin("a")), copies.give_up("a", copies.begin("b")))


def test_no_more_is_kept_than_was_asked_for() -> None:
    """What was kept longest goes first."""
    copies: Copies[int] = Copies(most=2)
    copies.hear(READY)
    for key in KEYS:
        copies.keep(key, 1, copies.begin(key))
    assert (2, None, 1) == (len(copies), copies.get("a"), copies.get("a:b"))
