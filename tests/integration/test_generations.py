"""The positions of a cache: they only grow, and what is forgotten is taken for out of date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from sidecar.cache.generations import Generations, prefix_members, too_deep
from sidecar.call import Call
from sidecar.clock import after
from sidecar.store.base import Command, ScriptCall
from sidecar.store.keys import KeySpace
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from support.servers import StoreServer

    from sidecar.store.standalone import StandaloneStore

KEYS = KeySpace("test").generations("c")


def a_call() -> Call:
    """Return a call with time enough."""
    return Call("/test", deadline=after(60.0))


class TestMembers:
    """Which floors concern a name."""

    def test_each_beginning_that_ends_with_a_colon(self) -> None:
        """With the colon, the shortest first."""
        assert [b"p:a:", b"p:a::", b"p:a::b:"] == prefix_members(b"a::b:c")
        assert [] == prefix_members(b"abc")

    @given(st.text("a:é", max_size=30))
    def test_a_prefix_that_is_not_too_deep_concerns_every_name_that_begins_so(self, text: str) -> None:
        """And one that is concerns none, so it is refused."""
        prefix = f"{text}:".encode()
        assert (b"p:" + prefix in prefix_members(prefix + b"name")) is not too_deep(prefix)


async def test_what_is_forgotten_is_out_of_date(store: StandaloneStore) -> None:
    """Nothing that was invalidated counts again, and the set has no more members than it may."""
    most, names = 10, [b"%d:x" % number for number in range(30)]
    generations = Generations("c", store, KeySpace("test"), prefixes=True)
    before = (await generations.look(names, (), a_call())).position
    stamps = []
    for name in names:
        script = ScriptCall(load("stamp_generations"), KEYS, (most, 1, *prefix_members(name)), True)
        stamps.append(await store.run(script, a_call()))
        assert most >= await store.call(Command(("ZCARD", KEYS[0]), True), a_call())
    standing = await generations.look(names, (), a_call())
    assert (sorted(stamps), stamps[-1]) == (stamps, standing.position)
    assert all(before < stamp <= standing.floor_of(name) for name, stamp in zip(names, stamps, strict=True))
    assert standing.floor_of(b"other") < standing.position


async def test_tags_that_are_forgotten_void_the_loads_of_then(store: StandaloneStore) -> None:
    """And entries, which tags do not date, are not touched by it."""
    generations = Generations("c", store, KeySpace("test"), prefixes=True)
    before = (await generations.look([b"x"], (), a_call())).position
    for number in range(30):
        script = ScriptCall(load("stamp_generations"), KEYS, (10, 2, b"t:%d" % number), True)
        await store.run(script, a_call())
    standing = await generations.look([b"x"], [b"0", b"29", b"new"], a_call())
    voided = [standing.voids(b"x", [tag], before) for tag in (b"0", b"29", b"new")]
    later = [standing.voids(b"x", [tag], standing.position) for tag in (b"0", b"29", b"new")]
    assert ([True] * 3, [False] * 3, False) == (voided, later, standing.voids(b"x", [], before))


async def test_positions_grow_though_the_clock_goes_back(store: StandaloneStore, server: StoreServer) -> None:
    """What the store's clock says is only the least that a position is."""
    generations = Generations("c", store, KeySpace("test"), prefixes=True)
    await generations.look([], (), a_call())
    ahead = 9_000_000_000_000_000
    server.oracle().zadd(KEYS[0], {"last": ahead})
    assert [ahead + 1, ahead + 2] == [
        await generations.pass_all(a_call()),
        await generations.pass_prefix(b"a:", a_call()),
    ]
