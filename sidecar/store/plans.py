"""Operations that are ready to be sent, so that many of them can go to the store together.

A domain checks a request, names its keys and packs its arguments; what is left is a `Plan`: what to send, and what the
replies will mean. One plan alone is a call of its own; many, from whatever domain, share one `call_many`. Whoever runs
them together need not know what they are about.

A plan that is run alone and one that is run with others end alike, whether well or with an error.

A batch that only reads strings, all of them for the same reader, is one `Reads`. What is done for each key is then what
takes the time, so each step is one function for all keys. (One MGET would be cheaper still, but it answers for a key of
another type as for one that is missing, and in a cluster its keys must share a slot.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

from sidecar.errors import Reason, SidecarError, StoreError
from sidecar.store.base import Command
from sidecar.store.replies import again

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sidecar.call import Call
    from sidecar.store.base import Reply, ScriptCall, Store

T = TypeVar("T")

# How an operation ends that the store has not answered: it was never asked or refused to look, or its answer was lost.
UNANSWERED = frozenset({Reason.STORE_UNAVAILABLE, Reason.OUTCOME_UNKNOWN})

# The operations that travel together: enough to make the trip cheap, few enough to stop in time when values are large.
ROUND = 64


class Plan(NamedTuple, Generic[T]):
    """One operation, checked and named."""

    requests: Sequence[Command | ScriptCall]
    """What to send; nothing where the answer is known, which then follows from no replies."""
    read: Callable[[Sequence[Reply]], T]
    """Say what the replies mean, none of which is an error but what was tried; raises `SidecarError`."""
    open: Callable[[T, Call], Awaitable[T]] | None = None
    """What is left to be done with that, where it is sealed; raises `SidecarError`."""
    instead: Callable[[], T] | None = None
    """Answer without the store, where it has not answered; None where that is an error."""
    beside: int = 0
    """How many of the last requests are only tried: how one of them fails is for `read` to see, and fails nothing."""
    growth: Callable[[T, Sequence[Reply]], int] | None = None
    """Say how many bytes an answer has more than its replies, where it may have more; below nought counts for none."""
    by: Store | None = None
    """What carries it out in place of the store of the rest (`plans_apart`)."""


if TYPE_CHECKING:
    Planned = Plan[T] | Awaitable[Plan[T]]
    """A plan, or the promise of one where something has to be asked for first, such as a key."""


async def run_alone(plan: Plan[T], store: Store, call: Call) -> T:
    """Carry out one operation; raises `SidecarError`."""
    if plan.instead is None:
        return await _answer_of(plan, store, call)
    try:
        return await _answer_of(plan, store, call)
    except SidecarError as error:
        return _without_store(plan, error)


async def _answer_of(plan: Plan[T], store: Store, call: Call) -> T:
    if not plan.requests:
        answer = plan.read(())
        return answer if plan.open is None else await plan.open(answer, call)
    request = plan.requests[0]
    if len(plan.requests) > 1:
        replies = await store.call_many(plan.requests, call)
        _raise_failure(_needed(replies, plan.beside))
        answer = plan.read(replies)
    elif isinstance(request, Command):
        answer = plan.read((await store.call(request, call),))
    else:
        answer = plan.read((await store.run(request, call),))
    return answer if plan.open is None else await plan.open(answer, call)


async def run_together(
    plans: Sequence[Plan[Any] | SidecarError], store: Store, call: Call, *, max_answer_bytes: int
) -> list[Any]:
    """Carry out operations; return the answer of each, in order, or the `SidecarError` that it ends with.

    An error among the plans is its own result. Operations on the same key take effect in their order. Once the values
    that were read add up to more than `max_answer_bytes`, further reads end with ANSWER_TOO_LARGE; writes are made.
    """
    results: list[Any] = list(plans)
    room = Room(max_answer_bytes)
    for start in range(0, len(plans), ROUND):
        places = [place for place in range(start, min(start + ROUND, len(plans))) if type(results[place]) is Plan]
        # An error of the first round is one of the whole: nothing has been done.
        await run_round(results, places, store, room, call, raises=start == 0)
    return results


async def run_round(
    results: list[Any], places: Sequence[int], store: Store, room: Room, call: Call, *, raises: bool = False
) -> None:
    """Carry out the plans at these places of `results` in one trip, and put their answers in their places.

    With `raises`, an error of the whole trip is raised; else each of the plans ends with it.
    """
    if room.left < 0:
        for place in places:
            if _only_reads(results[place]):
                results[place] = answer_too_large()
        places = [place for place in places if type(results[place]) is Plan]
    requests = [request for place in places for request in results[place].requests]
    try:
        replies = await store.call_many(requests, call) if requests else []
    except StoreError as error:
        if raises:
            raise
        replies = [again(error) for _ in requests]
    room.fit(replies)
    await _answer(results, places, replies, room, call)


class Room:
    """How many bytes of an answer are left; below nought once it was too large."""

    __slots__ = ("left",)

    def __init__(self, most_bytes: int) -> None:
        self.left = most_bytes

    def fit(self, replies: list[Reply]) -> None:
        """Count what was read; put errors in place of the values that do not fit any more."""
        before = self.left
        self.left -= _size_of(replies)
        if self.left < 0:
            _cut(replies, before)

    def take(self, size: int) -> None:
        """Count what comes to it beside; raises ANSWER_TOO_LARGE if it does not fit."""
        if size > 0:
            self.left -= size
            if self.left < 0:
                raise answer_too_large()


class Reads(NamedTuple, Generic[T]):
    """Many operations, each of which reads one string, checked and named: the most frequent batch, and the cheapest.

    It does what a `Plan` for each key would, in two thirds of the time that the whole call then takes.
    """

    keys: Sequence[bytes]
    """What to GET."""
    read: Callable[[Sequence[Reply], Room], list[T | SidecarError]]
    """Say what the replies mean, each by itself, where their values may grow as long as there is room; an error among
    them means itself."""
    open: Callable[[Sequence[T | SidecarError], Call], Awaitable[Sequence[T | SidecarError]]] | None = None
    """What is left to be done with all of that, as of a plan; it keeps within the size of an answer itself."""


async def run_reads(reads: Reads[T], store: Store, call: Call, *, max_answer_bytes: int) -> Sequence[T | SidecarError]:
    """Carry out reads as `run_together` would the plans of each: the same rounds, bounds and errors."""
    keys, read, open_ = reads
    results: list[T | SidecarError] = []
    room = Room(max_answer_bytes)
    for start in range(0, len(keys), ROUND):
        part = keys[start : start + ROUND]
        if room.left < 0:
            results += [answer_too_large() for _ in part]
            continue
        try:
            replies = await store.get_many(part, call)
        except StoreError as error:
            if start == 0:
                raise  # nothing has been done
            replies = [again(error) for _ in part]
        room.fit(replies)
        results += read(replies, room)
    return results if open_ is None else await open_(results, call)


async def _answer(results: list[Any], places: Sequence[int], replies: Sequence[Reply], room: Room, call: Call) -> None:
    """Replace the plans at these places by what the replies mean.

    All is read before anything is left to be done, so that what is loaded then is loaded together.
    """
    # All at once, so that a batch in which nothing is wrong costs no look at each.
    failed = any(issubclass(kind, SidecarError) for kind in set(map(type, replies)))
    end = 0
    unopened: list[tuple[int, Plan[Any]]] = []
    for place in places:
        requests, read, open_, _, beside, growth, _ = plan = results[place]
        begin, end = end, end + len(requests)
        own = replies[begin:end]
        try:
            if failed:
                _raise_failure(_needed(own, beside))
            answer = read(own)
            if growth is not None:
                room.take(growth(answer, own))
            results[place] = answer
            if open_ is not None:
                unopened.append((place, plan))
        except SidecarError as error:
            results[place] = _result_without_store(plan, error)
    for place, plan in unopened:
        try:
            before = results[place]
            answer = await cast("Callable[[Any, Call], Awaitable[Any]]", plan.open)(before, call)
            room.take(_size_in(answer) - _size_in(before))
            results[place] = answer
        except SidecarError as error:
            results[place] = _result_without_store(plan, error)


def _size_in(answer: object) -> int:
    """Return how long the values of an answer are, where it is a tuple of some."""
    return sum([len(part) for part in answer if type(part) is bytes]) if isinstance(answer, tuple) else 0


def _result_without_store(plan: Plan[T], error: SidecarError) -> T | SidecarError:
    try:
        return _without_store(plan, error)
    except SidecarError as final:
        return final


def _without_store(plan: Plan[T], error: SidecarError) -> T:
    """Return what an operation answers that ended so; raises the error itself where that is all there is to say."""
    if plan.instead is None or error.reason not in UNANSWERED:
        raise error
    return plan.instead()


def answer_too_large() -> SidecarError:
    """Return the error for what does not fit into the answer any more."""
    return SidecarError(
        Reason.ANSWER_TOO_LARGE, "the answer would be too large for a message (limits.max_message_bytes); ask for less"
    )


def _only_reads(plan: Plan[Any]) -> bool:
    """Return whether a plan fetches values and changes nothing."""
    requests = plan.requests
    return bool(requests) and all(isinstance(request, Command) and not request.writes for request in requests)


def _size_of(replies: Sequence[Reply]) -> int:
    return sum([len(reply) for reply in replies if type(reply) is bytes])


def _cut(replies: list[Reply], most_bytes: int) -> None:
    """Put errors in place of the values that do not fit into an answer any more."""
    for place, reply in enumerate(replies):
        if type(reply) is bytes:
            most_bytes -= len(reply)
            if most_bytes < 0:
                replies[place] = answer_too_large()


def _needed(replies: Sequence[Reply], beside: int) -> Sequence[Reply]:
    """Return the replies without those to what is only tried."""
    return replies[:-beside] if beside else replies


def _raise_failure(replies: Sequence[Reply]) -> None:
    for reply in replies:
        if isinstance(reply, SidecarError):
            raise reply
