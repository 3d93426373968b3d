"""Invalidation of one cache: by keys, by tags, by a prefix, or the whole.

Whatever way is taken, once it is acknowledged no sidecar serves what was there before, and none fills in what was asked
of the origin before. A call that fails may have been carried out in part: to make it again completes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sidecar.cache.generations import PREFIX_END, too_deep
from sidecar.cache.policy import WriteOutcome
from sidecar.errors import InvalidArgumentError, Reason, SidecarError
from sidecar.store.keys import check_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sidecar.cache.dated import Dating
    from sidecar.cache.policy import CachePolicy, Limits
    from sidecar.cache.values import ValueCache
    from sidecar.call import Call


class Invalidated(NamedTuple):
    """What an invalidation has done."""

    removed: int = 0
    """How many entries, by keys and tags."""
    generation: int = 0
    """The new one, by tags, prefix and whole cache."""
    failures: tuple[tuple[str, SidecarError], ...] = ()
    """The keys whose entries could not be removed, and why."""
    at_us: int = 0
    """When it had been done, by the store's clock; 0 if nothing was."""


class Invalidation:
    """Invalidates entries of one cache that is not raw."""

    def __init__(self, policy: CachePolicy, limits: Limits, values: ValueCache, dating: Dating | None) -> None:
        self._policy = policy
        self._limits = limits
        self._values = values
        self._dating = dating

    async def by_keys(self, keys: Sequence[str], call: Call) -> Invalidated:
        """Remove entries by their keys; raises BATCH_SIZE, KEY_EMPTY, KEY_TOO_LONG."""
        done = await self._values.forget_many(keys, call)
        failures = [(key, one) for key, one in zip(keys, done, strict=True) if isinstance(one, SidecarError)]
        made = [one for one in done if not isinstance(one, SidecarError)]
        removed = sum(one.outcome is WriteOutcome.APPLIED for one in made)
        return Invalidated(removed, failures=tuple(failures), at_us=max([one.at_us for one in made], default=0))

    async def by_tags(self, tags: Sequence[str], call: Call) -> Invalidated:
        """Remove the entries that have any of these tags; raises TAGS_UNSUITABLE, UNSUPPORTED_BY_CACHE."""
        dating = self._dating
        if dating is None or not self._policy.tags:
            raise self._unsupported("the entries have no tags (caches.<name>.tags)", "tags")
        if not tags:
            raise InvalidArgumentError(Reason.TAGS_UNSUITABLE, "there is no tag", field="tags.tags")
        stored = await dating.tags.checked(tags, call, "tags.tags")
        generation = await dating.generations.pass_tags(stored, call)
        removed = sum([await self._empty(dating, tag, call) for tag in stored])
        self._values.forget_all()
        # The entries went one after another: what is said of them all holds from now on.
        return Invalidated(removed, generation, at_us=await dating.generations.now(call))

    async def by_prefix(self, prefix: str, call: Call) -> Invalidated:
        """Put all keys that begin so out of date; raises PREFIX_UNSUITABLE, UNSUPPORTED_BY_CACHE, KEY_TOO_LONG."""
        dating = self._dating
        if dating is None or not dating.has_generations:
            raise self._unsupported("it has no generations (caches.<name>.generations)", "prefix")
        if not dating.has_prefixes:
            raise self._unsupported("its keys are kept as hashes, which have no prefixes", "prefix")
        name = prefix.encode()
        if not name.endswith(PREFIX_END) or too_deep(name):
            raise InvalidArgumentError(
                Reason.PREFIX_UNSUITABLE,
                "a prefix ends with a colon, and holds at most eight; for the whole cache ask for all",
                field="prefix",
            )
        check_name(prefix, self._limits.max_key_bytes, "prefix")
        return self._passed(await dating.generations.pass_prefix(name, call))

    async def whole(self, call: Call) -> Invalidated:
        """Put the whole cache out of date; raises UNSUPPORTED_BY_CACHE."""
        dating = self._dating
        if dating is None or not dating.has_generations:
            raise self._unsupported("it has no generations (caches.<name>.generations)", "all")
        return self._passed(await dating.generations.pass_all(call))

    def _passed(self, generation: int) -> Invalidated:
        self._values.forget_all()
        # A generation is a time, of its making or later.
        return Invalidated(generation=generation, at_us=generation)

    async def _empty(self, dating: Dating, tag: bytes, call: Call) -> int:
        removed = 0
        while True:
            taken = await dating.tags.take(tag, call)
            if taken:
                floors = await dating.floors(list(taken), call)
                removed += await dating.tags.visit(tag, floors, call)
                await dating.tags.forget(tag, taken, call)
            if dating.tags.is_last(taken):
                return removed

    def _unsupported(self, why: str, field: str) -> SidecarError:
        text = f"cache {self._policy.name!r} cannot be invalidated so: {why}"
        return SidecarError(Reason.UNSUPPORTED_BY_CACHE, text, field=field)
