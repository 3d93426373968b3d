"""What must hold for a cache's strategy, and for the settings that only strategies with an origin have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.config.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sidecar.config.origins import AnyOriginSettings
    from sidecar.config.policies import CacheSettings
    from sidecar.config.problems import Path

# Each with what it has where it says nothing.
_OF_ORIGINS = {"soft_timeout": None, "hard_timeout": None, "fail_safe_for": 0, "early_refresh": 0.0}
_REFRESH_AT = 0.8
_WRITING = frozenset({"write_through", "write_behind"})


def strategy_rules(path: Path, cache: CacheSettings, origins: Mapping[str, AnyOriginSettings]) -> Iterator[Finding]:
    """Return what is wrong with a cache's strategy."""
    strategy = (*path, "strategy")
    if cache.strategy != "refresh_ahead" and cache.refresh_at != _REFRESH_AT:
        yield Finding((*path, "refresh_at"), "is only for strategy: refresh_ahead", (strategy,))
    if cache.strategy == "cache_aside":
        for key, unset in _OF_ORIGINS.items():
            value = getattr(cache, key)
            if getattr(value, "ms", value) != unset:
                yield Finding((*path, key), "is only for strategies with an origin", (strategy,))
        return
    if cache.format == "raw":
        yield Finding(
            strategy, "a raw cache is cache_aside: others write it, and take no notice of loads", ((*path, "format"),)
        )
    elif cache.origin is None:
        yield Finding(strategy, f"{cache.strategy} needs `origin`", ((*path, "origin"),))
    elif cache.strategy in _WRITING and cache.origin.store is None:
        origin = origins.get(cache.origin.name)
        if origin is not None and origin.kind != "service":
            yield Finding((*path, "origin", "store"), f"is needed with strategy: {cache.strategy}", (strategy,))
    yield from _times(path, cache)


def _times(path: Path, cache: CacheSettings) -> Iterator[Finding]:
    soft, hard, lease = ((*path, key) for key in ("soft_timeout", "hard_timeout", "load_lease"))
    if cache.longest_load > cache.load_lease:
        yield Finding(hard, f"{cache.longest_load} is above load_lease ({cache.load_lease})", (lease,))
    if cache.soft_timeout is None:
        return
    if not cache.fail_safe_for.ms:
        yield Finding(soft, "has no use without fail_safe_for", ((*path, "fail_safe_for"),))
    if cache.soft_timeout > cache.longest_load:
        other = hard if cache.hard_timeout is not None else lease
        yield Finding(soft, f"{cache.soft_timeout} is above {other[-1]} ({cache.longest_load})", (other,))
