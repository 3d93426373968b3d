"""Cache-aside without a stampede: of all who miss an entry, one is given the leave to load it, and the others wait.

The leave is a key beside the entry that holds a token and expires: whoever dies while loading keeps the others waiting
for no longer. Only who has the token may fill the entry. Whatever writes or deletes the entry removes that key in the
same script, so what was read from the origin before a change can never be filled in after it.

In a cache with tags or generations the token also says at which position the entry was to be loaded: see `generations`.

An entry that is stale but may still be served is served to all but the one who loads it anew.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.dated import POSITION_DIGITS
from sidecar.cache.entry import DATED_PACKED_MAGIC, PACKED_MAGIC, dated_block
from sidecar.cache.leases import ANYWAY, IF_NOT_FRESH, TOKEN_CHARS, Leases, LeaseState, Wanted
from sidecar.cache.policy import MISS, Lookup, Outcome, choose_ttl, named
from sidecar.cache.request import check_size
from sidecar.cache.tags import Tagged, refuse_tags
from sidecar.clock import after, remaining
from sidecar.errors import InvalidArgumentError, Reason, SidecarError
from sidecar.store.base import ScriptCall
from sidecar.store.plans import answer_too_large
from sidecar.store.scripts import load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sidecar.cache.dated import Dating
    from sidecar.cache.formats import NativeFormat
    from sidecar.cache.leases import Asked
    from sidecar.cache.policy import CachePolicy, Limits
    from sidecar.cache.served import Waiting
    from sidecar.cache.values import ValueCache
    from sidecar.cache.waits import Waits
    from sidecar.call import Call
    from sidecar.store.base import Arg, Store
    from sidecar.telemetry.metrics import Counter

_FILL, _END = load("fill_entry"), load("end_load")
_FILL_DATED, _END_DATED = load("fill_dated"), load("end_dated")

_HEX_DIGITS = frozenset("0123456789abcdef")
_DECIMAL_DIGITS = frozenset("0123456789")

# An answer that says "not yet" must still reach the caller before its deadline: that much of what is left of it is kept
# for the way back.
FOR_THE_WAY = 0.05


class LoadOutcome(IntEnum):
    """What GetOrLoad answers; the value is its number in the protocol."""

    HIT = 1
    STALE = 2
    LEASE = 3
    WAIT = 4
    ABSENT = 5


class Loaded(NamedTuple):
    """The answer of GetOrLoad."""

    outcome: LoadOutcome
    lookup: Lookup = MISS
    """The entry: fresh with HIT, stale with STALE and perhaps with LEASE."""
    token: str = ""
    """With LEASE, what Fill asks for."""
    left_ms: int = 0
    """How long the caller's lease lasts, or another's, or it is known that there is nothing."""


class Filled(NamedTuple):
    """The answer of a Fill; without a value the first two are 0."""

    version: int = 0
    ttl_ms: int = 0
    at_us: int = 0
    """When it was, by the store's clock."""


def fitting(told: Sequence[Loaded | SidecarError], most_bytes: int) -> list[Loaded | SidecarError]:
    """Return what fits into an answer: beyond that an error for each entry, and leases without their stale ones."""
    kept: list[Loaded | SidecarError] = []
    for loaded in told:
        fits = loaded
        if isinstance(loaded, Loaded):
            most_bytes -= len(loaded.lookup.value)
            if most_bytes < 0 and loaded.lookup.value:
                fits = loaded._replace(lookup=MISS) if loaded.token else answer_too_large()
        kept.append(fits)
    return kept


class Loads:
    """GetOrLoad and Fill of one configured cache."""

    def __init__(
        self,
        *,
        policy: CachePolicy,
        limits: Limits,
        store: Store,
        values: ValueCache,
        native: NativeFormat,
        waits: Waits,
        draw: Callable[[], float],
        loads: Counter,
    ) -> None:
        self._policy = policy
        self._limits = limits
        self._store = store
        self._values = values
        self._dating = values.dating
        self._native = native
        self.leases = Leases(policy, store, values, native)
        """Who may load what."""
        self._waits = waits
        self._draw = draw
        self._cells = {
            outcome: loads.cell(policy.name, outcome)
            for outcome in ("leased", "waited", "absent", "filled", "empty", "failed", "late")
        }

    async def get_or_load(self, key: str, wait_ms: int | None, call: Call, *, waiting: Waiting) -> Loaded:
        """Read an entry, or be given the leave to load it, or wait for who was; raises SidecarError.

        `wait_ms` is the longest wait, the cache's own if it is None; the call's deadline bounds it in any case. Each
        wait for another caller is within what `waiting` returns.
        """
        lookup = await self._values.get(key, call)
        if lookup.outcome is Outcome.HIT:
            return Loaded(LoadOutcome.HIT, lookup)
        (loaded,) = await self._ask_until_known([key], wait_ms, call, waiting)
        if isinstance(loaded, SidecarError):
            raise loaded
        return loaded

    async def get_or_load_many(
        self, keys: Sequence[str], wait_ms: int | None, call: Call, *, waiting: Waiting
    ) -> list[Loaded | SidecarError]:
        """Do for each of some keys what `get_or_load` does; raises BATCH_SIZE, KEY_EMPTY, KEY_TOO_LONG.

        Whoever is given the leave to load one of them does not wait for the others: two who each waited for what the
        other is to load would do so in vain.
        """
        told: dict[str, Loaded | SidecarError] = {}
        for key, found in zip(keys, await self._values.get_many(keys, call), strict=True):
            if isinstance(found, SidecarError):
                told[key] = found
            elif found[0] is Outcome.HIT:
                told[key] = Loaded(LoadOutcome.HIT, named(found))
        missed = [key for key in dict.fromkeys(keys) if key not in told]
        if missed:
            told.update(zip(missed, await self._ask_until_known(missed, wait_ms, call, waiting), strict=True))
        return fitting([told[key] for key in keys], self._limits.max_answer_bytes)

    async def _ask_until_known(
        self, keys: Sequence[str], wait_ms: int | None, call: Call, waiting: Waiting
    ) -> list[Loaded | SidecarError]:
        """Ask about entries, again and again while there is nothing to do about any and there is time to wait."""
        seconds = (self._policy.load_wait_ms if wait_ms is None else wait_ms) / 1_000
        until = after(min(seconds, remaining(call.deadline) * (1 - FOR_THE_WAY)))
        asking = {key: Wanted(await self._values.name(key, call)) for key in keys}
        told: dict[str, Loaded | SidecarError] = {}
        while asking:
            answers = await self.leases.ask(list(asking.values()), call)
            waits_for: tuple[str, int] | None = None
            for (key, wanted), asked in zip(tuple(asking.items()), answers, strict=True):
                loaded = asked if isinstance(asked, SidecarError) else await self._understood(wanted.name, asked, call)
                if loaded is None:
                    # Its data key is gone; or it has turned stale on the way.
                    asking[key] = wanted._replace(also=ANYWAY)
                    continue
                told[key] = loaded
                if isinstance(loaded, Loaded) and loaded.outcome is LoadOutcome.WAIT:
                    waits_for = waits_for or (key, loaded.left_ms)
                    asking[key] = wanted._replace(also=IF_NOT_FRESH)  # another entry may be there by then
                else:
                    del asking[key]
            if waits_for is None:
                continue
            rest = remaining(until)
            if rest <= 0 or any(isinstance(one, Loaded) and one.outcome is LoadOutcome.LEASE for one in told.values()):
                self._cells["waited"].value += len(asking)
                break
            key, left_ms = waits_for
            with waiting():
                await self._waits.wait(self._native.load_key(asking[key].name), min(rest, left_ms / 1_000))
        return [told[key] for key in keys]

    async def _understood(self, name: bytes, asked: Asked, call: Call) -> Loaded | SidecarError | None:
        """Return what an answer says; None if it is to be asked for again though it is fresh."""
        state, token, left_ms, entry = asked
        try:
            lookup = await self._values.judged(name, entry, call)
        except SidecarError as error:
            return error
        if state == LeaseState.FRESH:
            return Loaded(LoadOutcome.HIT, lookup) if lookup.outcome is Outcome.HIT else None
        if state == LeaseState.GRANTED:
            self._cells["leased"].value += 1
            return Loaded(LoadOutcome.LEASE, lookup, token, left_ms)
        if lookup.outcome is not Outcome.MISS:
            return Loaded(LoadOutcome.STALE, lookup)
        if state == LeaseState.ABSENT:
            self._cells["absent"].value += 1
            return Loaded(LoadOutcome.ABSENT, left_ms=left_ms)
        return Loaded(LoadOutcome.WAIT, left_ms=left_ms)

    async def fill(
        self, key: str, token: str, value: bytes, ttl_ms: int | None, call: Call, *, tags: Sequence[str] = ()
    ) -> Filled:
        """Write what was loaded; raises LEASE_UNKNOWN, TOKEN_MALFORMED, and what a write raises."""
        self._check_token(token)
        return await self.keep(key, token, value, ttl_ms, call, tags=tags)

    async def keep(
        self, key: str, token: str, value: bytes, ttl_ms: int | None, call: Call, *, tags: Sequence[str] = ()
    ) -> Filled:
        """Do what `fill` does, with a token of the sidecar's own."""
        check_size(len(value), self._limits.max_value_bytes, "value")
        fresh_ms = choose_ttl(self._policy, ttl_ms, self._draw())
        name = await self._values.name(key, call)
        stored_tags = await self.checked_tags(tags, call)
        content, packed = await self._values.stored(name, value, call)
        keys = (self._native.key(name), self._native.load_key(name))
        dating, script, magic = self._dating, _FILL, PACKED_MAGIC
        if dating is not None and (stored_tags or dating.has_generations):
            life_ms = fresh_ms + self._policy.kept_ms
            await self._refuse_overtaken(dating, Tagged(name, stored_tags, life_ms), token, call)
            script, magic = _FILL_DATED, DATED_PACKED_MAGIC
            content = dated_block(_position_in(token), stored_tags) + content
        words: tuple[Arg, ...] = (token, content, fresh_ms, self._policy.kept_ms)
        if packed:
            words = (*words, magic)
        applied, version, fresh_ms = await self._store.run(ScriptCall(script, keys, words, False), call)
        self._values.forget(name)
        self._ended(keys[1], "filled", applied=applied)
        return Filled(version, fresh_ms, version)

    async def end(self, key: str, token: str, call: Call, *, absent: bool, tags: Sequence[str] = ()) -> Filled:
        """End a load that brought no value: the origin has none, or could not be asked; raises as `fill` does.

        What is known not to be there is forgotten when one of its `tags` is invalidated.
        """
        self._check_token(token)
        return await self.finish(key, token, call, absent=absent, tags=tags)

    async def finish(self, key: str, token: str, call: Call, *, absent: bool, tags: Sequence[str] = ()) -> Filled:
        """Do what `end` does, with a token of the sidecar's own."""
        name = await self._values.name(key, call)
        stored_tags = await self.checked_tags(tags, call)
        dating = self._dating
        if absent and dating is not None and (stored_tags or dating.has_generations):
            await self._refuse_overtaken(dating, Tagged(name, stored_tags, self._policy.negative_ttl_ms), token, call)
        applied, at_us = await self._end(name, token, call, absent=absent)
        self._values.forget(name)
        self._ended(self._native.load_key(name), "empty" if absent else "failed", applied=applied)
        return Filled(at_us=at_us)

    async def _end(self, name: bytes, token: str, call: Call, *, absent: bool) -> tuple[int, int]:
        """Return 1 if that ended the load, else 0; and when that was."""
        keys = (self._native.key(name), self._native.load_key(name))
        script = _END if self._dating is None or not self._dating.has_generations else _END_DATED
        words = (token, int(absent), self._policy.negative_ttl_ms)
        applied, at_us = await self._store.run(ScriptCall(script, keys, words, False), call)
        return applied, at_us

    # --- in a cache with tags or generations ---

    async def checked_tags(self, tags: Sequence[str], call: Call, field: str = "tags") -> tuple[bytes, ...]:
        """Return tags as they are stored; raises TAGS_UNSUITABLE, and UNSUPPORTED_BY_CACHE where there are none."""
        if self._dating is not None:
            return await self._dating.tags.checked(tags, call, field)
        if tags:
            refuse_tags(self._policy.name, field)
        return ()

    async def _refuse_overtaken(self, dating: Dating, entry: Tagged, token: str, call: Call) -> None:
        """End the load, and raise LEASE_UNKNOWN, if what was loaded is out of date by one of its tags or its name.

        An invalidation that comes after this look finds the name under its tags, and ends the load itself.
        """
        if entry.tags:
            await dating.tags.enter([entry], call)
        standing = await dating.generations.look([entry.name], entry.tags, call)
        if standing.voids(entry.name, entry.tags, _position_in(token)):
            await self._end(entry.name, token, call, absent=False)
            load_key = self._native.load_key(entry.name)
            self._waits.wake(load_key)
            self._ended(load_key, "late", applied=0)

    def _ended(self, load_key: bytes, outcome: str, *, applied: int) -> None:
        if not applied:
            self._cells["late"].value += 1
            raise SidecarError(
                Reason.LEASE_UNKNOWN,
                "the lease on this entry has ended, or the entry was written, deleted or invalidated since; "
                "nothing was changed",
                field="token",
            )
        self._cells[outcome].value += 1
        self._waits.wake(load_key)

    def _check_token(self, token: str) -> None:
        digits = 0 if self._dating is None else POSITION_DIGITS
        position = token[:digits]
        if (
            len(token) != digits + TOKEN_CHARS
            or not _HEX_DIGITS.issuperset(token)
            or not _DECIMAL_DIGITS.issuperset(position)
        ):
            raise InvalidArgumentError(Reason.TOKEN_MALFORMED, "the token is none that GetOrLoad gives", field="token")


def _position_in(token: str) -> int:
    return int(token[:POSITION_DIGITS])
