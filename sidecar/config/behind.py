"""How a write-behind cache's changes reach the origin: settings, and what contradicts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from sidecar.config.findings import Finding
from sidecar.config.quantities import Duration, Lasting
from sidecar.config.section import Count, Section, Switch
from sidecar.config.words import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.config.policies import CacheSettings
    from sidecar.config.problems import Path


class BehindSettings(Section):
    """How the changes of a write-behind cache reach its origin."""

    flush_after: Annotated[Duration, Lasting("1ms", "1h")] = Field(
        Duration(1_000),
        description="Time for which a change waits for others, to go in a batch with them or to be replaced by a newer "
        "one of its key. 1ms to 1h.",
    )
    batch: Count = Field(100, ge=1, le=1_000, description="Most changes in one call of the origin. 1 to 1000.")
    concurrency: Count = Field(
        4, ge=1, le=64, description="Most calls of the origin at a time, of each process. 1 to 64."
    )
    coalesce: Switch = Field(
        True, description="Of the changes of a key that wait, send only the newest. False: send each, in their order."
    )
    max_pending: Count = Field(
        100_000,
        ge=16,
        le=10_000_000,
        description="Most changes that wait; writes beyond are refused. Each of the cache's 16 partitions, over "
        "which a hash spreads the keys, takes a sixteenth. 16 to 10000000.",
    )
    max_attempts: Count = Field(
        10,
        ge=1,
        le=1_000,
        description="How often the origin may fail at a change, while it takes others, before that is a dead letter. "
        "1 to 1000.",
    )
    retry_base: Annotated[Duration, Lasting("1ms", "1m")] = Field(
        Duration(100), description="Bound of the first wait before a change is tried again; it doubles. 1ms to 1m."
    )
    retry_cap: Annotated[Duration, Lasting("1ms", "1h")] = Field(
        Duration(30_000), description="Bound that no such wait exceeds. 1ms to 1h; at least `retry_base`."
    )
    lease: Annotated[Duration, Lasting("200ms", "5m")] = Field(
        Duration(10_000),
        description="Time after which another sidecar takes over what one had to send that is not heard of any more. "
        "200ms to 5m.",
    )
    store_timeout: Annotated[Duration, Lasting("10ms", "2m")] = Field(
        Duration(5_000), description="Longest time of one call of the origin. 10ms to 2m; at most half of `lease`."
    )
    max_lag: Annotated[Duration, Lasting("1s", "7d")] = Field(
        Duration(60_000),
        description="Age of a change that is not stored from which on the metric `sidecar_write_behind_overdue` is 1. "
        "1s to 7d.",
    )
    durability: Annotated[str, Field(pattern=r"^(memory|fsync|replicas:[1-9])$")] = Field(
        "memory",
        description="When a write is acknowledged: `memory`, once the store has it; `fsync`, once it is on the store's "
        "disk; `replicas:N`, once N replicas have it too (1 to 9).",
    )
    durability_timeout: Annotated[Duration, Lasting("10ms", "1m")] = Field(
        Duration(3_000),
        description="Longest wait for that; a write that is not confirmed by then ends with WRITE_NOT_CONFIRMED. "
        "10ms to 1m.",
    )


def behind_rules(path: Path, cache: CacheSettings) -> Iterator[Finding]:
    """Return what contradicts a cache's being write-behind."""
    strategy, own = (*path, "strategy"), (*path, "write_behind")
    if cache.strategy != "write_behind":
        if cache.write_behind is not None:
            yield Finding(own, "is only for caches with strategy: write_behind", (strategy,))
        return
    for switch in ("tags", "generations"):
        if getattr(cache, switch):
            yield Finding((*path, switch), "a write-behind cache has none; invalidate its keys", (strategy,))
    if cache.max_memory is not None:
        yield Finding((*path, "max_memory"), "a write-behind cache has none, but max_pending", (strategy,))
    settings = cache.write_behind
    if settings is None:
        return
    if settings.retry_base > settings.retry_cap:
        yield Finding(
            (*own, "retry_base"),
            f"{settings.retry_base} is above retry_cap ({settings.retry_cap})",
            ((*own, "retry_cap"),),
        )
    if settings.store_timeout.ms * 2 > settings.lease.ms:
        yield Finding(
            (*own, "store_timeout"),
            f"{settings.store_timeout} is above half of lease ({settings.lease})",
            ((*own, "lease"),),
        )
