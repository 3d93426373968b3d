"""The partitions of a write-behind cache in the store: owning them, taking from them, settling, looking at them.

All of it may be repeated. To own, to settle and to look say the same twice. A taking whose answer was lost has left its
changes among what is taken, which the next taking asks for with `anew`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.write_behind.changes import Taken, read_taken
from sidecar.errors import StoreError
from sidecar.store import commands
from sidecar.store.base import ScriptCall
from sidecar.store.keys import BEHIND_PARTITIONS
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sidecar.cache.write_behind.schedule import Settled
    from sidecar.call import Call
    from sidecar.store.base import Store
    from sidecar.store.keys import KeySpace

_ATTEND, _HOLD, _FREE = load("attend_senders"), load("hold_partition"), load("free_partition")
_LOOK = load("look_partition")
_TAKE, _SETTLE = load("take_changes"), load("settle_changes")

# What of the changes of one name waits behind one that is under way is passed over, within one script's time.
_LOOK_FURTHER = 200


class Attendance(NamedTuple):
    """Who is there to send changes, as one of them is told."""

    senders: int
    """How many there are."""
    before: int
    """How many of them stand before it."""
    now_ms: int
    """The store's time."""


class Held(NamedTuple):
    """Who owns partitions, as one of them is told."""

    fences: dict[int, bytes]
    """Of those that it owns itself."""
    free: list[int]
    """Those that nobody owns."""
    soonest_ms: int
    """How soon the time of another owner is over, if it is not renewed; 0 without one."""
    hurried: frozenset[int]
    """Those of its own whose changes somebody wants sent at once."""
    failed: frozenset[int]
    """Those of which the store has not answered."""


class Ask(NamedTuple):
    """What to take of a partition."""

    partition: int
    fence: bytes
    room: int
    after: str
    """The id to look from."""
    anew: bool
    """Whether to be told of all that is taken, too."""
    passed: frozenset[bytes] = frozenset()
    """The names that were passed over before `after`: nothing that follows of them is to be taken."""


class Got(NamedTuple):
    """What was taken."""

    taken: Sequence[Taken]
    on: str
    """The id to look on from; empty if all has been looked at."""
    coalesced: int
    passed: frozenset[bytes]
    """The names that were passed over, since a change of theirs is under way."""


class Standing(NamedTuple):
    """How a partition stands."""

    waiting: int
    taken: int
    first: str
    """The least id of a change that is not stored; empty without one."""
    last: str
    dead: int
    owner: str
    """Who sends its changes; empty for nobody."""


class Partitions:
    """The partitions of one cache."""

    def __init__(self, cache: str, store: Store, keys: KeySpace) -> None:
        self._keys = keys.behind(cache)
        self._senders = keys.behind_senders(cache)
        self._store = store

    async def attend(self, owner: str, lease_ms: int, call: Call) -> Attendance:
        """Be among those who send the cache's changes, or leave with a lease of 0."""
        return Attendance(*await self._store.run(ScriptCall(_ATTEND, (self._senders,), (owner, lease_ms), True), call))

    async def hold(self, owner: str, lease_ms: int, call: Call, wanted: Collection[int] = ()) -> Held:
        """Go on to own what `owner` has, and have those that are `wanted` too, unless they are another's."""
        replies = await self._store.call_many(
            [
                ScriptCall(_HOLD, (keys.owner,), (owner, lease_ms, int(number in wanted)), True)
                for number, keys in enumerate(self._keys)
            ],
            call,
        )
        fences: dict[int, bytes] = {}
        free, hurried, failed = [], set(), set()
        soonest_ms = 0
        for number, reply in enumerate(replies):
            if isinstance(reply, StoreError):
                failed.add(number)
                continue
            is_own, fence, told = reply
            if is_own:
                fences[number] = fence
                hurried.update([number] * told)
            elif told:
                soonest_ms = min(told, soonest_ms or told)
            else:
                free.append(number)
        return Held(fences, free, soonest_ms, frozenset(hurried), frozenset(failed))

    async def hurry(self, call: Call) -> None:
        """Have the owners send what waits as soon as they hear of it."""
        await self._store.call_many([commands.set_field(keys.owner, b"q", b"1") for keys in self._keys], call)

    async def free(self, fences: Mapping[int, bytes], call: Call) -> None:
        """Let partitions go."""
        if fences:
            await self._store.call_many(
                [ScriptCall(_FREE, (self._keys[number].owner,), (fence,), True) for number, fence in fences.items()],
                call,
            )

    async def take(self, asks: Sequence[Ask], call: Call) -> list[Got | StoreError | None]:
        """Take changes; None for a partition that is another's, an error where it is not known what was taken."""
        requests = []
        for number, fence, room, after, anew, passed in asks:
            keys = self._keys[number]
            requests.append(
                ScriptCall(
                    _TAKE,
                    (keys.owner, keys.stream, keys.pending, keys.taken),
                    (fence, room, room + _LOOK_FURTHER, f"({after}" if after else "-", int(anew), *passed),
                    False,
                )
            )
        replies = await self._store.call_many(requests, call)
        return [_got(ask.partition, reply) for ask, reply in zip(asks, replies, strict=True)]

    async def settle(self, partition: int, fence: bytes, settled: Sequence[Settled], call: Call) -> bool:
        """Say what came of changes of a partition; False if it is another's."""
        keys = self._keys[partition]
        words: list[bytes | str] = [fence]
        for taken, verdict, reason in settled:
            words += (verdict.value, taken.id, taken.name, reason)
        script_keys = (keys.owner, keys.pending, keys.taken, keys.dead, keys.names)
        return bool(await self._store.run(ScriptCall(_SETTLE, script_keys, tuple(words), True), call))

    async def look(self, call: Call, numbers: Sequence[int] = range(BEHIND_PARTITIONS)) -> list[Standing]:
        """Return how partitions stand; raises the store's errors."""
        requests = []
        for number in numbers:
            keys = self._keys[number]
            script_keys = (keys.owner, keys.stream, keys.taken, keys.dead)
            requests.append(ScriptCall(_LOOK, script_keys, (), True, writes=False))
        standings = []
        for reply in await self._store.call_many(requests, call):
            if isinstance(reply, StoreError):
                raise reply
            waiting, taken, first, last, dead, owner = reply
            standings.append(Standing(waiting, taken, first.decode(), last.decode(), dead, owner.decode()))
        return standings


def _got(partition: int, reply: object) -> Got | StoreError | None:
    if isinstance(reply, StoreError):
        return reply
    if not isinstance(reply, list) or reply[0] == 0:
        return None
    _, on, coalesced, passed, ids, changes = reply
    taken = [read_taken(partition, change_id, change) for change_id, change in zip(ids, changes, strict=True)]
    return Got(taken, on.decode(), coalesced, frozenset(passed))
