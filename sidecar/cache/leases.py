"""Asking for the leave to load entries: what `loads` says of it, for one entry or for many in one trip."""

from __future__ import annotations

import secrets
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.dated import POSITION_DIGITS
from sidecar.cache.write_behind.format import BehindFormat
from sidecar.errors import SidecarError
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
    drawn: str
    """The asker's own part of the token, to ask again with; a new one is `draw()`."""
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
        scripts = [self._asking(one, opening, floors.get(one.name, 0)) for one in wanted]
        if len(scripts) == 1:
            replies: list[Reply] = [await self._store.run(scripts[0], call)]
        else:
            replies = await self._store.call_many(scripts, call)
        return [_asked(reply, opening + one.drawn) for one, reply in zip(wanted, replies, strict=True)]

    def _asking(self, wanted: Wanted, opening: str, floor: int) -> ScriptCall:
        name, drawn, also = wanted
        if isinstance(self._native, BehindFormat):
            return self._native.lease(name, opening + drawn, self._lease_ms, also)
        keys = (self._native.key(name), self._native.load_key(name))
        script = _LEASE
        words: tuple[Arg, ...] = (opening + drawn, self._lease_ms, also)
        if self._dating is not None and self._dating.has_generations:
            script, words = _LEASE_DATED, (*words, floor)
        # It may be repeated: a copy that comes late takes a lease that nobody uses, if any, and that ends by itself.
        return ScriptCall(script, keys, words, True)


def _asked(reply: Reply, token: str) -> Asked | SidecarError:
    if isinstance(reply, SidecarError):
        return reply
    state, left_ms, entry = reply
    return Asked(LeaseState(state), token, left_ms, entry or None)
