"""`get_or_load_many`: what is loaded together, what is asked for again, and what fails alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from sidecar_client import BatchError, Outcome, SidecarClient
from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from played_sidecar import Play
    from sidecar_client import Cache

HIT, LEASE = cache_pb2.LOAD_OUTCOME_HIT, cache_pb2.LOAD_OUTCOME_LEASE
WAIT, ABSENT = cache_pb2.LOAD_OUTCOME_WAIT, cache_pb2.LOAD_OUTCOME_ABSENT


@pytest.fixture
def cache(sidecar: SidecarClient) -> Cache:
    """Return a cache."""
    return sidecar.cache("balances")


def told(**outcomes: cache_pb2.LoadOutcome) -> cache_pb2.GetOrLoadManyResponse:
    """Return an answer, in which each key's token is the key and each value `there`."""
    answer = cache_pb2.GetOrLoadManyResponse()
    for key, outcome in outcomes.items():
        result = answer.results.add(key=key)
        result.loaded.outcome = outcome
        if outcome == LEASE:
            result.loaded.token = key
        if outcome == HIT:
            result.loaded.entry.outcome = common_pb2.OUTCOME_HIT
            result.loaded.entry.value = b"there"
    return answer


async def origin(keys: Sequence[str]) -> dict[str, str | None]:
    """Have a value for each key."""
    return {key: f"of {key}" for key in keys}


async def test_what_is_leased_is_loaded_and_the_rest_asked_for_again(play: Play, cache: Cache) -> None:
    """After that: another may have waited for what was loaded here."""
    filled = cache_pb2.FillResponse(version=7)
    play.answer(told(a=HIT, b=LEASE, c=WAIT, d=ABSENT), filled, told(c=LEASE), filled)
    found = await cache.get_or_load_many(["a", "b", "c", "d"], origin)
    values = [found[key].value if found[key].hit else None for key in "abcd"]
    asked = [list(one.request.keys) for one in play.received if hasattr(one.request, "keys")]
    assert ([b"there", b"of b", b"of c", None], [["a", "b", "c", "d"], ["c"]]) == (values, asked)


async def test_what_the_origin_leaves_out_it_does_not_have(play: Play, cache: Cache) -> None:
    """The sidecar is told so."""

    async def empty_origin(_: Sequence[str]) -> dict[str, str | None]:
        return {}

    play.answer(told(a=LEASE), cache_pb2.FillResponse())
    found = await cache.get_or_load_many(["a"], empty_origin)
    assert (Outcome.MISS, True) == (found["a"].outcome, play.received[1].request.absent)


async def test_a_load_that_fails_is_ended_for_all(play: Play, cache: Cache) -> None:
    """What it raised is raised, and others may load at once."""

    async def broken_origin(_: Sequence[str]) -> dict[str, str | None]:
        raise OSError("the origin is gone")

    play.answer(told(a=LEASE, b=LEASE), cache_pb2.FillResponse(), cache_pb2.FillResponse())
    with pytest.raises(OSError, match="gone"):
        await cache.get_or_load_many(["a", "b"], broken_origin)
    ended = {one.request.key for one in play.received[1:] if one.request.failed}
    assert {"a", "b"} == ended


@pytest.mark.parametrize("stale", ["ab", "a"])
async def test_what_is_stale_stands_in(play: Play, cache: Cache, stale: str) -> None:
    """If it is asked to, and if there is such an entry for each; the load is ended as failed all the same."""

    async def broken_origin(_: Sequence[str]) -> dict[str, str | None]:
        raise OSError("the origin is gone")

    answer = told(a=LEASE, b=LEASE)
    for result in answer.results:
        if result.key in stale:
            result.loaded.entry.outcome = common_pb2.OUTCOME_STALE
            result.loaded.entry.value = b"old"
    play.answer(answer, cache_pb2.FillResponse(), cache_pb2.FillResponse())
    if stale == "ab":
        found = await cache.get_or_load_many(["a", "b"], broken_origin, stale_if_error=True)
        assert {Outcome.STALE: b"old"} == {one.outcome: one.value for one in found.values()}
    else:
        with pytest.raises(OSError, match="gone"):
            await cache.get_or_load_many(["a", "b"], broken_origin, stale_if_error=True)
    assert [True, True] == [one.request.failed for one in play.received[1:]]


async def test_what_fails_fails_alone(play: Play, cache: Cache) -> None:
    """Be it in the sidecar, or for want of time."""
    answer = told(a=HIT, b=WAIT)
    answer.results.add(key="c").failure.code = grpc.StatusCode.UNAVAILABLE.value[0]
    play.answer(answer)
    with pytest.raises(BatchError) as caught:
        await cache.get_or_load_many(["a", "b", "c"], origin, wait=0)
    assert (["a"], ["b", "c"], "LOAD_PENDING") == (
        list(caught.value.results), list(caught.value.failures), caught.value.failures["b"].reason,
    )  # fmt: skip
