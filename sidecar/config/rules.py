"""Rules that tie several settings together. Pure: settings in, findings out, all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.config.addresses import has_password, has_username, is_local, wants_tls
from sidecar.config.behind import behind_rules
from sidecar.config.bounds import bound_rules
from sidecar.config.buckets import slow_refill
from sidecar.config.event_rules import event_rules
from sidecar.config.exceptions import exception_rules
from sidecar.config.findings import Finding
from sidecar.config.leases import lease_rules
from sidecar.config.near import near_rules
from sidecar.config.origin_rules import origin_rules
from sidecar.config.policies import CheckedSettings
from sidecar.config.quantities import Duration, render_size
from sidecar.config.reservations import reservation_rules
from sidecar.config.strategies import strategy_rules
from sidecar.config.tiers import tier_rules
from sidecar.config.warming import warm_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sidecar.config.model import EncryptionSettings, LimitSettings, Settings, StoreSettings
    from sidecar.config.policies import CacheSettings, FixedWindowSettings, RateLimitSettings
    from sidecar.config.problems import Path

# Protected health information must not outlive a day in a cache, whatever the callers ask for.
_MAX_PHI_KEPT = Duration.parse("24h")
# The sidecar's own keys begin so; a raw cache there could overwrite them.
_OWN_PREFIX = "sc:"
# What a SetRequest holds besides key and value: cache name, idempotency key, TTL, condition, lengths.
_MESSAGE_OVERHEAD_BYTES = 1024


def broken_rules(settings: Settings) -> Iterator[Finding]:
    """Return every rule that the settings break."""
    yield from _addresses(settings)
    yield from _workers(settings)
    yield from _store(settings.store)
    yield from _limits(settings.limits)
    for name, cache in settings.caches.items():
        path = ("caches", name)
        yield from _cache_times(path, cache)
        yield from _cache_fields(path, cache)
        yield from _cache_format(path, cache)
        yield from bound_rules(path, cache, settings.limits)
        yield from warm_rules(path, cache, settings)
        yield from near_rules(path, cache)
        yield from behind_rules(path, cache)
        yield from strategy_rules(path, cache, settings.origins)
    yield from _raw_prefixes(settings.caches)
    for name, event in settings.events.items():
        yield from event_rules(("events", name), event, settings.caches, settings.origins)
    for name, limit in settings.rate_limits.items():
        yield from _rate_limit(("rate_limits", name), limit)
        if isinstance(limit, CheckedSettings):
            yield from exception_rules(("rate_limits", name), limit)
            if limit.candidate is not None:
                yield from _rate_limit(("rate_limits", name, "candidate"), limit.candidate)
            yield from tier_rules(("rate_limits", name), limit)
            yield from lease_rules(("rate_limits", name), limit)
            yield from reservation_rules(("rate_limits", name), limit)
    yield from _keys(settings.encryption)
    yield from origin_rules(settings)


def _addresses(settings: Settings) -> Iterator[Finding]:
    taken: set[str] = set()
    for index, listener in enumerate(settings.listen):
        if listener.engine == "fast" and not is_local(listener.address):
            yield Finding(
                ("listen", index, "engine"),
                "the fast engine serves loopback and Unix sockets only; leave it out, or set grpcio",
                (("listen", index, "address"),),
            )
        if listener.address in taken:
            yield Finding(("listen", index), f"{listener.address} is listed twice")
        elif not listener.address.endswith(":0"):
            taken.add(listener.address)
    if settings.telemetry.metrics.address in taken:
        yield Finding(
            ("telemetry", "metrics", "address"),
            f"{settings.telemetry.metrics.address} is already in `listen`",
            (("listen",),),
        )


def _workers(settings: Settings) -> Iterator[Finding]:
    if settings.workers.number == 1:
        return
    for index, listener in enumerate(settings.listen):
        if listener.chosen_engine == "grpcio" and listener.address.startswith("unix:"):
            yield Finding(
                ("listen", index, "engine"),
                f"the grpcio engine cannot share a Unix socket among workers ({settings.workers.written}); "
                "leave it out, or set `workers` to 1",
                (("workers",), ("listen", index, "address")),
            )


def _store(store: StoreSettings) -> Iterator[Finding]:
    url: Path = ("store", "url")
    if store.password_file is not None and store.password_env is not None:
        yield Finding(("store", "password_env"), "give either password_file or password_env")
    for key in ("username", "password_file", "password_env"):
        if getattr(store, key) is None:
            continue
        if store.url is None:
            yield Finding(("store", key), "has no use without `url`", (url,))
        elif key == "username" and has_username(store.url):
            yield Finding(("store", key), "the URL names a user already", (url,))
        elif key != "username" and has_password(store.url):
            yield Finding(("store", key), "the URL holds a password already", (url,))
    tls = store.tls
    given = [key for key in ("ca_file", "cert_file", "key_file", "server_name") if getattr(tls, key)]
    if given and (store.url is None or not wants_tls(store.url)):
        yield Finding(("store", "tls", given[0]), "has no use unless `url` is a rediss:// one", (url,))
    if (tls.cert_file is None) != (tls.key_file is None):
        lone, other = ("cert_file", "key_file") if tls.cert_file else ("key_file", "cert_file")
        yield Finding(("store", "tls", lone), f"needs {other}", (("store", "tls", other),))
    if store.backoff.base > store.backoff.cap:
        yield Finding(
            ("store", "backoff", "base"),
            f"{store.backoff.base} is above cap ({store.backoff.cap})",
            (("store", "backoff", "cap"),),
        )


def _limits(limits: LimitSettings) -> Iterator[Finding]:
    if limits.default_deadline > limits.max_deadline:
        yield Finding(
            ("limits", "default_deadline"),
            f"{limits.default_deadline} is above max_deadline ({limits.max_deadline})",
            (("limits", "max_deadline"),),
        )
    least = limits.max_value_bytes + limits.max_key_bytes + _MESSAGE_OVERHEAD_BYTES
    if limits.max_message_bytes < least:
        yield Finding(
            ("limits", "max_message_bytes"),
            f"{render_size(limits.max_message_bytes)} does not hold max_value_bytes "
            f"({render_size(limits.max_value_bytes)}), a key and the rest of a message; "
            f"at least {least} bytes",
            (("limits", "max_value_bytes"), ("limits", "max_key_bytes")),
        )


def _cache_times(path: Path, cache: CacheSettings) -> Iterator[Finding]:
    ttl, max_ttl, data_class = (*path, "ttl"), (*path, "max_ttl"), (*path, "data_class")
    if cache.max_ttl is not None and cache.ttl > cache.max_ttl:
        yield Finding(ttl, f"{cache.ttl} is above max_ttl ({cache.max_ttl})", (max_ttl,))
    if cache.data_class != "phi":
        return
    longest = cache.longest_ttl or cache.ttl
    if longest > _MAX_PHI_KEPT:
        at, other = (max_ttl, ttl) if cache.max_ttl else (ttl, max_ttl)
        yield Finding(at, f"{longest} is above the most for a phi cache ({_MAX_PHI_KEPT})", (other, data_class))
    elif longest.ms + cache.kept.ms > _MAX_PHI_KEPT.ms:
        yield Finding(
            (*path, "stale_for" if cache.stale_for >= cache.fail_safe_for else "fail_safe_for"),
            f"{cache.kept} and a TTL of {longest} are together above the most for a phi cache ({_MAX_PHI_KEPT})",
            (ttl, max_ttl, data_class),
        )


def _cache_fields(path: Path, cache: CacheSettings) -> Iterator[Finding]:
    for key in ("phi_fields", "clear_fields"):
        names: tuple[str, ...] = getattr(cache, key)
        if names and cache.data_class != "phi":
            yield Finding((*path, key), "is only for caches with data_class: phi", ((*path, "data_class"),))
        for repeated in sorted({name for name in names if names.count(name) > 1}):
            yield Finding((*path, key), f"`{repeated}` is listed twice")
    for name in sorted(set(cache.phi_fields) & set(cache.clear_fields)):
        yield Finding((*path, "clear_fields"), f"`{name}` is also in phi_fields", ((*path, "phi_fields"),))


def _cache_format(path: Path, cache: CacheSettings) -> Iterator[Finding]:
    prefix, form = (*path, "key_prefix"), (*path, "format")
    if cache.format != "raw":
        if cache.key_prefix is not None:
            yield Finding(prefix, "is only for caches with format: raw", (form,))
        return
    if cache.data_class == "phi":
        yield Finding(form, "a phi cache cannot be raw, since raw values are not sealed", ((*path, "data_class"),))
    if cache.key_prefix is None:
        yield Finding(form, "a raw cache needs key_prefix", (prefix,))
    elif cache.key_prefix.startswith(_OWN_PREFIX) or _OWN_PREFIX.startswith(cache.key_prefix):
        # With the prefix `s` a caller's key `c:...` would name an entry of any other cache.
        yield Finding(prefix, f"can reach keys that begin with {_OWN_PREFIX}, which are the sidecar's own", (form,))
    if cache.stale_for.ms:
        yield Finding((*path, "stale_for"), "must be 0 in a raw cache", (form,))
    if cache.tags:
        yield Finding((*path, "tags"), "a raw cache has none, since its entries are values alone", (form,))
    if cache.generations:
        yield Finding((*path, "generations"), "a raw cache has none, since its entries are values alone", (form,))


def _raw_prefixes(caches: dict[str, CacheSettings]) -> Iterator[Finding]:
    owners: dict[str, str] = {}
    for name, cache in caches.items():
        if cache.format != "raw" or cache.key_prefix is None:
            continue
        owner = owners.setdefault(cache.key_prefix, name)
        if owner != name:
            yield Finding(("caches", name, "key_prefix"), f"is the prefix of the cache `{owner}` too")


def _rate_limit(path: Path, limit: RateLimitSettings) -> Iterator[Finding]:
    if limit.algorithm in {"token_bucket", "gcra"}:
        yield from slow_refill(path, limit.rate, limit.burst)
    elif limit.algorithm == "fixed_window":
        yield from _fixed_window(path, limit)
    elif limit.algorithm == "concurrency" and limit.lease > limit.longest_lease:
        yield Finding(
            (*path, "lease"),
            f"{limit.lease} is above max_lease ({limit.longest_lease})",
            ((*path, "max_lease"),),
        )
    elif limit.algorithm == "combined":
        if not limit.limits:
            yield Finding((*path, "limits"), "must not be empty")
        for name, part in limit.limits.items():
            yield from _rate_limit((*path, "limits", name), part)


def _fixed_window(path: Path, limit: FixedWindowSettings) -> Iterator[Finding]:
    window, calendar = (*path, "window"), (*path, "calendar")
    if limit.window is None and limit.calendar is None:
        yield Finding(path, "a fixed window needs either `window` or `calendar`", (window, calendar))
    elif limit.window is not None and limit.calendar is not None:
        yield Finding(calendar, "give either window or calendar", (window,))
    elif limit.calendar is None and limit.time_zone != "UTC":
        yield Finding((*path, "time_zone"), "has no use without `calendar`", (calendar,))


def _keys(encryption: EncryptionSettings) -> Iterator[Finding]:
    for index, key in enumerate(encryption.keys):
        if key in encryption.keys[:index]:
            yield Finding(("encryption", "keys", index), "is listed twice")
