"""Reads that are planned together end as the plans of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sidecar.call import Call
from sidecar.clock import after
from sidecar.errors import Reason, SidecarError, StoreError
from sidecar.store import commands
from sidecar.store.base import Command
from sidecar.store.plans import ROUND, Plan, Reads, Room, run_alone, run_reads, run_together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.store.standalone import StandaloneStore

VALUE_BYTES = 10
KEYS = 3 * ROUND + 1


def a_call(seconds: float = 30.0) -> Call:
    """Return a call with that much time."""
    return Call("/test", deadline=after(seconds))


def said(result: Any) -> Any:
    """Return a result that can be compared."""
    return (result.reason, result.message) if isinstance(result, SidecarError) else result


def as_they_are(replies: Sequence[Any], _room: Room) -> list[Any]:
    """Read replies as what they are."""
    return list(replies)


async def both(store: StandaloneStore, keys: Sequence[bytes], most: int) -> tuple[list[Any], list[Any]]:
    """Return what a plan for each key and one for all of them come to."""
    plans = [Plan((commands.get(key),), lambda replies: replies[0]) for key in keys]
    one_by_one = await run_together(plans, store, a_call(), max_answer_bytes=most)
    at_once = await run_reads(Reads(keys, as_they_are), store, a_call(), max_answer_bytes=most)
    return list(map(said, one_by_one)), list(map(said, at_once))


@pytest.mark.parametrize("fitting", [0, 1, ROUND - 1, ROUND, ROUND + 1, 2 * ROUND, KEYS - 1, KEYS])
@pytest.mark.parametrize("count", [1, 2, ROUND, ROUND + 1, KEYS])
async def test_reads_together_are_what_each_is(store: StandaloneStore, count: int, fitting: int) -> None:
    """Values, misses and errors in their places, in any number of rounds, and what does not fit into the answer."""
    keys = [b"k%d" % number for number in range(count)]
    writes = [Command(("SET", key, b"v" * VALUE_BYTES), False) for key in keys]
    await store.call_many([*writes, Command(("LPUSH", b"list", b"x"), False)], a_call())
    keys[count // 2 : count // 2] = [b"list", b"missing"]
    one_by_one, at_once = await both(store, keys, fitting * VALUE_BYTES)
    assert one_by_one == at_once
    assert min(count, fitting) == at_once.count(b"v" * VALUE_BYTES)


async def test_a_store_that_has_no_time_left_fails_each(store: StandaloneStore) -> None:
    """Nothing was sent, and every read says so."""
    results = await run_reads(Reads([b"a", b"b"], as_they_are), store, a_call(-1), max_answer_bytes=100)
    assert [Reason.DEADLINE_EXCEEDED] * 2 == [result.reason for result in results if isinstance(result, StoreError)]


@pytest.mark.parametrize("alone", [True, False])
async def test_what_is_only_tried_fails_nothing(store: StandaloneStore, alone: bool) -> None:  # noqa: FBT001 (a parameter)
    """How it failed is for the plan to see; what the plan needs still fails it."""
    await store.call_many([Command(("LPUSH", b"list", b"x"), False), Command(("SET", b"k", b"v"), False)], a_call())
    tried = Plan((commands.get(b"k"), commands.get(b"list")), list, beside=1)
    needing = Plan((commands.get(b"list"), commands.get(b"k")), list, beside=1)
    if alone:
        value, failure = await run_alone(tried, store, a_call())
        with pytest.raises(SidecarError) as caught:
            await run_alone(needing, store, a_call())
        needed: Any = caught.value
    else:
        (value, failure), needed = await run_together([tried, needing], store, a_call(), max_answer_bytes=100)
    assert (b"v", Reason.WRONG_TYPE, Reason.WRONG_TYPE) == (value, failure.reason, needed.reason)
