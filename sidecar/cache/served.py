"""What the services see of a cache, whatever its strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sidecar.cache.near.policy import ANY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from sidecar.cache.loads import Filled, Loaded
    from sidecar.cache.near.policy import Freshness
    from sidecar.cache.policy import Counted, Found, Lookup, Written
    from sidecar.cache.request import WriteOptions
    from sidecar.cache.values import NewValue
    from sidecar.call import Call
    from sidecar.errors import SidecarError
    from sidecar.store.plans import Plan, Planned, Reads

    Waiting = Callable[[], AbstractContextManager[None]]
    """Makes what each wait for somebody else is within."""


class Values(Protocol):
    """A cache of values: see `values.ValueCache` for each method."""

    async def get(self, key: str, call: Call, fresh: Freshness = ANY) -> Lookup:
        """Read one entry, as new as it is asked for."""
        ...

    def plan_get(self, key: str, call: Call, fresh: Freshness = ANY) -> Planned[Lookup]:
        """Return the plan of `get`."""
        ...

    async def set(self, key: str, value: bytes, options: WriteOptions, call: Call) -> Written:
        """Write one entry."""
        ...

    async def plan_set(self, key: str, value: bytes, options: WriteOptions, call: Call) -> Plan[Written]:
        """Return the plan of `set`."""
        ...

    async def delete(self, key: str, options: WriteOptions, call: Call) -> Written:
        """Remove one entry."""
        ...

    async def plan_delete(self, key: str, options: WriteOptions, call: Call) -> Plan[Written]:
        """Return the plan of `delete`."""
        ...

    async def touch(self, key: str, options: WriteOptions, call: Call) -> Written:
        """Give an entry a new TTL."""
        ...

    async def plan_touch(self, key: str, options: WriteOptions, call: Call) -> Plan[Written]:
        """Return the plan of `touch`."""
        ...

    async def increment(self, key: str, delta: int, initial: int, options: WriteOptions, call: Call) -> Counted:
        """Add to a counter."""
        ...

    async def plan_increment(
        self, key: str, delta: int, initial: int, options: WriteOptions, call: Call
    ) -> Plan[Counted]:
        """Return the plan of `increment`."""
        ...

    async def get_many(self, keys: Sequence[str], call: Call, fresh: Freshness = ANY) -> Sequence[Found | SidecarError]:
        """Read several entries, as new as they are asked for."""
        ...

    def plan_gets(self, keys: Sequence[str]) -> Reads[Found] | None:
        """Return what does the same as the plans of a `get` of each key, if there is such a thing."""
        ...

    def hot_keys(self, count: int) -> list[tuple[str, int]]:
        """Return the keys that this process is asked for most, and about how often lately."""
        ...

    async def set_many(self, values: Sequence[NewValue], call: Call) -> list[Written | SidecarError]:
        """Write several entries."""
        ...

    async def delete_many(self, keys: Sequence[str], options: WriteOptions, call: Call) -> list[Written | SidecarError]:
        """Remove several entries."""
        ...


class Loading(Protocol):
    """Who loads the entries of a cache: see `loads.Loads` for each method."""

    async def get_or_load(self, key: str, wait_ms: int | None, call: Call, *, waiting: Waiting) -> Loaded:
        """Read an entry, or say who loads it."""
        ...

    async def get_or_load_many(
        self, keys: Sequence[str], wait_ms: int | None, call: Call, *, waiting: Waiting
    ) -> list[Loaded | SidecarError]:
        """Read entries, or say of each who loads it."""
        ...

    async def fill(
        self, key: str, token: str, value: bytes, ttl_ms: int | None, call: Call, *, tags: Sequence[str] = ()
    ) -> Filled:
        """Write what was loaded."""
        ...

    async def end(self, key: str, token: str, call: Call, *, absent: bool, tags: Sequence[str] = ()) -> Filled:
        """End a load that brought no value."""
        ...
