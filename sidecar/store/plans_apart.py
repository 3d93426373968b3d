"""Operations that run together though some of them go to the store by a way of their own.

A write that the store is to confirm goes by a connection that nobody else waits behind (`confirmed`), and asks for the
confirmation once for all that go together. So such plans of a batch are gathered and go in one piece, however many,
beside the rest. What the two ways bring to the store has no order between them, though operations on the same key have
to take effect in theirs. A batch is therefore cut into stretches: one ends before an operation on a key that the
stretch has on another way, and the next begins once it is done. Most batches are one stretch.

An operation is on the key that its first request names first: that of the entry, or of the limit.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sidecar.store.base import Command
from sidecar.store.plans import ROUND, Plan, Room, run_round

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sidecar.call import Call
    from sidecar.errors import SidecarError
    from sidecar.store.base import Arg, Store


async def run_apart(
    plans: Sequence[Plan[Any] | SidecarError], store: Store, call: Call, *, max_answer_bytes: int
) -> list[Any]:
    """Carry out operations as `plans.run_together` does, each by the store that it names; no error is of the whole."""
    results: list[Any] = list(plans)
    room = Room(max_answer_bytes)
    for stretch in _stretches(plans):
        await asyncio.gather(
            *(_run_all(results, places, by, store=store, room=room, call=call) for by, places in stretch)
        )
    return results


async def _run_all(
    results: list[Any], places: Sequence[int], by: Store | None, *, store: Store, room: Room, call: Call
) -> None:
    most = ROUND if by is None else len(places)
    for start in range(0, len(places), most):
        await run_round(results, places[start : start + most], store if by is None else by, room, call)


def _stretches(plans: Sequence[Plan[Any] | SidecarError]) -> Iterator[list[tuple[Store | None, list[int]]]]:
    """Yield the places of plans that may run side by side, by their stores."""
    ways: dict[int, tuple[Store | None, list[int]]] = {}
    way_of: dict[Arg, int] = {}
    for place, plan in enumerate(plans):
        if not isinstance(plan, Plan):
            continue
        way, key = id(plan.by), _key_of(plan)
        if key is not None and way_of.setdefault(key, way) != way:
            yield list(ways.values())
            ways, way_of = {}, {key: way}
        ways.setdefault(way, (plan.by, []))[1].append(place)
    if ways:
        yield list(ways.values())


def _key_of(plan: Plan[Any]) -> Arg | None:
    """Return the key that a plan is on; None for one that asks for nothing."""
    if not plan.requests:
        return None
    request = plan.requests[0]
    named: Sequence[Arg] = request.words[1:2] if isinstance(request, Command) else request.keys[:1]
    return named[0] if named else None
