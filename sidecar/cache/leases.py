"""Asking for the leave to load entries: what `loads` says of it, for one entry or for many in one trip.

Each asking has a token of its own, which is sent once. What is sent to the store may be made much later than whoever
sent it has given up on it, when the entry has been invalidated since: a copy of it with the same token would give back
the lease that the invalidation took, and with it the leave to fill what was read before. So where the answer is lost
one asks anew, with another token, which takes over what the lost one may have got; should the lost one come after that,
it gives leave to nobody, and ends by itself.
"""

from __future__ import annotations

import secrets
import time
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.dated import POSITION_DIGITS
from sidecar.cache.write_behind.format import BehindFormat
from sidecar.errors import Reason, SidecarError
from sidecar.store.base import ScriptCall
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.cache.formats import NativeFormat
    from sidecar.cache.policy import CachePolicy
    from sidecar.cache.values import ValueCache
    from sidecar.call import Call
    from sidecar.store.base import Arg, Reply, Store

_LEASE, _LEASE_DATED = load("lease_entry"), load("lease_dated")

_TOKEN_BYTES = 16
TOKEN_CHARS = 2 * _TOKEN_BYTES

# A connection that is cut says so at once. A store that hangs would hang again.
_SOON_SECONDS = 0.5

IF_NOT_FRESH = ""
"""An entry is to be loaded unless it is fresh."""
ANYWAY = "*"
"""An entry is to be loaded also if it is fresh."""


class LeaseState(IntEnum):
    """What the script of the lease answers."""

    FRESH = 1
    GRANTED = 2
    TAKEN = 3
    ABSENT = 4


class Wanted(NamedTuple):
    """An entry that somebody would load."""

    name: bytes
    also: str = IF_NOT_FRESH
    """`IF_NOT_FRESH`, `ANYWAY`, or the version that is to be loaded though it is fresh."""


class Asked(NamedTuple):
    """The answer about one entry."""

    state: LeaseState
    token: str
    left_ms: int
    """How long the lease lasts, or another's, or it is known that there is nothing, or the entry is fresh."""
    entry: bytes | None


class Standing(NamedTuple):
    """Where entries of a cache stand: what a token opens with, and below which position each is out of date."""

    opening: str
    floors: dict[bytes, int]


def draw() -> str:
    """Return what nobody else has."""
    return secrets.token_hex(_TOKEN_BYTES)


class Leases:
    """The leases of one cache."""

    def __init__(self, policy: CachePolicy, store: Store, values: ValueCache, native: NativeFormat) -> None:
        self._lease_ms = policy.load_lease_ms
        self._store = store
        self._dating = values.dating
        self._native = native

    def load_key(self, name: bytes) -> bytes:
        """Return the Redis key of who loads an entry."""
        return self._native.load_key(name)

    async def standing(self, names: Sequence[bytes], call: Call) -> Standing:
        """Return where entries stand now; nothing in a cache without tags and generations."""
        if self._dating is None:
            return Standing("", {})
        standing = await self._dating.generations.look(names, (), call)
        return Standing(f"{standing.position:0{POSITION_DIGITS}}", {name: standing.floor_of(name) for name in names})

    async def ask(self, wanted: Sequence[Wanted], call: Call) -> list[Asked | SidecarError]:
        """Ask for the leave to load each of some entries; what cannot be asked about one is in its place.

        Raises `SidecarError` where nothing could be asked.
        """
        opening, floors = await self.standing([one.name for one in wanted], call)
        tokens = [opening + draw() for _ in wanted]
        begun = time.monotonic()
        replies = await self._send(
            [self._asking(one, token, floors.get(one.name, 0)) for one, token in zip(wanted, tokens, strict=True)], call
        )
        lost = [place for place, reply in enumerate(replies) if _is_lost(reply)]
        if lost and time.monotonic() - begun < _SOON_SECONDS:
            anew = {place: opening + draw() for place in lost}
            scripts = [
                self._asking(wanted[place], token, floors.get(wanted[place].name, 0), instead_of=tokens[place])
                for place, token in anew.items()
            ]
            for (place, token), reply in zip(anew.items(), await self._send(scripts, call), strict=True):
                tokens[place], replies[place] = token, reply
        if len(replies) == 1 and isinstance(replies[0], SidecarError):
            raise replies[0]
        return [_asked(reply, token) for reply, token in zip(replies, tokens, strict=True)]

    async def _send(self, scripts: Sequence[ScriptCall], call: Call) -> list[Reply]:
        if len(scripts) > 1:
            return await self._store.call_many(scripts, call)
        try:
            return [await self._store.run(scripts[0], call)]
        except SidecarError as error:
            return [error]

    def _asking(self, wanted: Wanted, token: str, floor: int, instead_of: str = "") -> ScriptCall:
        name, also = wanted
        if isinstance(self._native, BehindFormat):
            return self._native.lease(name, token, self._lease_ms, also, instead_of)
        keys = (self._native.key(name), self._native.load_key(name))
        script = _LEASE
        words: tuple[Arg, ...] = (token, self._lease_ms, also, instead_of)
        if self._dating is not None and self._dating.has_generations:
            script, words = _LEASE_DATED, (*words, floor)
        return ScriptCall(script, keys, words, False)


def _is_lost(reply: Reply) -> bool:
    return isinstance(reply, SidecarError) and reply.reason is Reason.OUTCOME_UNKNOWN


def _asked(reply: Reply, token: str) -> Asked | SidecarError:
    if isinstance(reply, SidecarError):
        return reply
    state, left_ms, entry = reply
    return Asked(LeaseState(state), token, left_ms, entry or None)
